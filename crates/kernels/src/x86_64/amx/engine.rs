//! The matrix engine: whether there is one, its configuration, and its one product.
//!
//! Rust's intrinsics for it are unstable; the instructions are written out. Source: Intel 64 and IA-32 Architectures
//! Software Developer's Manual, volume 1 chapter 18 (AMX), and the Linux kernel's `Documentation/arch/x86/xstate.rst`.

use core::arch::asm;

/// Whether this CPU has AMX-INT8, and the operating system lets this process use it.
///
/// Linux asks for a permission, because the registers make every thread's saved state 8 KiB larger. It holds for the
/// whole process and is not given back.
#[cfg(feature = "std")]
pub fn is_permitted() -> bool {
    use core::arch::x86_64::__cpuid_count;
    const TILE_AND_INT8: u32 = 1 << 24 | 1 << 25;
    const OSXSAVE: u32 = 1 << 27;
    // The tile configuration and the tile data, in the states that the operating system saves.
    const STATES: u64 = 1 << 17 | 1 << 18;
    let has_engine = std::is_x86_feature_detected!("avx512f")
        && __cpuid_count(1, 0).ecx & OSXSAVE != 0
        && __cpuid_count(7, 0).edx & TILE_AND_INT8 == TILE_AND_INT8;
    has_engine && saved_states() & STATES == STATES && is_granted()
}

/// The register states that the operating system saves: XCR0. To be called where the CPU has OSXSAVE.
#[cfg(feature = "std")]
fn saved_states() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the caller saw OSXSAVE; the instruction reads a register that always exists.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(pure, nomem, nostack, preserves_flags));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// Asks Linux for the tile data.
#[cfg(all(feature = "std", target_os = "linux"))]
fn is_granted() -> bool {
    const ARCH_PRCTL: u64 = 158;
    const REQUEST_PERMISSION: u64 = 0x1023;
    const TILE_DATA: u64 = 18;
    let result: i64;
    // SAFETY: the system call takes two numbers, touches no memory of ours, and clobbers what is stated.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") REQUEST_PERMISSION, in("rsi") TILE_DATA,
            lateout("rcx") _, lateout("r11") _,
            options(nostack)
        );
    }
    result == 0
}

/// No other system is known to give it without asking.
#[cfg(all(feature = "std", not(target_os = "linux")))]
fn is_granted() -> bool {
    false
}

/// The shapes of the tile registers: palette 1, bytes of a row for each register, rows for each register.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Registers 0 and 1: sums of 16 tokens x 16 rows. 2, 3: 16 tokens x 32 activations and 32 weights of 16 rows, in 8 rows
/// of 4 each. 4, 5: likewise of 16 activations.
static CONFIGURATION: Configuration = Configuration {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: [64, 64, 32, 64, 16, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 8, 16, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// What multiplies 16 tokens by 16 rows.
pub trait MatrixEngine {
    /// `sums[t][r] = Σ x[t][i] w[r][i]` over 32 numbers, of 16 tokens and 16 rows.
    ///
    /// # Safety
    /// `x` is valid for reading 16 x 32 bytes, a token's 32 behind another's; `w` for 8 x 64, four weights of each row
    /// in each; `sums` for writing 16 x 16 numbers.
    unsafe fn product(&self, x: *const i8, w: *const u8, sums: *mut i32);

    /// The same over the first 16 and over the last 16 numbers, to `sums` and behind it.
    ///
    /// # Safety
    /// As for [`product`](Self::product), with room for 2 x 16 x 16 numbers.
    unsafe fn half_products(&self, x: *const i8, w: *const u8, sums: *mut i32);
}

/// The CPU's engine, configured on the thread that made it. Dropping it gives the registers back.
pub struct Engine(());

impl Engine {
    /// Configures the tile registers of this thread.
    ///
    /// # Safety
    /// The CPU has the engine, and [`is_permitted`] was asked.
    pub unsafe fn configure() -> Self {
        // SAFETY: the caller's promise; the configuration is 64 bytes of a valid shape.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const CONFIGURATION, options(nostack, preserves_flags, readonly));
        }
        Self(())
    }
}

#[expect(clippy::inline_always, reason = "one instruction after another, in the hottest loop")]
impl MatrixEngine for Engine {
    #[inline(always)]
    unsafe fn product(&self, x: *const i8, w: *const u8, sums: *mut i32) {
        // SAFETY: the caller's promise; `self` shows that the registers are configured.
        unsafe {
            asm!(
                "tileloadd tmm2, [{x} + {half}*1]",
                "tileloadd tmm3, [{w} + {line}*1]",
                "tilezero tmm0",
                "tdpbssd tmm0, tmm2, tmm3",
                "tilestored [{sums} + {line}*1], tmm0",
                x = in(reg) x, w = in(reg) w, sums = in(reg) sums, half = in(reg) 32_u64, line = in(reg) 64_u64,
                options(nostack, preserves_flags)
            );
        }
    }

    #[inline(always)]
    unsafe fn half_products(&self, x: *const i8, w: *const u8, sums: *mut i32) {
        // SAFETY: as above.
        unsafe {
            asm!(
                "tileloadd tmm4, [{x} + {half}*1]",
                "tileloadd tmm5, [{w} + {line}*1]",
                "tilezero tmm0",
                "tdpbssd tmm0, tmm4, tmm5",
                "tilestored [{sums} + {line}*1], tmm0",
                "tileloadd tmm4, [{x} + {half}*1 + 16]",
                "tileloadd tmm5, [{w} + {line}*1 + 256]",
                "tilezero tmm1",
                "tdpbssd tmm1, tmm4, tmm5",
                "tilestored [{sums} + {line}*1 + 1024], tmm1",
                x = in(reg) x, w = in(reg) w, sums = in(reg) sums, half = in(reg) 32_u64, line = in(reg) 64_u64,
                options(nostack, preserves_flags)
            );
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // SAFETY: the registers hold nothing that is still needed.
        unsafe {
            asm!("tilerelease", options(nostack, preserves_flags, nomem));
        }
    }
}
