//! How the rows of a matrix lie in memory: one after another as ggml lays them, or sixteen side by side.
//!
//! Sixteen rows side by side are what a vector kernel wants: each load brings the same word of sixteen rows, which
//! then are its lanes. In: rows as ggml stores them. Out: the same bytes in another order ([`interleave`]), and back
//! ([`gather`]). A file of such matrices has the size of the plain one and is mapped just like it.

use crate::Format;
use core::ops::Range;

/// How the rows of a matrix lie in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Layout {
    /// One row after another.
    Rows,
    /// Groups of 16 rows. A group holds, for each block of the format in turn, that block of all its rows: what stands
    /// at byte `at` of the block, of row `r` and with a width of `w` bytes, stands at byte `16 place(at) + r w`. The
    /// width is that of the scale, 1 or 2, where a block is no whole number of words without it, and 4 for everything
    /// else. [`place`] orders a block as it is read, so that memory is read from front to back.
    Rows16,
}

/// The rows of a group of [`Layout::Rows16`].
pub const GROUP: usize = 16;

/// The most bytes that a block of any format has.
pub const MOST_BLOCK_BYTES: usize = 256;

/// What is added to ggml's id of a type to name its rows in groups of 16. Far from every id that ggml or a relative
/// of it uses, so that whoever does not know the layout refuses the file.
const ROWS16_ID: u32 = 0x5c00_0000;

impl Layout {
    /// Format and layout of a tensor type's id in a file, if there are kernels for them.
    pub const fn of_id(id: u32) -> Option<(Format, Self)> {
        let (ggml, layout) = if id >= ROWS16_ID { (id - ROWS16_ID, Self::Rows16) } else { (id, Self::Rows) };
        match Format::from_ggml(ggml) {
            Some(format) if layout.takes(format) => Some((format, layout)),
            _ => None,
        }
    }

    /// The id of a tensor type of this layout in a file.
    pub const fn id(self, format: Format) -> u32 {
        match self {
            Self::Rows => format.ggml_id(),
            Self::Rows16 => ROWS16_ID + format.ggml_id(),
        }
    }

    /// Whether matrices of this format can have this layout. Weights from a codebook are looked up row by row, and gain
    /// nothing from rows that lie side by side.
    pub const fn takes(self, format: Format) -> bool {
        matches!(self, Self::Rows) || !format.is_float() && !format.has_codebook()
    }

    /// How many rows belong together: a matrix has a multiple of it.
    pub const fn group(self) -> usize {
        match self {
            Self::Rows => 1,
            Self::Rows16 => GROUP,
        }
    }
}

/// The scale of a block that is no whole number of words without it.
fn odd_field(format: Format) -> Option<Range<usize>> {
    let end = format.block_bytes();
    let odd = end % 4;
    let is_last = matches!(format, Format::Q3_K | Format::Q6_K | Format::TQ1_0 | Format::TQ2_0);
    (odd > 0).then(|| if is_last { end - odd..end } else { 0..odd })
}

/// Where the words of a block begin: all of it but the odd scale.
fn words(format: Format) -> impl Iterator<Item = usize> {
    let end = format.block_bytes();
    let words = match odd_field(format) {
        Some(odd) if odd.start == 0 => odd.end..end,
        Some(odd) => 0..odd.start,
        None => 0..end,
    };
    words.step_by(4)
}

/// The fields of a block: words, and where there is one the odd scale.
fn fields(format: Format) -> impl Iterator<Item = Range<usize>> {
    odd_field(format).into_iter().chain(words(format).map(|at| at..at + 4))
}

/// Where the field that begins at byte `at` of a block as ggml lays it begins in a row of [`Layout::Rows16`].
///
/// `Q6_K`: first the scale, then the integer scales; then, of each 128 weights, the words with the low bits of weights
/// i.., the upper bits of the same, and the low bits of weights 32 + i.., for i = 0, 4, .. 28. The other formats are
/// read in ggml's order.
pub const fn place(format: Format, at: usize) -> usize {
    match (format, at) {
        (Format::Q6_K, 208..) => at - 208,
        (Format::Q6_K, 192..) => at - 192 + 2,
        (Format::Q6_K, 128..) => 18 + (at - 128) / 32 * 96 + at % 32 * 3 + 4,
        (Format::Q6_K, _) => 18 + at / 64 * 96 + at % 32 * 3 + at / 32 % 2 * 8,
        _ => at,
    }
}

/// Brings 16 rows from [`Layout::Rows`] to [`Layout::Rows16`].
///
/// # Panics
/// If the layout does not take the format, or the two are not 16 rows of whole blocks, or of different lengths.
pub fn interleave(format: Format, rows: &[u8], group: &mut [u8]) {
    assert!(Layout::Rows16.takes(format), "{format} is not interleaved");
    let bytes = format.block_bytes();
    assert!(rows.len() == group.len() && rows.len().is_multiple_of(GROUP * bytes), "16 rows of whole blocks");
    let row_bytes = rows.len() / GROUP;
    for (block, group) in group.chunks_exact_mut(GROUP * bytes).enumerate() {
        for field in fields(format) {
            for r in 0..GROUP {
                let from = r * row_bytes + block * bytes + field.start;
                let to = GROUP * place(format, field.start) + r * field.len();
                group[to..to + field.len()].copy_from_slice(&rows[from..from + field.len()]);
            }
        }
    }
}

/// Copies one block of row `row` out of a block of 16 rows, as ggml stores it.
///
/// # Panics
/// If `group` is not 16 blocks, `block` not one, or there is no such row.
pub fn gather(format: Format, group: &[u8], row: usize, block: &mut [u8]) {
    let bytes = format.block_bytes();
    assert!(group.len() == GROUP * bytes && block.len() == bytes && row < GROUP, "a block of 16 rows");
    if let Some(odd) = odd_field(format) {
        let from = GROUP * place(format, odd.start) + row * odd.len();
        block[odd.clone()].copy_from_slice(&group[from..from + odd.len()]);
    }
    // Of a length that the compiler knows: a word is one load and one store.
    for at in words(format) {
        let from = GROUP * place(format, at) + row * 4;
        block[at..at + 4].copy_from_slice(&group[from..from + 4]);
    }
}
