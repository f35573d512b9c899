//! The `sdot` instruction, which adds four products to each of four sums: level dotprod.

use super::super::fours::Four;
use super::super::panel::{PanelBlock, TOKENS};
use super::super::rows::QUADS;
use super::{Dot, Rows, Weights, Words, ZEROS, fold, words_of};
use core::arch::{aarch64::*, asm};

/// `sdot`: sixteen products an instruction.
pub struct DotProduct;

impl Dot for DotProduct {
    type Single = Self;
    type Spread = Weights;
    const WIDE: bool = false;
    const PREFETCH: bool = false;
    const TALL: usize = 4;
    const PAIRS: bool = false;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn rows(rows: &Rows, x: Weights, _narrow: bool) -> int32x4_t {
        let zero = vdupq_n_s32(0);
        // SAFETY: the caller promises that the CPU has the instruction.
        fold(rows.map(|[w0, w1]| unsafe { sdot(sdot(zero, w0, x[0]), w1, x[1]) }))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn row_halves(rows: &Rows, x: Weights) -> [int32x4_t; 2] {
        let zero = vdupq_n_s32(0);
        // SAFETY: the caller promises that the CPU has the instruction.
        let half = |half: usize| fold(rows.map(|row| unsafe { sdot(zero, row[half], x[half]) }));
        [half(0), half(1)]
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn spread(x: *const i8) -> Weights {
        // SAFETY: 32 activations.
        unsafe { [vld1q_s8(x), vld1q_s8(x.add(16))] }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn words(start: int32x4_t, words: &Words, x: &Weights, _narrow: bool) -> int32x4_t {
        let [a, b, c, d, e, f, g, h] = *words;
        // SAFETY: the caller promises that the CPU has the instruction.
        unsafe { sdot_half(sdot_half(start, [a, b, c, d], x[0]), [e, f, g, h], x[1]) }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn word_halves(words: &Words, x: &Weights) -> [int32x4_t; 2] {
        let [a, b, c, d, e, f, g, h] = *words;
        let zero = vdupq_n_s32(0);
        // SAFETY: the caller promises that the CPU has the instruction.
        unsafe { [sdot_half(zero, [a, b, c, d], x[0]), sdot_half(zero, [e, f, g, h], x[1])] }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn pack_rows(rows: &Rows) -> [int8x16_t; 8] {
        words_of(rows)
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn pack_words(words: &Words) -> [int8x16_t; 8] {
        *words
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn pack_x<const TOKENS: usize>(x: [Weights; TOKENS]) -> [Weights; TOKENS] {
        x
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn tile<const TOKENS: usize>(
        packed: *const i8,
        x: &[Weights; TOKENS],
        _narrow: bool,
    ) -> [int32x4_t; TOKENS] {
        // SAFETY: the caller gives 128 packed weights and promises that the CPU has the instruction.
        unsafe {
            let mut sums = [vdupq_n_s32(0); TOKENS];
            tile_half(&mut sums, packed, x, 0);
            tile_half(&mut sums, packed.add(64), x, 1);
            sums
        }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn tile_halves<const TOKENS: usize>(
        packed: *const i8,
        x: &[Weights; TOKENS],
    ) -> [[int32x4_t; TOKENS]; 2] {
        let mut sums = [[vdupq_n_s32(0); TOKENS]; 2];
        // SAFETY: the caller gives 128 packed weights and promises that the CPU has the instruction.
        unsafe {
            tile_half(&mut sums[0], packed, x, 0);
            tile_half(&mut sums[1], packed.add(64), x, 1);
        }
        sums
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
    ($a:literal $b:literal $c:literal $d:literal, $x:literal) => {
        concat!(
            "ld1 {{v28.16b-v31.16b}}, [{panel}], #64\n",
            "ld1 {{v24.16b-v27.16b}}, [{zeros}]\n",
            quad!(word 28 0 16 18 20 22),
            quad!(word 29 1 16 18 20 22),
            quad!(word 30 2 16 18 20 22),
            quad!(word 31 3 16 18 20 22),
            "ld1 {{v28.16b-v31.16b}}, [{panel}], #64\n",
            quad!(word 28 0 17 19 21 23),
            quad!(word 29 1 17 19 21 23),
            quad!(word 30 2 17 19 21 23),
            quad!(word 31 3 17 19 21 23),
            "ldr q28, [{panel}], #80\n",
            "ldr q29, ", $x, "\n",
            "scvtf v24.4s, v24.4s\n",
            "scvtf v25.4s, v25.4s\n",
            "scvtf v26.4s, v26.4s\n",
            "scvtf v27.4s, v27.4s\n",
            "fmul v30.4s, v28.4s, v29.s[0]\n",
            "fmul v31.4s, v28.4s, v29.s[1]\n",
            "fmla v", $a, ".4s, v24.4s, v30.4s\n",
            "fmla v", $b, ".4s, v25.4s, v31.4s\n",
            "fmul v30.4s, v28.4s, v29.s[2]\n",
            "fmul v31.4s, v28.4s, v29.s[3]\n",
            "fmla v", $c, ".4s, v26.4s, v30.4s\n",
            "fmla v", $d, ".4s, v27.4s, v31.4s\n",
        )
    };
    (word $w:literal $lane:literal $a:literal $b:literal $c:literal $d:literal) => {
        concat!(
            "sdot v24.4s, v", $w, ".16b, v", $a, ".4b[", $lane, "]\n",
            "sdot v25.4s, v", $w, ".16b, v", $b, ".4b[", $lane, "]\n",
            "sdot v26.4s, v", $w, ".16b, v", $c, ".4b[", $lane, "]\n",
            "sdot v27.4s, v", $w, ".16b, v", $d, ".4b[", $lane, "]\n",
        )
    };
}

/// A panel of sixteen rows times four tokens. All 32 registers are in use: sixteen sums (v0..v15), the activations
/// (v16..v23), and what [`quad`] needs. `sdot` bounds it: 128 of 200 instructions a block.
///
/// # Safety
/// There must be a block of the panel, and as many of the activations, made for this level; the CPU must have
/// the dot product instructions.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn full_tile(panel: &[PanelBlock], x: &[Four]) -> [[float32x4_t; TOKENS]; QUADS] {
    let mut sums = [[vdupq_n_f32(0.0); TOKENS]; QUADS];
    // SAFETY: it reads the panel and as many blocks of the tokens, and names every register it changes.
    unsafe {
        asm!(
            ".arch_extension dotprod",
            "2:",
            "ld1 {{v16.16b-v19.16b}}, [{x}], #64",
            "ld1 {{v20.16b-v23.16b}}, [{x}], #64",
            quad!(0 1 2 3, "[{x}]"),
            quad!(4 5 6 7, "[{x}]"),
            quad!(8 9 10 11, "[{x}]"),
            quad!(12 13 14 15, "[{x}], #64"),
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

/// Adds the products of 16 packed weights of four rows with each token's first or last 16 activations.
///
/// # Safety
/// `packed` must point at 64 weights, and the CPU have the dot product instructions.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn tile_half<const TOKENS: usize>(
    sums: &mut [int32x4_t; TOKENS],
    packed: *const i8,
    x: &[Weights; TOKENS],
    half: usize,
) {
    // SAFETY: as promised by the caller.
    unsafe {
        let w = vld1q_s8_x4(packed);
        for (sum, x) in sums.iter_mut().zip(x) {
            *sum = sdot_half(*sum, [w.0, w.1, w.2, w.3], x[half]);
        }
    }
}

/// Adds the products of four words of four rows with 16 activations.
///
/// # Safety
/// The CPU must have the dot product instructions.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn sdot_half(sum: int32x4_t, [a, b, c, d]: [int8x16_t; 4], x: int8x16_t) -> int32x4_t {
    // SAFETY: as promised by the caller.
    unsafe {
        let sum = sdot_lane::<1>(sdot_lane::<0>(sum, a, x), b, x);
        sdot_lane::<3>(sdot_lane::<2>(sum, c, x), d, x)
    }
}

// The intrinsics `vdotq_s32` and `vdotq_laneq_s32` are unstable in Rust 1.95. The directive lets the assembler take
// the instruction in a function that only enables NEON: so the generic code above compiles for all levels alike and
// inlines into each.

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
