//! The instruction set that the kernels may use: a value that proves that the CPU has it.
//!
//! [`LevelName`] is a name a user can type. [`Level`] is the permission: it can only be made by asking the CPU
//! (feature `std`), or by an `unsafe` promise where there is no operating system to ask. Every kernel takes a
//! `Level`, so safe code cannot run an instruction that the CPU lacks.

use core::fmt;
use core::str::FromStr;

/// The names of all levels, of every architecture, weakest first within each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum LevelName {
    /// Plain scalar Rust: the definition of every result.
    Reference,
    /// `x86_64`: AVX2, FMA and F16C.
    Avx2,
    /// `x86_64`: AVX2 and AVX-VNNI.
    AvxVnni,
    /// `x86_64`: AVX-512 F, BW, DQ, VL and VNNI.
    Avx512,
    /// `x86_64`: the above and AMX-INT8.
    Amx,
    /// 32-bit Arm: the SIMD instructions on two halves of a register, which Armv6 and later have, and Cortex-M with the DSP
    /// extension (M4, M7, M33).
    Dsp,
    /// aarch64: NEON, which every such CPU has.
    Neon,
    /// aarch64: NEON and the dot product instructions (Armv8.2 `dotprod`).
    Dotprod,
    /// aarch64: the above and the int8 matrix instructions (Armv8.6 `i8mm`).
    I8mm,
}

impl LevelName {
    /// Every level there is, of every architecture.
    pub const ALL: [Self; 9] = [
        Self::Reference,
        Self::Avx2,
        Self::AvxVnni,
        Self::Avx512,
        Self::Amx,
        Self::Dsp,
        Self::Neon,
        Self::Dotprod,
        Self::I8mm,
    ];

    /// The name as it is typed and printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reference => "reference",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avx-vnni",
            Self::Avx512 => "avx512",
            Self::Amx => "amx",
            Self::Dsp => "dsp",
            Self::Neon => "neon",
            Self::Dotprod => "dotprod",
            Self::I8mm => "i8mm",
        }
    }

    /// Whether this build has kernels of its own at this level.
    #[cfg(feature = "std")]
    const fn is_implemented(self) -> bool {
        match self {
            Self::Reference => true,
            Self::Avx2 | Self::AvxVnni | Self::Avx512 | Self::Amx => cfg!(target_arch = "x86_64"),
            Self::Dsp => cfg!(dsp),
            Self::Neon | Self::Dotprod | Self::I8mm => cfg!(target_arch = "aarch64"),
        }
    }
}

impl fmt::Display for LevelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no level.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownLevel;

impl fmt::Display for UnknownLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no such CPU level; there are")?;
        for name in LevelName::ALL {
            write!(f, " {name}")?;
        }
        Ok(())
    }
}

impl core::error::Error for UnknownLevel {}

impl FromStr for LevelName {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, UnknownLevel> {
        Self::ALL.into_iter().find(|name| name.as_str() == text).ok_or(UnknownLevel)
    }
}

/// A level that the running CPU has. See the [module](self).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Level(LevelName);

impl Level {
    /// The level that every CPU has.
    pub const REFERENCE: Self = Self(LevelName::Reference);

    /// States a level without asking the CPU.
    ///
    /// # Safety
    /// The CPU, and the operating system where there is one, must support every feature that the documentation of
    /// `name` lists.
    pub const unsafe fn assume(name: LevelName) -> Self {
        Self(name)
    }

    /// The name of this level.
    pub const fn name(self) -> LevelName {
        self.0
    }

    /// The permission to use `name`, if this build has kernels for it and the running CPU has its features.
    #[cfg(feature = "std")]
    pub fn new(name: LevelName) -> Option<Self> {
        (name.is_implemented() && cpu_has(name)).then_some(Self(name))
    }

    /// Every level that can run here, weakest first.
    #[cfg(feature = "std")]
    pub fn available() -> impl DoubleEndedIterator<Item = Self> {
        LevelName::ALL.into_iter().filter_map(Self::new)
    }

    /// The strongest level that can run here.
    #[cfg(feature = "std")]
    pub fn detect() -> Self {
        Self::available().next_back().unwrap_or(Self::REFERENCE)
    }
}

#[cfg(all(feature = "std", target_arch = "x86_64"))]
fn cpu_has(name: LevelName) -> bool {
    use std::arch::is_x86_feature_detected as has;
    let avx2 = || has!("avx2") && has!("fma") && has!("f16c");
    let avx512 = || {
        avx2()
            && has!("avx512f")
            && has!("avx512bw")
            && has!("avx512dq")
            && has!("avx512vl")
            && has!("avx512vnni")
    };
    match name {
        LevelName::Reference => true,
        LevelName::Avx2 => avx2(),
        LevelName::AvxVnni => avx2() && has!("avxvnni"),
        LevelName::Avx512 => avx512(),
        LevelName::Amx => avx512() && crate::x86_64::amx::is_permitted(),
        _ => false,
    }
}

#[cfg(all(feature = "std", target_arch = "aarch64"))]
fn cpu_has(name: LevelName) -> bool {
    use std::arch::is_aarch64_feature_detected as has;
    match name {
        LevelName::Reference => true,
        LevelName::Neon => has!("neon"),
        LevelName::Dotprod => has!("neon") && has!("dotprod"),
        LevelName::I8mm => has!("neon") && has!("dotprod") && has!("i8mm"),
        _ => false,
    }
}

#[cfg(all(feature = "std", not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
fn cpu_has(name: LevelName) -> bool {
    // A program for Armv7 runs on no CPU that lacks its SIMD instructions.
    name == LevelName::Reference || cfg!(dsp) && name == LevelName::Dsp
}
