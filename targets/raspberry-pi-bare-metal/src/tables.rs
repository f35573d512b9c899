//! The tables of address translation, which `boot.s` switches on: every address is its own.
//!
//! Memory below the peripherals is normal, cached, and shared by the cores; peripherals are devices. Formats are those of the
//! Arm Architecture Reference Manual, D8.3.

/// A table of 512 entries.
#[repr(C, align(4096))]
pub struct Table([u64; 512]);

/// Where peripherals of the BCM2837 begin.
pub const PERIPHERALS: usize = 0x3f00_0000;

const BLOCK: u64 = 1;
const ACCESSED: u64 = 1 << 10;
const INNER_SHAREABLE: u64 = 3 << 8;
/// Kinds of memory, as `boot.s` numbers them.
const NORMAL: u64 = BLOCK | ACCESSED | INNER_SHAREABLE;
const DEVICE: u64 = BLOCK | ACCESSED | 1 << 2 | NEVER_EXECUTED;
const NEVER_EXECUTED: u64 = 3 << 53;

/// The first GiB in blocks of 2 MiB.
#[unsafe(no_mangle)]
pub static LEVEL_2: Table = {
    let mut entries = [0; 512];
    let mut i = 0;
    while i < entries.len() {
        let address = (i as u64) << 21;
        entries[i] = address | if address < PERIPHERALS as u64 { NORMAL } else { DEVICE };
        i += 1;
    }
    Table(entries)
};

/// GiB by GiB. `boot.s` puts the address of [`LEVEL_2`] into the first entry, which Rust's constants cannot; that the second
/// is not 0 tells it to switch translation on.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data")]
pub static LEVEL_1: Table = {
    let mut entries = [0; 512];
    // What belongs to one core: mailboxes and timers.
    entries[1] = if cfg!(feature = "mmu") { 0x4000_0000 | DEVICE } else { 0 };
    Table(entries)
};
