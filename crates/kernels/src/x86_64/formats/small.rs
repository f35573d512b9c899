//! Formats with one scale for 16 to 128 weights.
#![allow(
    clippy::inline_always,
    reason = "generic code takes on its caller's instruction set by being inlined"
)]

use super::{nibbles, plain};
use crate::Format;
use crate::codebooks::{E2M1, IQ4};
use crate::x86_64::matmul::{Lanes, Part, PartOf, Streamed, Weights, X};
use crate::x86_64::source::Source;
use core::marker::PhantomData;

/// 32 int5 around 16, one scale.
#[derive(Debug)]
pub struct Q5_0<L>(PhantomData<L>);

impl<L: Lanes<ROWS>, const ROWS: usize> Weights<ROWS> for Q5_0<L> {
    type Lanes = L;
    const FORMAT: Format = Format::Q5_0;
    type Head = ();

    #[inline(always)]
    unsafe fn head<S: Source<L, ROWS>>(_: &S) {}

    #[inline(always)]
    unsafe fn part<S: Source<L, ROWS>>(blocks: &S, (): &mut (), _: usize) -> PartOf<Self, ROWS> {
        // SAFETY: the caller's promise: 22 bytes.
        unsafe {
            let (fifth, low) = (blocks.dword(2), nibbles::<L, ROWS>(blocks.dwords(6)));
            plain(eight!(J => L::add_bits(low[J], fifth, 4 * J, 16)), blocks.half(0))
        }
    }
}

/// 32 int5, one scale and one minimum.
#[derive(Debug)]
pub struct Q5_1<L>(PhantomData<L>);

impl<L: Lanes<ROWS>, const ROWS: usize> Weights<ROWS> for Q5_1<L> {
    type Lanes = L;
    const FORMAT: Format = Format::Q5_1;
    type Head = ();

    #[inline(always)]
    unsafe fn head<S: Source<L, ROWS>>(_: &S) {}

    #[inline(always)]
    unsafe fn part<S: Source<L, ROWS>>(blocks: &S, (): &mut (), _: usize) -> PartOf<Self, ROWS> {
        // SAFETY: the caller's promise: 24 bytes.
        unsafe {
            let ([both, fifth, ..], low) = (blocks.dwords(0), nibbles::<L, ROWS>(blocks.dwords(8)));
            let [d, minimum] = L::split_halves(both);
            let w = eight!(J => L::add_bits(low[J], fifth, 4 * J, 16));
            Part { minima: [minimum; 2], ..plain(w, d) }
        }
    }
}

/// 128 signs, one scale.
#[derive(Debug)]
pub struct Q1_0<L>(PhantomData<L>);

impl<L: Lanes<ROWS>, const ROWS: usize> Weights<ROWS> for Q1_0<L> {
    type Lanes = L;
    const FORMAT: Format = Format::Q1_0;
    /// The scale, and the signs of each part.
    type Head = (L::F, [L::I; 4]);

    #[inline(always)]
    unsafe fn head<S: Source<L, ROWS>>(blocks: &S) -> Self::Head {
        // SAFETY: the caller's promise: 18 bytes.
        unsafe { (blocks.half(0), blocks.dwords(2)) }
    }

    #[inline(always)]
    unsafe fn part<S: Source<L, ROWS>>(_: &S, head: &mut Self::Head, part: usize) -> PartOf<Self, ROWS> {
        // SAFETY: the caller's promise.
        unsafe { plain(eight!(J => L::add_bits(L::zeros(), head.1[part], 4 * J, 2)), head.0) }
    }
}

/// 64 of -1, 0, 1 and 2, one scale.
#[derive(Debug)]
pub struct Q2_0<L>(PhantomData<L>);

impl<L: Lanes<ROWS>, const ROWS: usize> Weights<ROWS> for Q2_0<L> {
    type Lanes = L;
    const FORMAT: Format = Format::Q2_0;
    /// The scale, and four weights in each byte.
    type Head = (L::F, [L::I; 4]);

    #[inline(always)]
    unsafe fn head<S: Source<L, ROWS>>(blocks: &S) -> Self::Head {
        // SAFETY: the caller's promise: 18 bytes.
        unsafe { (blocks.half(0), blocks.dwords(2)) }
    }

    #[inline(always)]
    unsafe fn part<S: Source<L, ROWS>>(_: &S, head: &mut Self::Head, part: usize) -> PartOf<Self, ROWS> {
        // SAFETY: the caller's promise.
        unsafe { plain(eight!(J => L::four_pairs(head.1[2 * part + J / 4], J % 4)), head.0) }
    }
}

/// 32 of 16 uneven levels, one scale.
#[derive(Debug)]
pub struct IQ4NL<L>(PhantomData<L>);

impl<L: Lanes<ROWS>, const ROWS: usize> Weights<ROWS> for IQ4NL<L> {
    type Lanes = L;
    const FORMAT: Format = Format::IQ4_NL;
    type Head = ();

    #[inline(always)]
    unsafe fn head<S: Source<L, ROWS>>(_: &S) {}

    #[inline(always)]
    unsafe fn part<S: Source<L, ROWS>>(blocks: &S, (): &mut (), _: usize) -> PartOf<Self, ROWS> {
        // SAFETY: the caller's promise: 18 bytes.
        unsafe { plain(uneven::<L, ROWS>(blocks.dwords(2)), blocks.half(0)) }
    }
}

impl<L: Lanes<ROWS>, const ROWS: usize> Streamed<ROWS> for IQ4NL<L> {
    const MINIMA: usize = 0;

    #[inline(always)]
    unsafe fn isums<const T: usize>(part: &PartOf<Self, ROWS>, x: &[X; T]) -> [L::I; T] {
        // SAFETY: the caller's promise.
        unsafe { L::dot8(&part.w, x) }
    }
}

/// The weights of 32 numbers in [`IQ4`].
///
/// # Safety
/// As for [`Lanes`].
#[inline(always)]
pub unsafe fn uneven<L: Lanes<ROWS>, const ROWS: usize>(packed: [L::I; 4]) -> [L::I; 8] {
    // SAFETY: the caller's promise.
    unsafe {
        let numbers = nibbles::<L, ROWS>(packed);
        eight!(J => L::weights8(L::look_up(&IQ4, numbers[J])))
    }
}

/// [`E2M1`], 12 too high, so that none is negative.
const HIGH_E2M1: [i8; 16] = {
    let mut high = E2M1;
    let mut i = 0;
    while i < high.len() {
        high[i] += 12;
        i += 1;
    }
    high
};

/// 32 floats of 4 bits, one scale that is a power of two.
#[derive(Debug)]
pub struct Mxfp4<L>(PhantomData<L>);

impl<L: Lanes<ROWS>, const ROWS: usize> Weights<ROWS> for Mxfp4<L> {
    type Lanes = L;
    const FORMAT: Format = Format::MXFP4;
    type Head = ();

    #[inline(always)]
    unsafe fn head<S: Source<L, ROWS>>(_: &S) {}

    #[inline(always)]
    unsafe fn part<S: Source<L, ROWS>>(blocks: &S, (): &mut (), _: usize) -> PartOf<Self, ROWS> {
        // SAFETY: the caller's promise: 17 bytes.
        unsafe {
            let numbers = nibbles::<L, ROWS>(blocks.dwords(1));
            plain(eight!(J => L::look_up(&HIGH_E2M1, numbers[J])), L::half_e8m0(blocks.byte(0)))
        }
    }
}

impl<L: Lanes<ROWS>, const ROWS: usize> Streamed<ROWS> for Mxfp4<L> {
    const MINIMA: usize = 0;

    #[inline(always)]
    unsafe fn isums<const T: usize>(part: &PartOf<Self, ROWS>, x: &[X; T]) -> [L::I; T] {
        // SAFETY: the caller's promise.
        unsafe { L::dot5(&part.w, 12, x) }
    }
}

/// 64 floats of 4 bits in 4 sub-blocks with scales of 8 bits.
#[derive(Debug)]
pub struct Nvfp4<L>(PhantomData<L>);

impl<L: Lanes<ROWS>, const ROWS: usize> Weights<ROWS> for Nvfp4<L> {
    type Lanes = L;
    const FORMAT: Format = Format::NVFP4;
    /// A scale in each byte.
    type Head = L::I;

    #[inline(always)]
    unsafe fn head<S: Source<L, ROWS>>(blocks: &S) -> Self::Head {
        // SAFETY: the caller's promise: 36 bytes.
        unsafe { blocks.dword(0) }
    }

    #[inline(always)]
    unsafe fn part<S: Source<L, ROWS>>(blocks: &S, head: &mut Self::Head, part: usize) -> PartOf<Self, ROWS> {
        // SAFETY: the caller's promise.
        unsafe {
            // A sub-block is 8 bytes: the first 8 weights in the low halves, the others in the high ones.
            let packed = blocks.dwords(4 + 16 * part);
            let w = eight!(J => {
                let numbers = L::bits(packed[J / 4 * 2 + J % 2], J as i32 / 2 % 2 * 4, 15);
                L::look_up(&HIGH_E2M1, numbers)
            });
            let first = L::half_e4m3(L::byte(*head, 2 * part));
            Part { d: [first, L::half_e4m3(L::byte(*head, 2 * part + 1))], ..plain(w, first) }
        }
    }
}
