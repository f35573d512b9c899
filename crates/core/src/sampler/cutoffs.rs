//! The steps that cut off tokens: top-n-sigma, top-k, typical, top-p, min-p, XTC.

use super::candidates::Candidates;
use super::math::exp;

/// Forbids what is more than n standard deviations below the highest logit (Tang et al. 2024, arXiv:2411.07641).
pub(super) fn top_n_sigma(candidates: &mut Candidates<'_>, n: f32) {
    if n <= 0.0 || candidates.len() < 2 {
        return;
    }
    let (total, count) = candidates.sum_finite(|logit| logit);
    if count == 0 {
        return;
    }
    let mean = total / count as f32;
    let (squares, _) = candidates.sum_finite(|logit| (logit - mean) * (logit - mean));
    let least = candidates.best() - n * libm::sqrtf(squares / count as f32);
    // They stay in number: the dynamic temperature counts them.
    candidates.map(|logit| if logit < least { f32::NEG_INFINITY } else { logit });
}

/// Keeps the k most likely (Fan et al. 2018, arXiv:1805.04833).
pub(super) fn top_k(candidates: &mut Candidates<'_>, k: usize) {
    if k > 0 {
        candidates.keep_most_likely(k);
    }
}

/// Keeps the most likely that together reach p (Holtzman et al. 2019, arXiv:1904.09751).
pub(super) fn top_p(candidates: &mut Candidates<'_>, p: f32) {
    if p >= 1.0 {
        return;
    }
    let best = candidates.best();
    let enough = f64::from(p) * f64::from(candidates.mass(best));
    let mut reached = 0.0;
    candidates.keep_until(|candidate| {
        reached += f64::from(exp(candidate.weight - best));
        reached >= enough
    });
}

/// Keeps what is at least the fraction p as likely as the most likely (Nguyen et al. 2024, arXiv:2407.01082).
pub(super) fn min_p(candidates: &mut Candidates<'_>, p: f32) {
    if p > 0.0 {
        candidates.keep_at_least(candidates.best() + libm::logf(p));
    }
}

/// Keeps the tokens whose surprise is nearest to the expected one, the entropy, until they exceed p together (Meister et
/// al. 2022, arXiv:2202.00666).
pub(super) fn typical(candidates: &mut Candidates<'_>, p: f32) {
    if p >= 1.0 {
        return;
    }
    let best = candidates.best();
    let mass = candidates.mass(best);
    // -ln of a probability is ln mass - (logit - best).
    let expected = candidates.entropy(best, mass) - libm::logf(mass);
    let enough = f64::from(p) * f64::from(mass);
    let mut reached = 0.0;
    candidates.keep_by_key(
        |logit| (-(logit - best) - expected).abs(),
        |candidate| {
            reached += f64::from(exp(candidate.weight - best));
            reached > enough
        },
    );
}

/// Leaves out all of those at least as likely as `threshold` but the least likely of them ("exclude top choices", p-e-w's
/// proposal to text-generation-webui, #6335).
pub(super) fn exclude_top(candidates: &mut Candidates<'_>, threshold: f32) {
    if candidates.len() < 2 {
        return;
    }
    let best = candidates.best();
    let mass = candidates.mass(best);
    // A probability is e^(logit - best) / mass.
    let least = if threshold > 0.0 { best + libm::logf(threshold * mass) } else { f32::NEG_INFINITY };
    let lead = candidates.lead(least);
    candidates.drop_first(lead.saturating_sub(1));
}
