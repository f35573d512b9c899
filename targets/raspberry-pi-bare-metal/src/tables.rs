//! The tables of address translation, which `boot.s` switches on: every address is its own.
//!
//! Memory is normal, cached, and shared by the cores; peripherals are devices. There are tables for each chip, of which `boot.s`
//! takes those for the CPU that it finds. Formats are those of the Arm Architecture Reference Manual, D8.3.

use crate::chip::Chip;

/// A table of 512 entries.
#[repr(C, align(4096))]
pub struct Table([u64; 512]);

const BLOCK: u64 = 1;
const ACCESSED: u64 = 1 << 10;
const INNER_SHAREABLE: u64 = 3 << 8;
/// Kinds of memory, as `boot.s` numbers them.
const NORMAL: u64 = BLOCK | ACCESSED | INNER_SHAREABLE;
const DEVICE: u64 = BLOCK | ACCESSED | 1 << 2 | NEVER_EXECUTED;
const NEVER_EXECUTED: u64 = 3 << 53;

/// The first GiB of the BCM2837, in blocks of 2 MiB: memory, and peripherals at its end.
#[unsafe(no_mangle)]
pub static LEVEL_2_BCM2837: Table = {
    let mut entries = [0; 512];
    let mut i = 0;
    while i < entries.len() {
        let address = (i as u64) << 21;
        entries[i] = address | if address < Chip::Bcm2837.peripherals() as u64 { NORMAL } else { DEVICE };
        i += 1;
    }
    Table(entries)
};

/// The BCM2837, GiB by GiB. `boot.s` puts the address of [`LEVEL_2_BCM2837`] into the first entry, which Rust's constants
/// cannot.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data")]
pub static LEVEL_1_BCM2837: Table = {
    let mut entries = [0; 512];
    // What belongs to one core: mailboxes and timers.
    entries[1] = 0x4000_0000 | DEVICE;
    Table(entries)
};

/// The BCM2711, GiB by GiB: the first is memory, the fourth ends with the peripherals. A board may have more memory; what the
/// firmware tells of is in the first GiB.
#[unsafe(no_mangle)]
pub static LEVEL_1_BCM2711: Table = {
    let mut entries = [0; 512];
    entries[0] = NORMAL;
    entries[3] = 0xc000_0000 | DEVICE;
    Table(entries)
};
