//! The PL011 UART at the pins 14 and 15, 115200 baud.
//!
//! Registers: ARM DDI 0183; pins: BCM2835 ARM Peripherals, 6.1, and BCM2711 ARM Peripherals, 5.3. Both chips have them at the
//! same places among the peripherals.

use stonechat_console::Serial;

use crate::chip::Chip;

const GPIO: usize = 0x20_0000;
/// What the pins 10 to 19 do, 3 bits each.
const FUNCTIONS: usize = GPIO + 4;
/// Function 0 of the alternatives, which is this UART.
const ALTERNATIVE_0: u32 = 4;

const UART: usize = 0x20_1000;
const DATA: usize = UART;
const FLAGS: usize = UART + 0x18;
const DIVISOR: usize = UART + 0x24;
const FRACTION: usize = UART + 0x28;
const LINE: usize = UART + 0x2c;
const CONTROL: usize = UART + 0x30;
/// Flags: nothing has come, and there is no room.
const EMPTY: u32 = 1 << 4;
const FULL: u32 = 1 << 5;
/// Words of 8 bits, with queues.
const BYTES_AND_QUEUES: u32 = 3 << 5 | 1 << 4;
/// On, sending and receiving.
const ON: u32 = 1 | 1 << 8 | 1 << 9;

/// Reads a register, by its place among the peripherals.
pub fn read(register: usize) -> u32 {
    let address = Chip::here().peripherals() + register;
    // SAFETY: called with the places of registers only, which are there, aligned, and no memory of Rust's.
    unsafe { (address as *const u32).read_volatile() }
}

/// Writes one.
pub fn write(register: usize, value: u32) {
    let address = Chip::here().peripherals() + register;
    // SAFETY: as above. The one register that lets hardware touch memory, the mailbox's, gets an address that is meant for it.
    unsafe { (address as *mut u32).write_volatile(value) }
}

/// The port.
pub type Uart = Serial<Pl011>;

/// What it is made of.
pub struct Pl011;

impl stonechat_console::Uart for Pl011 {
    fn switch_on() {
        let pins = read(FUNCTIONS) & !(0o77 << 12);
        write(FUNCTIONS, pins | ALTERNATIVE_0 << 12 | ALTERNATIVE_0 << 15);
        write(CONTROL, 0);
        // The firmware's clock of 48 MHz by 16 x 115200 is 26 and 3/64.
        write(DIVISOR, 26);
        write(FRACTION, 3);
        write(LINE, BYTES_AND_QUEUES);
        write(CONTROL, ON);
    }

    fn receive() -> u8 {
        while read(FLAGS) & EMPTY != 0 {}
        read(DATA) as u8
    }

    fn send(byte: u8) {
        while read(FLAGS) & FULL != 0 {}
        write(DATA, u32::from(byte));
    }
}
