//! What the bytes of a block mean: one function for each quantized format, 32 weights at a time.
//!
//! Layouts are those of ggml (`block_q8_0` etc. in ggml-common.h): little-endian, tightly packed.

use crate::Format;
use crate::math::f16_to_f32;

/// 32 weights of a row: weight i is `d * scales[i / 16] * w[i] + minima[i / 16]`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Block {
    /// The integer weights.
    pub w: [i8; 32],
    /// The integer scale of each half.
    pub scales: [i32; 2],
    /// The scale of all.
    pub d: f32,
    /// The minimum of all, for formats that have one.
    pub minimum: Option<f32>,
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
        Format::Q8_0 => q8_0(bytes),
        Format::Q4_0 => q4_0(bytes),
        Format::Q4_1 => q4_1(bytes),
        Format::Q4_K => q4_k(bytes, part),
        Format::Q6_K => q6_k(bytes, part),
        Format::F32 | Format::F16 | Format::BF16 => unreachable!("float formats have no blocks"),
    }
}

/// The half-precision number at `at`.
pub fn f16_at(bytes: &[u8], at: usize) -> f32 {
    f16_to_f32(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

/// 32 int4: the low halves of 16 bytes, then the high halves.
fn nibbles(bytes: &[u8]) -> [i8; 32] {
    core::array::from_fn(|i| if i < 16 { bytes[i] & 15 } else { bytes[i - 16] >> 4 } as i8)
}

/// d (f16), 32 int8.
fn q8_0(bytes: &[u8]) -> Block {
    Block {
        w: core::array::from_fn(|i| bytes[2 + i] as i8),
        scales: [1; 2],
        d: f16_at(bytes, 0),
        minimum: None,
    }
}

/// d (f16), 16 bytes of int4 around 8.
fn q4_0(bytes: &[u8]) -> Block {
    Block { w: nibbles(&bytes[2..]).map(|w| w - 8), scales: [1; 2], d: f16_at(bytes, 0), minimum: None }
}

/// d (f16), m (f16), 16 bytes of int4.
fn q4_1(bytes: &[u8]) -> Block {
    Block { w: nibbles(&bytes[4..]), scales: [1; 2], d: f16_at(bytes, 0), minimum: Some(f16_at(bytes, 2)) }
}

/// d, dmin (f16), 8 scales and 8 minima of 6 bits in 12 bytes, 128 bytes of int4: 64 weights share 32 bytes, the first
/// 32 in the low halves.
fn q4_k(bytes: &[u8], part: usize) -> Block {
    let (scale, minimum) = q4_k_scales(&bytes[4..16], part);
    let quants = &bytes[16 + part / 2 * 32..][..32];
    Block {
        w: core::array::from_fn(
            |i| if part.is_multiple_of(2) { quants[i] & 15 } else { quants[i] >> 4 } as i8,
        ),
        scales: [i32::from(scale); 2],
        d: f16_at(bytes, 0),
        minimum: Some(-(f16_at(bytes, 2) * f32::from(minimum))),
    }
}

/// The 6-bit scale and minimum of sub-block `part` of `Q4_K` (and `Q5_K`): the first four in the low 6 bits of bytes 0..8,
/// the others in the halves of bytes 8..12 and the top bits of bytes 0..8.
fn q4_k_scales(packed: &[u8], part: usize) -> (u8, u8) {
    if part < 4 {
        (packed[part] & 63, packed[part + 4] & 63)
    } else {
        let low = packed[part + 4];
        ((low & 15) | (packed[part - 4] >> 6) << 4, low >> 4 | (packed[part] >> 6) << 4)
    }
}

/// 128 bytes of low halves, 64 bytes of upper 2 bits, 16 int8 scales, d (f16). 128 weights share 64 and 32 bytes: in
/// these, 32 weights each stand in the low halves of the first and second 32 bytes, then in the high halves, and
/// their upper bits in bits 0, 2, 4, 6 of the 32.
fn q6_k(bytes: &[u8], part: usize) -> Block {
    let (half, quarter) = (part / 4, part % 4);
    let low = &bytes[half * 64 + quarter % 2 * 32..][..32];
    let high = &bytes[128 + half * 32..][..32];
    Block {
        w: core::array::from_fn(|i| {
            let low = if quarter < 2 { low[i] & 15 } else { low[i] >> 4 };
            (low | (high[i] >> (2 * quarter) & 3) << 4) as i8 - 32
        }),
        scales: core::array::from_fn(|i| i32::from(bytes[192 + part * 2 + i] as i8)),
        d: f16_at(bytes, 208),
        minimum: None,
    }
}
