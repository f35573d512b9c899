//! Int8 activations of many tokens in the order in which a matrix engine reads them.
//!
//! In: rows of quantized activations. Out: tiles of [`TOKENS`] tokens, in which the same 32 activations of all its
//! tokens lie together. So a tile register is loaded from consecutive lines, however long a row is. Tokens that are
//! missing from the last tile are zeros.

use crate::Workers;
use crate::activations::{BLOCK, HALF, Quantized};
use crate::scratch::{Line, carve};
use crate::split::{Chunks, Split};

/// The tokens of a tile.
pub const TOKENS: usize = 16;

/// Activations in tiles.
#[derive(Clone, Copy, Debug)]
pub struct Tiles<'a> {
    /// The number of tokens.
    pub tokens: usize,
    /// Blocks of 32 in a row.
    pub blocks: usize,
    /// tiles x blocks x tokens of the tile x 32.
    pub q: &'a [i8],
    /// tiles x blocks x tokens of the tile: the scale of each block.
    pub d: &'a [f32],
    /// tiles x blocks x tokens of the tile: the scale times the sum of each block.
    pub sums: &'a [f32],
    /// tiles x blocks x tokens of the tile: the sums of the halves of each block.
    pub halves: &'a [[i16; 2]],
}

/// The lines that tiles of so many tokens and columns take.
pub const fn lines(tokens: usize, cols: usize) -> usize {
    let values = tokens.next_multiple_of(TOKENS) * cols.next_multiple_of(BLOCK);
    (values + 3 * size_of::<f32>() * (values / BLOCK)) / Line::BYTES
}

/// Brings `x`, rows of `cols` activations, into tiles.
///
/// # Panics
/// If `scratch` is smaller than [`lines`] says, or `x` is not whole rows of whole blocks.
pub fn pack<'a>(x: &Quantized<'_>, cols: usize, workers: &dyn Workers, scratch: &'a mut [Line]) -> Tiles<'a> {
    let (blocks, tokens) = (cols / BLOCK, x.q.len() / cols);
    assert!(cols.is_multiple_of(BLOCK) && x.d.len() == tokens * blocks, "whole rows of whole blocks");
    let len = tokens.div_ceil(TOKENS) * blocks * TOKENS;
    let (q, scratch) = carve::<i8>(scratch, len * BLOCK);
    let (d, scratch) = carve::<f32>(scratch, len);
    let (sums, scratch) = carve::<f32>(scratch, len);
    let (halves, _) = carve::<[i16; 2]>(scratch, len);
    let tile = blocks * TOKENS;
    let parts = (
        Chunks::new(&mut *q, tile * BLOCK),
        Chunks::new(&mut *d, tile),
        Chunks::new(&mut *sums, tile),
        Chunks::new(&mut *halves, tile),
    );
    let parts = Split::new(parts);
    workers.run(&|| {
        while let Some((tile, (q, d, sums, halves))) = parts.claim() {
            let (q, _) = q.as_chunks_mut::<BLOCK>();
            for t in 0..TOKENS {
                let token = tile * TOKENS + t;
                let places = || (t..blocks * TOKENS).step_by(TOKENS);
                if token >= tokens {
                    places().for_each(|at| {
                        (q[at], d[at], sums[at], halves[at]) = ([0; BLOCK], 0.0, 0.0, [0; 2]);
                    });
                    continue;
                }
                let x = x.token(token, cols);
                let (xq, _) = x.q.as_chunks::<BLOCK>();
                let (xsums, _) = x.sums.as_chunks::<{ BLOCK / HALF }>();
                for (at, ((xq, dx), xsums)) in places().zip(xq.iter().zip(x.d).zip(xsums)) {
                    q[at] = *xq;
                    d[at] = *dx;
                    sums[at] = dx * xsums.iter().map(|sum| i32::from(*sum)).sum::<i32>() as f32;
                    halves[at] = *xsums;
                }
            }
        }
    });
    Tiles { tokens, blocks, q, d, sums, halves }
}
