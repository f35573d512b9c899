//! What the firmware tells: how much memory the CPU has.
//!
//! In: nothing. Out: where the CPU's memory ends. The question goes through the property mailbox
//! (github.com/raspberrypi/firmware/wiki/Mailbox-property-interface).

use core::arch::asm;

use crate::uart::{read, write};

const MAILBOX: usize = 0xb880;
/// What the firmware has sent, and what it is sent.
const FROM: usize = MAILBOX;
const FROM_STATUS: usize = MAILBOX + 0x18;
const TO: usize = MAILBOX + 0x20;
const TO_STATUS: usize = MAILBOX + 0x38;
const FULL: u32 = 1 << 31;
const EMPTY: u32 = 1 << 30;
/// The channel of properties.
const PROPERTIES: u32 = 8;
const GET_ARM_MEMORY: u32 = 0x0001_0005;
const WELL: u32 = 0x8000_0000;
/// How often an answer is looked for: a second, roughly.
const PATIENCE: usize = 10_000_000;

/// A question and its answer, alone in its cache line.
#[repr(C, align(64))]
struct Message([u32; 16]);

/// Where the CPU's memory ends.
pub fn memory_end() -> Option<usize> {
    // Its length in bytes, a question; what is asked, room for the answer, that it is a question, base and size; the end.
    let mut message = Message([32, 0, GET_ARM_MEMORY, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let address = &raw mut message as usize;
    flush(address);
    let letter = address as u32 | PROPERTIES;
    (0..PATIENCE).find(|_| read(TO_STATUS) & FULL == 0)?;
    write(TO, letter);
    (0..PATIENCE).find(|_| read(FROM_STATUS) & EMPTY == 0 && read(FROM) == letter)?;
    flush(address);
    // SAFETY: the message is here, and as long as that. The firmware has written to it.
    let [_, status, _, _, _, base, size, ..] = unsafe { (&raw const message.0).read_volatile() };
    (status == WELL && size > 0).then_some(base as usize + size as usize)
}

/// Writes a cache line back to memory and forgets it: the firmware does not look into the CPU's caches.
fn flush(address: usize) {
    // SAFETY: changes where bytes are, and no byte.
    unsafe { asm!("dc civac, {}", "dsb sy", in(reg) address, options(nostack)) };
}
