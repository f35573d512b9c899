//! The walk over rows, spans and tokens with an engine of plain Rust in place of the CPU's, which few have.

use std::vec;
use std::vec::Vec;

use super::*;
use crate::layout::interleave;
use crate::split::{Columns, Parts};
use crate::{Alone, Quantized, reference, tiles};

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

/// Numbers without a pattern: xorshift64 (Marsaglia 2003).
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Random blocks, all scales of which are finite.
fn weights(format: Format, rows: usize, cols: usize, state: &mut u64) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        (0..rows * format.row_bytes(cols).unwrap()).map(|_| random(state) as u8).collect();
    let scales: &[usize] = match format {
        Format::Q4_1 | Format::Q4_K => &[1, 3],
        Format::Q6_K => &[209],
        _ => &[1],
    };
    for block in bytes.chunks_exact_mut(format.block_bytes()) {
        scales.iter().for_each(|at| block[*at] &= 0xbb);
    }
    bytes
}

/// The outputs `rows` of all tokens, as `multiply` gives them.
fn outputs(width: usize, tokens: usize, rows: Range<usize>, multiply: impl FnOnce(Tile<'_>)) -> Vec<u32> {
    let mut out = vec![f32::NAN; width * tokens];
    let columns = Columns::new(&mut out, width, width);
    // SAFETY: the only part is asked for once.
    let mut tile = unsafe { columns.part(0) };
    multiply(tile.columns_mut(rows));
    out.into_iter().map(f32::to_bits).collect()
}

#[test]
fn tiles_have_the_bits_of_the_reference_whatever_the_rows_the_spans_and_the_tokens() {
    if !std::is_x86_feature_detected!("avx512vnni") || !std::is_x86_feature_detected!("avx512bw") {
        // The vectors around the engine are those of level AVX-512.
        return;
    }
    let state = &mut 0x9e37_79b9_7f4a_7c15;
    for format in [Format::Q8_0, Format::Q4_0, Format::Q4_1, Format::Q4_K, Format::Q6_K] {
        // Fewer rows than lanes, ranges that begin in a group, more groups than go together; up to three spans.
        for (rows, range, cols, tokens) in [
            (5, 0..5, 256, 5),
            (16, 0..16, 512, 16),
            (48, 3..41, 2304, 17),
            (300, 0..300, 256, 6),
            (288, 7..288, 4352, 40),
        ] {
            let bytes = weights(format, rows, cols, state);
            let q: Vec<i8> = (0..tokens * cols).map(|_| (random(state) as i8).max(-127)).collect();
            let d: Vec<f32> = (0..q.len() / 32).map(|_| (random(state) as u16) as f32 / 65536.0).collect();
            let sums: Vec<i16> = q.chunks(16).map(|half| half.iter().map(|q| i16::from(*q)).sum()).collect();
            let x = Quantized { q: &q, d: &d, sums: &sums };
            let mut lines = vec![Line::ZERO; tiles::lines(tokens, cols)];
            let tiled = tiles::pack(&x, cols, &Alone, &mut lines);
            let mut scratch = vec![Line::ZERO; super::lines(tokens)];
            let plain = Matrix::new(format, rows, cols, &bytes).unwrap();
            let expected = outputs(rows, tokens, range.clone(), |out| {
                reference::quantized_rows(&plain, range.clone(), &x, out, &mut []);
            });
            let mut groups = vec![0; bytes.len()];
            let packed = rows.is_multiple_of(GROUP).then(|| {
                let len = GROUP * plain.row_bytes();
                for (rows, group) in bytes.chunks(len).zip(groups.chunks_mut(len)) {
                    interleave(format, rows, group);
                }
                Matrix::with_layout(format, Layout::Rows16, rows, cols, &groups).unwrap()
            });
            for matrix in [Some(plain), packed].into_iter().flatten() {
                let actual = outputs(rows, tokens, range.clone(), |out| {
                    // SAFETY: the features are there; the engine is of plain Rust.
                    unsafe { with_engine(&Plain, &matrix, range.clone(), &tiled, out, &mut scratch) };
                });
                assert!(
                    expected == actual,
                    "{format} {rows} x {cols}, rows {range:?}, {tokens} tokens, {:?}",
                    matrix.layout()
                );
            }
        }
    }
}
