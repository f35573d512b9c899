//! Formats of 256 weights that are -1, 0 or 1.
#![allow(
    clippy::inline_always,
    reason = "generic code takes on its caller's instruction set by being inlined"
)]

use super::plain;
use crate::Format;
use crate::x86_64::matmul::{Lanes, PartOf, Streamed, Weights, X};
use crate::x86_64::source::Source;
use core::marker::PhantomData;

/// Five to a byte, one scale.
#[derive(Debug)]
pub struct TQ1_0<L>(PhantomData<L>);

impl<L: Lanes<ROWS>, const ROWS: usize> Weights<ROWS> for TQ1_0<L> {
    type Lanes = L;
    const FORMAT: Format = Format::TQ1_0;
    /// The scale; 48 bytes of five digits and 4 bytes of four, as [`Lanes::digits`] makes them, of which those that were read
    /// are gone.
    type Head = (L::F, [L::I; 13]);

    #[inline(always)]
    unsafe fn head<S: Source<L, ROWS>>(blocks: &S) -> Self::Head {
        // SAFETY: the caller's promise: 54 bytes.
        unsafe {
            let ([a, b, c, d], [e, f, g, h]) = (blocks.dwords(0), blocks.dwords(16));
            let [i, j, k, l] = blocks.dwords(32);
            let mut digits = [a, b, c, d, e, f, g, h, i, j, k, l, blocks.dword(48)];
            for digits in &mut digits {
                *digits = L::digits(*digits);
            }
            (blocks.half(52), digits)
        }
    }

    #[inline(always)]
    unsafe fn part<S: Source<L, ROWS>>(_: &S, head: &mut Self::Head, part: usize) -> PartOf<Self, ROWS> {
        // SAFETY: the caller's promise.
        unsafe {
            let w = eight!(J => {
                // Five parts of the first 32 bytes, five halves of the next 16, and one of the last 4. A digit is what a
                // multiplication moves over the point, and the next one then comes behind it.
                let dword = match part {
                    0..5 => J,
                    7 if J / 4 == 1 => 12,
                    _ => 8 + J % 4,
                };
                let digits = head.1[dword];
                head.1[dword] = L::triple(digits);
                L::over_triple(digits)
            });
            plain(w, head.0)
        }
    }
}

impl<L: Lanes<ROWS>, const ROWS: usize> Streamed<ROWS> for TQ1_0<L> {
    const MINIMA: usize = 0;
    const UNROLLED: usize = 1;

    #[inline(always)]
    unsafe fn isums<const T: usize>(part: &PartOf<Self, ROWS>, x: &[X; T]) -> [L::I; T] {
        // SAFETY: the caller's promise.
        unsafe { L::dot4(&part.w, 1, x) }
    }
}

/// Four to a byte, one scale.
#[derive(Debug)]
pub struct TQ2_0<L>(PhantomData<L>);

impl<L: Lanes<ROWS>, const ROWS: usize> Weights<ROWS> for TQ2_0<L> {
    type Lanes = L;
    const FORMAT: Format = Format::TQ2_0;
    /// The scale, and four weights in a byte, 16 bytes to an element.
    type Head = (L::F, [[L::I; 4]; 4]);

    #[inline(always)]
    unsafe fn head<S: Source<L, ROWS>>(blocks: &S) -> Self::Head {
        // SAFETY: the caller's promise: 66 bytes.
        unsafe { (blocks.half(64), four!(J => blocks.dwords(16 * J))) }
    }

    #[inline(always)]
    unsafe fn part<S: Source<L, ROWS>>(_: &S, head: &mut Self::Head, part: usize) -> PartOf<Self, ROWS> {
        let (half, shift) = (part / 4, part as i32 % 4 * 2);
        // SAFETY: the caller's promise.
        unsafe { plain(eight!(J => L::bits(head.1[2 * half + J / 4][J % 4], shift, 3)), head.0) }
    }
}

impl<L: Lanes<ROWS>, const ROWS: usize> Streamed<ROWS> for TQ2_0<L> {
    const MINIMA: usize = 0;
    const UNROLLED: usize = 4;

    #[inline(always)]
    unsafe fn isums<const T: usize>(part: &PartOf<Self, ROWS>, x: &[X; T]) -> [L::I; T] {
        // SAFETY: the caller's promise.
        unsafe { L::dot4(&part.w, 1, x) }
    }
}
