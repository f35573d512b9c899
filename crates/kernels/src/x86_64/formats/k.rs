//! Formats of 256 weights whose 8 or 16 sub-blocks have integer scales.
#![allow(
    clippy::inline_always,
    reason = "generic code takes on its caller's instruction set by being inlined"
)]

use super::small::uneven;
use super::{plain, six_bits};
use crate::Format;
use crate::x86_64::matmul::{Lanes, Part, PartOf, Streamed, Weights, X};
use crate::x86_64::source::Source;
use core::marker::PhantomData;

/// 256 int2 in 16 sub-blocks with 4-bit scales and minima.
#[derive(Debug)]
pub struct Q2K<L>(PhantomData<L>);

/// A block of `Q2_K`.
#[derive(Debug)]
pub struct Q2KHead<I, F> {
    d: F,
    /// `-dmin`.
    below: F,
    /// Byte i of vector j: scale 4j + i.
    scales: [I; 4],
    /// Likewise the minima.
    minima: [I; 4],
    /// Four weights in a byte, 16 bytes to an element.
    packed: [[I; 4]; 4],
}

impl<L: Lanes<ROWS>, const ROWS: usize> Weights<ROWS> for Q2K<L> {
    type Lanes = L;
    const FORMAT: Format = Format::Q2_K;
    type Head = Q2KHead<L::I, L::F>;

    #[inline(always)]
    unsafe fn head<S: Source<L, ROWS>>(blocks: &S) -> Self::Head {
        // SAFETY: the caller's promise: 84 bytes.
        unsafe {
            let both = blocks.dwords(0);
            let [d, dmin] = L::split_halves(blocks.dword(80));
            Q2KHead {
                d,
                below: L::negative(dmin),
                scales: four!(J => L::bits(both[J], 0, 15)),
                minima: four!(J => L::bits(both[J], 4, 15)),
                packed: four!(J => blocks.dwords(16 + 16 * J)),
            }
        }
    }

    #[inline(always)]
    unsafe fn part<S: Source<L, ROWS>>(_: &S, head: &mut Self::Head, part: usize) -> PartOf<Self, ROWS> {
        let (half, shift) = (part / 4, part as i32 % 4 * 2);
        let (vector, byte) = (part / 2, part % 2 * 2);
        // SAFETY: the caller's promise.
        unsafe {
            let (scales, minima) = (head.scales[vector], head.minima[vector]);
            Part {
                w: eight!(J => L::bits(head.packed[2 * half + J / 4][J % 4], shift, 3)),
                scales: [L::byte_scale(scales, byte), L::byte_scale(scales, byte + 1)],
                d: [head.d; 2],
                minima: [
                    L::product(head.below, L::byte(minima, byte)),
                    L::product(head.below, L::byte(minima, byte + 1)),
                ],
            }
        }
    }
}

impl<L: Lanes<ROWS>, const ROWS: usize> Streamed<ROWS> for Q2K<L> {
    const MINIMA: usize = 2;
    const UNROLLED: usize = 4;

    #[inline(always)]
    unsafe fn isums<const T: usize>(part: &PartOf<Self, ROWS>, x: &[X; T]) -> [L::I; T] {
        // SAFETY: the caller's promise.
        unsafe { L::biased_dot5(&part.w, 0, &part.scales, x) }
    }
}

/// 256 int3 around 4 in 16 sub-blocks with 6-bit scales around 32.
#[derive(Debug)]
pub struct Q3K<L>(PhantomData<L>);

/// A block of `Q3_K`.
#[derive(Debug)]
pub struct Q3KHead<I, F> {
    d: F,
    /// Byte i of vector j: scale 4j + i.
    scales: [I; 4],
    /// The lower 2 bits of four weights in a byte, 16 bytes to an element.
    low: [[I; 4]; 4],
    /// The third bits of eight.
    high: [[I; 4]; 2],
}

impl<L: Lanes<ROWS>, const ROWS: usize> Weights<ROWS> for Q3K<L> {
    type Lanes = L;
    const FORMAT: Format = Format::Q3_K;
    type Head = Q3KHead<L::I, L::F>;

    #[inline(always)]
    unsafe fn head<S: Source<L, ROWS>>(blocks: &S) -> Self::Head {
        // SAFETY: the caller's promise: 110 bytes.
        unsafe {
            let [_, first, second, upper] = blocks.dwords(92);
            Q3KHead {
                d: blocks.half(108),
                scales: [
                    L::join(L::bits(first, 0, 15), L::bits(upper, 0, 3)),
                    L::join(L::bits(second, 0, 15), L::bits(upper, 2, 3)),
                    L::join(L::bits(first, 4, 15), L::bits(upper, 4, 3)),
                    L::join(L::bits(second, 4, 15), L::bits(upper, 6, 3)),
                ],
                low: four!(J => blocks.dwords(32 + 16 * J)),
                high: [blocks.dwords(0), blocks.dwords(16)],
            }
        }
    }

    #[inline(always)]
    unsafe fn part<S: Source<L, ROWS>>(_: &S, head: &mut Self::Head, part: usize) -> PartOf<Self, ROWS> {
        let (half, shift) = (part / 4, part as i32 % 4 * 2);
        // SAFETY: the caller's promise.
        unsafe {
            let w = eight!(J => {
                let low = L::bits(head.low[2 * half + J / 4][J % 4], shift, 3);
                L::merge(low, L::bits(head.high[J / 4][J % 4], part as i32, 1), 2)
            });
            let (scales, byte) = (head.scales[part / 2], part as i32 % 2 * 16);
            let scales =
                [L::scale(L::field(scales, byte, 255, -32)), L::scale(L::field(scales, byte + 8, 255, -32))];
            Part { scales, ..plain(w, head.d) }
        }
    }
}

impl<L: Lanes<ROWS>, const ROWS: usize> Streamed<ROWS> for Q3K<L> {
    const MINIMA: usize = 0;
    const UNROLLED: usize = 4;

    #[inline(always)]
    unsafe fn isums<const T: usize>(part: &PartOf<Self, ROWS>, x: &[X; T]) -> [L::I; T] {
        // SAFETY: the caller's promise.
        unsafe { L::biased_dot5(&part.w, 4, &part.scales, x) }
    }
}

/// 256 int5 in 8 sub-blocks with 6-bit scales and minima.
#[derive(Debug)]
pub struct Q5K<L>(PhantomData<L>);

/// A block of `Q5_K`.
#[derive(Debug)]
pub struct Q5KHead<I, F> {
    d: F,
    /// `-dmin`.
    below: F,
    /// Byte i of each lane: the scales of parts i and 4 + i.
    scales: [I; 2],
    /// Likewise the minima.
    minima: [I; 2],
    /// The lower 4 bits of two weights in a byte, 16 bytes to an element.
    low: [[I; 4]; 8],
    /// The fifth bits of eight.
    high: [[I; 4]; 2],
}

impl<L: Lanes<ROWS>, const ROWS: usize> Weights<ROWS> for Q5K<L> {
    type Lanes = L;
    const FORMAT: Format = Format::Q5_K;
    type Head = Q5KHead<L::I, L::F>;

    #[inline(always)]
    unsafe fn head<S: Source<L, ROWS>>(blocks: &S) -> Self::Head {
        // SAFETY: the caller's promise: 176 bytes.
        unsafe {
            let [both, scales, minima, lower] = blocks.dwords(0);
            let [d, dmin] = L::split_halves(both);
            let (scales, minima) = six_bits::<L, ROWS>([scales, minima, lower]);
            Q5KHead {
                d,
                below: L::negative(dmin),
                scales,
                minima,
                low: eight!(J => blocks.dwords(48 + 16 * J)),
                high: [blocks.dwords(16), blocks.dwords(32)],
            }
        }
    }

    #[inline(always)]
    unsafe fn part<S: Source<L, ROWS>>(_: &S, head: &mut Self::Head, part: usize) -> PartOf<Self, ROWS> {
        let (pair, shift) = (part / 2, part as i32 % 2 * 4);
        // SAFETY: the caller's promise.
        unsafe {
            Part {
                w: eight!(J => {
                    let low = L::bits(head.low[2 * pair + J / 4][J % 4], shift, 15);
                    L::join(low, L::bits(head.high[J / 4][J % 4], part as i32, 1))
                }),
                scales: [L::byte_scale(head.scales[part / 4], part % 4); 2],
                d: [head.d; 2],
                minima: [L::product(head.below, L::byte(head.minima[part / 4], part % 4)); 2],
            }
        }
    }
}

impl<L: Lanes<ROWS>, const ROWS: usize> Streamed<ROWS> for Q5K<L> {
    const MINIMA: usize = 1;
    const UNROLLED: usize = 2;

    #[inline(always)]
    unsafe fn isums<const T: usize>(part: &PartOf<Self, ROWS>, x: &[X; T]) -> [L::I; T] {
        // SAFETY: the caller's promise.
        unsafe { L::scaled_dot5(&part.w, part.scales[0], x) }
    }
}

/// 256 of 16 uneven levels in 8 sub-blocks with 6-bit scales around 32.
#[derive(Debug)]
pub struct IQ4XS<L>(PhantomData<L>);

impl<L: Lanes<ROWS>, const ROWS: usize> Weights<ROWS> for IQ4XS<L> {
    type Lanes = L;
    const FORMAT: Format = Format::IQ4_XS;
    /// The scale under the upper 2 bits of the integer scales, and their lower 4 bits.
    type Head = [L::I; 2];

    #[inline(always)]
    unsafe fn head<S: Source<L, ROWS>>(blocks: &S) -> Self::Head {
        // SAFETY: the caller's promise: 136 bytes.
        unsafe { [blocks.dword(0), blocks.dword(4)] }
    }

    #[inline(always)]
    unsafe fn part<S: Source<L, ROWS>>(blocks: &S, head: &mut Self::Head, part: usize) -> PartOf<Self, ROWS> {
        let [both, low] = *head;
        let part = part as i32;
        // SAFETY: the caller's promise.
        unsafe {
            let w = uneven::<L, ROWS>(blocks.dwords(8 + 16 * part as usize));
            let scale = L::join(L::field(low, 4 * part, 15, 0), L::field(both, 16 + 2 * part, 3, 0));
            let [d, _] = L::split_halves(both);
            Part { scales: [L::scale(L::field(scale, 0, 255, -32)); 2], ..plain(w, d) }
        }
    }
}

impl<L: Lanes<ROWS>, const ROWS: usize> Streamed<ROWS> for IQ4XS<L> {
    const MINIMA: usize = 0;
    const UNROLLED: usize = 1;

    #[inline(always)]
    unsafe fn isums<const T: usize>(part: &PartOf<Self, ROWS>, x: &[X; T]) -> [L::I; T] {
        // SAFETY: the caller's promise.
        unsafe { L::scaled_dot8(&part.w, &part.scales, x) }
    }
}
