//! Guesses at what a model will say next, which cost little and are worth a lot where they are right.
//!
//! In: the tokens so far. Out: tokens that may follow. The model then computes all of them in one batch, for little more than
//! a single token costs where memory is the limit, and those that it would have said itself stand (Leviathan, Kalman,
//! Matias 2023, arXiv:2211.17192; here a token stands only if plain decoding would have drawn the very same, so the text
//! never depends on a guess). Two sources: what the text itself has said before ([`Lookup`]), and a smaller model
//! ([`DraftModel`]).

use stonechat_core::Sampler;

use crate::{Engine, Error};

/// Guesses.
pub trait Draft {
    /// Adds up to `most` tokens that may follow `tokens` to `out`, which is empty.
    fn draft(
        &mut self,
        tokens: &[u32],
        most: usize,
        sampler: &Sampler<'_>,
        out: &mut Vec<u32>,
    ) -> Result<(), Error>;
}

/// What followed the last time that the text said the same (Saxena 2023, "prompt lookup decoding"): of use wherever an answer
/// repeats its prompt, as edits, quotations and summaries do.
#[derive(Clone, Copy, Debug)]
pub struct Lookup {
    /// So many tokens must have been the same at least.
    pub shortest: usize,
    /// With more than so many in common, one place is as good as another.
    pub longest: usize,
}

impl Default for Lookup {
    fn default() -> Self {
        Self { shortest: 2, longest: 4 }
    }
}

impl Draft for Lookup {
    fn draft(
        &mut self,
        tokens: &[u32],
        most: usize,
        _: &Sampler<'_>,
        out: &mut Vec<u32>,
    ) -> Result<(), Error> {
        // The place whose last tokens agree with ours for longest; of several the latest.
        let mut best = (self.shortest.max(1) - 1, 0);
        for end in (1..tokens.len()).rev() {
            let agree =
                |back: &usize| *back < end && tokens[end - 1 - back] == tokens[tokens.len() - 1 - back];
            let common = (0..self.longest).take_while(agree).count();
            if common > best.0 {
                best = (common, end);
                if common == self.longest {
                    break;
                }
            }
        }
        if best.1 > 0 {
            out.extend(tokens[best.1..].iter().take(most));
        }
        Ok(())
    }
}

/// What a smaller model of the same vocabulary says.
#[derive(Debug)]
pub struct DraftModel {
    engine: Engine,
    /// What it has been fed.
    fed: Vec<u32>,
}

impl DraftModel {
    /// A draft by `engine`, whose model must have the vocabulary of `model`.
    pub fn new(engine: Engine, model: &Engine) -> Result<Self, Error> {
        let (ours, theirs) = (engine.vocabulary(), model.vocabulary());
        let same = ours.len() == theirs.len()
            && (0..ours.len() as u32).all(|id| match (ours.token(id), theirs.token(id)) {
                (Some(a), Some(b)) => a.text == b.text,
                (a, b) => a.is_none() == b.is_none(),
            });
        if !same {
            return Err(Error::DraftVocabulary {
                draft: engine.file().path().into(),
                model: model.file().path().into(),
            });
        }
        Ok(Self { engine, fed: Vec::new() })
    }
}

impl Draft for DraftModel {
    fn draft(
        &mut self,
        tokens: &[u32],
        most: usize,
        sampler: &Sampler<'_>,
        out: &mut Vec<u32>,
    ) -> Result<(), Error> {
        let room = self.engine.session().context();
        if tokens.len() >= room {
            return Ok(());
        }
        // The last token is fed in any case, for the logits after it.
        let common = self.fed.iter().zip(&tokens[..tokens.len() - 1]).take_while(|(a, b)| a == b).count();
        let common = self.engine.wind_back(common);
        self.engine.feed(&tokens[common..])?;
        self.fed.clear();
        self.fed.extend(tokens);
        // What a guess does to mirostat's limit is no business of the text's.
        let limit = sampler.mirostat_limit();
        for n in 0..most.min(room - tokens.len()) {
            // With the draws that the model itself will make at these positions: where the models agree, so do the tokens.
            let token = self.engine.pick(sampler, &self.fed);
            out.push(token);
            if n + 1 < most.min(room - tokens.len()) {
                self.engine.feed(&[token])?;
                self.fed.push(token);
            }
        }
        sampler.set_mirostat_limit(limit);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use stonechat_core::Sampling;

    use super::*;

    fn lookup(tokens: &[u32], most: usize) -> Vec<u32> {
        let sampler = Sampler::new(Sampling::default()).expect("greedy");
        let mut out = Vec::new();
        Lookup::default().draft(tokens, most, &sampler, &mut out).expect("a guess");
        out
    }

    #[test]
    fn what_followed_the_longest_and_latest_like_place_is_guessed() {
        assert_eq!(lookup(&[1, 2, 3, 4, 5, 1, 2], 3), [3, 4, 5]);
        assert_eq!(lookup(&[1, 2, 3, 4, 5, 1, 2], 9), [3, 4, 5, 1, 2]);
        // Two places with two tokens in common: the later. One with three: that.
        assert_eq!(lookup(&[1, 2, 8, 1, 2, 9, 1, 2], 1), [9]);
        assert_eq!(lookup(&[7, 1, 2, 8, 5, 1, 2, 9, 7, 1, 2], 1), [8]);
        // The text may repeat itself right away.
        assert_eq!(lookup(&[6, 6, 6], 5), [6]);
    }

    #[test]
    fn where_nothing_is_alike_nothing_is_guessed() {
        for tokens in [&[][..], &[1], &[1, 1], &[1, 2, 3, 2], &[1, 2, 3, 4]] {
            assert_eq!(lookup(tokens, 4), [0; 0], "{tokens:?}");
        }
    }
}
