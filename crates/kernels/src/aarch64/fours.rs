//! Int8 activations of four tokens at a time in the order in which a register tile reads them.
//!
//! In: rows of quantized activations. Out: for every four tokens and 32 activations a [`Four`]. It is made once, and
//! then read by the panels of all rows, which would each have to bring it into that order. What is left of the
//! tokens when the fours are taken stays as it is.

use super::dot::Dot;
use super::panel::TOKENS;
use crate::Workers;
use crate::activations::{BLOCK, HALF, Quantized};
use crate::scratch::{Line, carve};
use crate::split::{Chunks, Split};
use bytemuck::{Pod, Zeroable};
use core::arch::aarch64::*;

/// 32 activations of four tokens. Assembly relies on the places of the fields: [`Dot::full_tile`].
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(16))]
pub struct Four {
    /// In the order of [`Dot::pack_x`].
    pub q: [i8; TOKENS * BLOCK],
    /// The scales, in the order of [`Dot::by_four`].
    pub d: [[f32; TOKENS]; 2],
    /// The scale times the sum, of each token, in the same order.
    pub sums: [[f32; TOKENS]; 2],
}

const _: () = {
    use core::mem::offset_of;
    assert!(offset_of!(Four, d) == 128 && size_of::<Four>() == 192, "what `full_tile` steps over");
};

/// The activations of as many tokens as there are whole fours.
#[derive(Clone, Copy, Debug)]
pub struct Fours<'a> {
    /// Fours x blocks.
    all: &'a [Four],
    /// The blocks of 32 in a row.
    blocks: usize,
}

impl<'a> Fours<'a> {
    /// The blocks of the four tokens from `token` on, if these are a whole four.
    pub fn from(&self, token: usize) -> Option<&'a [Four]> {
        let start = token / TOKENS * self.blocks;
        self.all.get(start..start + self.blocks)
    }
}

/// The lines that the fours of so many tokens and columns take.
pub const fn lines(tokens: usize, cols: usize) -> usize {
    (tokens / TOKENS * cols.div_ceil(BLOCK) * size_of::<Four>()).div_ceil(Line::BYTES)
}

/// Brings the whole fours of `x`, rows of `cols` activations, into order.
///
/// # Panics
/// If `scratch` is smaller than [`lines`] says, or `x` is not whole rows of whole blocks.
pub fn pack<'a, D: Dot>(
    x: &Quantized<'_>,
    cols: usize,
    workers: &dyn Workers,
    scratch: &'a mut [Line],
) -> Fours<'a> {
    let (blocks, tokens) = (cols / BLOCK, x.q.len() / cols);
    assert!(cols.is_multiple_of(BLOCK) && x.d.len() == tokens * blocks, "whole rows of whole blocks");
    let (all, _) = carve::<Four>(scratch, tokens / TOKENS * blocks);
    let parts = Split::new(Chunks::new(&mut *all, blocks));
    workers.run(&|| {
        while let Some((index, part)) = parts.claim() {
            let tokens: [Quantized<'_>; TOKENS] = core::array::from_fn(|t| x.token(index * TOKENS + t, cols));
            for (b, four) in part.iter_mut().enumerate() {
                four.d = D::by_four(tokens.map(|token| token.d[b]));
                four.sums = D::by_four(tokens.map(|token| {
                    let [low, high] = token.sums.as_chunks::<{ BLOCK / HALF }>().0[b].map(i32::from);
                    token.d[b] * (low + high) as f32
                }));
                let q = tokens.map(|token| &token.q.as_chunks::<BLOCK>().0[b]);
                // SAFETY: fours are made at levels that have NEON and more.
                unsafe { pack_four::<D>(q, &mut four.q) };
            }
        }
    });
    Fours { all, blocks }
}

/// # Safety
/// The CPU has NEON.
#[target_feature(enable = "neon")]
unsafe fn pack_four<D: Dot>(q: [&[i8; BLOCK]; TOKENS], to: &mut [i8; TOKENS * BLOCK]) {
    // SAFETY: 32 activations are read of each token, and as many written.
    unsafe {
        let packed = D::pack_x(q.map(|q| [vld1q_s8(q.as_ptr()), vld1q_s8(q.as_ptr().add(16))]));
        for (vector, to) in packed.as_flattened().iter().zip(to.chunks_exact_mut(16)) {
            vst1q_s8(to.as_mut_ptr(), *vector);
        }
    }
}
