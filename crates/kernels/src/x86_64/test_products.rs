//! Products to judge kernels by that the running CPU cannot execute as they are, with a stand-in for what it lacks.

use std::vec;
use std::vec::Vec;

use crate::layout::{self, GROUP, Layout};
use crate::split::{Columns, Parts, Tile};
use crate::{Format, Matrix, Quantized, reference};
use core::ops::Range;

/// A matrix, activations, and which of the rows to compute.
pub struct Product {
    pub rows: usize,
    pub range: Range<usize>,
    pub cols: usize,
    pub tokens: usize,
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
    for block in bytes.chunks_exact_mut(format.block_bytes()) {
        match format {
            Format::MXFP4 => block[0] = 108 + block[0] % 32,
            Format::IQ1_M => block[55] &= 0xbb,
            _ => {}
        }
        format.halves().iter().for_each(|at| block[at + 1] &= 0xbb);
    }
    bytes
}

impl Product {
    /// The bits of the outputs of all tokens, as `multiply` gives them.
    fn outputs(&self, multiply: impl FnOnce(Tile<'_>)) -> Vec<u32> {
        let mut out = vec![f32::NAN; self.rows * self.tokens];
        let columns = Columns::new(&mut out, self.rows, self.rows);
        // SAFETY: the only part is asked for once.
        let mut tile = unsafe { columns.part(0) };
        multiply(tile.columns_mut(self.range.clone()));
        out.into_iter().map(f32::to_bits).collect()
    }

    /// Compares `multiply` with the reference, for every format and layout.
    pub fn compare(&self, multiply: &dyn Fn(&Matrix<'_>, &Quantized<'_>, Tile<'_>)) {
        let Self { rows, range, cols, tokens } = self;
        let state = &mut 0x9e37_79b9_7f4a_7c15;
        for format in Format::ALL.into_iter().filter(|format| !format.is_float()) {
            let bytes = weights(format, *rows, *cols, state);
            let q: Vec<i8> = (0..tokens * cols).map(|_| (random(state) as i8).max(-127)).collect();
            let d: Vec<f32> = (0..q.len() / 32).map(|_| (random(state) as u16) as f32 / 65536.0).collect();
            let sums: Vec<i16> = q.chunks(16).map(|half| half.iter().map(|q| i16::from(*q)).sum()).collect();
            let x = Quantized { q: &q, d: &d, sums: &sums };
            let plain = Matrix::new(format, *rows, *cols, &bytes).unwrap();
            let expected =
                self.outputs(|out| reference::quantized_rows(&plain, range.clone(), &x, out, &mut []));
            let mut groups = vec![0; bytes.len()];
            let takes = rows.is_multiple_of(GROUP) && Layout::Rows16.takes(format);
            let packed = takes.then(|| {
                let len = GROUP * plain.row_bytes();
                for (rows, group) in bytes.chunks(len).zip(groups.chunks_mut(len)) {
                    layout::interleave(format, rows, group);
                }
                Matrix::with_layout(format, Layout::Rows16, *rows, *cols, &groups).unwrap()
            });
            for matrix in [Some(plain), packed].into_iter().flatten() {
                let actual = self.outputs(|out| multiply(&matrix, &x, out));
                assert!(
                    expected == actual,
                    "{format} {rows} x {cols}, rows {range:?}, {tokens} tokens, {:?}",
                    matrix.layout()
                );
            }
        }
    }
}
