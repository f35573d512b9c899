//! Where the same block of four rows lies: apart, in plain rows, or side by side, in a group of sixteen.
//!
//! Rows that lie apart come as sixteen bytes of one row, and their sums have to be folded. Rows that stand side by
//! side come as four bytes of each of four rows: a row is a lane from the start.

use super::blocks::{Bytes, Packed, Table, sixteen};
use super::dot::{Dot, Rows, Weights, Words};
use crate::Format;
use crate::layout::{self, GROUP};
use core::arch::{aarch64::*, asm};
use core::marker::PhantomData;

/// The same block of four rows.
///
/// # Safety
/// The methods need NEON, what `D` asks for, whole blocks of the format in question, and fields that it has.
pub trait Source: Copy {
    /// 32 activations in the form in which they meet the weights.
    type X<D: Dot>: Copy;

    /// Where here the field stands that begins at byte `at` of a block as ggml lays it.
    fn place(format: Format, at: usize) -> usize;

    /// The half-precision numbers at byte `at`, where no word stands.
    unsafe fn halves(self, at: usize) -> float32x4_t;

    /// The single bytes at byte `at`, where no word stands.
    unsafe fn bytes(self, at: usize) -> uint32x4_t;

    /// The words at byte `at`.
    unsafe fn words(self, at: usize) -> uint32x4_t;

    /// Asks for what follows in a while in place of a part.
    fn prefetch<F: Packed, const PART: usize>(self);

    /// Loads 32 activations.
    unsafe fn load_x<D: Dot>(x: *const i8) -> Self::X<D>;

    /// The products of the weights of a part with 32 activations, added to `start`.
    unsafe fn product<D: Dot, F: Packed, const PART: usize>(
        self,
        start: int32x4_t,
        x: &Self::X<D>,
    ) -> int32x4_t;

    /// The products of the two halves of a part.
    unsafe fn half_products<D: Dot, F: Packed, const PART: usize>(self, x: &Self::X<D>) -> [int32x4_t; 2];

    /// The weights of a part less the format's offset, in the order in which tiles read them.
    unsafe fn pack<D: Dot, F: Packed, const PART: usize>(self) -> [int8x16_t; 8];

    /// The two half-precision numbers of the words at byte `at`.
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn two_halves(self, at: usize) -> [float32x4_t; 2] {
        // SAFETY: as promised by the caller.
        let words = unsafe { self.words(at) };
        [vmovn_u32(words), vshrn_n_u32::<16>(words)].map(|bits| vcvt_f32_f16(vreinterpret_f16_u16(bits)))
    }
}

/// What leads through the blocks of four rows.
///
/// # Safety
/// As for [`Source`].
pub trait Walk: Copy {
    /// What a block is read from.
    type Block: Source;

    /// The block, until the next is asked for.
    unsafe fn block(self) -> Self::Block;

    /// What leads on from the next block, `bytes` bytes a row from this one.
    unsafe fn next(self, bytes: usize) -> Self;
}

/// Four rows that lie apart: a pointer at the block of each.
pub type Blocks = [*const u8; 4];

impl Walk for Blocks {
    type Block = Self;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn block(self) -> Self {
        self
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn next(self, bytes: usize) -> Self {
        // SAFETY: as promised by the caller.
        unsafe { self.map(|block| block.add(bytes)) }
    }
}

/// The weights of a part of four rows that lie apart.
///
/// # Safety
/// As for [`Source`].
#[inline]
#[target_feature(enable = "neon")]
unsafe fn rows<F: Packed, const PART: usize>(blocks: Blocks) -> Rows {
    // SAFETY: as promised by the caller.
    unsafe { blocks.map(|block| F::weights::<PART>(block)) }
}

impl Source for Blocks {
    type X<D: Dot> = Weights;

    #[inline]
    fn place(_: Format, at: usize) -> usize {
        at
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn halves(self, at: usize) -> float32x4_t {
        // SAFETY: as promised by the caller; blocks are aligned to nothing.
        let [a, b, c, d] = unsafe { self.map(|block| block.add(at).cast::<u16>().read_unaligned()) };
        let bits = vset_lane_u16::<1>(b, vdup_n_u16(a));
        let bits = vset_lane_u16::<3>(d, vset_lane_u16::<2>(c, bits));
        vcvt_f32_f16(vreinterpret_f16_u16(bits))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn bytes(self, at: usize) -> uint32x4_t {
        // SAFETY: as promised by the caller.
        let [a, b, c, d] = unsafe { self.map(|block| u32::from(block.add(at).read())) };
        let bytes = vsetq_lane_u32::<1>(b, vdupq_n_u32(a));
        vsetq_lane_u32::<3>(d, vsetq_lane_u32::<2>(c, bytes))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn words(self, at: usize) -> uint32x4_t {
        // SAFETY: as promised by the caller; blocks are aligned to nothing.
        let [a, b, c, d] = unsafe { self.map(|block| block.add(at).cast::<u32>().read_unaligned()) };
        let words = vsetq_lane_u32::<1>(b, vdupq_n_u32(a));
        vsetq_lane_u32::<3>(d, vsetq_lane_u32::<2>(c, words))
    }

    /// Rows that lie apart are streams that the CPU follows by itself.
    #[inline]
    fn prefetch<F: Packed, const PART: usize>(self) {}

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load_x<D: Dot>(x: *const i8) -> Weights {
        // SAFETY: as promised by the caller.
        unsafe { [vld1q_s8(x), vld1q_s8(x.add(16))] }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn product<D: Dot, F: Packed, const PART: usize>(
        self,
        start: int32x4_t,
        x: &Weights,
    ) -> int32x4_t {
        // SAFETY: as promised by the caller.
        unsafe {
            let rows = rows::<F, PART>(self);
            let sums = if D::SHORT && F::BITS == 6 {
                let [first, last] = D::row_halves(&rows, *x);
                vaddq_s32(first, last)
            } else {
                D::rows(&rows, *x, F::NARROW)
            };
            vaddq_s32(start, sums)
        }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn half_products<D: Dot, F: Packed, const PART: usize>(self, x: &Weights) -> [int32x4_t; 2] {
        // SAFETY: as promised by the caller.
        unsafe {
            let rows = rows::<F, PART>(self);
            if F::BITS == 8 { D::wide_row_halves(&rows, *x) } else { D::row_halves(&rows, *x) }
        }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn pack<D: Dot, F: Packed, const PART: usize>(self) -> [int8x16_t; 8] {
        // SAFETY: as promised by the caller.
        unsafe { D::pack_rows(&rows::<F, PART>(self).map(|row| row.map(|w| less_offset::<F>(w)))) }
    }
}

/// Four rows of a group of 16, side by side.
#[derive(Clone, Copy)]
pub struct Quad {
    /// The block of the group.
    block: *const u8,
    /// Which of the four quads it is.
    index: usize,
}

/// How far ahead a group is asked for, in bytes.
const AHEAD: usize = 1024;
/// The bytes that are asked for together: two cache lines, of which the CPU brings the second by itself.
const LINES: usize = 128;

/// Asks for the lines numbered `I` of those that a group's part takes.
#[inline]
fn prefetch<F: Packed, const PART: usize, const I: usize>(block: *const u8) {
    let part = F::BYTES * GROUP / F::PARTS;
    if I * LINES < part {
        // SAFETY: a hint, which may name any address.
        unsafe {
            asm!(
                "prfm pldl1strm, [{0}, {1}]",
                in(reg) block.addr(),
                // What the instruction can add is a multiple of 8.
                const (AHEAD + PART * (F::BYTES * GROUP / F::PARTS) + I * LINES) / 8 * 8,
                options(nomem, nostack, preserves_flags)
            );
        }
    }
}

impl Quad {
    /// The four quads of the group whose block is at `block`.
    pub fn all(block: *const u8) -> [Self; 4] {
        [0, 1, 2, 3].map(|index| Self { block, index })
    }

    /// The weights of a part.
    ///
    /// # Safety
    /// As for [`Source`].
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn weights<F: Packed, const PART: usize>(self) -> Words {
        // SAFETY: as promised by the caller, four weights of each row at a time.
        unsafe {
            [
                F::half::<PART, 0>(Word::<F, 0>::of(self)),
                F::half::<PART, 0>(Word::<F, 1>::of(self)),
                F::half::<PART, 0>(Word::<F, 2>::of(self)),
                F::half::<PART, 0>(Word::<F, 3>::of(self)),
                F::half::<PART, 1>(Word::<F, 0>::of(self)),
                F::half::<PART, 1>(Word::<F, 1>::of(self)),
                F::half::<PART, 1>(Word::<F, 2>::of(self)),
                F::half::<PART, 1>(Word::<F, 3>::of(self)),
            ]
        }
    }
}

/// Weights 4I..4I+4 of half a part of four rows.
struct Word<F, const I: usize> {
    quad: Quad,
    format: PhantomData<F>,
}

impl<F, const I: usize> Clone for Word<F, I> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F, const I: usize> Copy for Word<F, I> {}

impl<F: Packed, const I: usize> Word<F, I> {
    /// Those of these rows.
    #[inline]
    const fn of(quad: Quad) -> Self {
        Self { quad, format: PhantomData }
    }

    /// The words at byte `at` of a block as ggml lays it.
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn read(self, at: usize) -> uint8x16_t {
        // SAFETY: as promised by the caller.
        vreinterpretq_u8_u32(unsafe { self.quad.words(Quad::place(F::FORMAT, at)) })
    }
}

impl<F: Packed, const I: usize> Bytes for Word<F, I> {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn at(self, at: usize) -> uint8x16_t {
        // SAFETY: as promised by the caller.
        unsafe { self.read(at + 4 * I) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn twice(self, at: usize) -> uint8x16_t {
        // SAFETY: as promised by the caller.
        unsafe { self.read(at + I % 2 * 4) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn word(self, at: usize) -> uint8x16_t {
        // SAFETY: as promised by the caller.
        unsafe { self.read(at) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn pick<T: Table>(self, words: uint8x16_t) -> uint8x16_t {
        // Of the word of each row, not of the first alone.
        vqtbl1q_u8(words, sixteen(&const { four_times(&T::OF, I, 4) }))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn each<T: Table>(self) -> uint8x16_t {
        sixteen(&const { four_times(&T::OF, I, 0) })
    }
}

/// Numbers 4i..4i+4 of sixteen, four times over, each time `more` more.
const fn four_times(numbers: &[u8; 16], i: usize, more: u8) -> [u8; 16] {
    let mut all = [0; 16];
    let mut lane = 0;
    while lane < 16 {
        all[lane] = numbers[4 * i + lane % 4].wrapping_add(lane as u8 / 4 * more);
        lane += 1;
    }
    all
}

impl Walk for Quad {
    type Block = Self;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn block(self) -> Self {
        self
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn next(self, bytes: usize) -> Self {
        // SAFETY: as promised by the caller.
        Self { block: unsafe { self.block.add(bytes * GROUP) }, ..self }
    }
}

impl Source for Quad {
    type X<D: Dot> = D::Spread;

    #[inline]
    fn place(format: Format, at: usize) -> usize {
        layout::place(format, at)
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn halves(self, at: usize) -> float32x4_t {
        // SAFETY: the halves of 16 rows stand side by side.
        let bits = unsafe { vld1_u16(self.block.add(at * GROUP + self.index * 8).cast()) };
        vcvt_f32_f16(vreinterpret_f16_u16(bits))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn bytes(self, at: usize) -> uint32x4_t {
        // SAFETY: the bytes of 16 rows stand side by side.
        let four = unsafe { self.block.add(at * GROUP + self.index * 4).cast::<u32>().read_unaligned() };
        let bytes = vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(four)));
        vmovl_u16(vget_low_u16(bytes))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn words(self, at: usize) -> uint32x4_t {
        // SAFETY: the words of 16 rows stand side by side.
        unsafe { vld1q_u32(self.block.add(at * GROUP + self.index * 16).cast()) }
    }

    #[inline]
    fn prefetch<F: Packed, const PART: usize>(self) {
        prefetch::<F, PART, 0>(self.block);
        prefetch::<F, PART, 1>(self.block);
        prefetch::<F, PART, 2>(self.block);
        prefetch::<F, PART, 3>(self.block);
        prefetch::<F, PART, 4>(self.block);
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load_x<D: Dot>(x: *const i8) -> D::Spread {
        // SAFETY: as promised by the caller.
        unsafe { D::spread(x) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn product<D: Dot, F: Packed, const PART: usize>(
        self,
        start: int32x4_t,
        x: &D::Spread,
    ) -> int32x4_t {
        // SAFETY: as promised by the caller.
        unsafe {
            let words = self.weights::<F, PART>();
            if D::SHORT && F::BITS == 6 {
                let [first, last] = D::word_halves(&words, x);
                vaddq_s32(vaddq_s32(start, first), last)
            } else {
                D::words(start, &words, x, F::NARROW)
            }
        }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn half_products<D: Dot, F: Packed, const PART: usize>(self, x: &D::Spread) -> [int32x4_t; 2] {
        // SAFETY: as promised by the caller.
        unsafe { D::word_halves(&self.weights::<F, PART>(), x) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn pack<D: Dot, F: Packed, const PART: usize>(self) -> [int8x16_t; 8] {
        // SAFETY: as promised by the caller.
        unsafe { D::pack_words(&self.weights::<F, PART>().map(|w| less_offset::<F>(w))) }
    }
}

/// Weights less what the format still wants to be subtracted.
#[inline]
#[target_feature(enable = "neon")]
fn less_offset<F: Packed>(weights: int8x16_t) -> int8x16_t {
    if F::OFFSET == 0 { weights } else { vsubq_s8(weights, vdupq_n_s8(F::OFFSET)) }
}
