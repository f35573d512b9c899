//! Floats as they are stored, and the products for which they are brought to registers.

use crate::math;
use crate::x86_64::float_tiles;
use core::arch::asm;
use core::arch::x86_64::{
    __m256, __m512, _mm_loadu_si128, _mm256_castsi256_ps, _mm256_cvtepu16_epi32, _mm256_cvtph_ps,
    _mm256_loadu_ps, _mm256_loadu_si256, _mm256_setzero_ps, _mm256_slli_epi32, _mm256_storeu_ps,
    _mm512_castsi512_ps, _mm512_cvtepu16_epi32, _mm512_cvtph_ps, _mm512_loadu_ps, _mm512_slli_epi32,
};

/// The tokens that lie side by side for [`Stored::add_halves`].
pub const ABREAST: usize = 3;

/// Rows, activations, steps, sums, and whether these go on: see [`Stored::HALVES`].
type AddHalf = unsafe fn([*const u8; 4], *const f32, usize, *mut f32, bool);

/// A float as it is stored, little-endian.
pub trait Stored {
    /// Its bytes.
    const BYTES: usize;
    /// Whether the halves in [`Stored::add_halves`] are of each 16 columns the quarters 0 and 2, and 1 and 3.
    const IN_TURNS: bool = false;

    /// Eight of them.
    ///
    /// # Safety
    /// The CPU has AVX2, FMA and F16C; `from` is valid for reading `8 * BYTES`.
    unsafe fn load(from: *const u8) -> __m256;

    /// Sixteen of them.
    ///
    /// # Safety
    /// The CPU has AVX-512 F; `from` is valid for reading `16 * BYTES`.
    unsafe fn load16(from: *const u8) -> __m512;

    /// What adds to the sums one half of the products of 4 rows and [`ABREAST`] tokens. All pointers point at that half, but
    /// that of rows where halves are [`IN_TURNS`](Self::IN_TURNS).
    ///
    /// Safe where the CPU has AVX2, FMA and F16C, and there are so many times 16 columns, not 0, of each row and token, and as
    /// many sums of 16 lanes for each row as a tile has tokens.
    const HALVES: [AddHalf; 2];

    /// Adds to the sums, row by row those of each token, the products of 4 rows and [`ABREAST`] tokens, whose halves are where
    /// `x` says: see [`Registers::add`](float_tiles::Registers::add).
    ///
    /// # Safety
    /// As for [`HALVES`](Self::HALVES).
    #[inline]
    unsafe fn add_halves(
        rows: [*const u8; 4],
        x: [*const f32; 2],
        steps: usize,
        sums: *mut f32,
        go_on: bool,
    ) {
        let second = if Self::IN_TURNS { 0 } else { 8 * Self::BYTES };
        // SAFETY: the caller's promise.
        unsafe {
            Self::HALVES[0](rows, x[0], steps, sums, go_on);
            Self::HALVES[1](rows.map(|row| row.add(second)), x[1], steps, sums.add(8), go_on);
        }
    }

    /// One of them.
    fn get(bytes: &[u8]) -> f32;
}

/// A function of [`Stored::HALVES`]: of floats of so many bytes, of which eight come to `{w}` by `$load` and
/// an address.
///
/// Twelve sums, three tokens and a row are all registers there are: the compiler would keep some in memory.
macro_rules! add_half {
    ($name:ident, $bytes:literal, $load:literal) => {
        #[inline]
        #[target_feature(enable = "avx2,fma,f16c")]
        unsafe fn $name(rows: [*const u8; 4], x: *const f32, steps: usize, sums: *mut f32, go_on: bool) {
            // SAFETY: the caller's promise; what is read and written is said there. Sums of 16 lanes are of
            // as many tokens as a tile has.
            unsafe {
                let [a, b, c, d] = rows;
                let of = |at: usize| sums.add(16 * (at / ABREAST * float_tiles::TOKENS + at % ABREAST));
                let mut acc = [_mm256_setzero_ps(); 12];
                if go_on {
                    acc = core::array::from_fn(|at| _mm256_loadu_ps(of(at)));
                }
                let [a0, a1, a2, b0, b1, b2, c0, c1, c2, d0, d1, d2] = &mut acc;
                let (x0, x1, x2, w) = (*a0, *a0, *a0, *a0);
                asm!(
                    "2:",
                    "vmovups {x0}, ymmword ptr [{x}]",
                    "vmovups {x1}, ymmword ptr [{x} + 32]",
                    "vmovups {x2}, ymmword ptr [{x} + 64]",
                    concat!($load, "[{a} + {at}]"),
                    "vfmadd231ps {a0}, {w}, {x0}",
                    "vfmadd231ps {a1}, {w}, {x1}",
                    "vfmadd231ps {a2}, {w}, {x2}",
                    concat!($load, "[{b} + {at}]"),
                    "vfmadd231ps {b0}, {w}, {x0}",
                    "vfmadd231ps {b1}, {w}, {x1}",
                    "vfmadd231ps {b2}, {w}, {x2}",
                    concat!($load, "[{c} + {at}]"),
                    "vfmadd231ps {c0}, {w}, {x0}",
                    "vfmadd231ps {c1}, {w}, {x1}",
                    "vfmadd231ps {c2}, {w}, {x2}",
                    concat!($load, "[{d} + {at}]"),
                    "vfmadd231ps {d0}, {w}, {x0}",
                    "vfmadd231ps {d1}, {w}, {x1}",
                    "vfmadd231ps {d2}, {w}, {x2}",
                    "add {x}, 96",
                    "add {at}, {step}",
                    "dec {steps}",
                    "jnz 2b",
                    a0 = inout(ymm_reg) *a0, a1 = inout(ymm_reg) *a1, a2 = inout(ymm_reg) *a2,
                    b0 = inout(ymm_reg) *b0, b1 = inout(ymm_reg) *b1, b2 = inout(ymm_reg) *b2,
                    c0 = inout(ymm_reg) *c0, c1 = inout(ymm_reg) *c1, c2 = inout(ymm_reg) *c2,
                    d0 = inout(ymm_reg) *d0, d1 = inout(ymm_reg) *d1, d2 = inout(ymm_reg) *d2,
                    x0 = inout(ymm_reg) x0 => _, x1 = inout(ymm_reg) x1 => _, x2 = inout(ymm_reg) x2 => _,
                    w = inout(ymm_reg) w => _,
                    a = in(reg) a, b = in(reg) b, c = in(reg) c, d = in(reg) d,
                    x = inout(reg) x => _, at = inout(reg) 0_usize => _, steps = inout(reg) steps => _,
                    step = const 16 * $bytes,
                    options(readonly, nostack),
                );
                for (at, acc) in acc.into_iter().enumerate() {
                    _mm256_storeu_ps(of(at), acc);
                }
            }
        }
    };
}
add_half!(add_half_of_f32, 4, "vmovups {w}, ymmword ptr ");
add_half!(add_half_of_f16, 2, "vcvtph2ps {w}, xmmword ptr ");
// Between zeros they are floats; a vector's halves are taken apart, so it is 4 columns of the first eight and 4 of the others.
add_half!(add_first_half_of_bf16, 2, "vpxor {w}, {w}, {w}\nvpunpcklwd {w}, {w}, ymmword ptr ");
add_half!(add_second_half_of_bf16, 2, "vpxor {w}, {w}, {w}\nvpunpckhwd {w}, {w}, ymmword ptr ");

/// IEEE single precision.
#[derive(Debug)]
pub struct F32;

impl Stored for F32 {
    const BYTES: usize = 4;
    const HALVES: [AddHalf; 2] = [add_half_of_f32; 2];

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load(from: *const u8) -> __m256 {
        // SAFETY: the caller's promise; the load needs no alignment.
        unsafe { _mm256_loadu_ps(from.cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c,avx512f")]
    unsafe fn load16(from: *const u8) -> __m512 {
        // SAFETY: the caller's promise; the load needs no alignment.
        unsafe { _mm512_loadu_ps(from.cast()) }
    }

    #[inline]
    fn get(bytes: &[u8]) -> f32 {
        f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }
}

/// IEEE half precision.
#[derive(Debug)]
pub struct F16;

impl Stored for F16 {
    const BYTES: usize = 2;
    const HALVES: [AddHalf; 2] = [add_half_of_f16; 2];

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load(from: *const u8) -> __m256 {
        // SAFETY: the caller's promise; the load needs no alignment.
        _mm256_cvtph_ps(unsafe { _mm_loadu_si128(from.cast()) })
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c,avx512f")]
    unsafe fn load16(from: *const u8) -> __m512 {
        // SAFETY: the caller's promise; the load needs no alignment.
        _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(from.cast()) })
    }

    #[inline]
    fn get(bytes: &[u8]) -> f32 {
        math::f16_to_f32(u16::from_le_bytes([bytes[0], bytes[1]]))
    }
}

/// The upper half of an f32.
#[derive(Debug)]
pub struct Bf16;

impl Stored for Bf16 {
    const BYTES: usize = 2;
    const IN_TURNS: bool = true;
    const HALVES: [AddHalf; 2] = [add_first_half_of_bf16, add_second_half_of_bf16];

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load(from: *const u8) -> __m256 {
        // SAFETY: the caller's promise; the load needs no alignment.
        let bits = unsafe { _mm_loadu_si128(from.cast()) };
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(bits)))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c,avx512f")]
    unsafe fn load16(from: *const u8) -> __m512 {
        // SAFETY: the caller's promise; the load needs no alignment.
        let bits = unsafe { _mm256_loadu_si256(from.cast()) };
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits)))
    }

    #[inline]
    fn get(bytes: &[u8]) -> f32 {
        math::bf16_to_f32(u16::from_le_bytes([bytes[0], bytes[1]]))
    }
}
