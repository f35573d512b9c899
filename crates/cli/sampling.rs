//! From flags to a sampler.

use serde_json::{Value, json};
use stonechat_core::sampler::{
    Breakers, Candidate, Chain, ChainError, Dry, Mirostat, Probabilities, Sampler, Sampling,
};
use stonechat_core::{Session, Vocabulary};

use crate::args::SamplingArgs;
use crate::failure::Failure;

/// A bias as it is typed: `15043+1`, `15043-inf`.
pub fn bias(text: &str) -> Result<(u32, f32), String> {
    let parse = || {
        let (id, number) = text.split_at_checked(text.find(['+', '-'])?)?;
        Some((id.trim().parse().ok()?, number.parse().ok()?))
    };
    parse().ok_or_else(|| {
        format!("'{text}' is no bias; write a token's id, a sign and a number, for instance 15043-0.5 or 15043-inf")
    })
}

impl SamplingArgs {
    /// The parameters, if they make sense.
    pub fn settings(&self) -> Result<Sampling, Failure> {
        let usage = |error: ChainError<'_>| Failure::Usage(error.to_string());
        let chain = match (&self.samplers, &self.sampler_seq) {
            (Some(names), _) => Chain::from_names(names).map_err(usage)?,
            (None, Some(letters)) => Chain::from_letters(letters).map_err(usage)?,
            (None, None) => Chain::default(),
        };
        let mirostat = match self.mirostat {
            0 => None,
            2 => Some(Mirostat { tau: self.mirostat_ent, eta: self.mirostat_lr }),
            _ => return Err(Failure::Usage("--mirostat must be 0 or 2".into())),
        };
        let sampling = Sampling {
            chain,
            temperature: self.temp,
            dynatemp_range: self.dynatemp_range,
            dynatemp_exponent: self.dynatemp_exp,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            typical_p: self.typical,
            top_n_sigma: self.top_n_sigma,
            xtc_probability: self.xtc_probability,
            xtc_threshold: self.xtc_threshold,
            repeat_penalty: self.repeat_penalty,
            frequency_penalty: self.frequency_penalty,
            presence_penalty: self.presence_penalty,
            repeat_last: self.repeat_last_n,
            dry: Dry {
                multiplier: self.dry_multiplier,
                base: self.dry_base,
                allowed_length: self.dry_allowed_length,
                last: self.dry_penalty_last_n,
            },
            mirostat,
            seed: self.seed,
        };
        Sampler::new(sampling).map_err(|error| Failure::Usage(error.to_string()))?;
        Ok(sampling)
    }

    /// What ends repetitions.
    fn breakers(&self) -> Vec<Vec<u8>> {
        match &self.dry_sequence_breaker[..] {
            [] => [&b"\n"[..], b":", b"\"", b"*"].map(<[u8]>::to_vec).to_vec(),
            texts => texts.iter().filter(|text| *text != "none").map(|text| unescaped(text)).collect(),
        }
    }
}

/// What a person means who cannot type a newline: `\n`, `\r`, `\t`, `\\`.
fn unescaped(text: &str) -> Vec<u8> {
    text.replace("\\\\", "\u{0}")
        .replace("\\n", "\n")
        .replace("\\r", "\r")
        .replace("\\t", "\t")
        .replace('\u{0}', "\\")
        .into_bytes()
}

/// What a sampler needs of the vocabulary, made once, before the first token.
pub struct Prepared {
    sampling: Sampling,
    biases: Vec<(u32, f32)>,
    texts: Vec<Vec<u8>>,
    memory: Vec<u32>,
}

impl Prepared {
    /// Takes what `sampling`, made of `args`, needs of a vocabulary.
    pub fn new(
        args: &SamplingArgs,
        sampling: Sampling,
        vocabulary: &Vocabulary<'_>,
    ) -> Result<Self, Failure> {
        let tokens = vocabulary.len() as u32;
        if let Some((id, _)) = args.logit_bias.iter().find(|(id, _)| *id >= tokens) {
            return Err(Failure::Usage(format!(
                "--logit-bias names the token {id}, but the model has tokens 0 to {}",
                tokens - 1
            )));
        }
        let mut biases = args.logit_bias.clone();
        if args.ignore_eos {
            let ends = (0..tokens).filter(|token| vocabulary.is_end_of_generation(*token));
            biases.extend(ends.map(|token| (token, f32::NEG_INFINITY)));
        }
        let texts = if sampling.dry.is_on() { args.breakers() } else { Vec::new() };
        let borrowed: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
        let words =
            if texts.is_empty() { 0 } else { Breakers::memory(vocabulary, &borrowed).map_err(usage)? };
        Ok(Self { sampling, biases, texts, memory: vec![0; words] })
    }

    /// The sampler.
    pub fn sampler(&mut self, vocabulary: &Vocabulary<'_>) -> Result<Sampler<'_>, Failure> {
        let sampler = Sampler::new(self.sampling).map_err(usage)?;
        let sampler = sampler.with_biases(&self.biases).map_err(usage)?;
        if self.texts.is_empty() {
            return Ok(sampler);
        }
        let texts: Vec<&[u8]> = self.texts.iter().map(Vec::as_slice).collect();
        Ok(sampler.with_breakers(Breakers::new(vocabulary, &texts, &mut self.memory).map_err(usage)?))
    }
}

#[allow(clippy::needless_pass_by_value, reason = "the shape that map_err takes")]
fn usage(error: stonechat_core::Error) -> Failure {
    Failure::Usage(error.to_string())
}

/// How likely the model held what was picked, for `--logprobs`.
pub struct LogProbs {
    /// How many of the most likely tokens are told, too.
    most: usize,
    memory: Vec<Candidate>,
    rows: Vec<Value>,
}

impl LogProbs {
    /// For a model with so many logits.
    pub fn new(most: usize, logits: usize) -> Self {
        Self { most, memory: vec![bytemuck::Zeroable::zeroed(); logits], rows: Vec::new() }
    }

    /// Notes what the model said where `token` was picked.
    pub fn note(&mut self, session: &Session<'_>, token: u32) -> Result<(), Failure> {
        let vocabulary = session.vocabulary();
        let mut buffer = vec![0; vocabulary.max_piece_len()];
        let mut row = |token: u32, logprob: f32| -> Result<Value, Failure> {
            // Rows of the embedding beyond the vocabulary have no text.
            let known = (token as usize) < vocabulary.len();
            let bytes = if known { vocabulary.piece(token, true, &mut buffer)? } else { &[] };
            Ok(
                json!({ "id": token, "token": String::from_utf8_lossy(bytes), "bytes": bytes, "logprob": logprob }),
            )
        };
        let said = Probabilities::of(session.logits(), &mut self.memory);
        let mut noted = row(token, said.log(token))?;
        let most = said.most_likely(self.most, &mut self.memory);
        noted["top_logprobs"] = most.map(|(token, logprob)| row(token, logprob)).collect::<Result<_, _>>()?;
        noted["entropy"] = json!(said.entropy);
        self.rows.push(noted);
        Ok(())
    }

    /// A row for each token.
    pub fn into_rows(self) -> Vec<Value> {
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::{bias, unescaped};

    #[test]
    fn biases_are_read_as_they_are_typed() {
        assert_eq!(bias("15043+1"), Ok((15043, 1.0)));
        assert_eq!(bias("7-0.5"), Ok((7, -0.5)));
        assert_eq!(bias("7-inf"), Ok((7, f32::NEG_INFINITY)));
        for bad in ["", "7", "+1", "7+", "x+1", "7+x", "-7+1"] {
            assert!(bias(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn escapes_stand_for_what_cannot_be_typed() {
        assert_eq!(unescaped(r"a\nb\n"), b"a\nb\n");
        assert_eq!(unescaped(r"\\n\t"), b"\\n\t");
    }
}
