//! What the model itself said, before any step of a chain: log probabilities and entropy.

use super::candidates::{Candidate, Candidates};

/// What logits say as probabilities.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Probabilities<'l> {
    logits: &'l [f32],
    /// The log of what makes e^logit a probability.
    log_mass: f32,
    /// How unsure the model is: the expected surprise, in nats.
    pub entropy: f32,
}

impl<'l> Probabilities<'l> {
    /// `memory` is for as many candidates as there are logits.
    ///
    /// # Panics
    /// If there are no logits or too little memory.
    pub fn of(logits: &'l [f32], memory: &mut [Candidate]) -> Self {
        let candidates = Candidates::new(logits, None, &mut memory[..logits.len()]);
        let best = candidates.best();
        let mass = candidates.mass(best);
        Self { logits, log_mass: best + libm::logf(mass), entropy: candidates.entropy(best, mass) }
    }

    /// The log of a token's probability; minus infinity for a token that there is not.
    pub fn log(&self, token: u32) -> f32 {
        self.logits.get(token as usize).map_or(f32::NEG_INFINITY, |logit| logit - self.log_mass)
    }

    /// The n most likely tokens, the most likely first, of equals the lower id, with the logs of their probabilities.
    ///
    /// # Panics
    /// If there is too little memory.
    pub fn most_likely<'m>(
        &self,
        n: usize,
        memory: &'m mut [Candidate],
    ) -> impl Iterator<Item = (u32, f32)> + use<'m> {
        let mut candidates = Candidates::new(self.logits, None, &mut memory[..self.logits.len()]);
        candidates.keep_most_likely(n.max(1));
        let log_mass = self.log_mass;
        let kept: &'m [Candidate] = candidates.into_inner();
        kept.iter().take(n).map(move |candidate| (candidate.token, candidate.weight - log_mass))
    }
}
