//! [`crate::probe`] for the matrix engine: products of whole tiles, which the engine forms at its full speed.

use core::arch::asm;

/// The shapes of the tile registers: palette 1, bytes of a row for each register, rows for each register.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Six whole tiles: four of sums, so that a product need not wait for the one before, and two of factors.
static CONFIGURATION: Configuration = Configuration {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: [64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// The tiles of sums.
const SUMS: usize = 4;
/// Products of int8 that one instruction forms: 16 x 16 sums of 64.
const PRODUCTS: u64 = 16 * 16 * 64;

/// # Safety
/// The CPU has the engine, and [`super::is_permitted`] was asked.
pub unsafe fn multiply(rounds: u32, w: u8, x: i8) -> (u64, i32) {
    let (w, x) = ([w; 16 * 64], [x; 16 * 64]);
    let mut sums = [0i32; SUMS * 16 * 16];
    if rounds > 0 {
        // SAFETY: the caller's promise; tiles are loaded from and stored to arrays of their size, and the engine is
        // given back before anything else could use it.
        unsafe {
            asm!(
                "ldtilecfg [{configuration}]",
                "tileloadd tmm4, [{w} + {line}]",
                "tileloadd tmm5, [{x} + {line}]",
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "tdpbssd tmm0, tmm4, tmm5",
                "tdpbssd tmm1, tmm4, tmm5",
                "tdpbssd tmm2, tmm4, tmm5",
                "tdpbssd tmm3, tmm4, tmm5",
                "dec {rounds:e}",
                "jnz 2b",
                "tilestored [{sums} + {line}], tmm0",
                "tilestored [{sums} + {line} + 1024], tmm1",
                "tilestored [{sums} + {line} + 2048], tmm2",
                "tilestored [{sums} + {line} + 3072], tmm3",
                "tilerelease",
                configuration = in(reg) &raw const CONFIGURATION, w = in(reg) w.as_ptr(), x = in(reg) x.as_ptr(),
                sums = in(reg) sums.as_mut_ptr(), line = in(reg) 64_u64, rounds = inout(reg) rounds => _,
                options(nostack)
            );
        }
    }
    (SUMS as u64 * PRODUCTS, sums.iter().fold(0, |sum, part| sum.wrapping_add(*part)))
}
