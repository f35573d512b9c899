//! [`crate::probe`] for aarch64.

use core::arch::{aarch64::*, asm};

/// Vectors in flight when memory is read.
const STREAMS: usize = 8;
/// Chains of sums: a product takes 3 or 4 cycles, and on the wider cores two can begin in each.
const CHAINS: usize = 12;
/// Products that NEON adds in 16 bits before it widens: of at most 15 · 8, which fit.
const STEPS: usize = 16;

/// # Safety
/// The CPU has NEON.
#[target_feature(enable = "neon")]
pub unsafe fn read(words: &[u64]) -> u64 {
    let (chunks, rest) = words.as_chunks::<{ 2 * STREAMS }>();
    let mut sums = [vdupq_n_u64(0); STREAMS];
    for chunk in chunks {
        for (sum, two) in sums.iter_mut().zip(chunk.as_chunks::<2>().0) {
            // SAFETY: two words are there.
            *sum = vaddq_u64(*sum, unsafe { vld1q_u64(two.as_ptr()) });
        }
    }
    let sum = vaddvq_u64(sums.into_iter().fold(vdupq_n_u64(0), |a, b| vaddq_u64(a, b)));
    rest.iter().fold(sum, |sum, word| sum.wrapping_add(*word))
}

/// # Safety
/// The CPU has NEON.
#[target_feature(enable = "neon")]
pub unsafe fn multiply_neon(rounds: u32, w: u8, x: i8) -> (u64, i32) {
    let w = vdupq_n_s8(w as i8);
    let mut x = vdupq_n_s8(x);
    let mut sums = [vdupq_n_s32(0); CHAINS / 2];
    for _ in 0..rounds {
        for sum in &mut sums {
            let mut products = [vdupq_n_s16(0); 2];
            for _ in 0..STEPS {
                // Lets the compiler believe that the factor changes: products cannot be formed once for all.
                // SAFETY: no instruction.
                unsafe {
                    asm!("/* {0:v} */", inout(vreg) x, options(pure, nomem, nostack, preserves_flags));
                }
                products[0] = vmlal_s8(products[0], vget_low_s8(w), vget_low_s8(x));
                products[1] = vmlal_high_s8(products[1], w, x);
            }
            *sum = vpadalq_s16(vpadalq_s16(*sum, products[0]), products[1]);
        }
    }
    (16 * (STEPS * sums.len()) as u64, fold(&sums))
}

/// Adds `$instruction` of all 16 bytes to each of the sums, round after round.
macro_rules! chains {
    ($instruction:literal, $rounds:expr, $w:expr, $x:expr) => {{
        let w = vdupq_n_s8($w as i8);
        let x = vdupq_n_s8($x);
        let mut sums = [vdupq_n_s32(0); CHAINS];
        for _ in 0..$rounds {
            for sum in &mut sums {
                // SAFETY: the CPU has the instruction; it touches these registers alone.
                unsafe {
                    asm!(
                        $instruction, sum = inout(vreg) *sum, w = in(vreg) w, x = in(vreg) x,
                        options(pure, nomem, nostack, preserves_flags)
                    );
                }
            }
        }
        fold(&sums)
    }};
}

/// # Safety
/// The CPU has NEON and the dot product instructions.
#[target_feature(enable = "neon,dotprod")]
pub unsafe fn multiply_dotprod(rounds: u32, w: u8, x: i8) -> (u64, i32) {
    (16 * CHAINS as u64, chains!("sdot {sum:v}.4s, {w:v}.16b, {x:v}.16b", rounds, w, x))
}

/// # Safety
/// The CPU has NEON and the int8 matrix instructions.
#[target_feature(enable = "neon,i8mm")]
pub unsafe fn multiply_i8mm(rounds: u32, w: u8, x: i8) -> (u64, i32) {
    (32 * CHAINS as u64, chains!("smmla {sum:v}.4s, {w:v}.16b, {x:v}.16b", rounds, w, x))
}

#[target_feature(enable = "neon")]
fn fold(sums: &[int32x4_t]) -> i32 {
    vaddvq_s32(sums.iter().fold(vdupq_n_s32(0), |a, b| vaddq_s32(a, *b)))
}
