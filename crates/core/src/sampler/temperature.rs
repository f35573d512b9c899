//! The temperature, fixed or following the entropy.

use super::Sampling;
use super::candidates::Candidates;

/// Divides logits by the temperature. With a range it goes from `temperature - range`, where one token has all
/// probability, to `temperature + range`, where all have the same ("dynamic temperature", kalomaze 2023).
pub(super) fn divide(candidates: &mut Candidates<'_>, s: &Sampling) {
    let mut temperature = s.temperature;
    if s.dynatemp_range > 0.0 {
        if candidates.len() < 2 {
            return;
        }
        let best = candidates.best();
        let entropy = candidates.entropy(best, candidates.mass(best));
        let highest = libm::logf(candidates.len() as f32);
        // Rounding may make it a trifle less than nothing.
        let share = (entropy / highest).clamp(0.0, 1.0);
        let low = (s.temperature - s.dynatemp_range).max(0.0);
        let high = s.temperature + s.dynatemp_range;
        temperature = low + (high - low) * libm::powf(share, s.dynatemp_exponent);
    }
    if temperature <= 0.0 {
        return candidates.keep_most_likely(1);
    }
    candidates.map(|logit| logit / temperature);
}
