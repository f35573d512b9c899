//! The `smmla` instruction, which multiplies two rows by two tokens: level i8mm.
//!
//! One token would leave half of it idle, so that alone is multiplied by `sdot`. In a tile, vector 2p + r holds the
//! sums of rows 2r, 2r + 1 and tokens 2p, 2p + 1: row by row, the tokens side by side.

use super::super::fours::Four;
use super::super::panel::{PanelBlock, TOKENS};
use super::super::rows::QUADS;
use super::{Dot, DotProduct, Rows, Weights, Words, ZEROS, words_of};
use core::arch::{aarch64::*, asm};

/// `smmla`: 32 products an instruction.
pub struct MatrixProduct;

impl Dot for MatrixProduct {
    type Single = DotProduct;
    type Spread = Weights;
    const WIDE: bool = false;
    const PREFETCH: bool = false;
    const TALL: usize = 4;
    const PAIRS: bool = true;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn rows(rows: &Rows, x: Weights, narrow: bool) -> int32x4_t {
        // SAFETY: a CPU with the matrix instructions has those of `DotProduct`.
        unsafe { DotProduct::rows(rows, x, narrow) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn row_halves(rows: &Rows, x: Weights) -> [int32x4_t; 2] {
        // SAFETY: as above.
        unsafe { DotProduct::row_halves(rows, x) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn spread(x: *const i8) -> Weights {
        // SAFETY: as above.
        unsafe { DotProduct::spread(x) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn words(start: int32x4_t, words: &Words, x: &Weights, narrow: bool) -> int32x4_t {
        // SAFETY: as above.
        unsafe { DotProduct::words(start, words, x, narrow) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn word_halves(words: &Words, x: &Weights) -> [int32x4_t; 2] {
        // SAFETY: as above.
        unsafe { DotProduct::word_halves(words, x) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn pack_rows(rows: &Rows) -> [int8x16_t; 8] {
        // SAFETY: NEON is there.
        unsafe { Self::pack_words(&words_of(rows)) }
    }

    /// Eight weights of each of two rows in a vector: first those of rows 0 and 1, then those of rows 2 and 3.
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn pack_words(words: &Words) -> [int8x16_t; 8] {
        let word = |i: usize| vreinterpretq_s32_s8(words[i]);
        let low = |i: usize| vreinterpretq_s8_s32(vzip1q_s32(word(i), word(i + 1)));
        let high = |i: usize| vreinterpretq_s8_s32(vzip2q_s32(word(i), word(i + 1)));
        [low(0), low(2), low(4), low(6), high(0), high(2), high(4), high(6)]
    }

    /// Eight activations of each of two tokens in a vector.
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn pack_x<const TOKENS: usize>(mut x: [Weights; TOKENS]) -> [Weights; TOKENS] {
        for pair in x.as_chunks_mut::<2>().0 {
            let half = |token: usize, half: usize| vreinterpretq_s64_s8(pair[token][half]);
            *pair = [0, 1].map(|i| {
                let (a, b) = (half(0, i), half(1, i));
                [vreinterpretq_s8_s64(vzip1q_s64(a, b)), vreinterpretq_s8_s64(vzip2q_s64(a, b))]
            });
        }
        x
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn tile<const TOKENS: usize>(
        packed: *const i8,
        x: &[Weights; TOKENS],
        _narrow: bool,
    ) -> [int32x4_t; TOKENS] {
        let mut sums = [vdupq_n_s32(0); TOKENS];
        for r in 0..2 {
            // SAFETY: the caller gives 128 packed weights and promises that the CPU has the instruction.
            unsafe {
                let w = vld1q_s8_x4(packed.add(64 * r));
                for (sums, x) in sums.as_chunks_mut::<2>().0.iter_mut().zip(x.as_chunks::<2>().0) {
                    let sum = smmla(smmla(sums[r], w.0, x[0][0]), w.1, x[0][1]);
                    sums[r] = smmla(smmla(sum, w.2, x[1][0]), w.3, x[1][1]);
                }
            }
        }
        sums
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn tile_halves<const TOKENS: usize>(
        packed: *const i8,
        x: &[Weights; TOKENS],
    ) -> [[int32x4_t; TOKENS]; 2] {
        let mut sums = [[vdupq_n_s32(0); TOKENS]; 2];
        for r in 0..2 {
            for (half, sums) in sums.iter_mut().enumerate() {
                // SAFETY: the caller gives 128 packed weights and promises that the CPU has the instruction.
                unsafe {
                    let w = vld1q_s8_x2(packed.add(64 * r + 32 * half));
                    for (sums, x) in sums.as_chunks_mut::<2>().0.iter_mut().zip(x.as_chunks::<2>().0) {
                        sums[r] = smmla(smmla(sums[r], w.0, x[half][0]), w.1, x[half][1]);
                    }
                }
            }
        }
        sums
    }

    /// Those of two tokens, twice.
    fn by_four([a, b, c, d]: [f32; TOKENS]) -> [[f32; TOKENS]; 2] {
        [[a, b, a, b], [c, d, c, d]]
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn down(rows: float32x4_t) -> [float32x4_t; 2] {
        [vzip1q_f32(rows, rows), vzip2q_f32(rows, rows)]
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn across<const TOKENS: usize>(tokens: [f32; TOKENS]) -> [float32x4_t; TOKENS] {
        let mut vectors = tokens.map(|token| vdupq_n_f32(token));
        for pair in vectors.as_chunks_mut::<2>().0 {
            *pair = [vtrn1q_f32(pair[0], pair[1]); 2];
        }
        vectors
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn across_four(values: &[[f32; TOKENS]; 2]) -> [float32x4_t; TOKENS] {
        // SAFETY: four values each.
        let [a, b] = values.map(|values| unsafe { vld1q_f32(values.as_ptr()) });
        [a, a, b, b]
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn by_token<const TOKENS: usize>(mut tile: [float32x4_t; TOKENS]) -> [float32x4_t; TOKENS] {
        for pair in tile.as_chunks_mut::<2>().0 {
            *pair = [vuzp1q_f32(pair[0], pair[1]), vuzp2q_f32(pair[0], pair[1])];
        }
        tile
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn full_tile(panel: &[PanelBlock], x: &[Four]) -> Option<[[float32x4_t; TOKENS]; QUADS]> {
        // SAFETY: the same promises.
        Some(unsafe { full_tile(panel, x) })
    }
}

/// Four rows of a panel block times four tokens, in [`full_tile`]: sums in v24..v27, weights and then scales in
/// v28..v31. The last of a block steps on to the next as it reads the tokens' scales.
macro_rules! quad {
    ($a:literal $b:literal $c:literal $d:literal, $x:literal, $second:literal) => {
        concat!(
            "ld1 {{v28.16b-v31.16b}}, [{panel}], #64\n",
            "ld1 {{v24.16b-v27.16b}}, [{zeros}]\n",
            quad!(rows 24 26),
            "ld1 {{v28.16b-v31.16b}}, [{panel}], #64\n",
            quad!(rows 25 27),
            "ldp q28, q29, [{panel}], #80\n",
            "ldr q30, ", $x, "\n",
            "scvtf v24.4s, v24.4s\n",
            "scvtf v25.4s, v25.4s\n",
            "scvtf v26.4s, v26.4s\n",
            "scvtf v27.4s, v27.4s\n",
            "fmul v31.4s, v28.4s, v30.4s\n",
            "fmul v30.4s, v29.4s, v30.4s\n",
            "fmla v", $a, ".4s, v24.4s, v31.4s\n",
            "fmla v", $b, ".4s, v25.4s, v30.4s\n",
            "ldr q31, ", $second, "\n",
            "fmul v28.4s, v28.4s, v31.4s\n",
            "fmul v29.4s, v29.4s, v31.4s\n",
            "fmla v", $c, ".4s, v26.4s, v28.4s\n",
            "fmla v", $d, ".4s, v27.4s, v29.4s\n",
        )
    };
    (rows $first:literal $last:literal) => {
        concat!(
            "smmla v", $first, ".4s, v28.16b, v16.16b\n",
            "smmla v", $last, ".4s, v28.16b, v20.16b\n",
            "smmla v", $first, ".4s, v29.16b, v17.16b\n",
            "smmla v", $last, ".4s, v29.16b, v21.16b\n",
            "smmla v", $first, ".4s, v30.16b, v18.16b\n",
            "smmla v", $last, ".4s, v30.16b, v22.16b\n",
            "smmla v", $first, ".4s, v31.16b, v19.16b\n",
            "smmla v", $last, ".4s, v31.16b, v23.16b\n",
        )
    };
}

/// A panel of sixteen rows times four tokens. All 32 registers are in use: sixteen sums (v0..v15), the activations
/// (v16..v23), and what [`quad`] needs. A block takes 140 instructions: 64 `smmla`, 48 that scale and add.
///
/// # Safety
/// There must be a block of the panel, and as many of the activations, made for this level; the CPU must have
/// the int8 matrix instructions.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn full_tile(panel: &[PanelBlock], x: &[Four]) -> [[float32x4_t; TOKENS]; QUADS] {
    let mut sums = [[vdupq_n_f32(0.0); TOKENS]; QUADS];
    // SAFETY: it reads the panel and as many blocks of the tokens, and names every register it changes.
    unsafe {
        asm!(
            ".arch_extension i8mm",
            "2:",
            "ld1 {{v16.16b-v19.16b}}, [{x}], #64",
            "ld1 {{v20.16b-v23.16b}}, [{x}], #64",
            quad!(0 1 2 3, "[{x}]", "[{x}, #16]"),
            quad!(4 5 6 7, "[{x}]", "[{x}, #16]"),
            quad!(8 9 10 11, "[{x}]", "[{x}, #16]"),
            quad!(12 13 14 15, "[{x}], #16", "[{x}], #48"),
            "subs {blocks}, {blocks}, #1",
            "b.ne 2b",
            blocks = inout(reg) panel.len() => _,
            panel = inout(reg) panel.as_ptr() => _,
            x = inout(reg) x.as_ptr() => _,
            zeros = in(reg) ZEROS.as_ptr(),
            inout("v0") sums[0][0],
            inout("v1") sums[0][1],
            inout("v2") sums[0][2],
            inout("v3") sums[0][3],
            inout("v4") sums[1][0],
            inout("v5") sums[1][1],
            inout("v6") sums[1][2],
            inout("v7") sums[1][3],
            inout("v8") sums[2][0],
            inout("v9") sums[2][1],
            inout("v10") sums[2][2],
            inout("v11") sums[2][3],
            inout("v12") sums[3][0],
            inout("v13") sums[3][1],
            inout("v14") sums[3][2],
            inout("v15") sums[3][3],
            out("v16") _,
            out("v17") _,
            out("v18") _,
            out("v19") _,
            out("v20") _,
            out("v21") _,
            out("v22") _,
            out("v23") _,
            out("v24") _,
            out("v25") _,
            out("v26") _,
            out("v27") _,
            out("v28") _,
            out("v29") _,
            out("v30") _,
            out("v31") _,
            options(nostack)
        );
    }
    sums
}

/// Adds the products of two rows (eight bytes each of `a`) and two tokens (eight bytes each of `b`).
///
/// # Safety
/// The CPU must have the int8 matrix instructions.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn smmla(mut sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // The intrinsic `vmmlaq_s32` is unstable in Rust 1.95; on the directive, see `sdot`.
    // SAFETY: the instruction exists, and touches no memory and no flags.
    unsafe {
        asm!(
            ".arch_extension i8mm",
            "smmla {0:v}.4s, {1:v}.16b, {2:v}.16b",
            inout(vreg) sum, in(vreg) a, in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}
