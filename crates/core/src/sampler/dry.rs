//! DRY: tokens that would go on with a repetition are penalized, the more the longer it is already.

use super::breakers::Breakers;
use super::candidates::Candidates;
use super::penalties::join;
use super::settings::Dry;

/// Above this, e^x is no f32.
const LOG_MOST: f32 = 88.722_84;

impl Dry {
    /// Penalizes what would go on with a repetition of the end of `recent`. `pairs` and `lengths` are memory for as many.
    pub(super) fn penalize(
        &self,
        candidates: &mut Candidates<'_>,
        breakers: &Breakers<'_>,
        recent: &[u32],
        pairs: &mut [[u32; 2]],
        lengths: &mut [u32],
    ) {
        if !self.is_on() || recent.len() <= self.allowed_length {
            return;
        }
        // A repetition does not reach over a breaker.
        let longest = breakers.distance(recent).unwrap_or(recent.len());
        if longest < self.allowed_length {
            return;
        }
        let lengths = &mut lengths[..recent.len()];
        common_ends(recent, lengths);
        let mut len = 0;
        for (back, &length) in lengths.iter().enumerate().skip(1) {
            let length = (length as usize).min(longest);
            if length >= self.allowed_length {
                // What followed there would go on with it here.
                pairs[len] = [recent[recent.len() - back], length as u32];
                len += 1;
            }
        }
        let len = join(&mut pairs[..len], u32::max);
        // What ends a repetition anyway may be said.
        let mut kept = 0;
        for i in 0..len {
            if !breakers.is_one(pairs[i][0]) {
                pairs[kept] = pairs[i];
                kept += 1;
            }
        }
        let most = (self.base > 1.000_001).then(|| (LOG_MOST / libm::logf(self.base)) as usize);
        candidates.adjust(&pairs[..kept], |logit, length| {
            let excess = length as usize - self.allowed_length;
            let excess = most.filter(|most| *most > 0).map_or(excess, |most| excess.min(most));
            logit - self.multiplier * libm::powf(self.base, excess as f32)
        });
    }
}

/// For each `back`, how many of the last tokens are also the last before the end less `back` tokens. Linear time: the
/// Z-function (Gusfield 1997, "Algorithms on strings, trees and sequences", 1.3) of the reversed tokens.
fn common_ends(tokens: &[u32], lengths: &mut [u32]) {
    let n = tokens.len();
    let at = |back: usize| tokens[n - 1 - back];
    lengths[0] = n as u32;
    // The match that reaches furthest back so far, and where it begins.
    let (mut begin, mut end) = (0, 0);
    for back in 1..n {
        let mut length = 0;
        if back < end {
            length = (lengths[back - begin] as usize).min(end - back);
        }
        while back + length < n && at(length) == at(back + length) {
            length += 1;
        }
        if back + length > end {
            (begin, end) = (back, back + length);
        }
        lengths[back] = length as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::common_ends;
    use std::vec;

    #[test]
    fn ends_are_compared_as_one_by_one() {
        let mut state = 1u32;
        for n in 1..200 {
            let tokens: vec::Vec<u32> = (0..n)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    state >> 31
                })
                .collect();
            let mut lengths = vec![0; n];
            common_ends(&tokens, &mut lengths);
            for back in 0..n {
                let same =
                    (0..n - back).take_while(|i| tokens[n - 1 - i] == tokens[n - 1 - back - i]).count();
                assert_eq!(lengths[back] as usize, same, "{tokens:?} {back}");
            }
        }
    }
}
