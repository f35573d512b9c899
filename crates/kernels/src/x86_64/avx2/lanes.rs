//! The 16 virtual lanes of every float reduction as two vectors of 8.

use super::stored::Stored;
use crate::x86_64::source::fetch;
use core::arch::x86_64::{
    __m256, _mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_fmadd_ss, _mm_movehdup_ps, _mm_movehl_ps, _mm_set_ss,
    _mm_shuffle_ps, _mm_storeu_ps, _mm256_add_ps, _mm256_castpd_ps, _mm256_castps_pd, _mm256_castps256_ps128,
    _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_permute2f128_ps, _mm256_setzero_ps,
    _mm256_storeu_ps, _mm256_unpackhi_pd, _mm256_unpacklo_pd,
};

/// Eight values to a vector.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn load(values: &[f32; 8]) -> __m256 {
    // SAFETY: the array is 8 floats; the load needs no alignment.
    unsafe { _mm256_loadu_ps(values.as_ptr()) }
}

/// A vector to eight values.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn store(values: &mut [f32; 8], vector: __m256) {
    // SAFETY: the array is 8 floats; the store needs no alignment.
    unsafe { _mm256_storeu_ps(values.as_mut_ptr(), vector) }
}

/// `a * b + c`, rounded once, in one instruction.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn fma(a: f32, b: f32, c: f32) -> f32 {
    _mm_cvtss_f32(_mm_fmadd_ss(_mm_set_ss(a), _mm_set_ss(b), _mm_set_ss(c)))
}

/// The sums of 16 lanes each, folded 8, 4, 2, 1: those of four at the same time. `IN_TURNS` says that the quarters 1 and 2
/// of lanes have changed places.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn fold_four<const IN_TURNS: bool>(lanes: [&[f32; 16]; 4]) -> [f32; 4] {
    let eights = lanes.map(|lanes| {
        let (halves, _) = lanes.as_chunks();
        let (a, b) = (load(&halves[0]), load(&halves[1]));
        if IN_TURNS {
            _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b))
        } else {
            _mm256_add_ps(a, b)
        }
    });
    // In the lower half of a vector what is of the first two, in the upper what is of the others.
    let fours: [_; 2] = core::array::from_fn(|i| {
        let (a, b) = (eights[i], eights[i + 2]);
        _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b))
    });
    let [a, b] = fours.map(|four| _mm256_castps_pd(four));
    let (low, high) = (_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
    let twos = _mm256_add_ps(_mm256_castpd_ps(low), _mm256_castpd_ps(high));
    let (first, others) = (_mm256_castps256_ps128(twos), _mm256_extractf128_ps::<1>(twos));
    let even = _mm_shuffle_ps::<0x88>(first, others);
    let odd = _mm_shuffle_ps::<0xdd>(first, others);
    let mut sums = [0.0; 4];
    // SAFETY: the array has four values; the store needs no alignment.
    unsafe { _mm_storeu_ps(sums.as_mut_ptr(), _mm_add_ps(even, odd)) };
    sums
}

/// The sum of 16 lanes, folded 8, 4, 2, 1.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn fold(lanes: [__m256; 2]) -> f32 {
    let eight = _mm256_add_ps(lanes[0], lanes[1]);
    let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}

/// Σ row·x for each of `N` rows, which are as long as `x`.
///
/// Several rows at once keep enough sums in flight to hide the latency of an fma. While they are read, memory is asked for those
/// that follow them.
///
/// # Panics
/// If a row is shorter.
#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c")]
pub fn dots<S: Stored, const N: usize>(rows: [&[u8]; N], x: &[f32]) -> [f32; N] {
    let cols = x.len();
    assert!(rows.iter().all(|row| row.len() >= cols * S::BYTES), "rows as long as x");
    let mut sums = [[_mm256_setzero_ps(); 2]; N];
    let whole = cols / 16 * 16;
    let next = rows.iter().map(|row| row.len()).sum::<usize>();
    for at in (0..whole).step_by(16) {
        if N > 1 {
            for row in rows {
                fetch(row.as_ptr().wrapping_add(next + at * S::BYTES), 1);
            }
        }
        for half in 0..2 {
            let at = at + 8 * half;
            // SAFETY: 8 elements from `at` on lie inside x and each row.
            unsafe {
                let x = _mm256_loadu_ps(x.as_ptr().add(at));
                for (sums, row) in sums.iter_mut().zip(rows) {
                    let w = S::load(row.as_ptr().add(at * S::BYTES));
                    sums[half] = _mm256_fmadd_ps(w, x, sums[half]);
                }
            }
        }
    }
    if whole < cols {
        for (sums, row) in sums.iter_mut().zip(rows) {
            add_rest::<S>(sums, row, x, whole);
        }
    }
    let mut out = [0.0; N];
    fold_each(&sums, &mut out);
    out
}

/// [`fold`] of each, in a loop that is not unrolled.
#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c")]
fn fold_each(sums: &[[__m256; 2]], out: &mut [f32]) {
    for (sums, out) in sums.iter().zip(out) {
        *out = fold(*sums);
    }
}

/// Adds the products from `whole` on, fewer than 16, each to its lane. Rare, and so short code.
#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_rest<S: Stored>(sums: &mut [__m256; 2], row: &[u8], x: &[f32], whole: usize) {
    let mut lanes = [[0.0; 8]; 2];
    for (lanes, sums) in lanes.iter_mut().zip(*sums) {
        store(lanes, sums);
    }
    let weights = row.chunks_exact(S::BYTES).skip(whole);
    for ((lane, w), x) in lanes.as_flattened_mut().iter_mut().zip(weights).zip(&x[whole..]) {
        *lane = fma(S::get(w), *x, *lane);
    }
    *sums = [load(&lanes[0]), load(&lanes[1])];
}
