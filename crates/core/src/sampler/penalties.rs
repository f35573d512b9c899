//! Penalties for tokens that occurred lately: repeat, frequency, presence.

use super::Sampling;
use super::candidates::Candidates;

/// Penalizes what is in `recent`. `pairs` is memory for as many.
///
/// The repeat penalty is Keskar et al. 2019 (arXiv:1909.05858), with negative logits multiplied, so that they fall too;
/// frequency and presence are those of OpenAI's API.
pub(super) fn penalize(
    candidates: &mut Candidates<'_>,
    s: &Sampling,
    recent: &[u32],
    pairs: &mut [[u32; 2]],
) {
    if s.repeat_penalty == 1.0 && s.frequency_penalty == 0.0 && s.presence_penalty == 0.0 {
        return;
    }
    let pairs = &mut pairs[..recent.len()];
    for (pair, token) in pairs.iter_mut().zip(recent) {
        *pair = [*token, 1];
    }
    let len = join(pairs, |a, b| a + b);
    candidates.adjust(&pairs[..len], |logit, count| {
        let repeated = if logit > 0.0 { logit / s.repeat_penalty } else { logit * s.repeat_penalty };
        repeated - (count as f32 * s.frequency_penalty + s.presence_penalty)
    });
}

/// Sorts pairs by their first number and joins the second ones of equals; says how many are left.
pub(super) fn join(pairs: &mut [[u32; 2]], join: impl Fn(u32, u32) -> u32) -> usize {
    pairs.sort_unstable();
    let mut len = 0;
    for i in 0..pairs.len() {
        let [token, number] = pairs[i];
        if len > 0 && pairs[len - 1][0] == token {
            pairs[len - 1][1] = join(pairs[len - 1][1], number);
        } else {
            pairs[len] = [token, number];
            len += 1;
        }
    }
    len
}
