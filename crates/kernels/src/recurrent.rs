//! The steps of mixers that carry a state from token to token: causal convolutions, state spaces, the delta rule.
//!
//! In: what the matrices gave for one token, and the state of some channels or of one head. Out: the token's outputs, and
//! the state behind it. A text is walked token by token, in prefill too, so that bits do not depend on how it was batched;
//! workers share out channels and heads, which do not know each other.
//!
//! A state is rows of `n` numbers, `n` a multiple of [`ROW`]: shorter ones are padded with zeros, which stay zeros.
//! The formulas are those of [`reference`](mod@crate::reference); sums over a row are in 16 virtual lanes, as all are.

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) mod steps;

use crate::Level;
use crate::reference::lanes::LANES;

/// Rows of a state are whole multiples of this.
pub const ROW: usize = LANES;

/// A causal convolution of each channel by itself, with a few taps.
#[derive(Clone, Copy, Debug)]
pub struct Convolution<'w> {
    /// The number of taps, the token's own included.
    pub taps: usize,
    /// Tap after tap, the oldest first: the weight of each channel, `stride` apart.
    pub weights: &'w [f32],
    /// How far the weights of one tap lie from those of the next.
    pub stride: usize,
    /// What is added for each channel.
    pub bias: Option<&'w [f32]>,
    /// Whether the result is `silu` of that.
    pub silu: bool,
}

/// One token of a convolution: `out = silu(Σ w·x + bias)`, the sum a chain of fma from 0 over the taps, the oldest first.
/// `window` is a ring of `taps` rows of inputs, of which row `oldest` is the oldest.
///
/// # Panics
/// If the buffers contradict each other.
pub fn convolve(level: Level, by: &Convolution<'_>, window: &[f32], oldest: usize, out: &mut [f32]) {
    let n = out.len();
    assert!(window.len() == by.taps * n && oldest < by.taps, "a row for each tap");
    assert!(by.weights.len() >= (by.taps - 1) * by.stride + n, "a weight for each tap and channel");
    assert!(by.bias.is_none_or(|bias| bias.len() >= n), "a bias for each channel");
    crate::dispatch!(level, convolve(by, window, oldest, out));
}

/// `x = ln(1 + e^x)`, by [`math::softplus`](crate::math::softplus).
pub fn softplus(level: Level, x: &mut [f32]) {
    crate::dispatch!(level, softplus(x));
}

/// `x = x / (1 + e^-gate)`.
///
/// # Panics
/// If the lengths differ.
pub fn gate(level: Level, x: &mut [f32], gate: &[f32]) {
    assert_eq!(x.len(), gate.len(), "a gate for each value");
    crate::dispatch!(level, gate(x, gate));
}

/// How fast a state fades.
#[derive(Clone, Copy, Debug)]
pub enum Decay<'d> {
    /// Each number of row i by its own `e^(steps[i] rate)`; a row of rates for each row of the state.
    Rates {
        /// As many as the state.
        rates: &'d [f32],
        /// One for each row.
        steps: &'d [f32],
    },
    /// All by this factor.
    Factor(f32),
}

/// One token of a state space: for each row i, `h = fma(h, decay, inputs[i] b)` and `out[i] = Σ h·c`.
///
/// # Panics
/// If the buffers contradict each other or rows are not whole multiples of [`ROW`].
pub fn scan(
    level: Level,
    state: &mut [f32],
    decay: Decay<'_>,
    inputs: &[f32],
    [b, c]: [&[f32]; 2],
    out: &mut [f32],
) {
    let (n, rows) = (b.len(), out.len());
    assert!(n > 0 && n.is_multiple_of(ROW) && c.len() == n, "whole rows of b and c");
    assert!(state.len() == n * rows && inputs.len() == rows, "a row of the state for each output");
    if let Decay::Rates { rates, steps } = decay {
        assert!(rates.len() == state.len() && steps.len() == rows, "a rate for each number of the state");
    }
    crate::dispatch!(level, scan(state, decay, inputs, [b, c], out));
}

/// One token of the gated delta rule (Yang et al. 2024, arXiv:2412.06464): for each row i, `h = h decay`,
/// `d = (values[i] - Σ h·k) beta`, `h = fma(k, d, h)` and `out[i] = Σ h·q`.
///
/// # Panics
/// If the buffers contradict each other or rows are not whole multiples of [`ROW`].
pub fn delta_rule(
    level: Level,
    state: &mut [f32],
    [decay, beta]: [f32; 2],
    [q, k]: [&[f32]; 2],
    values: &[f32],
    out: &mut [f32],
) {
    let (n, rows) = (k.len(), out.len());
    assert!(n > 0 && n.is_multiple_of(ROW) && q.len() == n, "whole rows of q and k");
    assert!(state.len() == n * rows && values.len() == rows, "a row of the state for each output");
    crate::dispatch!(level, delta_rule(state, [decay, beta], [q, k], values, out));
}
