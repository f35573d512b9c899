//! Stonechat on a Raspberry Pi with no operating system: the four Cortex-A53 of a Pi 3 or Zero 2 W, or Cortex-A72 of a Pi 4.
//!
//! `boot.s` brings each core from reset to Rust. Core 0 answers prompts that come through the UART; the others help where the
//! core library asks for workers. The model is part of the image, the arena what memory is left behind it.
#![no_std]
#![no_main]

mod chip;
mod cores;
mod fault;
mod mailbox;
mod tables;
mod uart;

use core::arch::{asm, global_asm};
use core::fmt::Write as _;
use core::panic::PanicInfo;

use chip::Chip;
use cores::Cores;
use stonechat_console::{Board, Clock, serve};
use stonechat_core::{Limits, Sampling};
use stonechat_kernels::{Level, LevelName, Workers};
use uart::Uart;

global_asm!(include_str!("boot.s"), mmu = const cfg!(feature = "mmu") as u32);

/// The file as it is, where a cache line begins.
#[repr(C, align(64))]
struct Aligned<T: ?Sized>(T);

static MODEL: &Aligned<[u8]> = &Aligned(*include_bytes!(env!("STONECHAT_MODEL")));

/// Tokens of a story, at most.
const MOST: usize = 200;
/// Tokens of context.
const CONTEXT: usize = 256;

/// Where core 0 comes to from `boot.s`.
#[unsafe(no_mangle)]
extern "C" fn start() -> ! {
    let mut uart = Uart::new();
    let cores = Cores::start(&mut uart);
    // SAFETY: every aarch64 CPU of these boards has NEON.
    let level = unsafe { Level::assume(LevelName::Neon) };
    let board = Board {
        name: Chip::here().name(),
        level,
        workers: &cores,
        clock: Clock { ticks, hertz: hertz() },
        limits: Limits { context: CONTEXT, threads: cores.count(), ..Limits::default() },
        sampling: Sampling::default(),
        most: MOST,
    };
    let memory = memory(&mut uart);
    let served = serve(&mut uart, &board, &MODEL.0, memory);
    if let Err(error) = &served {
        let _ = writeln!(uart, "# stonechat: {error}\r");
    }
    end(served.is_ok())
}

/// All memory behind the image and the stacks, as far as the firmware leaves it to the CPU.
fn memory(uart: &mut Uart) -> &'static mut [u8] {
    unsafe extern "C" {
        /// Where free memory begins; a symbol of the linker script, no object.
        static __free: u8;
    }
    let first = &raw const __free as usize;
    let told = mailbox::memory_end().unwrap_or_else(|| {
        let _ =
            writeln!(uart, "# the firmware does not say how much memory there is; taking it for 128 MiB\r");
        128 << 20
    });
    let end = told.min(Chip::here().most_memory());
    // SAFETY: called once, by core 0; the linker script puts nothing behind this symbol, and the firmware's part of the
    // memory begins at `end` or behind it.
    unsafe { core::slice::from_raw_parts_mut(first as *mut u8, end.saturating_sub(first)) }
}

/// The counter of the CPU.
fn ticks() -> u32 {
    let count: u64;
    // SAFETY: reads a register.
    unsafe { asm!("isb", "mrs {}, cntpct_el0", out(reg) count, options(nomem, nostack)) };
    count as u32
}

/// Its rate.
fn hertz() -> u32 {
    let rate: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mrs {}, cntfrq_el0", out(reg) rate, options(nomem, nostack)) };
    rate as u32
}

/// Ends: in the emulator with an exit code, on a board by sleeping for good.
fn end(well: bool) -> ! {
    #[cfg(feature = "semihosting")]
    {
        // SYS_EXIT with ADP_Stopped_ApplicationExit (Arm's Semihosting for AArch32 and AArch64, 2.0).
        let block = [0x20026u64, u64::from(!well)];
        // SAFETY: the emulator reads the block and ends.
        unsafe { asm!("hlt #0xf000", in("x0") 0x18u64, in("x1") block.as_ptr(), options(nostack)) };
    }
    #[cfg(not(feature = "semihosting"))]
    let _ = well;
    sleep()
}

/// Does nothing any more.
fn sleep() -> ! {
    loop {
        // SAFETY: sleeps.
        unsafe { asm!("wfe", options(nomem, nostack)) };
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let _ = writeln!(Uart::new(), "\r\n# stonechat: {info}; this is a fault of the program\r");
    end(false)
}
