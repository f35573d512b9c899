//! What a core can do at best: how fast it reads memory, and how fast it multiplies int8.
//!
//! For benchmarks that set a measured speed beside the machine's limit, at the same level. No result of a model
//! comes from here. Both functions give a number that depends on all of the work, so that none of it can be left
//! out, and that is the same at every level, so that it can be checked.

use crate::Level;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", dsp))]
use crate::LevelName;

/// The sum of `words`, wrapping: reads them in order with the level's widest loads and does nothing else.
pub fn read(level: Level, words: &[u64]) -> u64 {
    match level.name() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: such a `Level` exists only where the CPU has its features.
        LevelName::Avx2 | LevelName::AvxVnni => unsafe { crate::x86_64::probe::read_avx2(words) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: such a `Level` exists only where the CPU has its features.
        LevelName::Avx512 | LevelName::Amx => unsafe { crate::x86_64::probe::read_avx512(words) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: such a `Level` exists only where the CPU has its features.
        LevelName::Neon | LevelName::Dotprod | LevelName::I8mm => unsafe {
            crate::aarch64::probe::read(words)
        },
        _ => words.iter().fold(0, |sum, word| sum.wrapping_add(*word)),
    }
}

/// What [`multiply`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Products {
    /// The number of products of two int8 that were formed and added up.
    pub count: u64,
    /// Their sum, wrapping.
    pub sum: i32,
}

/// Multiplies `w` by `x` for `rounds` rounds of some hundred products, all in registers, by the instructions that the
/// level's matrix kernels use.
///
/// # Panics
/// If `w` is above 15 or `x` outside of -8..=7: then AVX2's and NEON's sums in 16 bits always hold a whole round, as
/// with int4 weights.
pub fn multiply(level: Level, rounds: u32, w: u8, x: i8) -> Products {
    assert!(w < 16 && (-8..8).contains(&x), "factors of four bits");
    let (per_round, sum) = match level.name() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: such a `Level` exists only where the CPU has its features.
        LevelName::Avx2 => unsafe { crate::x86_64::probe::multiply_avx2(rounds, w, x) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: such a `Level` exists only where the CPU has its features.
        LevelName::AvxVnni => unsafe { crate::x86_64::probe::multiply_avx_vnni(rounds, w, x) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: such a `Level` exists only where the CPU has its features.
        LevelName::Avx512 => unsafe { crate::x86_64::probe::multiply_avx512(rounds, w, x) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: such a `Level` exists only where the CPU has its features.
        LevelName::Amx => unsafe { crate::x86_64::amx::probe::multiply(rounds, w, x) },
        #[cfg(dsp)]
        // SAFETY: such a `Level` exists only where the CPU has its features.
        LevelName::Dsp => unsafe { crate::arm::probe::multiply(rounds, w, x) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: such a `Level` exists only where the CPU has its features.
        LevelName::Neon => unsafe { crate::aarch64::probe::multiply_neon(rounds, w, x) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: such a `Level` exists only where the CPU has its features.
        LevelName::Dotprod => unsafe { crate::aarch64::probe::multiply_dotprod(rounds, w, x) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: such a `Level` exists only where the CPU has its features.
        LevelName::I8mm => unsafe { crate::aarch64::probe::multiply_i8mm(rounds, w, x) },
        _ => multiply_reference(rounds, w, x),
    };
    Products { count: u64::from(rounds) * per_round, sum }
}

/// Independent sums of the scalar loop.
const SUMS: usize = 16;

fn multiply_reference(rounds: u32, w: u8, x: i8) -> (u64, i32) {
    let mut sums = [0i32; SUMS];
    for _ in 0..rounds {
        // Hidden from the compiler, which would otherwise form one product and multiply it by the rounds.
        let factors = core::hint::black_box([(w, x); SUMS]);
        for (sum, (w, x)) in sums.iter_mut().zip(factors) {
            *sum = sum.wrapping_add(i32::from(w) * i32::from(x));
        }
    }
    (SUMS as u64, sums.iter().fold(0, |sum, part| sum.wrapping_add(*part)))
}
