//! What the bytes of a block mean: one function for each quantized format, 32 weights at a time.
//!
//! Layouts are those of ggml (`block_q8_0` etc. in ggml-common.h): little-endian, tightly packed. Formats with integers of
//! 32 to 128 weights are in `small`, those of 256 with scales of their own in `k`, three-valued ones in `ternary`, and
//! those that look their weights up in `crate::codebooks` in `codebook`.

mod codebook;
mod k;
mod small;
mod ternary;

use crate::Format;
use crate::math::f16_to_f32;

/// 32 weights of a row: weight i is `d * scales[i / 16] * w[i]`, plus the minimum where there is one.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Block {
    /// The integer weights.
    pub w: [i8; 32],
    /// The integer scale of each half.
    pub scales: [i32; 2],
    /// The scale.
    pub d: Extent,
    /// The minimum, for formats that have one.
    pub minimum: Option<Extent>,
}

/// A number that 32 weights share, or one for each half of them. It says how many steps of an accumulator they take.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Extent {
    /// Of all.
    Whole(f32),
    /// Of the first and of the last 16.
    Halves([f32; 2]),
}

impl Extent {
    /// The number of a half.
    pub const fn of(self, half: usize) -> f32 {
        match self {
            Self::Whole(number) => number,
            Self::Halves(numbers) => numbers[half],
        }
    }
}

/// The `index`-th 32 weights of a row.
///
/// # Panics
/// If the row is shorter or `format` is a float format.
pub fn block(format: Format, row: &[u8], index: usize) -> Block {
    let parts = format.block_len() / 32;
    let bytes = &row[index / parts * format.block_bytes()..][..format.block_bytes()];
    let part = index % parts;
    match format {
        Format::Q8_0 => small::q8_0(bytes),
        Format::Q4_0 => small::q4_0(bytes),
        Format::Q4_1 => small::q4_1(bytes),
        Format::Q5_0 => small::q5_0(bytes),
        Format::Q5_1 => small::q5_1(bytes),
        Format::Q1_0 => small::q1_0(bytes, part),
        Format::Q2_0 => small::q2_0(bytes, part),
        Format::IQ4_NL => small::iq4_nl(bytes),
        Format::MXFP4 => small::mxfp4(bytes),
        Format::NVFP4 => small::nvfp4(bytes, part),
        Format::Q2_K => k::q2_k(bytes, part),
        Format::Q3_K => k::q3_k(bytes, part),
        Format::Q4_K => k::q4_k(bytes, part),
        Format::Q5_K => k::q5_k(bytes, part),
        Format::Q6_K => k::q6_k(bytes, part),
        Format::IQ4_XS => k::iq4_xs(bytes, part),
        Format::TQ1_0 => ternary::tq1_0(bytes, part),
        Format::TQ2_0 => ternary::tq2_0(bytes, part),
        Format::IQ1_S => codebook::iq1_s(bytes, part),
        Format::IQ1_M => codebook::iq1_m(bytes, part),
        Format::IQ2_XXS => codebook::iq2_xxs(bytes, part),
        Format::IQ2_XS => codebook::iq2_xs(bytes, part),
        Format::IQ2_S => codebook::iq2_s(bytes, part),
        Format::IQ3_XXS => codebook::iq3_xxs(bytes, part),
        Format::IQ3_S => codebook::iq3_s(bytes, part),
        Format::F32 | Format::F16 | Format::BF16 => unreachable!("float formats have no blocks"),
    }
}

impl Block {
    /// Weights with one scale.
    const fn plain(w: [i8; 32], d: f32) -> Self {
        Self { w, scales: [1; 2], d: Extent::Whole(d), minimum: None }
    }

    /// Weights with one scale, and an integer scale for each half.
    const fn scaled(w: [i8; 32], d: f32, scales: [i32; 2]) -> Self {
        Self { w, scales, d: Extent::Whole(d), minimum: None }
    }

    /// The same with a minimum.
    const fn with_minimum(self, minimum: Extent) -> Self {
        Self { minimum: Some(minimum), ..self }
    }
}

/// The half-precision number at `at`.
pub fn f16_at(bytes: &[u8], at: usize) -> f32 {
    f16_to_f32(u16_at(bytes, at))
}

/// The number of 16 bits at `at`.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// The number of 32 bits at `at`.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

/// 32 int4: the low halves of 16 bytes, then the high halves.
fn nibbles(bytes: &[u8]) -> [i8; 32] {
    core::array::from_fn(|i| if i < 16 { bytes[i] & 15 } else { bytes[i - 16] >> 4 } as i8)
}

/// Bits `shift` and `shift + 1` of a byte.
const fn two_bits(byte: u8, shift: usize) -> i8 {
    (byte >> shift & 3) as i8
}
