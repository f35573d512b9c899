//! How the bytes of each quantized format become integers in lanes, for any instruction set.
//!
//! The layouts are described in [`crate::reference::blocks`].
#![allow(
    clippy::inline_always,
    reason = "generic code takes on its caller's instruction set by being inlined"
)]

use super::matmul::{Lanes, Part, PartOf, Streamed, Weights, X};
use super::source::Source;
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

mod codebook;
mod k;
mod small;
mod ternary;

pub use codebook::{decode_rows as decode_codebook_rows, unpack as unpack_codebook};
pub use k::{IQ4XS, Q2K, Q3K, Q5K};
pub use small::{IQ4NL, Mxfp4, Nvfp4, Q1_0, Q2_0, Q5_0, Q5_1};
pub use ternary::{TQ1_0, TQ2_0};

/// Weights with a scale and nothing else: what a kind does not look at may be anything.
#[inline(always)]
const fn plain<I: Copy, F: Copy>(w: [I; 8], d: F) -> Part<I, F> {
    Part { w, scales: [w[0]; 2], d: [d; 2], minima: [d; 2] }
}

/// 32 int8, one scale.
#[derive(Debug)]
pub struct Q8_0<L>(PhantomData<L>);

impl<L: Lanes<ROWS>, const ROWS: usize> Weights<ROWS> for Q8_0<L> {
    type Lanes = L;
    const FORMAT: Format = Format::Q8_0;
    type Head = ();

    #[inline(always)]
    unsafe fn head<S: Source<L, ROWS>>(_: &S) {}

    #[inline(always)]
    unsafe fn part<S: Source<L, ROWS>>(blocks: &S, (): &mut (), _: usize) -> PartOf<Self, ROWS> {
        // SAFETY: the caller's promise: 34 bytes.
        unsafe {
            let ([a, b, c, d], [e, f, g, h]) = (blocks.dwords(2), blocks.dwords(18));
            let w = [a, b, c, d, e, f, g, h];
            let w = eight!(J => L::weights8(w[J]));
            plain(w, blocks.half(0))
        }
    }
}

impl<L: Lanes<ROWS>, const ROWS: usize> Streamed<ROWS> for Q8_0<L> {
    const MINIMA: usize = 0;

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
    const FORMAT: Format = Format::Q4_0;
    type Head = ();

    #[inline(always)]
    unsafe fn head<S: Source<L, ROWS>>(_: &S) {}

    #[inline(always)]
    unsafe fn part<S: Source<L, ROWS>>(blocks: &S, (): &mut (), _: usize) -> PartOf<Self, ROWS> {
        // SAFETY: the caller's promise: 18 bytes.
        unsafe {
            let w = nibbles::<L, ROWS>(blocks.dwords(2));
            plain(w, blocks.half(0))
        }
    }
}

impl<L: Lanes<ROWS>, const ROWS: usize> Streamed<ROWS> for Q4_0<L> {
    const MINIMA: usize = 0;

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
    const FORMAT: Format = Format::Q4_1;
    type Head = ();

    #[inline(always)]
    unsafe fn head<S: Source<L, ROWS>>(_: &S) {}

    #[inline(always)]
    unsafe fn part<S: Source<L, ROWS>>(blocks: &S, (): &mut (), _: usize) -> PartOf<Self, ROWS> {
        // SAFETY: the caller's promise: 20 bytes.
        unsafe {
            let w = nibbles::<L, ROWS>(blocks.dwords(4));
            let [d, minimum] = L::split_halves(blocks.dword(0));
            Part { minima: [minimum; 2], ..plain(w, d) }
        }
    }
}

impl<L: Lanes<ROWS>, const ROWS: usize> Streamed<ROWS> for Q4_1<L> {
    const MINIMA: usize = 1;

    #[inline(always)]
    unsafe fn isums<const T: usize>(part: &PartOf<Self, ROWS>, x: &[X; T]) -> [L::I; T] {
        // SAFETY: the caller's promise.
        unsafe { L::dot4(&part.w, 0, x) }
    }
}

/// 256 int4 in 8 sub-blocks with 6-bit scales and minima.
#[derive(Debug)]
pub struct Q4K<L>(PhantomData<L>);

/// The scales and the minima of 8 parts of `Q4_K` and `Q5_K`: byte i of each lane is of parts i and 4 + i.
///
/// # Safety
/// As for [`Lanes`].
#[inline(always)]
unsafe fn six_bits<L: Lanes<ROWS>, const ROWS: usize>(
    [scales, minima, lower]: [L::I; 3],
) -> ([L::I; 2], [L::I; 2]) {
    // SAFETY: the caller's promise.
    unsafe {
        // The lower 4 bits of parts 4.. stand in bytes of their own, the upper 2 on top of parts 0..4.
        (
            [L::bits(scales, 0, 63), L::join(L::bits(lower, 0, 15), L::bits(scales, 6, 3))],
            [L::bits(minima, 0, 63), L::join(L::bits(lower, 4, 15), L::bits(minima, 6, 3))],
        )
    }
}

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
    const FORMAT: Format = Format::Q4_K;
    type Head = Q4KHead<L::I, L::F>;

    #[inline(always)]
    unsafe fn head<S: Source<L, ROWS>>(blocks: &S) -> Self::Head {
        // SAFETY: the caller's promise: 144 bytes.
        unsafe {
            let [both, scales, minima, lower] = blocks.dwords(0);
            let [d, dmin] = L::split_halves(both);
            let (scales, minima) = six_bits::<L, ROWS>([scales, minima, lower]);
            Q4KHead {
                d,
                dmin,
                scales,
                minima,
                packed: if S::IN_PLACE { [[both; 4]; 8] } else { eight!(J => blocks.dwords(16 + 16 * J)) },
            }
        }
    }

    #[inline(always)]
    unsafe fn part<S: Source<L, ROWS>>(blocks: &S, head: &mut Self::Head, part: usize) -> PartOf<Self, ROWS> {
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
                d: [head.d; 2],
                minima: [L::negative_product(head.dmin, L::byte(head.minima[part / 4], part % 4)); 2],
            }
        }
    }
}

impl<L: Lanes<ROWS>, const ROWS: usize> Streamed<ROWS> for Q4K<L> {
    const MINIMA: usize = 1;
    const TOGETHER: usize = 2;

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
    const FORMAT: Format = Format::Q6_K;
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
    unsafe fn part<S: Source<L, ROWS>>(blocks: &S, head: &mut Self::Head, part: usize) -> PartOf<Self, ROWS> {
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
                d: [head.d; 2],
                minima: [head.d; 2],
            }
        }
    }
}

impl<L: Lanes<ROWS>, const ROWS: usize> Streamed<ROWS> for Q6K<L> {
    const MINIMA: usize = 0;
    const TOGETHER: usize = 4;

    #[inline(always)]
    unsafe fn isums<const T: usize>(part: &PartOf<Self, ROWS>, x: &[X; T]) -> [L::I; T] {
        // SAFETY: the caller's promise.
        unsafe { L::scaled_dot6(&part.w, &part.scales, x) }
    }
}

/// Defines `quantized_rows` of a level: the walk, inlined into functions that have the level's features. `$rows` lanes
/// in `$groups` vectors take 16 rows that lie side by side. `$unpacker` is where [`unpack_formats`] of such lanes is.
macro_rules! quantized_rows {
    ($features:literal, $lanes:ty, $rows:literal, $groups:literal, $unpacker:path) => {
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
            use $crate::x86_64::formats::*;
            match matrix.format() {
                Format::Q8_0 if out.tokens() == 1 => streamed::<Q8_0<$lanes>>(matrix, rows, x, out),
                Format::Q4_0 if out.tokens() == 1 => streamed::<Q4_0<$lanes>>(matrix, rows, x, out),
                Format::Q4_1 if out.tokens() == 1 => streamed::<Q4_1<$lanes>>(matrix, rows, x, out),
                Format::Q4_K if out.tokens() == 1 => streamed::<Q4K<$lanes>>(matrix, rows, x, out),
                Format::Q6_K if out.tokens() == 1 => streamed::<Q6K<$lanes>>(matrix, rows, x, out),
                Format::Q2_K
                | Format::Q3_K
                | Format::Q5_K
                | Format::IQ4_NL
                | Format::IQ4_XS
                | Format::MXFP4
                | Format::TQ1_0
                | Format::TQ2_0
                    if out.tokens() == 1 =>
                {
                    use $unpacker as unpacker;
                    unpacker::streamed_rows(matrix, rows, x, out);
                }
                format if out.tokens() == 1 && format.has_codebook() => {
                    $crate::x86_64::formats::decode_codebook_rows(matrix, rows, x, out);
                }
                // SAFETY: this function has the features of these lanes.
                _ => unsafe {
                    $crate::x86_64::unpacked::unpacked_rows::<Unpacked, $rows, $groups>(
                        matrix, rows, x, out, scratch,
                    );
                },
            }
        }

        #[target_feature(enable = $features)]
        fn streamed<W: $crate::x86_64::matmul::Streamed<$rows, Lanes = $lanes>>(
            matrix: &$crate::Matrix<'_>,
            rows: core::ops::Range<usize>,
            x: &$crate::Quantized<'_>,
            out: $crate::split::Tile<'_>,
        ) {
            // SAFETY: this function has the features of these lanes.
            unsafe { $crate::x86_64::matmul::streamed_rows::<W, $rows, $groups>(matrix, rows, x, out) }
        }

        /// What all formats share.
        #[derive(Debug)]
        struct Unpacked;

        impl $crate::x86_64::unpacked::Panels<$rows> for Unpacked {
            type Lanes = $lanes;

            #[inline(always)]
            unsafe fn unpack(
                format: $crate::Format,
                blocks: &mut $crate::x86_64::source::Blocks<$rows>,
                count: usize,
                parts: *mut $crate::x86_64::unpacked::PartIn<Self, $rows>,
            ) {
                use $unpacker as unpacker;
                // SAFETY: the caller's promise.
                unsafe { unpacker::unpack(format, blocks, count, parts) }
            }

            #[inline(always)]
            unsafe fn unpack_group(
                format: $crate::Format,
                blocks: &mut $crate::x86_64::source::Interleaved,
                count: usize,
                parts: *mut $crate::x86_64::unpacked::PartIn<Self, $rows>,
            ) {
                use $unpacker as unpacker;
                // SAFETY: the caller's promise.
                unsafe { unpacker::unpack_group(format, blocks, count, parts) }
            }

            // Not inlined: two callers with one token each would have a copy of all kinds.
            #[inline(never)]
            #[target_feature(enable = $features)]
            unsafe fn add<const T: usize>(
                kind: $crate::x86_64::kinds::Kind,
                parts: &[$crate::x86_64::unpacked::PartIn<Self, $rows>],
                x: &$crate::x86_64::unpacked::At<'_>,
                first: usize,
                totals: &mut $crate::x86_64::unpacked::TotalsIn<Self, T, $rows>,
            ) {
                use $crate::x86_64::kinds::{self, Kind};
                use $crate::x86_64::matmul::Lanes;
                let surplus = kind.surplus(<$lanes>::SURPLUS8);
                // SAFETY: the caller's promise.
                unsafe {
                    match kind {
                        // Where small weights gain nothing, a kind stands in for others.
                        Kind::Four { .. } if <$lanes>::GAINS_BY_SMALL => {
                            kinds::add::<kinds::Four<$lanes>, T, $rows>(parts, surplus, x, first, totals);
                        }
                        Kind::Eight if <$lanes>::SURPLUS8 == 0 => {
                            kinds::add::<kinds::Eight<$lanes>, T, $rows>(parts, surplus, x, first, totals);
                        }
                        Kind::Four { .. } | Kind::Five { .. } | Kind::Eight => {
                            kinds::add::<kinds::Five<$lanes>, T, $rows>(parts, surplus, x, first, totals);
                        }
                        Kind::FourMinimum if <$lanes>::GAINS_BY_SMALL => {
                            kinds::add::<kinds::FourMinimum<$lanes>, T, $rows>(
                                parts, surplus, x, first, totals,
                            );
                        }
                        Kind::FourMinimum | Kind::FiveMinimum => {
                            kinds::add::<kinds::FiveMinimum<$lanes>, T, $rows>(
                                parts, surplus, x, first, totals,
                            );
                        }
                        Kind::ScaledFour if <$lanes>::GAINS_BY_SMALL => {
                            kinds::add::<kinds::ScaledFour<$lanes>, T, $rows>(
                                parts, surplus, x, first, totals,
                            );
                        }
                        Kind::ScaledFour | Kind::ScaledFive => {
                            kinds::add::<kinds::ScaledFive<$lanes>, T, $rows>(
                                parts, surplus, x, first, totals,
                            );
                        }
                        Kind::BiasedSeven { .. } if <$lanes>::GAINS_BY_SMALL => {
                            kinds::add::<kinds::BiasedSeven<$lanes>, T, $rows>(
                                parts, surplus, x, first, totals,
                            );
                        }
                        Kind::ScaledSix if <$lanes>::GAINS_BY_SMALL => {
                            kinds::add::<kinds::ScaledSix<$lanes>, T, $rows>(parts, surplus, x, first, totals)
                        }
                        Kind::ScaledEight if <$lanes>::SURPLUS8 == 0 => {
                            kinds::add::<kinds::ScaledEight<$lanes>, T, $rows>(
                                parts, surplus, x, first, totals,
                            );
                        }
                        // As above: unsigned weights with a surplus and two scales are all the same there.
                        Kind::BiasedFive { .. }
                        | Kind::BiasedSeven { .. }
                        | Kind::ScaledSix
                        | Kind::ScaledEight => {
                            kinds::add::<kinds::BiasedFive<$lanes>, T, $rows>(
                                parts, surplus, x, first, totals,
                            );
                        }
                        Kind::ScaledMinima => {
                            kinds::add::<kinds::ScaledMinima<$lanes>, T, $rows>(
                                parts, surplus, x, first, totals,
                            );
                        }
                        Kind::Halves { .. } => {
                            kinds::add::<kinds::Halves<$lanes>, T, $rows>(parts, surplus, x, first, totals);
                        }
                    }
                }
            }
        }
    };
}
pub(super) use quantized_rows;

/// Defines what levels with the same lanes share: `unpack`, `unpack_group`, and `streamed_rows` of formats whose code is
/// large and gains next to nothing by how bytes are multiplied.
macro_rules! unpack_formats {
    ($features:literal, $lanes:ty, $rows:literal, $groups:literal) => {
        /// Rows of a quantized matrix times the only token.
        #[target_feature(enable = $features)]
        pub fn streamed_rows(
            matrix: &$crate::Matrix<'_>,
            rows: core::ops::Range<usize>,
            x: &$crate::Quantized<'_>,
            out: $crate::split::Tile<'_>,
        ) {
            use $crate::Format;
            use $crate::x86_64::formats::*;
            match matrix.format() {
                Format::Q2_K => streamed::<Q2K<$lanes>>(matrix, rows, x, out),
                Format::Q3_K => streamed::<Q3K<$lanes>>(matrix, rows, x, out),
                Format::Q5_K => streamed::<Q5K<$lanes>>(matrix, rows, x, out),
                Format::TQ1_0 => streamed::<TQ1_0<$lanes>>(matrix, rows, x, out),
                Format::TQ2_0 => streamed::<TQ2_0<$lanes>>(matrix, rows, x, out),
                Format::IQ4_NL => streamed::<IQ4NL<$lanes>>(matrix, rows, x, out),
                Format::IQ4_XS => streamed::<IQ4XS<$lanes>>(matrix, rows, x, out),
                Format::MXFP4 => streamed::<Mxfp4<$lanes>>(matrix, rows, x, out),
                _ => unreachable!("formats with other code"),
            }
        }

        /// Unpacks `count` times 32 weights of each row, which are whole blocks, and moves on behind them.
        ///
        /// # Safety
        /// The CPU has the features; the blocks are there, and room for as many parts.
        #[target_feature(enable = $features)]
        pub unsafe fn unpack(
            format: $crate::Format,
            blocks: &mut $crate::x86_64::source::Blocks<$rows>,
            count: usize,
            parts: *mut $crate::x86_64::matmul::PartOfLanes<$lanes, $rows>,
        ) {
            // SAFETY: the caller's promise.
            unsafe {
                if format.has_codebook() {
                    $crate::x86_64::formats::unpack_codebook::<$lanes, $rows>(format, blocks, count, parts);
                } else {
                    unpack_from(format, blocks, count, parts);
                }
            }
        }

        /// As [`unpack`], of rows side by side.
        ///
        /// # Safety
        /// As there.
        #[target_feature(enable = $features)]
        pub unsafe fn unpack_group(
            format: $crate::Format,
            blocks: &mut $crate::x86_64::source::Interleaved,
            count: usize,
            parts: *mut $crate::x86_64::matmul::PartOfLanes<$lanes, $rows>,
        ) {
            // SAFETY: the caller's promise.
            unsafe { unpack_from(format, blocks, count, parts) }
        }

        /// # Safety
        /// As for [`unpack`].
        #[target_feature(enable = $features)]
        unsafe fn unpack_from<S: $crate::x86_64::source::Source<$lanes, $rows>>(
            format: $crate::Format,
            blocks: &mut S,
            count: usize,
            parts: *mut $crate::x86_64::matmul::PartOfLanes<$lanes, $rows>,
        ) {
            use $crate::Format;
            use $crate::x86_64::formats::*;
            // SAFETY: the caller's promise.
            unsafe {
                match format {
                    Format::Q8_0 => unpack_of::<Q8_0<$lanes>, S>(blocks, count, parts),
                    Format::Q4_0 => unpack_of::<Q4_0<$lanes>, S>(blocks, count, parts),
                    Format::Q4_1 => unpack_of::<Q4_1<$lanes>, S>(blocks, count, parts),
                    Format::Q5_0 => unpack_of::<Q5_0<$lanes>, S>(blocks, count, parts),
                    Format::Q5_1 => unpack_of::<Q5_1<$lanes>, S>(blocks, count, parts),
                    Format::Q1_0 => unpack_of::<Q1_0<$lanes>, S>(blocks, count, parts),
                    Format::Q2_0 => unpack_of::<Q2_0<$lanes>, S>(blocks, count, parts),
                    Format::IQ4_NL => unpack_of::<IQ4NL<$lanes>, S>(blocks, count, parts),
                    Format::MXFP4 => unpack_of::<Mxfp4<$lanes>, S>(blocks, count, parts),
                    Format::NVFP4 => unpack_of::<Nvfp4<$lanes>, S>(blocks, count, parts),
                    Format::Q2_K => unpack_of::<Q2K<$lanes>, S>(blocks, count, parts),
                    Format::Q3_K => unpack_of::<Q3K<$lanes>, S>(blocks, count, parts),
                    Format::Q4_K => unpack_of::<Q4K<$lanes>, S>(blocks, count, parts),
                    Format::Q5_K => unpack_of::<Q5K<$lanes>, S>(blocks, count, parts),
                    Format::Q6_K => unpack_of::<Q6K<$lanes>, S>(blocks, count, parts),
                    Format::IQ4_XS => unpack_of::<IQ4XS<$lanes>, S>(blocks, count, parts),
                    Format::TQ1_0 => unpack_of::<TQ1_0<$lanes>, S>(blocks, count, parts),
                    Format::TQ2_0 => unpack_of::<TQ2_0<$lanes>, S>(blocks, count, parts),
                    _ => unreachable!("neither floats nor codebooks"),
                }
            }
        }

        /// # Safety
        /// As for [`unpack`].
        #[target_feature(enable = $features)]
        unsafe fn unpack_of<
            W: $crate::x86_64::matmul::Weights<$rows, Lanes = $lanes>,
            S: $crate::x86_64::source::Source<$lanes, $rows>,
        >(
            blocks: &mut S,
            count: usize,
            parts: *mut $crate::x86_64::matmul::PartOfLanes<$lanes, $rows>,
        ) {
            // SAFETY: the caller's promise.
            unsafe { $crate::x86_64::unpacked::unpack::<W, S, $rows>(blocks, count, parts) }
        }
    };
}
pub(super) use unpack_formats;
