//! Sixteen unpacked rows times eight tokens: where a prompt's time goes.
//!
//! In: parts of 16 rows, int8 activations of eight tokens. Out: their sums, with the bits that other tiles give.
//!
//! The multipliers are what there is too little of: one product of 64 bytes a cycle. So whatever else a token brings to a
//! sum is made ready before, for all blocks of a row at once, and is an operand in memory then; and the tokens take turns,
//! instruction by instruction, which the compiler would not let them: it has one finish its sum before the next begins, so
//! that each product waits for the one before.

use crate::scratch::{Line, carve};
use crate::x86_64::kinds::Kind;
use crate::x86_64::matmul::Part;
use crate::x86_64::unpacked::At;
use core::arch::asm;
use core::arch::x86_64::{
    __m512, __m512i, _MM_HINT_T0, _mm_prefetch, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_storeu_ps,
    _mm512_add_epi32, _mm512_add_ps, _mm512_castps256_ps512, _mm512_castps512_ps256, _mm512_castsi256_si512,
    _mm512_castsi512_ps, _mm512_cvtepi32_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512,
    _mm512_madd_epi16, _mm512_mul_ps, _mm512_mullo_epi32, _mm512_set1_epi32, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_setzero_si512, _mm512_storeu_ps,
};

/// The tokens of a tile.
const TOKENS: usize = 8;

/// What is made ready of the activations takes so many lines for each block of 32: two numbers for each token.
pub const LINES_OF_A_BLOCK: usize = TOKENS * 2 * 4 / Line::BYTES;

/// Sixteen rows times the eight tokens from `x.token` on: for each token and row `acc + accm`.
///
/// `surplus` is how much too high weights are. `scratch` has [`LINES_OF_A_BLOCK`] for each part.
///
/// # Safety
/// The CPU has the features; there are these tokens, of as many blocks as there are parts.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub unsafe fn tile(
    kind: Kind,
    surplus: u8,
    parts: &[Part<__m512i, __m512>],
    x: &At<'_>,
    scratch: &mut [Line],
) -> [[f32; 16]; TOKENS] {
    let less = -i16::from(surplus);
    // SAFETY: the caller's promise.
    unsafe {
        match kind {
            Kind::Four { .. } | Kind::Five { .. } | Kind::Eight => {
                walk::<0, 0, 1>(parts, x, sums(x, scratch, [[less; 2], [0; 2]]))
            }
            Kind::FourMinimum | Kind::FiveMinimum => {
                walk::<0, 1, 1>(parts, x, minima(x, scratch, [[1; 2], [0; 2]]))
            }
            Kind::ScaledFour | Kind::ScaledFive => {
                walk::<1, 1, 1>(parts, x, minima(x, scratch, [[1; 2], [0; 2]]))
            }
            Kind::BiasedFive { .. } | Kind::BiasedSeven { .. } | Kind::ScaledSix | Kind::ScaledEight => {
                walk::<2, 0, 1>(parts, x, sums(x, scratch, [[less, 0], [0, less]]))
            }
            Kind::ScaledMinima => walk::<2, 2, 1>(parts, x, minima(x, scratch, [[1, 0], [0, 1]])),
            Kind::Halves { .. } => walk::<0, 0, 2>(parts, x, sums(x, scratch, [[less, 0], [0, less]])),
        }
    }
}

/// For each token and block two numbers: where the integer sums start from, or what the minima are multiplied by.
type Ready = [*const f32; 2];

/// The sums of both halves of each block, weighed in two ways.
///
/// # Safety
/// As for [`tile`].
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn sums(x: &At<'_>, scratch: &mut [Line], by: [[i16; 2]; 2]) -> Ready {
    // SAFETY: the caller's promise.
    unsafe { ready::<false>(x, scratch, by) }
}

/// The same times the scale of the block, as floats.
///
/// # Safety
/// As for [`tile`].
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn minima(x: &At<'_>, scratch: &mut [Line], by: [[i16; 2]; 2]) -> Ready {
    // SAFETY: the caller's promise.
    unsafe { ready::<true>(x, scratch, by) }
}

/// [`sums`] or, if they are `SCALED`, [`minima`].
///
/// # Safety
/// As for [`tile`].
#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn ready<const SCALED: bool>(x: &At<'_>, scratch: &mut [Line], by: [[i16; 2]; 2]) -> Ready {
    let blocks = x.cols / 32;
    let first = x.token * blocks;
    // All tokens' blocks lie in one piece, here and there.
    let d = &x.x.d[first..first + TOKENS * blocks];
    let sums = &x.x.sums[2 * first..2 * (first + TOKENS * blocks)];
    let (one, scratch) = carve::<f32>(scratch, TOKENS * blocks);
    let (two, _) = carve::<f32>(scratch, TOKENS * blocks);
    for (out, by) in [&mut *one, &mut *two].into_iter().zip(by) {
        if by == [0; 2] {
            break;
        }
        let by = _mm512_set1_epi32(i32::from(by[1]) << 16 | i32::from(by[0].cast_unsigned()));
        let number = |halves: __m512i, d: __m512| {
            let sum = _mm512_madd_epi16(halves, by);
            if SCALED { _mm512_mul_ps(d, _mm512_cvtepi32_ps(sum)) } else { _mm512_castsi512_ps(sum) }
        };
        let mut at = 0;
        // SAFETY: every buffer has so many blocks; no load or store needs alignment.
        unsafe {
            while at + 16 <= out.len() {
                let halves = _mm512_loadu_si512(sums.as_ptr().add(2 * at).cast());
                let d = _mm512_loadu_ps(d.as_ptr().add(at));
                _mm512_storeu_ps(out.as_mut_ptr().add(at), number(halves, d));
                at += 16;
            }
            if at < out.len() {
                // Eight tokens: half a vector is left where blocks are an odd number.
                let halves = _mm512_castsi256_si512(_mm256_loadu_si256(sums.as_ptr().add(2 * at).cast()));
                let d = _mm512_castps256_ps512(_mm256_loadu_ps(d.as_ptr().add(at)));
                _mm256_storeu_ps(out.as_mut_ptr().add(at), _mm512_castps512_ps256(number(halves, d)));
            }
        }
    }
    [one.as_ptr(), two.as_ptr()]
}

/// The places of the same number of eight tokens, which lie equally far apart.
#[derive(Clone, Copy)]
struct Eight {
    first: *const u8,
    fifth: *const u8,
    stride: usize,
}

impl Eight {
    /// From that of the first token on, `stride` bytes apart.
    fn new<T>(first: *const T, stride: usize) -> Self {
        let first = first.cast::<u8>();
        Self { first, fifth: first.wrapping_add(4 * stride), stride }
    }

    /// The places `bytes` behind these.
    fn add(self, bytes: usize) -> Self {
        Self { first: self.first.wrapping_add(bytes), fifth: self.fifth.wrapping_add(bytes), ..self }
    }

    /// The place of a token.
    fn of<T>(self, t: usize) -> *const T {
        let four = if t < 4 { self.first } else { self.fifth };
        four.wrapping_add(t % 4 * self.stride).cast()
    }
}

/// Adds the products of four weights of each row and of four activations of each token.
///
/// # Safety
/// As for [`tile`]; the places are valid for reading four bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn multiply(sums: &mut [__m512i; TOKENS], w: __m512i, x: Eight) {
    let [a, b, c, d, e, f, g, h] = sums;
    // SAFETY: the caller's promise; nothing else is read.
    unsafe {
        asm!(
            "vpdpbusd {a}, {w}, dword ptr [{x}]{{1to16}}",
            "vpdpbusd {b}, {w}, dword ptr [{x} + {s}]{{1to16}}",
            "vpdpbusd {c}, {w}, dword ptr [{x} + 2*{s}]{{1to16}}",
            "vpdpbusd {d}, {w}, dword ptr [{x} + {s3}]{{1to16}}",
            "vpdpbusd {e}, {w}, dword ptr [{y}]{{1to16}}",
            "vpdpbusd {f}, {w}, dword ptr [{y} + {s}]{{1to16}}",
            "vpdpbusd {g}, {w}, dword ptr [{y} + 2*{s}]{{1to16}}",
            "vpdpbusd {h}, {w}, dword ptr [{y} + {s3}]{{1to16}}",
            a = inout(zmm_reg) *a, b = inout(zmm_reg) *b, c = inout(zmm_reg) *c, d = inout(zmm_reg) *d,
            e = inout(zmm_reg) *e, f = inout(zmm_reg) *f, g = inout(zmm_reg) *g, h = inout(zmm_reg) *h,
            w = in(zmm_reg) w,
            x = in(reg) x.first, y = in(reg) x.fifth, s = in(reg) x.stride, s3 = in(reg) 3 * x.stride,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
}

/// `acc = fma(d * dx, isum as f32, acc)` of each token, `dx` at its place.
///
/// # Safety
/// As for [`multiply`].
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn add_scaled(acc: &mut [__m512; TOKENS], d: __m512, dx: Eight, isums: &[__m512i; TOKENS]) {
    for (t, (acc, isum)) in acc.iter_mut().zip(isums).enumerate() {
        // SAFETY: the caller's promise.
        let d = _mm512_mul_ps(d, _mm512_set1_ps(unsafe { *dx.of::<f32>(t) }));
        *acc = _mm512_fmadd_ps(d, _mm512_cvtepi32_ps(*isum), *acc);
    }
}

/// The walk over the blocks of 32, whose weights have so many integer `SCALES`, so many `MINIMA`, and so many `FLOATS` for
/// scales.
///
/// # Safety
/// As for [`tile`]; `ready` is of these tokens.
#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn walk<const SCALES: usize, const MINIMA: usize, const FLOATS: usize>(
    parts: &[Part<__m512i, __m512>],
    x: &At<'_>,
    ready: Ready,
) -> [[f32; 16]; TOKENS] {
    let blocks = x.cols / 32;
    let first = x.token * blocks;
    let mut q = Eight::new(x.x.q[32 * first..].as_ptr(), x.cols);
    let mut d = Eight::new(x.x.d[first..].as_ptr(), 4 * blocks);
    let [mut one, mut two] = ready.map(|ready| Eight::new(ready, 4 * blocks));
    let mut acc = [_mm512_setzero_ps(); TOKENS];
    let mut accm = [_mm512_setzero_ps(); TOKENS];
    // What the next eight tokens are made ready from: nothing else would hide how long it takes to come.
    let next = first + TOKENS * blocks;
    let mut sums = x.x.sums.as_ptr().wrapping_add(2 * next);
    let mut scales = x.x.d.as_ptr().wrapping_add(next);
    // SAFETY: the caller's promise: there are so many blocks of each token.
    unsafe {
        for part in parts {
            _mm_prefetch::<_MM_HINT_T0>(sums.cast());
            _mm_prefetch::<_MM_HINT_T0>(scales.cast());
            (sums, scales) = (sums.wrapping_add(2 * TOKENS), scales.wrapping_add(TOKENS));
            // Where each token's sum starts from.
            let start = |at: Eight| {
                let mut isums = [_mm512_setzero_si512(); TOKENS];
                for (t, isum) in isums.iter_mut().enumerate().filter(|_| MINIMA == 0) {
                    *isum = _mm512_set1_epi32(*at.of::<i32>(t));
                }
                isums
            };
            let [low, high] = [0, 1].map(|half| {
                move |sums: &mut [__m512i; TOKENS]| {
                    for j in 4 * half..4 * half + 4 {
                        multiply(sums, part.w[j], q.add(4 * j));
                    }
                }
            });
            let mut isums = start(one);
            low(&mut isums);
            if SCALES < 2 && FLOATS < 2 {
                high(&mut isums);
            }
            if SCALES > 0 {
                isums = isums.map(|isum| _mm512_mullo_epi32(isum, part.scales[0]));
            }
            if SCALES == 2 {
                let mut more = start(two);
                high(&mut more);
                for (isum, more) in isums.iter_mut().zip(more) {
                    *isum = _mm512_add_epi32(*isum, _mm512_mullo_epi32(more, part.scales[1]));
                }
            }
            add_scaled(&mut acc, part.d[0], d, &isums);
            if FLOATS == 2 {
                let mut more = start(two);
                high(&mut more);
                add_scaled(&mut acc, part.d[1], d, &more);
            }
            for (m, at) in part.minima.into_iter().zip([one, two]).take(MINIMA) {
                for (t, accm) in accm.iter_mut().enumerate() {
                    *accm = _mm512_fmadd_ps(m, _mm512_set1_ps(*at.of::<f32>(t)), *accm);
                }
            }
            q = q.add(32);
            [d, one, two] = [d, one, two].map(|at| at.add(4));
        }
    }
    let mut out = [[0.0; 16]; TOKENS];
    for (out, (acc, accm)) in out.iter_mut().zip(acc.into_iter().zip(accm)) {
        // SAFETY: 16 floats; the store needs no alignment.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), _mm512_add_ps(acc, accm)) };
    }
    out
}
