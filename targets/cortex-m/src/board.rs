//! What the MPS2 boards have: a UART, a timer, and a way to end. All that is unsafe about them is here.
//!
//! Registers are those of ARM's Cortex-M System Design Kit (DDI 0479). On the M33 everything lies in the secure half of the
//! address space, where the chip starts.

use stonechat_console::Serial;
use stonechat_kernels::{Level, LevelName};

/// Where peripherals are, and how fast their clock is.
#[cfg(not(armv8m))]
mod map {
    pub const UART: usize = 0x4000_4000;
    pub const TIMER: usize = 0x4000_0000;
    pub const HERTZ: u32 = 25_000_000;
}
#[cfg(armv8m)]
mod map {
    pub const UART: usize = 0x5020_0000;
    pub const TIMER: usize = 0x5000_0000;
    pub const HERTZ: u32 = 20_000_000;
}

pub use map::HERTZ;

/// Registers of the UART.
const DATA: usize = map::UART;
const STATE: usize = map::UART + 4;
const CONTROL: usize = map::UART + 8;
const DIVISOR: usize = map::UART + 16;
/// Bits of its state.
const SENDING: u32 = 1;
const RECEIVED: u32 = 2;
/// What it is to do: send and receive.
const BOTH: u32 = 3;
const BAUD: u32 = 115_200;

/// Registers of the timer, which counts down.
const TIMER_CONTROL: usize = map::TIMER;
const TIMER_VALUE: usize = map::TIMER + 4;
const TIMER_RELOAD: usize = map::TIMER + 8;

fn read(register: usize) -> u32 {
    // SAFETY: called with the addresses of registers above only, which are there, aligned, and no memory of Rust's.
    unsafe { (register as *const u32).read_volatile() }
}

fn write(register: usize, value: u32) {
    // SAFETY: as above; none of these registers makes the hardware touch memory.
    unsafe { (register as *mut u32).write_volatile(value) }
}

/// The port.
pub type Uart = Serial<Cmsdk>;

/// What it is made of.
pub struct Cmsdk;

impl stonechat_console::Uart for Cmsdk {
    fn switch_on() {
        write(DIVISOR, HERTZ / BAUD);
        write(CONTROL, BOTH);
    }

    fn receive() -> u8 {
        while read(STATE) & RECEIVED == 0 {}
        read(DATA) as u8
    }

    fn send(byte: u8) {
        while read(STATE) & SENDING != 0 {}
        write(DATA, u32::from(byte));
    }
}

/// Lets the timer run.
pub fn start_clock() {
    write(TIMER_RELOAD, u32::MAX);
    write(TIMER_VALUE, u32::MAX);
    write(TIMER_CONTROL, 1);
}

/// Ticks since the timer runs.
pub fn ticks() -> u32 {
    !read(TIMER_VALUE)
}

/// The chip, by the number that it says.
pub fn name() -> &'static str {
    /// CPUID, which every Cortex-M has (Armv7-M architecture reference manual, B3.2.3).
    const CPUID: usize = 0xe000_ed00;
    match read(CPUID) >> 4 & 0xfff {
        0xc24 => "cortex-m4",
        0xc27 => "cortex-m7",
        0xd21 => "cortex-m33",
        _ => "cortex-m",
    }
}

/// The instructions of the chip. An M4 or M7 has the DSP extension always, an M33 may be made without.
pub fn level() -> Level {
    /// `ID_ISAR3`, whose bits 4 to 7 tell of SIMD instructions (Armv8-M architecture reference manual, D1.2).
    const ID_ISAR3: usize = 0xe000_ed6c;
    /// All of them.
    const SIMD: u32 = 3;
    if !cfg!(armv8m) || read(ID_ISAR3) >> 4 & 0xf == SIMD {
        // SAFETY: an image for Armv7E-M runs on no other chip, and an M33 says that it has them.
        unsafe { Level::assume(LevelName::Dsp) }
    } else {
        Level::REFERENCE
    }
}

/// How much of the stack has been used: where the paint from the start is gone.
pub fn stack_used() -> usize {
    unsafe extern "C" {
        /// The ends of the stack, which grows down: symbols of cortex-m-rt's linker script, no objects.
        static _stack_start: u32;
        static _stack_end: u32;
    }
    const PAINT: u32 = 0xcccc_cccc;
    let (top, bottom) = (&raw const _stack_start as usize, &raw const _stack_end as usize);
    let painted = (bottom..top).step_by(4).take_while(|word| {
        // SAFETY: a word of RAM between the stack's ends, which nothing else uses; below what is painted nobody writes.
        unsafe { (*word as *const u32).read_volatile() == PAINT }
    });
    top - bottom - 4 * painted.count()
}

/// Ends: under a debugger or emulator with an exit code, elsewhere by sleeping for good.
pub fn end(well: bool) -> ! {
    #[cfg(feature = "semihosting")]
    {
        use cortex_m_semihosting::debug::{EXIT_FAILURE, EXIT_SUCCESS, exit};
        exit(if well { EXIT_SUCCESS } else { EXIT_FAILURE });
    }
    #[cfg(not(feature = "semihosting"))]
    let _ = well;
    loop {
        cortex_m::asm::wfi();
    }
}
