//! Mirostat 2: a cut at a surprise that is learned from token to token.

use core::f32::consts::LN_2;

use super::candidates::Candidates;
use super::settings::Mirostat;

impl Mirostat {
    /// The surprise at which it cuts at first, in bits.
    pub(super) fn start(&self) -> f32 {
        2.0 * self.tau
    }

    /// Keeps what surprises by at most `limit` bits, sorted; at least the most likely.
    pub(super) fn cut(candidates: &mut Candidates<'_>, limit: f32) {
        let best = candidates.best();
        // The surprise of a probability is -log2 of it.
        let least = best + libm::logf(candidates.mass(best)) - limit * LN_2;
        candidates.keep_at_least(least);
        candidates.keep_most_likely(candidates.len());
    }

    /// The limit after a token of this probability was picked.
    pub(super) fn learn(&self, limit: f32, probability: f32) -> f32 {
        let surprise = -libm::logf(probability) / LN_2;
        limit - self.eta * (surprise - self.tau)
    }
}
