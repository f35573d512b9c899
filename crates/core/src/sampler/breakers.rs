//! Sequence breakers: texts over which DRY sees no repetition, like the end of a line, turned into tokens once, at the
//! start.
//!
//! A breaker may lie inside a token, or begin at the end of one and go on in the next. Tokens of the first kind are bits
//! of a map; of the second kind, which only breakers of several bytes have, each token that a breaker may begin in is
//! listed with the tokens that the rest of the breaker makes.

use core::ops::ControlFlow;

use crate::vocabulary::{Encode, Error};
use crate::{Error as CoreError, Vocabulary};

/// The longest breaker in bytes.
pub const MAX_BREAKER: usize = 40;
/// The most tokens of a breaker's rest that are compared.
const MAX_REST: usize = 20;

/// Texts over which DRY sees no repetition, prepared for a vocabulary.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Breakers<'a> {
    /// A bit for each token that has a whole breaker in it.
    whole: &'a [u32],
    /// Tokens that a breaker may begin in, ascending, and where in `rests` its rest lies.
    heads: &'a [u32],
    /// A number of tokens, then these tokens, and so on.
    rests: &'a [u32],
}

impl<'a> Breakers<'a> {
    /// The words of memory that [`new`](Self::new) needs for these texts.
    pub fn memory(vocabulary: &Vocabulary<'_>, texts: &[&[u8]]) -> Result<usize, CoreError> {
        let mut heads = 0;
        for_each_overlap(vocabulary, texts, &mut |_, overlap| {
            heads += usize::from(matches!(overlap, Overlap::Begins { .. }));
        })?;
        let cuts: usize = texts.iter().map(|text| text.len()).sum();
        let scratch = vocabulary.scratch_len(MAX_BREAKER);
        Ok(vocabulary.len().div_ceil(32) + 2 * heads + cuts * (1 + MAX_REST) + scratch)
    }

    /// Prepares `texts`, each of 1 to [`MAX_BREAKER`] bytes, in `memory`.
    pub fn new(
        vocabulary: &Vocabulary<'_>,
        texts: &[&[u8]],
        memory: &'a mut [u32],
    ) -> Result<Self, CoreError> {
        let given = memory.len();
        let needed = Self::memory(vocabulary, texts)?;
        if given < needed {
            return Err(Error::Scratch { needed, given }.into());
        }
        memory.fill(0);
        let (scratch, memory) = memory.split_at_mut(vocabulary.scratch_len(MAX_BREAKER));
        let (whole, memory) = memory.split_at_mut(vocabulary.len().div_ceil(32));
        let cuts: usize = texts.iter().map(|text| text.len()).sum();
        let (rests, heads) = memory.split_at_mut(cuts * (1 + MAX_REST));
        // The rest of text t from its c-th byte on is at the place of that byte in all texts, one after the other.
        let bytes = texts.iter().flat_map(|text| (0..text.len()).map(move |cut| &text[cut..]));
        for (rest, slot) in bytes.zip(rests.chunks_exact_mut(1 + MAX_REST)) {
            let mut len = 0;
            vocabulary.encode(rest, Encode::default(), scratch, &mut |token| {
                slot[1 + len] = token;
                len += 1;
                if len < MAX_REST { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            slot[0] = len as u32;
        }
        let mut len = 0;
        for_each_overlap(vocabulary, texts, &mut |token, overlap| match overlap {
            Overlap::Whole => whole[token as usize / 32] |= 1 << (token % 32),
            Overlap::Begins { text, cut } => {
                let before: usize = texts[..text].iter().map(|text| text.len()).sum();
                heads[len..len + 2].copy_from_slice(&[token, ((before + cut) * (1 + MAX_REST)) as u32]);
                len += 2;
            }
        })?;
        Ok(Self { whole, heads: &heads[..len], rests })
    }

    /// Breakers that are whole tokens, a bit for each.
    #[cfg(test)]
    pub(super) const fn of_tokens(whole: &'a [u32]) -> Self {
        Self { whole, heads: &[], rests: &[] }
    }

    /// Whether a token has a breaker in it.
    pub(super) fn is_one(&self, token: u32) -> bool {
        self.whole.get(token as usize / 32).is_some_and(|word| word >> (token % 32) & 1 == 1)
    }

    /// How many tokens follow the last breaker in `recent`.
    pub(super) fn distance(&self, recent: &[u32]) -> Option<usize> {
        (0..recent.len()).find_map(|back| {
            let (before, after) = recent.split_at(recent.len() - back);
            let token = *before.last()?;
            let listed = self.rests(token).filter(|rest| after.starts_with(rest)).map(<[u32]>::len).max();
            let longest = listed.or(self.is_one(token).then_some(0))?;
            Some(back - longest)
        })
    }

    /// The rests that may follow a token.
    fn rests(&self, token: u32) -> impl Iterator<Item = &'a [u32]> {
        let (heads, rests) = (self.heads.as_chunks::<2>().0, self.rests);
        let first = heads.partition_point(|head| head[0] < token);
        heads[first..].iter().take_while(move |head| head[0] == token).map(move |head| {
            let at = head[1] as usize;
            &rests[at + 1..][..rests[at] as usize]
        })
    }
}

/// How a breaker lies in a token.
enum Overlap {
    Whole,
    /// `cut` bytes of it are the token's last ones.
    Begins {
        text: usize,
        cut: usize,
    },
}

/// Finds where breakers lie in tokens, by ascending token.
fn for_each_overlap(
    vocabulary: &Vocabulary<'_>,
    texts: &[&[u8]],
    each: &mut dyn FnMut(u32, Overlap),
) -> Result<(), CoreError> {
    const EXPECTED: &str = "1 to 40 bytes long";
    if texts.iter().any(|text| text.is_empty() || text.len() > MAX_BREAKER) {
        return Err(CoreError::BadSampling { name: "a sequence breaker of DRY", expected: EXPECTED });
    }
    let mut buffer = [0; MAX_PIECE];
    for token in 0..vocabulary.len() as u32 {
        let Ok(piece) = vocabulary.piece(token, true, &mut buffer) else { continue };
        for (number, text) in texts.iter().enumerate() {
            if piece.windows(text.len()).any(|window| window == *text) {
                each(token, Overlap::Whole);
                continue;
            }
            for cut in (1..text.len()).rev() {
                if piece.ends_with(&text[..cut]) {
                    each(token, Overlap::Begins { text: number, cut });
                }
            }
        }
    }
    Ok(())
}

/// The longest token that is searched; real ones have some hundred bytes at most.
const MAX_PIECE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::Breakers;

    #[test]
    fn the_last_breaker_counts_and_may_span_tokens() {
        // Token 3 is a breaker; 5 begins one that goes on with 6 7.
        let breakers = Breakers { whole: &[1 << 3], heads: &[5, 0], rests: &[2, 6, 7] };
        assert_eq!(breakers.distance(&[1, 2]), None);
        assert_eq!(breakers.distance(&[3, 1, 2]), Some(2));
        assert_eq!(breakers.distance(&[5, 6, 7, 1, 2]), Some(2));
        assert_eq!(breakers.distance(&[3, 5, 6, 1, 2]), Some(4));
        assert_eq!(breakers.distance(&[5, 6, 7, 3]), Some(0));
        assert_eq!(breakers.distance(&[5, 6, 7]), Some(0));
    }
}
