//! Picking a token from logits: a chain of steps, and a draw that every machine makes alike.
//!
//! In: logits, the tokens so far, parameters, and memory of a size that [`memory`] tells beforehand. Out: one token.
//!
//! ```text
//! biases -> penalties -> dry -> top_n_sigma -> top_k -> typ_p -> top_p -> min_p -> xtc -> temperature -> draw
//! biases -> temperature -> mirostat                                                                    (Mirostat 2)
//! ```
//!
//! What a step does, its name and the order are llama.cpp's; a [`Chain`] may have another order. Of equally likely
//! candidates the one with the lower id comes first. Draws come from a counter-based generator keyed by (seed, stream,
//! position), so that text does not depend on what was drawn before: it survives a resume, and speculation. Mirostat
//! alone remembers something, its limit, which [`Sampler::mirostat_limit`] tells and takes.
//!
//! Steps are made of products, sums, and functions that are defined once, so that equal seeds give equal text on every
//! machine; nothing is allocated.

mod breakers;
mod candidates;
mod chain;
mod cutoffs;
mod dry;
mod math;
mod mirostat;
mod penalties;
mod probabilities;
mod random;
mod settings;
mod temperature;

use core::cell::Cell;

use crate::Error;

pub use breakers::{Breakers, MAX_BREAKER};
pub use candidates::Candidate;
pub use chain::{Chain, ChainError, MAX_STEPS, Step};
pub use probabilities::Probabilities;
pub use random::{Stream, philox, uniform};
pub use settings::{Dry, Mirostat, Sampling};

use candidates::Candidates;

/// The memory that picking takes, in candidates: one for each token of the vocabulary, and room to count the tokens of
/// the context for penalties.
pub const fn memory(vocabulary: usize, context: usize) -> Option<usize> {
    // Pairs of token and count, as large as candidates, and for DRY a length for each, half as large.
    match context.checked_add(context.div_ceil(2)) {
        Some(counts) => vocabulary.checked_add(counts),
        None => None,
    }
}

/// Picks tokens. See the [module](self).
#[derive(Clone, PartialEq, Debug)]
pub struct Sampler<'a> {
    sampling: Sampling,
    biases: &'a [(u32, f32)],
    breakers: Breakers<'a>,
    /// The surprise in bits at which mirostat cuts.
    limit: Cell<f32>,
}

impl<'a> Sampler<'a> {
    /// A sampler, if the parameters make sense.
    pub fn new(sampling: Sampling) -> Result<Self, Error> {
        sampling.check()?;
        let limit = sampling.mirostat.unwrap_or_default().start();
        Ok(Self { sampling, biases: &[], breakers: Breakers::default(), limit: Cell::new(limit) })
    }

    /// Adds these biases to the logits of tokens, before all else; minus infinity forbids a token.
    pub fn with_biases(mut self, biases: &'a [(u32, f32)]) -> Result<Self, Error> {
        if biases.iter().any(|(_, bias)| bias.is_nan() || *bias == f32::INFINITY) {
            return Err(Error::BadSampling {
                name: "the bias of a token",
                expected: "a finite number or -inf",
            });
        }
        self.biases = biases;
        Ok(self)
    }

    /// Lets DRY see no repetition over these.
    #[must_use]
    pub fn with_breakers(mut self, breakers: Breakers<'a>) -> Self {
        self.breakers = breakers;
        self
    }

    /// The same with another seed.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.sampling.seed = seed;
        self
    }

    /// How tokens are picked.
    pub const fn sampling(&self) -> &Sampling {
        &self.sampling
    }

    /// Mirostat's limit, to be kept with a text that is to be resumed: the surprise in bits at which it cuts.
    pub const fn mirostat_limit(&self) -> f32 {
        self.limit.get()
    }

    /// Sets mirostat's limit, to resume a text.
    pub fn set_mirostat_limit(&self, limit: f32) {
        self.limit.set(limit);
    }

    /// The token for `position`, after `history`. `memory` has at least a candidate for each logit, and for penalties
    /// what [`memory`] tells; with less, penalties see less of the history.
    ///
    /// # Panics
    /// If there are no logits or too little memory.
    pub fn pick(&self, logits: &[f32], history: &[u32], position: usize, memory: &mut [Candidate]) -> u32 {
        self.pick_among(logits, None, history, position, memory)
    }

    /// Picks like [`pick`](Self::pick), but only tokens that a bit of `allowed` permits: the i-th lowest bit of word w
    /// stands for token 32 w + i. If it permits none, all are.
    ///
    /// # Panics
    /// If there are no logits or too little memory.
    pub fn pick_among(
        &self,
        logits: &[f32],
        allowed: Option<&[u32]>,
        history: &[u32],
        position: usize,
        memory: &mut [Candidate],
    ) -> u32 {
        if self.is_plainly_greedy() {
            return allowed
                .and_then(|allowed| most_likely_among(logits, allowed))
                .unwrap_or_else(|| most_likely(logits));
        }
        let candidates = self.candidates(logits, allowed, history, position, memory);
        let stream = if self.sampling.mirostat.is_some() { Stream::Mirostat } else { Stream::Token };
        let picked = draw(candidates, uniform(self.sampling.seed, stream, position as u64));
        if let Some(mirostat) = &self.sampling.mirostat {
            self.limit.set(mirostat.learn(self.limit.get(), picked.weight));
        }
        picked.token
    }

    /// What may be picked for `position`, with probabilities: what [`pick_among`](Self::pick_among) draws from.
    ///
    /// # Panics
    /// If there are no logits or too little memory.
    pub fn candidates<'m>(
        &self,
        logits: &[f32],
        allowed: Option<&[u32]>,
        history: &[u32],
        position: usize,
        memory: &'m mut [Candidate],
    ) -> &'m [Candidate] {
        let s = &self.sampling;
        let (all, counts) = memory.split_at_mut(logits.len());
        let mut candidates = Candidates::new(logits, allowed, all);
        for (token, bias) in self.biases {
            candidates.bias(*token, *bias);
        }
        if s.mirostat.is_some() {
            temperature::divide(&mut candidates, &Sampling { dynatemp_range: 0.0, ..*s });
            Mirostat::cut(&mut candidates, self.limit.get());
            candidates.normalize();
            return candidates.into_inner();
        }
        // Of three words for each recent token, two are a pair.
        let counts: &mut [u32] = bytemuck::cast_slice_mut(counts);
        let room = counts.len() / 3;
        let (pairs, lengths) = counts.split_at_mut(2 * room);
        let pairs = pairs.as_chunks_mut::<2>().0;
        let recent = |last: usize| &history[history.len() - last.min(room).min(history.len())..];
        for step in s.chain.steps() {
            let candidates = &mut candidates;
            match step {
                Step::Penalties => penalties::penalize(candidates, s, recent(s.repeat_last), pairs),
                Step::Dry => {
                    s.dry.penalize(candidates, &self.breakers, recent(s.dry.last), pairs, lengths);
                }
                Step::TopNSigma => cutoffs::top_n_sigma(candidates, s.top_n_sigma),
                Step::TopK => cutoffs::top_k(candidates, s.top_k),
                Step::Typical => cutoffs::typical(candidates, s.typical_p),
                Step::TopP => cutoffs::top_p(candidates, s.top_p),
                Step::MinP => cutoffs::min_p(candidates, s.min_p),
                Step::Xtc => {
                    let strikes = s.xtc_threshold <= 0.5
                        && uniform(s.seed, Stream::Xtc, position as u64) < s.xtc_probability;
                    if strikes {
                        cutoffs::exclude_top(candidates, s.xtc_threshold);
                    }
                }
                Step::Temperature => temperature::divide(candidates, s),
            }
        }
        candidates.normalize();
        candidates.into_inner()
    }

    /// Whether the most likely token is picked whatever the chain does.
    fn is_plainly_greedy(&self) -> bool {
        let s = &self.sampling;
        let ends_greedy = s.temperature == 0.0
            && (s.mirostat.is_some()
                || s.dynatemp_range == 0.0 && s.chain.steps().contains(&Step::Temperature));
        let leaves_logits =
            s.repeat_penalty == 1.0 && s.frequency_penalty == 0.0 && s.presence_penalty == 0.0;
        let leaves_best = s.typical_p >= 1.0 && s.xtc_probability == 0.0 && !s.dry.is_on();
        ends_greedy && self.biases.is_empty() && (s.mirostat.is_some() || leaves_logits && leaves_best)
    }
}

/// The candidate that a number in [0, 1) falls on.
fn draw(candidates: &[Candidate], number: f32) -> Candidate {
    let mut left = f64::from(number);
    for candidate in candidates {
        left -= f64::from(candidate.weight);
        if left < 0.0 {
            return *candidate;
        }
    }
    // Rounding may leave a trifle: the last that can be.
    let last = candidates.iter().rev().find(|candidate| candidate.weight > 0.0);
    *last.unwrap_or(&candidates[candidates.len() - 1])
}

/// The token with the highest logit, the lowest of several.
///
/// # Panics
/// If there are no logits.
pub fn most_likely(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (token, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = token;
        }
    }
    best as u32
}

/// The token with the highest logit of those that a bit permits, the lowest of several; none where no bit does.
fn most_likely_among(logits: &[f32], allowed: &[u32]) -> Option<u32> {
    let mut best: Option<usize> = None;
    for (word, (bits, logits_of_word)) in allowed.iter().zip(logits.chunks(32)).enumerate() {
        let mut bits = *bits;
        while bits != 0 {
            let bit = bits.trailing_zeros() as usize;
            bits &= bits - 1;
            let Some(logit) = logits_of_word.get(bit) else { break };
            if best.is_none_or(|best| *logit > logits[best]) {
                best = Some(word * 32 + bit);
            }
        }
    }
    best.map(|token| token as u32)
}

#[cfg(test)]
mod tests;
