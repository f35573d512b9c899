//! Picking a token from logits: penalties, cut-offs, temperature, and a draw that every machine makes alike.
//!
//! In: logits, the tokens so far, parameters. Out: one token. The steps and their order are llama.cpp's: repeat
//! penalty, top-k, top-p, min-p, temperature. Candidates are ordered by logit, ties by the lower id. The draw comes from
//! a counter-based generator keyed by (seed, stream, position), so that text does not depend on what was drawn
//! before: it survives a resume, and speculation.

use bytemuck::{Pod, Zeroable};
use core::cmp::Ordering;
use stonechat_kernels::math::exp;

use crate::Error;

/// A token that may be picked.
#[derive(Clone, Copy, PartialEq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Candidate {
    /// Its logit, then its unnormalized probability.
    weight: f32,
    /// The token.
    token: u32,
}

/// How tokens are picked.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sampling {
    /// Divides logits before the draw; 0 always picks the most likely token.
    pub temperature: f32,
    /// Only the k most likely tokens; 0 for all.
    pub top_k: usize,
    /// Only the most likely tokens that together reach this probability; 1 for all.
    pub top_p: f32,
    /// Only tokens at least this fraction as likely as the most likely; 0 for all.
    pub min_p: f32,
    /// Divides positive logits, and multiplies negative ones, of recent tokens; 1 for no penalty.
    pub repeat_penalty: f32,
    /// How many of the last tokens are recent.
    pub repeat_last: usize,
    /// The key of the generator.
    pub seed: u64,
}

impl Default for Sampling {
    /// Greedy.
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            repeat_penalty: 1.0,
            repeat_last: 64,
            seed: 0,
        }
    }
}

/// Picks tokens. See the [module](self).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sampler {
    sampling: Sampling,
}

/// The stream of the generator that plain decoding draws from.
const DECODE_STREAM: u32 = 0;

impl Sampler {
    /// A sampler, if the parameters make sense.
    pub fn new(sampling: Sampling) -> Result<Self, Error> {
        let within = |name, value: f32, low: f32, high: f32, expected| {
            if (low..=high).contains(&value) { Ok(()) } else { Err(Error::BadSampling { name, expected }) }
        };
        let s = &sampling;
        within("the temperature", s.temperature, 0.0, f32::MAX, "a finite number that is not negative")?;
        within("top-p", s.top_p, 0.0, 1.0, "between 0 and 1")?;
        within("min-p", s.min_p, 0.0, 1.0, "between 0 and 1")?;
        within("the repeat penalty", s.repeat_penalty, f32::MIN_POSITIVE, f32::MAX, "a positive number")?;
        Ok(Self { sampling })
    }

    /// The token for `position`, after `history`. `candidates` is memory for at least as many as there are logits; the
    /// logits are changed by the penalty.
    ///
    /// # Panics
    /// If there are no logits or too few `candidates`.
    pub fn pick(
        &self,
        logits: &mut [f32],
        history: &[u32],
        position: usize,
        candidates: &mut [Candidate],
    ) -> u32 {
        let s = &self.sampling;
        penalize(logits, &history[history.len().saturating_sub(s.repeat_last)..], s.repeat_penalty);
        if s.temperature == 0.0 {
            return most_likely(logits);
        }
        let mut kept = &mut candidates[..logits.len()];
        for ((token, weight), candidate) in (0..).zip(logits.iter()).zip(kept.iter_mut()) {
            *candidate = Candidate { weight: *weight, token };
        }
        if s.top_k > 0 && s.top_k < kept.len() {
            kept.select_nth_unstable_by(s.top_k - 1, by_weight);
            kept = &mut kept[..s.top_k];
        }
        kept.sort_unstable_by(by_weight);
        let best = kept[0].weight;
        let reach = top_p(kept, best, s.top_p);
        let likely = kept[..reach].partition_point(|c| exp(c.weight - best) >= s.min_p);
        let kept = &mut kept[..likely.max(1)];
        let mut sum = 0.0;
        for candidate in kept.iter_mut() {
            candidate.weight = exp((candidate.weight - best) / s.temperature);
            sum += candidate.weight;
        }
        let mut left = uniform(s.seed, DECODE_STREAM, position as u64) * sum;
        for candidate in kept.iter() {
            left -= candidate.weight;
            if left < 0.0 {
                return candidate.token;
            }
        }
        // Rounding may leave a trifle.
        kept[kept.len() - 1].token
    }
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

/// Most likely first; of equals the lower id.
fn by_weight(a: &Candidate, b: &Candidate) -> Ordering {
    b.weight.total_cmp(&a.weight).then(a.token.cmp(&b.token))
}

/// Keskar et al. 2019 (arXiv:1909.05858). Each token is penalized once, however often it occurs.
fn penalize(logits: &mut [f32], recent: &[u32], penalty: f32) {
    if penalty == 1.0 {
        return;
    }
    for (i, token) in recent.iter().enumerate() {
        if recent[..i].contains(token) {
            continue;
        }
        if let Some(logit) = logits.get_mut(*token as usize) {
            *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
        }
    }
}

/// How many of the sorted candidates together reach the probability `p`; at least one.
fn top_p(sorted: &[Candidate], best: f32, p: f32) -> usize {
    if p >= 1.0 {
        return sorted.len();
    }
    let sum: f32 = sorted.iter().map(|c| exp(c.weight - best)).sum();
    let mut reached = 0.0;
    for (i, candidate) in sorted.iter().enumerate() {
        reached += exp(candidate.weight - best);
        if reached >= p * sum {
            return i + 1;
        }
    }
    sorted.len()
}

/// A number in [0, 1), a multiple of 2^-24, from Philox4x32-10 with the key `seed` and the counter (`position`, `stream`).
pub fn uniform(seed: u64, stream: u32, position: u64) -> f32 {
    let counter = [position as u32, (position >> 32) as u32, stream, 0];
    let [word, ..] = philox(counter, [seed as u32, (seed >> 32) as u32]);
    (word >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
pub fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
        }
        let a = u64::from(counter[0]) * 0xd251_1f53;
        let b = u64::from(counter[2]) * 0xcd9e_8d57;
        counter = [
            (b >> 32) as u32 ^ counter[1] ^ key[0],
            b as u32,
            (a >> 32) as u32 ^ counter[3] ^ key[1],
            a as u32,
        ];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    /// Known answers published with the Random123 library (`kat_vectors`).
    #[test]
    fn philox_gives_the_published_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([!0; 4], [!0; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    fn draw(sampling: Sampling, logits: &[f32], draws: usize) -> vec::Vec<u32> {
        let sampler = Sampler::new(sampling).unwrap();
        let mut candidates = vec![Candidate { weight: 0.0, token: 0 }; logits.len()];
        (0..draws)
            .map(|position| sampler.pick(&mut logits.to_vec(), &[], position, &mut candidates))
            .collect()
    }

    #[test]
    fn the_greedy_pick_is_the_lower_id_of_equals() {
        assert_eq!(draw(Sampling::default(), &[1.0, 3.0, 3.0, 2.0], 3), [1, 1, 1]);
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let all = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, ..Sampling::default() };
        // Probabilities 1/2, 1/4, 1/4.
        let picks = draw(all, &[2f32.ln(), 0.0, 0.0], 10_000);
        let share = |token| picks.iter().filter(|&&pick| pick == token).count();
        assert!((4800..5200).contains(&share(0)), "{}", share(0));
        assert!((2300..2700).contains(&share(1)), "{}", share(1));
    }

    #[test]
    fn each_cut_off_leaves_only_the_likely() {
        let base = Sampling { temperature: 2.0, top_k: 0, top_p: 1.0, min_p: 0.0, ..Sampling::default() };
        let logits = [0.0, 5.0, 4.0, 1.0];
        let only = |sampling, allowed: &[u32]| {
            let picks = draw(sampling, &logits, 500);
            assert!(picks.iter().all(|pick| allowed.contains(pick)), "{sampling:?}");
            assert!(allowed.iter().all(|token| picks.contains(token)), "{sampling:?}");
        };
        only(base, &[0, 1, 2, 3]);
        only(Sampling { top_k: 2, ..base }, &[1, 2]);
        only(Sampling { top_p: 0.5, ..base }, &[1]);
        only(Sampling { min_p: 0.1, ..base }, &[1, 2]);
    }

    #[test]
    fn a_repeated_token_is_penalized_once() {
        let sampling = Sampling { repeat_penalty: 1.5, ..Sampling::default() };
        let sampler = Sampler::new(sampling).unwrap();
        let mut candidates = [Candidate { weight: 0.0, token: 0 }; 2];
        assert_eq!(sampler.pick(&mut [3.0, 1.9], &[0, 0, 0], 0, &mut candidates), 0);
        assert_eq!(sampler.pick(&mut [3.0, 2.1], &[0, 0, 0], 0, &mut candidates), 1);
    }

    #[test]
    fn parameters_that_make_no_sense_are_refused() {
        for bad in [
            Sampling { temperature: f32::NAN, ..Sampling::default() },
            Sampling { temperature: -1.0, ..Sampling::default() },
            Sampling { top_p: 1.5, ..Sampling::default() },
            Sampling { min_p: f32::NAN, ..Sampling::default() },
            Sampling { repeat_penalty: 0.0, ..Sampling::default() },
        ] {
            assert!(matches!(Sampler::new(bad), Err(Error::BadSampling { .. })), "{bad:?}");
        }
    }
}
