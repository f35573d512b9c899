//! Block formats and arithmetic of quantized language models, bit-identical on every CPU.
//!
//! Safe functions that take slices and a [`Level`]; inside, one implementation for each instruction set. This crate
//! knows no model and no file: it multiplies, rotates, normalises and attends. It never allocates.
//!
//! # The numerics contract
//!
//! [`reference`](mod@reference) is plain scalar Rust and DEFINES every result; the kernels of every other level equal it bit for
//! bit, and tests compare bits, never a tolerance. So a result does not depend on the CPU, the number of workers, or
//! how tokens were batched. What follows is the definition in words.
//!
//! **Activations** that meet a quantized matrix are int8 in blocks of 32, for every format. `d = amax / 127` in f32;
//! `q = x / d` rounded half to even, in -127..=127. Where `d` is zero or subnormal the block is all 0, `d` included.
//! -128 never occurs in activations; in weights it may.
//!
//! **A row** of a quantized matrix has two f32 accumulators and walks the blocks of 32 in order:
//! - `isum = Σ scale_i · Σ w·x`, exact in i32, over the integer sub-blocks of the block (one of 32 or two of 16);
//!   `acc = fma(d·dx, isum as f32, acc)` with the weights' scale `d` and the activations' `dx`.
//! - `NVFP4`, whose sub-blocks of 16 have scales that are no integers, does one such fma for each of the two, in order.
//! - A format with a minimum also does `accm = fma(m, dx·xsum, accm)`, `xsum` the block's integer sum. `m` is the
//!   minimum as f32: `+m` for `Q4_1` and `Q5_1`, `-(dmin·m6)` for `Q4_K` and `Q5_K`. `Q2_K`, which has minima for each
//!   16, does one such fma for each half, in order.
//! - The row is `acc + accm`, also where `accm` stayed 0.
//!
//! So a row can sit in any lane and a tile can have any shape. Which integers, scales and minima a format has is said in
//! [`reference::blocks`]; weights and scales that ggml writes with fractions (a half in the scales of `IQ2`, an eighth in
//! the weights of `IQ1`) are integers there, and the fraction is in `d`, exactly.
//!
//! **Float reductions** (norms, q·k, matrices of floats, quantized matrices against f32 activations, whose weights
//! are dequantized first) use 16 virtual lanes: element i goes to lane i mod 16 by fma; then lane j takes lane j+8
//! (j < 8), j+4, j+2, j+1 by addition.
//!
//! **Attention** takes chunks of 256 absolute positions. In a chunk: the scores `s = (q·k)·scale`, their maximum
//! `m`, `p = exp(s - m)`, the sum `l` of p in 16 lanes over positions (position i in lane i mod 16), and for each
//! output a chain `o = fma(p, v, o)` from 0 over positions in order. Chunks merge in ascending order into
//! `(m, l, o)`: `m' = max(m, mc)`, `a = exp(m - m')`, `b = exp(mc - m')`, `l' = fma(l, a, lc·b)`,
//! `o' = fma(o, a, oc·b)`; the first chunk is taken as it is. The result is `o / l`. Positions that are not attended to
//! are skipped, never multiplied by 0; a token may attend to positions behind its own, too. Where scores have a soft cap, `s` becomes `cap·tanh(s / cap)`; where a head has
//! an ALiBi slope, `s - slope·distance` follows, a product and a difference. A sink is merged last, as a chunk with score
//! `sink`, sum 1 and no output: `o·a / fma(l, a, exp(sink - m'))`.
//!
//! **Norms.** RMSNorm: `(x·r)·weight`, `r = 1 / sqrt(Σ x² / n + eps)`. LayerNorm: `c = x - Σ x / n` with the sum in 16
//! lanes by addition, `r = 1 / sqrt(Σ c² / n + eps)`, `(c·r)·weight`, and `+ bias` where there is one.
//!
//! **Activations** of the feed-forward part are the functions of [`math`] (GELU by tanh is [`math::swish`] with [`math::GELU`]), one product with `up` after them; those of
//! [`Activation`](elementwise::Activation) that are not there are written out in its documentation, from left to right.
//!
//! **Quantized keys and values** ([`KvFormat`]) have blocks of 32 along a head. `q8_0`: int8 as an activation is
//! quantized, so that -128 never occurs, and `d` rounded to half precision afterwards. `q4_0`: as ggml does it. With
//! `m` the number of the largest magnitude, the first of several, `d = m / -8` and `q = x·(1/d) + 8.5`, a product
//! and a sum, cut off to an integer, at most 15, minus 8; where `d` is zero or subnormal the block is all 0. A quantized key
//! meets a query quantized like an activation, and walks its blocks in order: `acc = fma(d·dx, isum as f32, acc)` from
//! 0; the score is `acc·scale`. A quantized value is `d·q`, one product in f32, in the chain over positions.
//!
//! **Recurrent mixers** step token by token, in prefill too, with the formulas of [`recurrent`]: a convolution is a chain of
//! fma over its taps from 0; a state space and the delta rule update a row of their state number by number and sum it in
//! 16 lanes. softplus is [`math::softplus`].
//!
//! **fma** is always fused. **exp** and **tanh** are [`math::exp`] and [`math::tanh`]; erf and expm1 are libm's. Division and square root are IEEE's. Subnormals are kept.
//!
//! NaN and infinity are errors: [`elementwise::quantize`] and [`elementwise::rms_norm`] report them where they
//! come by; the bits of a NaN are no part of the contract.
#![no_std]
// Not every level has unsafe kernels of its own yet.
#![cfg_attr(any(target_arch = "aarch64", dsp), allow(unused_unsafe))]

#[cfg(feature = "std")]
extern crate std;

pub mod activations;
pub mod attention;
mod codebooks;
pub mod elementwise;
pub mod format;
pub mod kv;
pub mod layout;
pub mod level;
#[cfg(feature = "count-markers")]
pub mod markers;
pub mod math;
pub mod matmul;
pub mod probe;
pub mod quantize;
pub mod recurrent;
pub mod reference;
pub mod scratch;
pub mod split;
#[cfg(target_arch = "x86_64")]
mod tiles;
pub mod workers;

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(dsp)]
mod arm;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub use activations::{Activations, Quantized, QuantizedMut};
pub use format::Format;
pub use kv::KvFormat;
pub use layout::Layout;
pub use level::{Level, LevelName};
pub use matmul::{Matrix, matmul};
pub use scratch::{Line, Scratch, ScratchSize};
pub use split::Split;
pub use workers::{Alone, Workers};

/// Calls a kernel of the given level. Every level's module has a function for each kernel; those without an
/// own one re-export that of the level below.
macro_rules! dispatch {
    ($level:expr, $kernel:ident($($argument:expr),* $(,)?)) => {
        match $level.name() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: such a `Level` exists only where the CPU has its features; the caller checked the sizes.
            $crate::LevelName::Avx2 => unsafe { $crate::x86_64::avx2::$kernel($($argument),*) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: such a `Level` exists only where the CPU has its features; the caller checked the sizes.
            $crate::LevelName::AvxVnni => unsafe { $crate::x86_64::avx_vnni::$kernel($($argument),*) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: such a `Level` exists only where the CPU has its features; the caller checked the sizes.
            $crate::LevelName::Avx512 => unsafe { $crate::x86_64::avx512::$kernel($($argument),*) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: such a `Level` exists only where the CPU has its features; the caller checked the sizes.
            $crate::LevelName::Amx => unsafe { $crate::x86_64::amx::$kernel($($argument),*) },
            #[cfg(dsp)]
            // SAFETY: such a `Level` exists only where the CPU has its features; the caller checked the sizes.
            $crate::LevelName::Dsp => unsafe { $crate::arm::dsp::$kernel($($argument),*) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: such a `Level` exists only where the CPU has its features; the caller checked the sizes.
            $crate::LevelName::Neon => unsafe { $crate::aarch64::neon::$kernel($($argument),*) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: such a `Level` exists only where the CPU has its features; the caller checked the sizes.
            $crate::LevelName::Dotprod => unsafe { $crate::aarch64::dotprod::$kernel($($argument),*) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: such a `Level` exists only where the CPU has its features; the caller checked the sizes.
            $crate::LevelName::I8mm => unsafe { $crate::aarch64::i8mm::$kernel($($argument),*) },
            _ => $crate::reference::$kernel($($argument),*),
        }
    };
}
use dispatch;
