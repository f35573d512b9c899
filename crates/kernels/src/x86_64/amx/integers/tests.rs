//! The walk over rows, spans and tokens with an engine of plain Rust in place of the CPU's, which few have.

use std::vec;

use super::*;
use crate::x86_64::test_products::Product;
use crate::{Alone, tiles};

/// What the instructions do, one number at a time.
struct Plain;

impl Plain {
    /// # Safety
    /// As for [`MatrixEngine::product`], over the numbers `columns`.
    unsafe fn sums(x: *const i8, w: *const u8, sums: *mut i32, columns: Range<usize>) {
        for (t, r) in (0..TOKENS).flat_map(|t| (0..16).map(move |r| (t, r))) {
            // SAFETY: the caller's promise.
            let product = |i: usize| unsafe {
                i32::from(*x.add(t * 32 + i)) * i32::from(*w.add(i / 4 * 64 + r * 4 + i % 4) as i8)
            };
            // SAFETY: the caller's promise.
            unsafe { *sums.add(t * 16 + r) = columns.clone().map(product).sum() };
        }
    }
}

impl MatrixEngine for Plain {
    unsafe fn product(&self, x: *const i8, w: *const u8, sums: *mut i32) {
        // SAFETY: the caller's promise.
        unsafe { Self::sums(x, w, sums, 0..32) };
    }

    unsafe fn half_products(&self, x: *const i8, w: *const u8, sums: *mut i32) {
        // SAFETY: the caller's promise.
        unsafe {
            Self::sums(x, w, sums, 0..16);
            Self::sums(x, w, sums.add(TOKENS * 16), 16..32);
        }
    }
}

#[test]
fn tiles_have_the_bits_of_the_reference_whatever_the_rows_the_spans_and_the_tokens() {
    if !std::is_x86_feature_detected!("avx512vnni") || !std::is_x86_feature_detected!("avx512bw") {
        // The vectors around the engine are those of level AVX-512.
        return;
    }
    // Fewer rows than lanes, ranges that begin in a group, more groups than go together; up to three spans.
    for (rows, range, cols, tokens) in [
        (5, 0..5, 256, 5),
        (16, 0..16, 512, 16),
        (48, 3..41, 2304, 17),
        (288, 7..288, 256, 6),
        (32, 0..32, 4352, 40),
    ] {
        let mut tile_lines = vec![Line::ZERO; tiles::lines(tokens, cols)];
        let mut scratch = vec![Line::ZERO; lines(tokens)];
        let buffers = std::sync::Mutex::new((&mut tile_lines, &mut scratch));
        Product { rows, range: range.clone(), cols, tokens }.compare(&|matrix, x, out| {
            let (tile_lines, scratch) = &mut *buffers.lock().unwrap();
            let tiled = tiles::pack(x, cols, &Alone, tile_lines);
            // SAFETY: the features are there; the engine is of plain Rust.
            unsafe { with_engine(&Plain, matrix, range.clone(), &tiled, out, scratch) };
        });
    }
}
