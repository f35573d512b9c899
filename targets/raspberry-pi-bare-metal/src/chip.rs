//! Which chip this is, by the CPU that it has, and what follows from that.
//!
//! In: nothing. Out: the board's name, and where its peripherals are, which is all that differs between the two here: registers,
//! pins and the firmware's mailbox have the same places among the peripherals.

use core::arch::asm;

/// The chips that the image is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Chip {
    /// Raspberry Pi 3 and Zero 2 W: four Cortex-A53.
    Bcm2837,
    /// Raspberry Pi 4: four Cortex-A72.
    Bcm2711,
}

impl Chip {
    /// The one that runs this. What is no Cortex-A72 is taken for a Cortex-A53, as in `boot.s`.
    pub fn here() -> Self {
        let id: u64;
        // SAFETY: reads a register.
        unsafe { asm!("mrs {}, midr_el1", out(reg) id, options(nomem, nostack, preserves_flags)) };
        // The part number (Arm Architecture Reference Manual, MIDR_EL1).
        match id >> 4 & 0xfff {
            0xd08 => Self::Bcm2711,
            _ => Self::Bcm2837,
        }
    }

    /// The board, for the greeting.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bcm2837 => "raspberry-pi-3",
            Self::Bcm2711 => "raspberry-pi-4",
        }
    }

    /// Where its peripherals begin. (BCM2711 ARM Peripherals, 1.2.4: "low peripheral mode", which the firmware chooses unless
    /// told otherwise.)
    pub const fn peripherals(self) -> usize {
        match self {
            Self::Bcm2837 => 0x3f00_0000,
            Self::Bcm2711 => 0xfe00_0000,
        }
    }

    /// Where memory ends that translation lets the CPU use as such.
    pub const fn most_memory(self) -> usize {
        match self {
            Self::Bcm2837 => self.peripherals(),
            Self::Bcm2711 => 1 << 30,
        }
    }
}
