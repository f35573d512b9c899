//! The steps of mixers that carry a state from token to token.

use super::lanes;
use crate::math::{self, exp, fma, silu};
use crate::recurrent::{Convolution, Decay};

/// `Σ w·x + bias` over the taps, the oldest first, and silu of it where asked for.
pub fn convolve(by: &Convolution<'_>, window: &[f32], oldest: usize, out: &mut [f32]) {
    let n = out.len();
    for (channel, out) in out.iter_mut().enumerate() {
        let mut sum = 0.0;
        for tap in 0..by.taps {
            let x = window[(oldest + tap) % by.taps * n + channel];
            sum = fma(by.weights[tap * by.stride + channel], x, sum);
        }
        if let Some(bias) = by.bias {
            sum += bias[channel];
        }
        *out = if by.silu { silu(sum) } else { sum };
    }
}

/// `x = ln(1 + e^x)`.
pub fn softplus(x: &mut [f32]) {
    x.iter_mut().for_each(|x| *x = math::softplus(*x));
}

/// `x = x / (1 + e^-gate)`.
pub fn gate(x: &mut [f32], gate: &[f32]) {
    x.iter_mut().zip(gate).for_each(|(x, gate)| *x /= 1.0 + exp(-gate));
}

/// `h = fma(h, decay, input b)` and `out = Σ h·c`, row by row.
pub fn scan(state: &mut [f32], decay: Decay<'_>, inputs: &[f32], [b, c]: [&[f32]; 2], out: &mut [f32]) {
    let n = b.len();
    for (row, (h, out)) in state.chunks_exact_mut(n).zip(out).enumerate() {
        for (i, h) in h.iter_mut().enumerate() {
            let decay = match decay {
                Decay::Rates { rates, steps } => exp(steps[row] * rates[row * n + i]),
                Decay::Factor(factor) => factor,
            };
            *h = fma(*h, decay, inputs[row] * b[i]);
        }
        *out = lanes::dot(h.iter().copied(), c.iter().copied());
    }
}

/// `h = h decay`, `d = (value - Σ h·k) beta`, `h = fma(k, d, h)` and `out = Σ h·q`, row by row.
pub fn delta_rule(
    state: &mut [f32],
    [decay, beta]: [f32; 2],
    [q, k]: [&[f32]; 2],
    values: &[f32],
    out: &mut [f32],
) {
    for (h, (value, out)) in state.chunks_exact_mut(k.len()).zip(values.iter().zip(out)) {
        h.iter_mut().for_each(|h| *h *= decay);
        let d = (value - lanes::dot(h.iter().copied(), k.iter().copied())) * beta;
        h.iter_mut().zip(k).for_each(|(h, k)| *h = fma(*k, d, *h));
        *out = lanes::dot(h.iter().copied(), q.iter().copied());
    }
}
