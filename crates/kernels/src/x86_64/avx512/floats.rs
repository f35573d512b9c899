//! Rows of float matrices, and of dequantized ones, times f32 activations, with the 16 lanes in one vector.

use crate::Matrix;
use crate::scratch::Line;
use crate::split::Tile;
use crate::x86_64::avx2;
use crate::x86_64::avx2::stored::Stored;
use crate::x86_64::float_tiles::{Eight, RegisterTile, Registers, Sixteen, TILE_ROWS, TOKENS, tiled_rows};
use core::arch::x86_64::{_mm512_fmadd_ps, _mm512_loadu_ps, _mm512_setzero_ps, _mm512_storeu_ps};
use core::ops::Range;

/// Rows of any matrix times f32 activations, in 16 lanes.
#[target_feature(enable = "avx2,fma,f16c,avx512f")]
pub fn float_rows(matrix: &Matrix<'_>, rows: Range<usize>, x: &[f32], out: Tile<'_>, scratch: &mut [Line]) {
    // A tile would be mostly empty, or there is none.
    if out.tokens() < TOKENS / 2 || !matrix.cols().is_multiple_of(16) {
        return avx2::float_rows(matrix, rows, x, out, scratch);
    }
    // SAFETY: this function's features.
    unsafe { tiled_rows(RegisterTile::of::<Avx512>(matrix.format()), matrix, rows, x, out, scratch) };
}

/// A vector for each row and token: 24 sums, the rows and a token in 32 registers.
struct Avx512;

impl Registers for Avx512 {
    const ABREAST: usize = TOKENS;

    #[target_feature(enable = "avx2,fma,f16c,avx512f")]
    unsafe fn add<S: Stored>(
        mut rows: [*const u8; TILE_ROWS],
        (mut x, _): (*const Eight, usize),
        steps: usize,
        sums: *mut Sixteen,
        go_on: bool,
    ) {
        // SAFETY: the caller's promise; loads and stores need no alignment.
        unsafe {
            let mut acc = [[_mm512_setzero_ps(); TOKENS]; TILE_ROWS];
            if go_on {
                for n in 0..TILE_ROWS {
                    for t in 0..TOKENS {
                        acc[n][t] = _mm512_loadu_ps(sums.add(TOKENS * n + t).cast());
                    }
                }
            }
            for _ in 0..steps {
                let w: [_; TILE_ROWS] = core::array::from_fn(|n| S::load16(rows[n]));
                for t in 0..TOKENS {
                    let x = _mm512_loadu_ps(x.add(2 * t).cast());
                    for n in 0..TILE_ROWS {
                        acc[n][t] = _mm512_fmadd_ps(w[n], x, acc[n][t]);
                    }
                }
                x = x.add(2 * TOKENS);
                for row in &mut rows {
                    *row = row.add(16 * S::BYTES);
                }
            }
            for n in 0..TILE_ROWS {
                for t in 0..TOKENS {
                    _mm512_storeu_ps(sums.add(TOKENS * n + t).cast(), acc[n][t]);
                }
            }
        }
    }
}
