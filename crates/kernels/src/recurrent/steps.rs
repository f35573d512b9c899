//! The same over 16 virtual lanes held in registers. What an instruction set adds is [`Lanes`].
#![allow(
    clippy::inline_always,
    reason = "generic code takes on its caller's instruction set by being inlined"
)]
// Every unsafe function here asks for the same: the CPU has the level's features, and the lengths are those that the
// public functions of `recurrent` check. What is read and written then lies inside the slices.
#![allow(clippy::missing_safety_doc, reason = "as said above")]

use super::{Convolution, Decay};
use crate::math::SOFTPLUS;
use crate::reference;
use crate::reference::lanes::LANES;

/// 16 lanes.
///
/// # Safety
/// Of every function: the CPU has the level's features, and pointers are valid for what is read and written there.
pub trait Lanes {
    /// Their registers.
    type V: Copy;

    /// One value in all lanes.
    unsafe fn splat(x: f32) -> Self::V;
    /// 16 f32.
    unsafe fn load(from: *const f32) -> Self::V;
    /// To memory.
    unsafe fn store(to: *mut f32, x: Self::V);
    /// `a + b`.
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`.
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`.
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `-x`.
    unsafe fn neg(x: Self::V) -> Self::V;
    /// `-|x|`.
    unsafe fn neg_abs(x: Self::V) -> Self::V;
    /// The larger of x and 0, of numbers.
    unsafe fn positive(x: Self::V) -> Self::V;
    /// [`math::exp`](crate::math::exp), of numbers.
    unsafe fn exp(x: Self::V) -> Self::V;
    /// The sum of the lanes, folded 8, 4, 2, 1.
    unsafe fn fold(x: Self::V) -> f32;
}

/// Makes the kernels of a level from its lanes.
macro_rules! kernels {
    ($features:literal, $lanes:ident) => {
        /// See [`recurrent::convolve`](crate::recurrent::convolve).
        ///
        /// # Safety
        /// The lengths are those that it checks.
        #[target_feature(enable = $features)]
        pub unsafe fn convolve(by: &Convolution<'_>, window: &[f32], oldest: usize, out: &mut [f32]) {
            // SAFETY: the caller's promise, and the features of the level.
            unsafe { steps::convolve::<$lanes>(by, window, oldest, out) }
        }

        /// See [`recurrent::softplus`](crate::recurrent::softplus).
        #[target_feature(enable = $features)]
        pub fn softplus(x: &mut [f32]) {
            // SAFETY: the features of the level.
            unsafe { steps::softplus::<$lanes>(x) }
        }

        /// See [`recurrent::gate`](crate::recurrent::gate).
        ///
        /// # Safety
        /// The lengths are those that it checks.
        #[target_feature(enable = $features)]
        pub unsafe fn gate(x: &mut [f32], gate: &[f32]) {
            // SAFETY: the caller's promise, and the features of the level.
            unsafe { steps::gate::<$lanes>(x, gate) }
        }

        /// See [`recurrent::scan`](crate::recurrent::scan).
        ///
        /// # Safety
        /// The lengths are those that it checks.
        #[target_feature(enable = $features)]
        pub unsafe fn scan(
            state: &mut [f32],
            decay: Decay<'_>,
            inputs: &[f32],
            bc: [&[f32]; 2],
            out: &mut [f32],
        ) {
            // SAFETY: the caller's promise, and the features of the level.
            unsafe { steps::scan::<$lanes>(state, decay, inputs, bc, out) }
        }

        /// See [`recurrent::delta_rule`](crate::recurrent::delta_rule).
        ///
        /// # Safety
        /// The lengths are those that it checks.
        #[target_feature(enable = $features)]
        pub unsafe fn delta_rule(
            state: &mut [f32],
            factors: [f32; 2],
            qk: [&[f32]; 2],
            values: &[f32],
            out: &mut [f32],
        ) {
            // SAFETY: the caller's promise, and the features of the level.
            unsafe { steps::delta_rule::<$lanes>(state, factors, qk, values, out) }
        }
    };
}
pub(crate) use kernels;

/// `x / (1 + e^-gate)`.
#[inline(always)]
unsafe fn gated<L: Lanes>(x: L::V, gate: L::V) -> L::V {
    // SAFETY: the caller's promise.
    unsafe { L::div(x, L::add(L::splat(1.0), L::exp(L::neg(gate)))) }
}

#[inline(always)]
pub unsafe fn convolve<L: Lanes>(by: &Convolution<'_>, window: &[f32], oldest: usize, out: &mut [f32]) {
    let n = out.len();
    let mut at = 0;
    while at < n {
        // What is left over is done with what came before it once more, or, of less than 16 channels, one by one.
        if n - at < LANES {
            if n < LANES {
                return reference::convolve(by, window, oldest, out);
            }
            at = n - LANES;
        }
        // SAFETY: 16 channels from `at` on lie in every row, and in the weights of every tap.
        unsafe {
            let mut sum = L::splat(0.0);
            for tap in 0..by.taps {
                let x = window.as_ptr().add((oldest + tap) % by.taps * n + at);
                let weight = by.weights.as_ptr().add(tap * by.stride + at);
                sum = L::fma(L::load(weight), L::load(x), sum);
            }
            if let Some(bias) = by.bias {
                sum = L::add(sum, L::load(bias.as_ptr().add(at)));
            }
            if by.silu {
                sum = gated::<L>(sum, sum);
            }
            L::store(out.as_mut_ptr().add(at), sum);
        }
        at += LANES;
    }
}

#[inline(always)]
pub unsafe fn softplus<L: Lanes>(x: &mut [f32]) {
    let (whole, rest) = x.as_chunks_mut::<LANES>();
    for x in whole {
        // SAFETY: 16 values.
        unsafe {
            let v = L::load(x.as_ptr());
            let u = L::exp(L::neg_abs(v));
            let s = L::div(u, L::add(u, L::splat(2.0)));
            let z = L::mul(s, s);
            let mut p = L::splat(SOFTPLUS[0]);
            for c in &SOFTPLUS[1..] {
                p = L::fma(p, z, L::splat(*c));
            }
            let log = L::fma(L::mul(s, z), p, L::add(s, s));
            L::store(x.as_mut_ptr(), L::add(L::positive(v), log));
        }
    }
    reference::softplus(rest);
}

#[inline(always)]
pub unsafe fn gate<L: Lanes>(x: &mut [f32], gate: &[f32]) {
    let (whole, rest) = x.as_chunks_mut::<LANES>();
    let (gates, gate_rest) = gate.as_chunks::<LANES>();
    for (x, gate) in whole.iter_mut().zip(gates) {
        // SAFETY: 16 values each.
        unsafe { L::store(x.as_mut_ptr(), gated::<L>(L::load(x.as_ptr()), L::load(gate.as_ptr()))) };
    }
    reference::gate(rest, gate_rest);
}

/// `h = fma(h, decay, input b)` of 16 numbers of a state, and `sum + h c`.
#[inline(always)]
unsafe fn fade<L: Lanes>(h: &mut [f32], decay: L::V, input: L::V, [b, c]: [&[f32]; 2], sum: L::V) -> L::V {
    // SAFETY: the caller's promise.
    unsafe {
        let v = L::fma(L::load(h.as_ptr()), decay, L::mul(input, L::load(b.as_ptr())));
        L::store(h.as_mut_ptr(), v);
        L::fma(v, L::load(c.as_ptr()), sum)
    }
}

#[inline(always)]
pub unsafe fn scan<L: Lanes>(
    state: &mut [f32],
    decay: Decay<'_>,
    inputs: &[f32],
    [b, c]: [&[f32]; 2],
    out: &mut [f32],
) {
    let n = b.len();
    for (row, (h, out)) in state.chunks_exact_mut(n).zip(out).enumerate() {
        // SAFETY: whole 16 values of a row of the state, of b and of c, and, as checked, of the rates.
        unsafe {
            let input = L::splat(inputs[row]);
            let mut sum = L::splat(0.0);
            match decay {
                Decay::Rates { rates, steps } => {
                    let time = L::splat(steps[row]);
                    for i in (0..n).step_by(LANES) {
                        let decay = L::exp(L::mul(time, L::load(rates.as_ptr().add(row * n + i))));
                        sum = fade::<L>(&mut h[i..], decay, input, [&b[i..], &c[i..]], sum);
                    }
                }
                Decay::Factor(factor) => {
                    let decay = L::splat(factor);
                    for i in (0..n).step_by(LANES) {
                        sum = fade::<L>(&mut h[i..], decay, input, [&b[i..], &c[i..]], sum);
                    }
                }
            }
            *out = L::fold(sum);
        }
    }
}

#[inline(always)]
pub unsafe fn delta_rule<L: Lanes>(
    state: &mut [f32],
    [decay, beta]: [f32; 2],
    [q, k]: [&[f32]; 2],
    values: &[f32],
    out: &mut [f32],
) {
    let n = k.len();
    for (h, (value, out)) in state.chunks_exact_mut(n).zip(values.iter().zip(out)) {
        // SAFETY: whole 16 values of a row of the state, of q and of k.
        unsafe {
            let factor = L::splat(decay);
            let mut known = L::splat(0.0);
            for i in (0..n).step_by(LANES) {
                let at = h.as_mut_ptr().add(i);
                let v = L::mul(L::load(at), factor);
                L::store(at, v);
                known = L::fma(v, L::load(k.as_ptr().add(i)), known);
            }
            let d = L::splat((value - L::fold(known)) * beta);
            let mut sum = L::splat(0.0);
            for i in (0..n).step_by(LANES) {
                let at = h.as_mut_ptr().add(i);
                let v = L::fma(L::load(k.as_ptr().add(i)), d, L::load(at));
                L::store(at, v);
                sum = L::fma(v, L::load(q.as_ptr().add(i)), sum);
            }
            *out = L::fold(sum);
        }
    }
}
