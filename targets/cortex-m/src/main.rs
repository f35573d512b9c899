//! Stonechat on a Cortex-M4, M7 or M33: no operating system, no MMU, no heap.
//!
//! The weights stay in flash and are read in place; the arena that the plan asks for is static RAM. Prompts come through the
//! first UART, stories go out of it. Boards are ARM's MPS2 with the images AN386 (M4), AN500 (M7) and AN505 (M33), which
//! QEMU emulates.
#![no_std]
#![no_main]

mod board;

use core::fmt::Write as _;
use core::panic::PanicInfo;

use board::Uart;
use cortex_m_rt::{ExceptionFrame, entry, exception};
use stonechat_console::{Board, Clock, serve};
use stonechat_core::{Limits, Sampling};
use stonechat_kernels::{Alone, Line};

include!(concat!(env!("OUT_DIR"), "/sizes.rs"));

/// The file as it is, where a cache line begins.
#[repr(C, align(64))]
struct Flash<T: ?Sized>(T);

static MODEL: &Flash<[u8]> = &Flash(*include_bytes!(env!("STONECHAT_MODEL")));

/// Tokens of a story, at most.
const MOST: usize = 200;

#[entry]
fn main() -> ! {
    static mut LINES: [Line; ARENA / Line::BYTES] = [Line::ZERO; ARENA / Line::BYTES];

    let mut uart = Uart::new();
    board::start_clock();
    let board = Board {
        name: board::name(),
        level: board::level(),
        workers: &Alone,
        clock: Clock { ticks: board::ticks, hertz: board::HERTZ },
        limits: Limits { context: CONTEXT, batch: BATCH, ..Limits::default() },
        sampling: Sampling::default(),
        most: MOST,
    };
    let served = serve(&mut uart, &board, &MODEL.0, bytemuck::cast_slice_mut(LINES));
    let _ = match &served {
        Ok(()) => writeln!(uart, "# stack: at most {} bytes\r", board::stack_used()),
        Err(error) => writeln!(uart, "# stonechat: {error}\r"),
    };
    board::end(served.is_ok())
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let _ = writeln!(Uart::new(), "\r\n# stonechat: {info}; this is a fault of the program\r");
    board::end(false)
}

/// Bad memory, or a bad instruction.
///
/// # Safety
/// Called by the hardware alone.
#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    let _ = writeln!(
        Uart::new(),
        "\r\n# stonechat: a fault at the instruction {:#x}, called from {:#x}; this is a fault of the program\r",
        frame.pc(),
        frame.lr()
    );
    board::end(false)
}
