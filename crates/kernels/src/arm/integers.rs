//! Products of integers: 32 weights of two rows with the same 32 activations, exact in i32.
//!
//! `sxtb16` makes two 16-bit numbers of a register's bytes 0 and 2 (turned by 8: 1 and 3); `smlad` multiplies two such
//! pairs and adds both products to a sum. Source: Armv7-M Architecture Reference Manual (DDI 0403), A7.7. Two rows go
//! together, so that activations are loaded and widened once for both. Weights lie at any address, which single loads may
//! read (ibid., A3.2.1; with an operating system, Linux lets them).

use core::arch::asm;

/// The rows that meet a token together. A third would not leave the compiler a register.
pub const ROWS: usize = 2;

/// Instructions several times over. (`.rept` would do that, but the compiler counts lines to know how far it is over them.)
macro_rules! times {
    (4, $($line:literal,)*) => { concat!(times!(2, $($line,)*), times!(2, $($line,)*)) };
    (8, $($line:literal,)*) => { concat!(times!(4, $($line,)*), times!(4, $($line,)*)) };
    (2, $($line:literal,)*) => { concat!($($line, "\n",)* $($line, "\n",)*) };
}

/// Σ w·x of two times 32 int8.
///
/// # Safety
/// There must be 32 bytes at each pointer.
#[inline(always)]
#[allow(clippy::inline_always, reason = "called for every block")]
pub unsafe fn int8(w: [*const u8; ROWS], x: *const i8) -> [i32; ROWS] {
    let (mut a, mut b) = (0, 0);
    // SAFETY: reads 32 bytes from each pointer on, as promised. A product of bytes fits 16 bits with its sign, and 32 of them
    // fit 32 bits, so that the flag of an overflow (Q) stays as it is.
    unsafe {
        asm!(
            #[cfg(armv8m)]
            ".cpu cortex-m33",
            times!(
                8,
                "ldr {odd}, [{x}], #4",
                "ldr {wa}, [{pa}], #4",
                "ldr {wb}, [{pb}], #4",
                "sxtb16 {even}, {odd}",
                "sxtb16 {odd}, {odd}, ror #8",
                "sxtb16 {t}, {wa}",
                "sxtb16 {wa}, {wa}, ror #8",
                "smlad {a}, {t}, {even}, {a}",
                "smlad {a}, {wa}, {odd}, {a}",
                "sxtb16 {t}, {wb}",
                "sxtb16 {wb}, {wb}, ror #8",
                "smlad {b}, {t}, {even}, {b}",
                "smlad {b}, {wb}, {odd}, {b}",
            ),
            pa = inout(reg) w[0] => _,
            pb = inout(reg) w[1] => _,
            x = inout(reg) x => _,
            a = inout(reg) a,
            b = inout(reg) b,
            wa = out(reg) _,
            wb = out(reg) _,
            even = out(reg) _,
            odd = out(reg) _,
            t = out(reg) _,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    [a, b]
}

/// Σ w·x of two times 32 int4 in 0..=15: in the lower halves of 16 bytes the first 16, in the upper ones the others.
///
/// # Safety
/// There must be 16 bytes at each pointer of `w`, and 32 at `x`.
#[inline(always)]
#[allow(clippy::inline_always, reason = "called for every block")]
pub unsafe fn int4(w: [*const u8; ROWS], x: *const i8) -> [i32; ROWS] {
    let (mut a, mut b) = (0, 0);
    // SAFETY: reads 16 bytes from each pointer of `w` on, and those at `x` to `x + 32`, as promised. Sums are small, as above.
    unsafe {
        asm!(
            #[cfg(armv8m)]
            ".cpu cortex-m33",
            times!(
                4,
                "ldr {odd}, [{x}], #4",
                "ldr {wa}, [{pa}], #4",
                "ldr {wb}, [{pb}], #4",
                "sxtb16 {even}, {odd}",
                "sxtb16 {odd}, {odd}, ror #8",
                "and {t}, {mask}, {wa}",
                "smlad {a}, {t}, {even}, {a}",
                "and {t}, {mask}, {wa}, lsr #8",
                "smlad {a}, {t}, {odd}, {a}",
                "and {t}, {mask}, {wb}",
                "smlad {b}, {t}, {even}, {b}",
                "and {t}, {mask}, {wb}, lsr #8",
                "smlad {b}, {t}, {odd}, {b}",
                // The activations that belong to the upper halves: 16 behind those just taken.
                "ldr {odd}, [{x}, #12]",
                "sxtb16 {even}, {odd}",
                "sxtb16 {odd}, {odd}, ror #8",
                "and {t}, {mask}, {wa}, lsr #4",
                "smlad {a}, {t}, {even}, {a}",
                "and {t}, {mask}, {wa}, lsr #12",
                "smlad {a}, {t}, {odd}, {a}",
                "and {t}, {mask}, {wb}, lsr #4",
                "smlad {b}, {t}, {even}, {b}",
                "and {t}, {mask}, {wb}, lsr #12",
                "smlad {b}, {t}, {odd}, {b}",
            ),
            pa = inout(reg) w[0] => _,
            pb = inout(reg) w[1] => _,
            x = inout(reg) x => _,
            mask = in(reg) 0x000f_000fu32,
            a = inout(reg) a,
            b = inout(reg) b,
            wa = out(reg) _,
            wb = out(reg) _,
            even = out(reg) _,
            odd = out(reg) _,
            t = out(reg) _,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    [a, b]
}
