//! Loops over floats: by the FPU where it has fused multiply-add, and in Rust where it may lack it.
//!
//! Arguments and results are in registers, by the hard-float procedure call standard (AAPCS32, 6.1.2), which lets a function
//! use s0 to s15, and r0 to r3 and r12, as it likes.

#[cfg(vfma)]
use core::arch::naked_asm;

/// A number of each of two rows, in s0 and s1.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Two(pub f32, pub f32);

/// `acc = fma(d * dx, isum as f32, acc)` of two rows over `count` blocks: `d` is the half-precision number before each block
/// of `BYTES` of weights.
///
/// # Safety
/// There must be `count` blocks, one at least, at `a` and at `b`, and as many numbers at `isums` and `dx`.
#[cfg(vfma)]
#[unsafe(naked)]
pub unsafe extern "C" fn accumulate<const BYTES: usize>(
    acc: Two,
    a: *const u8,
    b: *const u8,
    isums: *const [i32; 2],
    dx: *const f32,
    count: usize,
) -> Two {
    naked_asm!(
        ".fpu fpv4-sp-d16",
        "push {{r4, r5}}",
        "ldr r4, [sp, #8]",
        "1:",
        "ldrh r5, [r0], #{bytes}",
        "ldrh r12, [r1], #{bytes}",
        "vldmia r3!, {{s2}}",
        "vldmia r2!, {{s6-s7}}",
        "vmov s4, s5, r5, r12",
        "subs r4, r4, #1",
        "vcvtb.f32.f16 s4, s4",
        "vcvtb.f32.f16 s5, s5",
        "vcvt.f32.s32 s6, s6",
        "vcvt.f32.s32 s7, s7",
        "vmul.f32 s4, s4, s2",
        "vmul.f32 s5, s5, s2",
        "vfma.f32 s0, s4, s6",
        "vfma.f32 s1, s5, s7",
        "bne 1b",
        "pop {{r4, r5}}",
        "bx lr",
        bytes = const BYTES,
    )
}

/// As above.
///
/// # Safety
/// As above.
#[cfg(not(vfma))]
pub unsafe fn accumulate<const BYTES: usize>(
    mut acc: Two,
    a: *const u8,
    b: *const u8,
    isums: *const [i32; 2],
    dx: *const f32,
    count: usize,
) -> Two {
    use crate::math::{f16_to_f32, fma};
    for i in 0..count {
        // SAFETY: as promised; a half may lie at any address.
        unsafe {
            let d = |row: *const u8| f16_to_f32(row.add(i * BYTES).cast::<u16>().read_unaligned());
            let ([first, second], dx) = (*isums.add(i), *dx.add(i));
            acc = Two(fma(d(a) * dx, first as f32, acc.0), fma(d(b) * dx, second as f32, acc.1));
        }
    }
    acc
}

/// Σ q·k in 16 lanes, of a key in half precision whose numbers lie 32 bytes apart.
///
/// # Safety
/// There must be `count` numbers of both, a multiple of 16 and not 0.
#[cfg(vfma)]
#[unsafe(naked)]
pub unsafe extern "C" fn dot(q: *const f32, key: *const u8, count: usize) -> f32 {
    naked_asm!(
        ".fpu fpv4-sp-d16",
        // The lanes are s16 to s31, which belong to the caller.
        "vpush {{s16-s31}}",
        "mov r3, #0",
        "vmov s16, s17, r3, r3",
        "vmov s18, s19, r3, r3",
        "vmov s20, s21, r3, r3",
        "vmov s22, s23, r3, r3",
        "vmov s24, s25, r3, r3",
        "vmov s26, s27, r3, r3",
        "vmov s28, s29, r3, r3",
        "vmov s30, s31, r3, r3",
        "1:",
        // Four numbers at a time, two of which come through a pair of registers.
        ".irp lane, 16, 20, 24, 28",
        "vldmia r0!, {{s0-s3}}",
        "ldrh r3, [r1], #32",
        "ldrh r12, [r1], #32",
        "vmov s4, s5, r3, r12",
        "ldrh r3, [r1], #32",
        "ldrh r12, [r1], #32",
        "vmov s6, s7, r3, r12",
        "vcvtb.f32.f16 s4, s4",
        "vcvtb.f32.f16 s5, s5",
        "vcvtb.f32.f16 s6, s6",
        "vcvtb.f32.f16 s7, s7",
        ".if \\lane == 16",
        "vfma.f32 s16, s0, s4",
        "vfma.f32 s17, s1, s5",
        "vfma.f32 s18, s2, s6",
        "vfma.f32 s19, s3, s7",
        ".elseif \\lane == 20",
        "vfma.f32 s20, s0, s4",
        "vfma.f32 s21, s1, s5",
        "vfma.f32 s22, s2, s6",
        "vfma.f32 s23, s3, s7",
        ".elseif \\lane == 24",
        "vfma.f32 s24, s0, s4",
        "vfma.f32 s25, s1, s5",
        "vfma.f32 s26, s2, s6",
        "vfma.f32 s27, s3, s7",
        ".else",
        "vfma.f32 s28, s0, s4",
        "vfma.f32 s29, s1, s5",
        "vfma.f32 s30, s2, s6",
        "vfma.f32 s31, s3, s7",
        ".endif",
        ".endr",
        "subs r2, r2, #16",
        "bne 1b",
        // Lanes fold 8, 4, 2, 1.
        "vadd.f32 s16, s16, s24",
        "vadd.f32 s17, s17, s25",
        "vadd.f32 s18, s18, s26",
        "vadd.f32 s19, s19, s27",
        "vadd.f32 s20, s20, s28",
        "vadd.f32 s21, s21, s29",
        "vadd.f32 s22, s22, s30",
        "vadd.f32 s23, s23, s31",
        "vadd.f32 s16, s16, s20",
        "vadd.f32 s17, s17, s21",
        "vadd.f32 s18, s18, s22",
        "vadd.f32 s19, s19, s23",
        "vadd.f32 s16, s16, s18",
        "vadd.f32 s17, s17, s19",
        "vadd.f32 s0, s16, s17",
        "vpop {{s16-s31}}",
        "bx lr",
    )
}

/// `out = fma(p, value, out)`, of a value in half precision.
///
/// # Safety
/// There must be `count` numbers of both, a multiple of 4 and not 0.
#[cfg(vfma)]
#[unsafe(naked)]
pub unsafe extern "C" fn mix(p: f32, value: *const u8, out: *mut f32, count: usize) {
    naked_asm!(
        ".fpu fpv4-sp-d16",
        "1:",
        "ldr r3, [r0], #4",
        "ldr r12, [r0], #4",
        "vldmia r1, {{s4-s7}}",
        "vmov s2, s3, r3, r12",
        "vcvtb.f32.f16 s8, s2",
        "vcvtt.f32.f16 s9, s2",
        "vcvtb.f32.f16 s10, s3",
        "vcvtt.f32.f16 s11, s3",
        "vfma.f32 s4, s0, s8",
        "vfma.f32 s5, s0, s9",
        "vfma.f32 s6, s0, s10",
        "vfma.f32 s7, s0, s11",
        "subs r2, r2, #4",
        "vstmia r1!, {{s4-s7}}",
        "bne 1b",
        "bx lr",
    )
}
