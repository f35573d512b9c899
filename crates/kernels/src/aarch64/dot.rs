//! Two ways to multiply bytes and add the products: widening multiplications, which every CPU has, and `sdot`.
//!
//! Both give exact integers, so they give the same ones. Four rows are multiplied at a time, and their sums end up
//! in one vector in row order: what follows (scales, accumulation) then costs one instruction for four rows.

use core::arch::{aarch64::*, asm};

/// 32 weights of a row.
pub type Weights = [int8x16_t; 2];
/// 32 weights of each of four rows.
pub type Rows = [Weights; 4];

/// A way to multiply and add bytes.
///
/// `narrow` says that weights are in -16..=15, `halves` that they are in -32..=31: so sums stay in 16 bits for longer.
///
/// # Safety
/// Each method needs NEON, and those of [`DotProduct`] also the dot product instructions.
pub trait Dot {
    /// The dot products of four rows with 32 activations.
    unsafe fn whole(rows: &Rows, x: Weights, narrow: bool) -> int32x4_t;

    /// The dot products of four rows with the first and with the last 16 of 32 activations.
    unsafe fn halves(rows: &Rows, x: Weights) -> [int32x4_t; 2];

    /// Four rows in the order in which the two functions below read them.
    unsafe fn pack(rows: &Rows) -> [int8x16_t; 8];

    /// As `whole`, of packed rows and several tokens.
    unsafe fn whole_tile<const TOKENS: usize>(
        packed: *const i8,
        x: &[Weights; TOKENS],
        narrow: bool,
    ) -> [int32x4_t; TOKENS];

    /// As `halves`, of packed rows and several tokens.
    unsafe fn halves_tile<const TOKENS: usize>(
        packed: *const i8,
        x: &[Weights; TOKENS],
    ) -> [[int32x4_t; 2]; TOKENS];
}

/// Products of 16 bits, added in pairs: level NEON.
pub struct Widening;

impl Widening {
    /// Each row's products, added so far that eight sums of a row are left.
    #[inline]
    #[target_feature(enable = "neon")]
    fn narrow_sums([w0, w1]: Weights, [x0, x1]: Weights) -> int16x8_t {
        let sums = Self::half_sums(w0, x0);
        vmlal_high_s8(vmlal_s8(sums, vget_low_s8(w1), vget_low_s8(x1)), w1, x1)
    }

    /// The products of 16 weights in eight sums of two: at most 2 * 128 * 127, which fits.
    #[inline]
    #[target_feature(enable = "neon")]
    fn half_sums(w: int8x16_t, x: int8x16_t) -> int16x8_t {
        vmlal_high_s8(vmull_s8(vget_low_s8(w), vget_low_s8(x)), w, x)
    }

    /// The sums of four rows of which eight sums each are left. Before the last step a sum covers a quarter of
    /// them: with narrow weights, 16 products of at most 15 * 127 or 8 of at most 32 * 127 fit 16 bits.
    #[inline]
    #[target_feature(enable = "neon")]
    fn fold_narrow([a, b, c, d]: [int16x8_t; 4]) -> int32x4_t {
        vpaddlq_s16(vpaddq_s16(vpaddq_s16(a, b), vpaddq_s16(c, d)))
    }
}

impl Dot for Widening {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn whole(rows: &Rows, x: Weights, narrow: bool) -> int32x4_t {
        if narrow {
            let [a, b, c, d] = *rows;
            return Self::fold_narrow([
                Self::narrow_sums(a, x),
                Self::narrow_sums(b, x),
                Self::narrow_sums(c, x),
                Self::narrow_sums(d, x),
            ]);
        }
        let mut sums = [vdupq_n_s32(0); 4];
        for (sum, [w0, w1]) in sums.iter_mut().zip(rows) {
            *sum = vpadalq_s16(vpaddlq_s16(Self::half_sums(*w0, x[0])), Self::half_sums(*w1, x[1]));
        }
        fold(sums)
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn halves(rows: &Rows, x: Weights) -> [int32x4_t; 2] {
        let mut sums = [vdupq_n_s32(0); 2];
        for (half, sum) in sums.iter_mut().enumerate() {
            let [a, b, c, d] = *rows;
            *sum = Self::fold_narrow([
                Self::half_sums(a[half], x[half]),
                Self::half_sums(b[half], x[half]),
                Self::half_sums(c[half], x[half]),
                Self::half_sums(d[half], x[half]),
            ]);
        }
        sums
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn pack(rows: &Rows) -> [int8x16_t; 8] {
        let [a, b, c, d] = *rows;
        [a[0], a[1], b[0], b[1], c[0], c[1], d[0], d[1]]
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn whole_tile<const TOKENS: usize>(
        packed: *const i8,
        x: &[Weights; TOKENS],
        narrow: bool,
    ) -> [int32x4_t; TOKENS] {
        // SAFETY: the caller gives 128 packed weights.
        let rows = unsafe { load_rows(packed) };
        let mut sums = [vdupq_n_s32(0); TOKENS];
        for (sum, x) in sums.iter_mut().zip(x) {
            // SAFETY: NEON is there.
            *sum = unsafe { Self::whole(&rows, *x, narrow) };
        }
        sums
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn halves_tile<const TOKENS: usize>(
        packed: *const i8,
        x: &[Weights; TOKENS],
    ) -> [[int32x4_t; 2]; TOKENS] {
        // SAFETY: the caller gives 128 packed weights.
        let rows = unsafe { load_rows(packed) };
        let mut sums = [[vdupq_n_s32(0); 2]; TOKENS];
        for (sum, x) in sums.iter_mut().zip(x) {
            // SAFETY: NEON is there.
            *sum = unsafe { Self::halves(&rows, *x) };
        }
        sums
    }
}

/// The `sdot` instruction, which adds four products at once: level dotprod.
pub struct DotProduct;

impl Dot for DotProduct {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn whole(rows: &Rows, x: Weights, _narrow: bool) -> int32x4_t {
        let mut sums = [vdupq_n_s32(0); 4];
        for (sum, [w0, w1]) in sums.iter_mut().zip(rows) {
            // SAFETY: the caller promises that the CPU has the instruction.
            *sum = unsafe { sdot(sdot(*sum, *w0, x[0]), *w1, x[1]) };
        }
        fold(sums)
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn halves(rows: &Rows, x: Weights) -> [int32x4_t; 2] {
        let mut result = [vdupq_n_s32(0); 2];
        for (half, result) in result.iter_mut().enumerate() {
            let mut sums = [vdupq_n_s32(0); 4];
            for (sum, row) in sums.iter_mut().zip(rows) {
                // SAFETY: the caller promises that the CPU has the instruction.
                *sum = unsafe { sdot(*sum, row[half], x[half]) };
            }
            *result = fold(sums);
        }
        result
    }

    /// Vector i holds weights 4i..4i+4 of each row, so that `sdot` with four activations adds to four rows.
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn pack(rows: &Rows) -> [int8x16_t; 8] {
        let mut packed = [vdupq_n_s8(0); 8];
        for half in 0..2 {
            let row = |r: usize| vreinterpretq_s32_s8(rows[r][half]);
            let (a, b) = (vtrn1q_s32(row(0), row(1)), vtrn2q_s32(row(0), row(1)));
            let (c, d) = (vtrn1q_s32(row(2), row(3)), vtrn2q_s32(row(2), row(3)));
            let wide = |v: int32x4_t| vreinterpretq_s64_s32(v);
            let columns = [
                vtrn1q_s64(wide(a), wide(c)),
                vtrn1q_s64(wide(b), wide(d)),
                vtrn2q_s64(wide(a), wide(c)),
                vtrn2q_s64(wide(b), wide(d)),
            ];
            for (packed, column) in packed[half * 4..].iter_mut().zip(columns) {
                *packed = vreinterpretq_s8_s64(column);
            }
        }
        packed
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn whole_tile<const TOKENS: usize>(
        packed: *const i8,
        x: &[Weights; TOKENS],
        _narrow: bool,
    ) -> [int32x4_t; TOKENS] {
        let mut sums = [vdupq_n_s32(0); TOKENS];
        for half in 0..2 {
            // SAFETY: the caller gives 128 packed weights and promises that the CPU has the instruction.
            unsafe { sdot_half(&mut sums, packed.add(64 * half), x, half) };
        }
        sums
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn halves_tile<const TOKENS: usize>(
        packed: *const i8,
        x: &[Weights; TOKENS],
    ) -> [[int32x4_t; 2]; TOKENS] {
        let (mut first, mut last) = ([vdupq_n_s32(0); TOKENS], [vdupq_n_s32(0); TOKENS]);
        // SAFETY: the caller gives 128 packed weights and promises that the CPU has the instruction.
        unsafe {
            sdot_half(&mut first, packed, x, 0);
            sdot_half(&mut last, packed.add(64), x, 1);
        }
        core::array::from_fn(|token| [first[token], last[token]])
    }
}

/// Adds the products of 16 packed weights of four rows with each token's first or last 16 activations.
///
/// # Safety
/// `packed` must point at 64 weights, and the CPU have the dot product instructions.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn sdot_half<const TOKENS: usize>(
    sums: &mut [int32x4_t; TOKENS],
    packed: *const i8,
    x: &[Weights; TOKENS],
    half: usize,
) {
    // SAFETY: as promised by the caller.
    unsafe {
        let w = vld1q_s8_x4(packed);
        for (sum, x) in sums.iter_mut().zip(x) {
            *sum = sdot_lane::<0>(*sum, w.0, x[half]);
            *sum = sdot_lane::<1>(*sum, w.1, x[half]);
            *sum = sdot_lane::<2>(*sum, w.2, x[half]);
            *sum = sdot_lane::<3>(*sum, w.3, x[half]);
        }
    }
}

/// The sums of four rows of which four sums each are left.
#[inline]
#[target_feature(enable = "neon")]
fn fold([a, b, c, d]: [int32x4_t; 4]) -> int32x4_t {
    vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d))
}

/// Four rows of 32 weights, one after another.
///
/// # Safety
/// `from` must point at 128 weights.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load_rows(from: *const i8) -> Rows {
    // SAFETY: as promised by the caller.
    unsafe {
        let (low, high) = (vld1q_s8_x4(from), vld1q_s8_x4(from.add(64)));
        [[low.0, low.1], [low.2, low.3], [high.0, high.1], [high.2, high.3]]
    }
}

// The intrinsics `vdotq_s32` and `vdotq_laneq_s32` are unstable in Rust 1.95. The directive lets the assembler take the
// instruction in a function that only enables NEON: so the generic code above compiles once for both levels
// and inlines into either.

/// Adds to each lane the dot product of four bytes.
///
/// # Safety
/// The CPU must have the dot product instructions.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn sdot(mut sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the instruction exists, and touches no memory and no flags.
    unsafe {
        asm!(
            ".arch_extension dotprod",
            "sdot {0:v}.4s, {1:v}.16b, {2:v}.16b",
            inout(vreg) sum, in(vreg) a, in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}

/// Adds to each lane the dot product of four bytes of `a` and the four bytes `LANE` of `b`.
///
/// # Safety
/// The CPU must have the dot product instructions.
#[inline]
#[target_feature(enable = "neon")]
pub unsafe fn sdot_lane<const LANE: usize>(mut sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the instruction exists, and touches no memory and no flags.
    unsafe {
        asm!(
            ".arch_extension dotprod",
            "sdot {0:v}.4s, {1:v}.16b, {2:v}.4b[{lane}]",
            inout(vreg) sum, in(vreg) a, in(vreg) b, lane = const LANE,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}
