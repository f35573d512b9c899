//! Formats that are decoded row by row, a block of 256 weights at a time, before they meet activations.
//!
//! Numbers of entries in a codebook lie too far from the weights themselves for four rows to be unpacked as one. Each
//! format only says how 32 weights of a row become bytes; from there on, all are the same [`Decoded`] block, in memory
//! that stays in the first cache, and share every product. So a format costs little code, and all that it adds to the
//! time is its own decoding.

mod codebook;
mod ternary;

use super::blocks::Decoded;
use super::dot::{Dot, Weights};
use super::fours::Fours;
use super::rows::{self, LANES, PLAIN};
use super::source::{Blocks, Walk};
use crate::activations::{BLOCK, Quantized};
use crate::layout::{self, GROUP};
use crate::split::Tile;
use crate::{Format, Layout, Line, Matrix};
use core::arch::aarch64::*;
use core::ops::Range;

/// A format of 256 weights that is decoded.
///
/// # Safety
/// The methods need NEON and a pointer at a whole block; `part` is below 8.
trait Coded {
    /// The scale of a block.
    unsafe fn d(block: *const u8) -> f32;

    /// 32 weights of a block, and the integer scale of each half.
    unsafe fn part(block: *const u8, part: usize) -> (Weights, [i8; 2]);
}

/// Decodes a block.
///
/// # Safety
/// It needs NEON and a pointer at a whole block of its format.
pub type Decode = unsafe fn(*const u8, &mut Decoded);

/// How blocks of a format are decoded, if it is one of those that are.
pub fn decoder(format: Format) -> Option<Decode> {
    Some(match format {
        Format::IQ1_S => decode::<codebook::IQ1_S>,
        Format::IQ1_M => decode::<codebook::IQ1_M>,
        Format::IQ2_XXS => decode::<codebook::IQ2_XXS>,
        Format::IQ2_XS => decode::<codebook::IQ2_XS>,
        Format::IQ2_S => decode::<codebook::IQ2_S>,
        Format::IQ3_XXS => decode::<codebook::IQ3_XXS>,
        Format::IQ3_S => decode::<codebook::IQ3_S>,
        Format::TQ1_0 => decode::<ternary::TQ1_0>,
        _ => return None,
    })
}

/// See [`Decode`].
#[target_feature(enable = "neon")]
unsafe fn decode<C: Coded>(block: *const u8, to: &mut Decoded) {
    let parts = to.weights.as_chunks_mut::<BLOCK>().0.iter_mut().zip(to.scales.as_chunks_mut::<2>().0);
    for (part, (weights, scales)) in parts.enumerate() {
        // SAFETY: a whole block has eight parts; there is room for 32 weights.
        unsafe {
            let ([first, last], halves) = C::part(block, part);
            vst1q_s8(weights.as_mut_ptr(), first);
            vst1q_s8(weights.as_mut_ptr().add(16), last);
            *scales = halves;
        }
    }
    // SAFETY: a whole block.
    to.d = unsafe { C::d(block) };
}

/// A number of half precision.
#[inline]
#[target_feature(enable = "neon")]
fn half(bits: u16) -> f32 {
    vgetq_lane_f32::<0>(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(bits))))
}

/// The value at byte `at`.
///
/// # Safety
/// It must lie in the block, and every pattern of bits be one of `T`.
#[inline]
unsafe fn read<T: bytemuck::AnyBitPattern>(block: *const u8, at: usize) -> T {
    // SAFETY: as promised by the caller; blocks are aligned to nothing.
    unsafe { block.add(at).cast::<T>().read_unaligned() }
}

/// What leads through four rows of a format that is decoded.
#[derive(Clone, Copy)]
struct Decoding<'a> {
    matrix: &'a Matrix<'a>,
    decode: Decode,
    rows: [usize; LANES],
    /// Where in a row the block begins, in blocks.
    block: usize,
    /// Where it is decoded to.
    to: *mut [Decoded; LANES],
}

impl Walk for Decoding<'_> {
    type Block = Blocks;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn block(self) -> Blocks {
        let format = self.matrix.format();
        let bytes = format.block_bytes();
        // SAFETY: nobody else uses the room until the next block is asked for.
        let to = unsafe { &mut *self.to };
        for (row, to) in self.rows.into_iter().zip(to.iter_mut()) {
            // SAFETY: the decoder is that of the matrix's format, and is given a whole block.
            unsafe {
                match self.matrix.layout() {
                    Layout::Rows => {
                        let block = &self.matrix.row(row)[self.block * bytes..][..bytes];
                        (self.decode)(block.as_ptr(), to);
                    }
                    Layout::Rows16 => {
                        let group =
                            &self.matrix.group(row / GROUP)[self.block * GROUP * bytes..][..GROUP * bytes];
                        let mut block = [0; layout::MOST_BLOCK_BYTES];
                        layout::gather(format, group, row % GROUP, &mut block[..bytes]);
                        (self.decode)(block.as_ptr(), to);
                    }
                }
            }
        }
        to.each_ref().map(|block| core::ptr::from_ref(block).cast())
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn next(self, _bytes: usize) -> Self {
        Self { block: self.block + 1, ..self }
    }
}

/// Rows of a matrix of a format that is decoded times int8 activations.
///
/// # Safety
/// As for [`rows::quantized_rows`]; `decode` must be the decoder of the matrix's format.
#[inline(never)]
#[target_feature(enable = "neon")]
pub unsafe fn quantized_rows<D: Dot>(
    matrix: &Matrix<'_>,
    decode: Decode,
    rows: &Range<usize>,
    x: (&Quantized<'_>, Option<&Fours<'_>>),
    out: Tile<'_>,
    scratch: &mut [Line],
) {
    let blocks = matrix.cols() / BLOCK;
    // As many rows as are looked at together; where it is four of them at a time, any of the rooms will do.
    let mut rooms = [[Decoded::ZERO; LANES]; PLAIN];
    let rooms = rooms.as_mut_ptr();
    let walk = |i: usize, rows: [usize; LANES]| {
        // SAFETY: there are so many rooms.
        let to = unsafe { rooms.add(i % PLAIN) };
        Decoding { matrix, decode, rows, block: 0, to }
    };
    // SAFETY: the same promises; a row has `blocks` times 32 weights in blocks that the decoder knows.
    unsafe {
        if out.tokens() == 1 {
            rows::one_token::<D::Single, Decoded, _>(rows, blocks, x.0, out, scratch, walk);
        } else {
            rows::tokens::<D, Decoded, _>(rows, blocks, x, out, scratch, walk);
        }
    }
}
