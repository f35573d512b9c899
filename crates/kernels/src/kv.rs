//! How keys and values lie in a cache, and how they get there.
//!
//! In: the keys and values of a token in f32. Out: bytes that [`attention`](crate::attention) reads. All formats take
//! the bytes of ggml's formats of the same name; keys are interleaved:
//!
//! - **Keys** lie in groups of [`GROUP`] positions, so that a vector holds the same element (or dword of int8) of
//!   many positions, and scores need no sums across lanes. Floats: element by element, 16 positions each.
//!   `q8_0` and `q4_0`: block by block, dword j of 16 positions after another (value i of a block is byte i in `q8_0`;
//!   in `q4_0` values i and i + 16 are the halves of byte i), and behind all blocks of the group their scales, 16
//!   positions each.
//! - **Values** lie position by position, as rows of ggml's blocks.

use crate::activations::{BLOCK, HALF, QuantizedMut};
use crate::elementwise::{self, NotFinite};
use crate::{Level, math};

/// The positions whose keys are interleaved.
pub const GROUP: usize = 16;

/// How keys or values are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[allow(non_camel_case_types, reason = "the names that the field uses")]
pub enum KvFormat {
    /// In single precision.
    F32,
    /// In half precision.
    F16,
    /// In int8, a scale for each 32.
    Q8_0,
    /// In int4, a scale for each 32.
    Q4_0,
}

impl KvFormat {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::F32, Self::F16, Self::Q8_0, Self::Q4_0];

    /// The name as it is typed and printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
        }
    }

    /// Whether 32 numbers share a scale.
    pub const fn is_quantized(self) -> bool {
        matches!(self, Self::Q8_0 | Self::Q4_0)
    }

    /// The bytes of a key or value of `head_dim` numbers, if these are whole blocks.
    pub const fn row_bytes(self, head_dim: usize) -> Option<usize> {
        let (block, bytes) = match self {
            Self::F32 => (1, 4),
            Self::F16 => (1, 2),
            Self::Q8_0 => (BLOCK, 34),
            Self::Q4_0 => (BLOCK, 18),
        };
        if head_dim.is_multiple_of(block) { (head_dim / block).checked_mul(bytes) } else { None }
    }
}

/// Keys or values of one KV head, from position 0 on, for whole groups of positions.
#[derive(Clone, Copy, Debug)]
pub struct Cache<'a> {
    format: KvFormat,
    head_dim: usize,
    row_bytes: usize,
    bytes: &'a [u8],
}

impl<'a> Cache<'a> {
    /// A cache over `bytes`, if they are whole groups of whole blocks.
    pub fn new(format: KvFormat, head_dim: usize, bytes: &'a [u8]) -> Option<Self> {
        let row_bytes = format.row_bytes(head_dim).filter(|bytes| *bytes > 0)?;
        let whole = bytes.len().is_multiple_of(row_bytes * GROUP);
        whole.then_some(Self { format, head_dim, row_bytes, bytes })
    }

    /// How they are stored.
    pub const fn format(&self) -> KvFormat {
        self.format
    }

    /// The numbers of a key or value.
    pub const fn head_dim(&self) -> usize {
        self.head_dim
    }

    /// The number of positions for which there is room.
    pub const fn positions(&self) -> usize {
        self.bytes.len() / self.row_bytes
    }

    /// The bytes of a key or value.
    pub const fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// The keys of positions `16 group ..` on.
    ///
    /// # Panics
    /// If there is no such group.
    pub fn group(&self, group: usize) -> &'a [u8] {
        let len = GROUP * self.row_bytes;
        &self.bytes[group * len..][..len]
    }

    /// The value of a position.
    ///
    /// # Panics
    /// If there is no such position.
    pub fn row(&self, position: usize) -> &'a [u8] {
        &self.bytes[position * self.row_bytes..][..self.row_bytes]
    }
}

/// Stores a position's key as number `slot` of its group.
///
/// # Panics
/// If `group` is not [`GROUP`] keys of `format`, or `slot` none of them.
pub fn store_key(
    level: Level,
    format: KvFormat,
    key: &[f32],
    slot: usize,
    group: &mut [u8],
) -> Result<(), NotFinite> {
    let row = format.row_bytes(key.len()).expect("whole blocks");
    assert!(slot < GROUP && group.len() == GROUP * row, "a group of keys");
    match format {
        KvFormat::F32 => {
            for (x, to) in key.iter().zip(group.chunks_exact_mut(4 * GROUP)) {
                to[4 * slot..][..4].copy_from_slice(&x.to_le_bytes());
            }
        }
        KvFormat::F16 => {
            let elements = group.as_chunks_mut::<{ 2 * GROUP }>().0;
            for (x, to) in key.chunks(BLOCK).zip(elements.chunks_mut(BLOCK)) {
                let mut halves = [0; BLOCK];
                elementwise::to_f16(level, x, &mut halves[..x.len()]);
                for (half, to) in halves.iter().zip(to) {
                    to[2 * slot..][..2].copy_from_slice(&half.to_le_bytes());
                }
            }
        }
        KvFormat::Q8_0 | KvFormat::Q4_0 => {
            let (blocks, scales) = group.split_at_mut(GROUP * (row - key.len() / BLOCK * 2));
            let block = blocks.len() / (key.len() / BLOCK);
            let blocks = blocks.chunks_exact_mut(block).zip(scales.as_chunks_mut::<{ 2 * GROUP }>().0);
            for (x, (block, scales)) in key.as_chunks::<BLOCK>().0.iter().zip(blocks) {
                let mut bytes = [0; BLOCK];
                let d = quantize(level, format, x, &mut bytes)?;
                scales[2 * slot..][..2].copy_from_slice(&d.to_le_bytes());
                let dwords = block.as_chunks_mut::<{ 4 * GROUP }>().0;
                for (from, to) in bytes.as_chunks::<4>().0.iter().zip(dwords) {
                    to[4 * slot..][..4].copy_from_slice(from);
                }
            }
        }
    }
    Ok(())
}

/// Reads back the key that is number `slot` of its group.
///
/// # Panics
/// As [`store_key`].
pub fn load_key(format: KvFormat, group: &[u8], slot: usize, key: &mut [f32]) {
    let row = format.row_bytes(key.len()).expect("whole blocks");
    assert!(slot < GROUP && group.len() == GROUP * row, "a group of keys");
    match format {
        KvFormat::F32 => {
            for (x, from) in key.iter_mut().zip(group.as_chunks::<{ 4 * GROUP }>().0) {
                *x = f32::from_le_bytes(from.as_chunks().0[slot]);
            }
        }
        KvFormat::F16 => {
            for (x, from) in key.iter_mut().zip(group.as_chunks::<{ 2 * GROUP }>().0) {
                *x = math::f16_to_f32(u16::from_le_bytes(from.as_chunks().0[slot]));
            }
        }
        KvFormat::Q8_0 | KvFormat::Q4_0 => {
            let (blocks, scales) = group.split_at(GROUP * (row - key.len() / BLOCK * 2));
            let block = blocks.len() / (key.len() / BLOCK);
            let blocks = blocks.chunks_exact(block).zip(scales.as_chunks::<{ 2 * GROUP }>().0);
            for (x, (block, scales)) in key.as_chunks_mut::<BLOCK>().0.iter_mut().zip(blocks) {
                let d = math::f16_to_f32(u16::from_le_bytes(scales.as_chunks().0[slot]));
                let mut bytes = [0; BLOCK];
                let dwords = block.as_chunks::<{ 4 * GROUP }>().0;
                for (to, from) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(dwords) {
                    *to = from.as_chunks().0[slot];
                }
                for (i, x) in x.iter_mut().enumerate() {
                    let q = match format {
                        KvFormat::Q4_0 => (bytes[i % HALF] >> (4 * (i / HALF)) & 15) as i8 - 8,
                        _ => bytes[i] as i8,
                    };
                    *x = d * f32::from(q);
                }
            }
        }
    }
}

/// Stores a position's value.
///
/// # Panics
/// If `row` is not one value of `format`.
pub fn store_value(level: Level, format: KvFormat, value: &[f32], row: &mut [u8]) -> Result<(), NotFinite> {
    assert_eq!(format.row_bytes(value.len()), Some(row.len()), "a row of whole blocks");
    match format {
        KvFormat::F32 => {
            for (x, to) in value.iter().zip(row.as_chunks_mut::<4>().0) {
                *to = x.to_le_bytes();
            }
        }
        KvFormat::F16 => {
            for (x, to) in value.chunks(BLOCK).zip(row.chunks_mut(2 * BLOCK)) {
                let mut halves = [0; BLOCK];
                elementwise::to_f16(level, x, &mut halves[..x.len()]);
                for (half, to) in halves.iter().zip(to.as_chunks_mut::<2>().0) {
                    *to = half.to_le_bytes();
                }
            }
        }
        KvFormat::Q8_0 | KvFormat::Q4_0 => {
            let blocks = row.chunks_exact_mut(row.len() / (value.len() / BLOCK));
            for (x, block) in value.as_chunks::<BLOCK>().0.iter().zip(blocks) {
                let mut bytes = [0; BLOCK];
                let d = quantize(level, format, x, &mut bytes)?;
                let (scale, quants) = block.split_at_mut(2);
                scale.copy_from_slice(&d.to_le_bytes());
                quants.copy_from_slice(&bytes[..quants.len()]);
            }
        }
    }
    Ok(())
}

/// The bytes of a block, as many as `format` has, and its scale in half precision.
fn quantize(
    level: Level,
    format: KvFormat,
    x: &[f32; BLOCK],
    bytes: &mut [u8; BLOCK],
) -> Result<u16, NotFinite> {
    if format == KvFormat::Q4_0 {
        return quantize_q4_0(x, bytes.first_chunk_mut().expect("16 of 32"));
    }
    let (mut q, mut d, mut sums) = ([0; BLOCK], [0.0], [0; BLOCK / HALF]);
    elementwise::quantize(level, x, &mut QuantizedMut { q: &mut q, d: &mut d, sums: &mut sums })?;
    *bytes = bytemuck::cast(q);
    Ok(math::f32_to_f16(d[0]))
}

/// As ggml's `quantize_row_q4_0_ref`: the number of the largest magnitude (the first of them) becomes -8. The same
/// scalar operations at every level.
fn quantize_q4_0(x: &[f32; BLOCK], bytes: &mut [u8; BLOCK / 2]) -> Result<u16, NotFinite> {
    let magnitude = |x: f32| x.to_bits() & 0x7fff_ffff;
    let amax = x.iter().map(|x| magnitude(*x)).max().unwrap_or(0);
    if amax >= f32::INFINITY.to_bits() {
        return Err(NotFinite);
    }
    let most = x.iter().copied().find(|x| magnitude(*x) == amax).unwrap_or(0.0);
    let d = most / -8.0;
    let tiny = d.abs() < f32::MIN_POSITIVE;
    let (d, inverse) = if tiny { (0.0, 0.0) } else { (d, 1.0 / d) };
    // From 0.5 up to 16.5, so that cutting off the fraction rounds x/d + 8.
    let quant = |x: f32| ((x * inverse + 8.5) as u8).min(15);
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = quant(x[i]) | quant(x[i + HALF]) << 4;
    }
    Ok(math::f32_to_f16(d))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_the_largest_magnitude_becomes_the_lowest_int4() {
        let mut x = [0.0; BLOCK];
        (x[3], x[20]) = (4.0, -8.0);
        let mut bytes = [0; HALF];
        // d = -8 / -8 = 1: 4 is 12, -8 is 0, 0 is 8.
        assert_eq!(quantize_q4_0(&x, &mut bytes), Ok(0x3c00));
        assert_eq!(bytes[3], 0x8c);
        assert_eq!(bytes[4], 0x08);
        assert_eq!(bytes[5], 0x88);
        x[20] = 8.0;
        assert_eq!(quantize_q4_0(&x, &mut bytes), Ok(0xbc00));
        assert_eq!((bytes[3], bytes[4]), (0x84, 0x08));
    }

    #[test]
    fn a_block_of_zeros_or_subnormals_is_zero() {
        for x in [0.0, f32::from_bits(1), f32::MIN_POSITIVE] {
            let mut bytes = [0; HALF];
            assert_eq!(quantize_q4_0(&[x; BLOCK], &mut bytes), Ok(0));
            assert_eq!(bytes, [0x88; HALF]);
        }
    }

    #[test]
    fn a_key_comes_back_as_it_was_stored() {
        // Multiples of 1/8 with 7 among them (int4: with -8) are exact in every format.
        let mut key = [0.0; 2 * BLOCK];
        for (i, x) in key.iter_mut().enumerate() {
            *x = ((i * 5) % 15) as f32 - 7.0;
        }
        for format in KvFormat::ALL {
            let (top, unit) = if format == KvFormat::Q8_0 { (127.0, 1.0) } else { (-8.0, 0.125) };
            (key[4], key[BLOCK + 9]) = (top, top);
            let x = key.map(|x| x * unit);
            let row = format.row_bytes(x.len()).expect("blocks");
            let mut group = [0xa5; 4 * 2 * BLOCK * GROUP];
            let group = &mut group[..row * GROUP];
            let mut back = [f32::NAN; 2 * BLOCK];
            for slot in [0, 7, 15] {
                store_key(Level::REFERENCE, format, &x, slot, group).expect("finite");
                load_key(format, group, slot, &mut back);
                assert_eq!(back, x, "{}", format.as_str());
            }
        }
    }

    #[test]
    fn what_is_not_finite_is_refused() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = [1.0; BLOCK];
            x[31] = bad;
            for format in [KvFormat::Q8_0, KvFormat::Q4_0] {
                let row = format.row_bytes(BLOCK).expect("a block");
                let mut bytes = [0; 34 * GROUP];
                let level = Level::REFERENCE;
                assert_eq!(store_value(level, format, &x, &mut bytes[..row]), Err(NotFinite));
                assert_eq!(store_key(level, format, &x, 3, &mut bytes[..row * GROUP]), Err(NotFinite));
            }
        }
    }
}
