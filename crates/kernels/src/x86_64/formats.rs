//! How the bytes of each quantized format become integers in lanes, for any instruction set.
//!
//! The layouts are described in [`crate::reference::blocks`].
#![allow(
    clippy::inline_always,
    reason = "generic code takes on its caller's instruction set by being inlined"
)]

use super::matmul::{Lanes, Part, PartOf, Source, Weights, X};
use crate::Format;
use core::marker::PhantomData;

/// An array of four or eight, the expression once for each place: a closure would be a function of its own, in which
/// vectors of the caller's instruction set pass through memory.
macro_rules! four {
    ($j:ident => $each:expr) => {
        [
            {
                const $j: usize = 0;
                $each
            },
            {
                const $j: usize = 1;
                $each
            },
            {
                const $j: usize = 2;
                $each
            },
            {
                const $j: usize = 3;
                $each
            },
        ]
    };
}
/// See [`four`].
macro_rules! eight {
    ($j:ident => $each:expr) => {{
        let [a, b, c, d] = four!($j => $each);
        let [e, f, g, h] = [
            { const $j: usize = 4; $each },
            { const $j: usize = 5; $each },
            { const $j: usize = 6; $each },
            { const $j: usize = 7; $each },
        ];
        [a, b, c, d, e, f, g, h]
    }};
}
pub(super) use {eight, four};

/// 32 int8, one scale.
#[derive(Debug)]
pub struct Q8_0<L>(PhantomData<L>);

impl<L: Lanes<ROWS>, const ROWS: usize> Weights<ROWS> for Q8_0<L> {
    type Lanes = L;
    const BYTES: usize = 34;
    const PARTS: usize = 1;
    const TOGETHER: usize = 1;
    const MINIMUM: bool = false;
    const SCALES: usize = 0;
    const SURPLUS: u8 = L::SURPLUS8;
    type Head = ();

    #[inline(always)]
    unsafe fn head<S: Source<L, ROWS>>(_: &S) {}

    #[inline(always)]
    unsafe fn part<S: Source<L, ROWS>>(blocks: &S, (): &(), _: usize) -> PartOf<Self, ROWS> {
        // SAFETY: the caller's promise: 34 bytes.
        unsafe {
            let ([a, b, c, d], [e, f, g, h]) = (blocks.dwords(2), blocks.dwords(18));
            let w = [a, b, c, d, e, f, g, h];
            let w = eight!(J => L::weights8(w[J]));
            Part { w, scales: [w[0]; 2], d: blocks.half(0), minimum: L::zero() }
        }
    }

    #[inline(always)]
    unsafe fn isums<const T: usize>(part: &PartOf<Self, ROWS>, x: &[X; T]) -> [L::I; T] {
        // SAFETY: the caller's promise.
        unsafe { L::dot8(&part.w, x) }
    }
}

/// The low int4 of 16 bytes, then the high.
///
/// # Safety
/// As for [`Lanes`].
#[inline(always)]
unsafe fn nibbles<L: Lanes<ROWS>, const ROWS: usize>(packed: [L::I; 4]) -> [L::I; 8] {
    // SAFETY: the caller's promise.
    unsafe { eight!(J => L::bits(packed[J % 4], J as i32 / 4 * 4, 15)) }
}

/// 32 int4 around 8, one scale.
#[derive(Debug)]
pub struct Q4_0<L>(PhantomData<L>);

impl<L: Lanes<ROWS>, const ROWS: usize> Weights<ROWS> for Q4_0<L> {
    type Lanes = L;
    const BYTES: usize = 18;
    const PARTS: usize = 1;
    const TOGETHER: usize = 1;
    const MINIMUM: bool = false;
    const SCALES: usize = 0;
    const SURPLUS: u8 = 8;
    type Head = ();

    #[inline(always)]
    unsafe fn head<S: Source<L, ROWS>>(_: &S) {}

    #[inline(always)]
    unsafe fn part<S: Source<L, ROWS>>(blocks: &S, (): &(), _: usize) -> PartOf<Self, ROWS> {
        // SAFETY: the caller's promise: 18 bytes.
        unsafe {
            let w = nibbles::<L, ROWS>(blocks.dwords(2));
            Part { w, scales: [w[0]; 2], d: blocks.half(0), minimum: L::zero() }
        }
    }

    #[inline(always)]
    unsafe fn isums<const T: usize>(part: &PartOf<Self, ROWS>, x: &[X; T]) -> [L::I; T] {
        // SAFETY: the caller's promise.
        unsafe { L::dot4(&part.w, 8, x) }
    }
}

/// 32 int4, one scale and one minimum.
#[derive(Debug)]
pub struct Q4_1<L>(PhantomData<L>);

impl<L: Lanes<ROWS>, const ROWS: usize> Weights<ROWS> for Q4_1<L> {
    type Lanes = L;
    const BYTES: usize = 20;
    const PARTS: usize = 1;
    const TOGETHER: usize = 1;
    const MINIMUM: bool = true;
    const SCALES: usize = 0;
    const SURPLUS: u8 = 0;
    type Head = ();

    #[inline(always)]
    unsafe fn head<S: Source<L, ROWS>>(_: &S) {}

    #[inline(always)]
    unsafe fn part<S: Source<L, ROWS>>(blocks: &S, (): &(), _: usize) -> PartOf<Self, ROWS> {
        // SAFETY: the caller's promise: 20 bytes.
        unsafe {
            let w = nibbles::<L, ROWS>(blocks.dwords(4));
            let [d, minimum] = L::split_halves(blocks.dword(0));
            Part { w, scales: [w[0]; 2], d, minimum }
        }
    }

    #[inline(always)]
    unsafe fn isums<const T: usize>(part: &PartOf<Self, ROWS>, x: &[X; T]) -> [L::I; T] {
        // SAFETY: the caller's promise.
        unsafe { L::dot4(&part.w, 0, x) }
    }
}

/// 256 int4 in 8 sub-blocks with 6-bit scales and minima.
#[derive(Debug)]
pub struct Q4K<L>(PhantomData<L>);

/// A block of `Q4_K`.
#[derive(Debug)]
pub struct Q4KHead<I, F> {
    d: F,
    dmin: F,
    /// Byte i of each lane: the scales of parts i and 4 + i.
    scales: [I; 2],
    /// Likewise the minima.
    minima: [I; 2],
    /// Two int4 to a byte, 16 bytes to an element; not used where words are read in place.
    packed: [[I; 4]; 8],
}

impl<L: Lanes<ROWS>, const ROWS: usize> Weights<ROWS> for Q4K<L> {
    type Lanes = L;
    const BYTES: usize = 144;
    const PARTS: usize = 8;
    const TOGETHER: usize = 2;
    const MINIMUM: bool = true;
    const SCALES: usize = 1;
    const SURPLUS: u8 = 0;
    type Head = Q4KHead<L::I, L::F>;

    #[inline(always)]
    unsafe fn head<S: Source<L, ROWS>>(blocks: &S) -> Self::Head {
        // SAFETY: the caller's promise: 144 bytes.
        unsafe {
            let [both, scales, minima, lower] = blocks.dwords(0);
            let [d, dmin] = L::split_halves(both);
            // The lower 4 bits of parts 4.. stand in bytes of their own, the upper 2 on top of parts 0..4.
            Q4KHead {
                d,
                dmin,
                scales: [L::bits(scales, 0, 63), L::join(L::bits(lower, 0, 15), L::bits(scales, 6, 3))],
                minima: [L::bits(minima, 0, 63), L::join(L::bits(lower, 4, 15), L::bits(minima, 6, 3))],
                packed: if S::IN_PLACE { [[both; 4]; 8] } else { eight!(J => blocks.dwords(16 + 16 * J)) },
            }
        }
    }

    #[inline(always)]
    unsafe fn part<S: Source<L, ROWS>>(blocks: &S, head: &Self::Head, part: usize) -> PartOf<Self, ROWS> {
        let shift = part as i32 % 2 * 4;
        // SAFETY: the caller's promise.
        unsafe {
            let scale = L::scale(L::byte(head.scales[part / 4], part % 4));
            Part {
                w: eight!(J => {
                    let packed = if S::IN_PLACE {
                        blocks.dword(16 + part / 2 * 32 + 4 * J)
                    } else {
                        head.packed[part / 2 * 2 + J / 4][J % 4]
                    };
                    L::bits(packed, shift, 15)
                }),
                scales: [scale; 2],
                d: head.d,
                minimum: L::negative_product(head.dmin, L::byte(head.minima[part / 4], part % 4)),
            }
        }
    }

    #[inline(always)]
    unsafe fn isums<const T: usize>(part: &PartOf<Self, ROWS>, x: &[X; T]) -> [L::I; T] {
        // SAFETY: the caller's promise.
        unsafe { L::scaled_dot4(&part.w, part.scales[0], x) }
    }
}

/// 256 int6 around 32 in 16 sub-blocks with 8-bit scales.
#[derive(Debug)]
pub struct Q6K<L>(PhantomData<L>);

/// A block of `Q6_K`.
#[derive(Debug)]
pub struct Q6KHead<I, F> {
    d: F,
    /// Byte i of vector j: scale 4j + i.
    scales: [I; 4],
    /// The lower 4 bits of two weights to a byte, 16 bytes to an element; not used where words are read in place.
    low: [[I; 4]; 8],
    /// The upper 2 bits of four weights to a byte, 16 bytes to an element; likewise.
    high: [[I; 4]; 4],
}

impl<L: Lanes<ROWS>, const ROWS: usize> Weights<ROWS> for Q6K<L> {
    type Lanes = L;
    const BYTES: usize = 210;
    const PARTS: usize = 8;
    const TOGETHER: usize = 4;
    const MINIMUM: bool = false;
    const SCALES: usize = 2;
    const SURPLUS: u8 = 32;
    type Head = Q6KHead<L::I, L::F>;

    #[inline(always)]
    unsafe fn head<S: Source<L, ROWS>>(blocks: &S) -> Self::Head {
        // SAFETY: the caller's promise: 210 bytes.
        unsafe {
            let scales = blocks.dwords(S::place(Format::Q6_K, 192));
            let (low, high) = if S::IN_PLACE {
                ([scales; 8], [scales; 4])
            } else {
                (eight!(J => blocks.dwords(16 * J)), four!(J => blocks.dwords(128 + 16 * J)))
            };
            Q6KHead { d: blocks.half(S::place(Format::Q6_K, 208)), scales, low, high }
        }
    }

    #[inline(always)]
    unsafe fn part<S: Source<L, ROWS>>(blocks: &S, head: &Self::Head, part: usize) -> PartOf<Self, ROWS> {
        let (half, quarter) = (part / 4, part % 4);
        // SAFETY: the caller's promise.
        unsafe {
            Part {
                w: eight!(J => {
                    let (low, high) = if S::IN_PLACE {
                        let low = S::place(Format::Q6_K, half * 64 + quarter % 2 * 32 + 4 * J);
                        let high = S::place(Format::Q6_K, 128 + half * 32 + 4 * J);
                        (blocks.dword(low), blocks.dword(high))
                    } else {
                        let low = head.low[half * 4 + quarter % 2 * 2 + J / 4][J % 4];
                        (low, head.high[half * 2 + J / 4][J % 4])
                    };
                    let low = L::bits(low, quarter as i32 / 2 * 4, 15);
                    L::join(low, L::bits(high, quarter as i32 * 2, 3))
                }),
                scales: [
                    L::scale(L::signed_byte(head.scales[part / 2], part * 2 % 4)),
                    L::scale(L::signed_byte(head.scales[part / 2], part * 2 % 4 + 1)),
                ],
                d: head.d,
                minimum: L::zero(),
            }
        }
    }

    #[inline(always)]
    unsafe fn isums<const T: usize>(part: &PartOf<Self, ROWS>, x: &[X; T]) -> [L::I; T] {
        // SAFETY: the caller's promise.
        unsafe { L::scaled_dot6(&part.w, &part.scales, x) }
    }
}

/// Defines `quantized_rows` of a level: the walk, inlined into functions that have the level's features. `$rows` lanes
/// in `$groups` vectors take 16 rows that lie side by side.
macro_rules! quantized_rows {
    ($features:literal, $lanes:ty, $rows:literal, $groups:literal) => {
        /// Rows of a quantized matrix times int8 activations: for each token and row `acc + accm`.
        #[target_feature(enable = $features)]
        pub fn quantized_rows(
            matrix: &$crate::Matrix<'_>,
            rows: core::ops::Range<usize>,
            x: &$crate::Quantized<'_>,
            out: $crate::split::Tile<'_>,
            scratch: &mut [$crate::Line],
        ) {
            use $crate::Format;
            use $crate::x86_64::formats::{Q4_0, Q4_1, Q4K, Q6K, Q8_0};
            match matrix.format() {
                Format::Q8_0 => of::<Q8_0<$lanes>>(matrix, rows, x, out, scratch),
                Format::Q4_0 => of::<Q4_0<$lanes>>(matrix, rows, x, out, scratch),
                Format::Q4_1 => of::<Q4_1<$lanes>>(matrix, rows, x, out, scratch),
                Format::Q4_K => of::<Q4K<$lanes>>(matrix, rows, x, out, scratch),
                Format::Q6_K => of::<Q6K<$lanes>>(matrix, rows, x, out, scratch),
                // Formats without a kernel of this level.
                _ => $crate::reference::quantized_rows(matrix, rows, x, out, scratch),
            }
        }

        #[target_feature(enable = $features)]
        fn of<W: $crate::x86_64::matmul::Weights<$rows, Lanes = $lanes>>(
            matrix: &$crate::Matrix<'_>,
            rows: core::ops::Range<usize>,
            x: &$crate::Quantized<'_>,
            out: $crate::split::Tile<'_>,
            scratch: &mut [$crate::Line],
        ) {
            // SAFETY: this function has the features of these lanes.
            unsafe {
                $crate::x86_64::matmul::quantized_rows::<W, $rows, $groups>(matrix, rows, x, out, scratch)
            }
        }
    };
}
pub(super) use quantized_rows;
