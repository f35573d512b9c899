//! What a CPU exception says: which, where, and what it touched.
//!
//! In: the registers, from the vectors in `boot.s`. Out: one sentence, and the end. Nothing here returns.

use core::fmt::Write as _;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::uart::Uart;

/// Whether there was one: another comes of telling it, and is not told.
static TOLD: AtomicBool = AtomicBool::new(false);

/// Where every exception ends.
#[unsafe(no_mangle)]
extern "C" fn fault(core: u64, syndrome: u64, instruction: u64, address: u64) -> ! {
    if TOLD.swap(true, Ordering::Relaxed) {
        crate::sleep();
    }
    // Classes of exceptions: Arm Architecture Reference Manual, ESR_EL1.
    let (what, has_address) = match syndrome >> 26 & 0x3f {
        0x00 => ("an instruction that the CPU does not know", false),
        0x07 => ("a use of floating point while it is off", false),
        0x15 => ("a call to an operating system", false),
        0x20 | 0x21 => ("a jump to an address that holds no code", true),
        0x22 => ("a jump to an odd address", true),
        0x24 | 0x25 if syndrome & 0x3f == 0x21 => ("an access that is not aligned", true),
        0x24 | 0x25 if syndrome & 0x40 != 0 => ("a write to an address that is not there", true),
        0x24 | 0x25 => ("a read from an address that is not there", true),
        0x26 => ("a stack that is not aligned", false),
        0x2f => ("an error of the memory", false),
        0x3c => ("a breakpoint", false),
        _ => ("an exception", false),
    };
    let mut uart = Uart::new();
    let _ = write!(uart, "\r\n# stonechat: {what}");
    if has_address {
        let _ = write!(uart, ", {address:#x},");
    }
    let _ = writeln!(
        uart,
        " on core {core} at the instruction {instruction:#x} (ESR {syndrome:#x}); this is a fault of the program\r"
    );
    crate::end(false)
}
