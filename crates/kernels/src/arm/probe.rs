//! What [`crate::probe`] asks of this level.

use core::arch::asm;

/// Independent sums of pairs of products.
const SUMS: usize = 8;

/// Products of two bytes by `smlad`: how many a round forms, and the sum of all.
///
/// # Safety
/// The CPU must have the DSP instructions.
pub unsafe fn multiply(rounds: u32, w: u8, x: i8) -> (u64, i32) {
    let (w, x) = (u32::from(w) * 0x1_0001, u32::from(x as u16) * 0x1_0001);
    let mut sums = [0i32; SUMS];
    for _ in 0..rounds {
        for sum in &mut sums {
            // SAFETY: arithmetic in registers. It is not `pure`, so that no round is left out.
            unsafe {
                asm!(
                    #[cfg(armv8m)]
                    ".cpu cortex-m33",
                    "smlad {sum}, {w}, {x}, {sum}",
                    sum = inout(reg) *sum,
                    w = in(reg) w,
                    x = in(reg) x,
                    options(nomem, nostack),
                );
            }
        }
    }
    (2 * SUMS as u64, sums.iter().fold(0, |sum, part| sum.wrapping_add(*part)))
}
