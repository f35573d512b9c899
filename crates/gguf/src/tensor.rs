//! Tensors: ggml's types and their block sizes, dimensions, and the table that names each tensor and its data.

use core::fmt;
use core::ops::Deref;

use crate::cursor::{Cursor, Place};
use crate::error::{Error, Name, Quantity};
use crate::limits;
use crate::value::{check_limit, read_bytes};

/// How a tensor's elements are stored: one of ggml's types, or one of Stonechat's own.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TensorType(u32);

/// Makes the table of types and a constant for each: id, name, elements in a block, bytes of a block.
macro_rules! tensor_types {
    ($($id:literal $name:ident $len:literal $bytes:literal;)*) => {
        impl TensorType {
            $(
                #[doc = concat!("`", stringify!($name), "`: blocks of ", $len, " elements in ", $bytes, " bytes.")]
                pub const $name: Self = Self($id);
            )*

            /// Every type, in the order of their ids.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            const fn entry(self) -> (&'static str, usize, usize) {
                match self.0 {
                    $($id => (stringify!($name), $len, $bytes),)*
                    // No value of this type has another id.
                    _ => ("", 1, 1),
                }
            }
        }
    };
}

// Source: ggml's `enum ggml_type` and its `block_*` structures. The missing ids were withdrawn by ggml (4, 5: Q4_2 and
// Q4_3; 31-33 and 36-38: layouts repacked for ARM). The ids from 0x5c00_0000 on are Stonechat's: ggml's blocks of 16 rows
// side by side.
tensor_types! {
    0 F32 1 4;
    1 F16 1 2;
    2 Q4_0 32 18;
    3 Q4_1 32 20;
    6 Q5_0 32 22;
    7 Q5_1 32 24;
    8 Q8_0 32 34;
    9 Q8_1 32 36;
    10 Q2_K 256 84;
    11 Q3_K 256 110;
    12 Q4_K 256 144;
    13 Q5_K 256 176;
    14 Q6_K 256 210;
    15 Q8_K 256 292;
    16 IQ2_XXS 256 66;
    17 IQ2_XS 256 74;
    18 IQ3_XXS 256 98;
    19 IQ1_S 256 50;
    20 IQ4_NL 32 18;
    21 IQ3_S 256 110;
    22 IQ2_S 256 82;
    23 IQ4_XS 256 136;
    24 I8 1 1;
    25 I16 1 2;
    26 I32 1 4;
    27 I64 1 8;
    28 F64 1 8;
    29 IQ1_M 256 56;
    30 BF16 1 2;
    34 TQ1_0 256 54;
    35 TQ2_0 256 66;
    39 MXFP4 32 17;
    40 NVFP4 64 36;
    41 Q1_0 128 18;
    42 Q2_0 64 18;
    0x5c00_0002 Q4_0_R16 32 18;
    0x5c00_0003 Q4_1_R16 32 20;
    0x5c00_0006 Q5_0_R16 32 22;
    0x5c00_0007 Q5_1_R16 32 24;
    0x5c00_0008 Q8_0_R16 32 34;
    0x5c00_000a Q2_K_R16 256 84;
    0x5c00_000b Q3_K_R16 256 110;
    0x5c00_000c Q4_K_R16 256 144;
    0x5c00_000d Q5_K_R16 256 176;
    0x5c00_000e Q6_K_R16 256 210;
    0x5c00_0014 IQ4_NL_R16 32 18;
    0x5c00_0017 IQ4_XS_R16 256 136;
    0x5c00_0022 TQ1_0_R16 256 54;
    0x5c00_0023 TQ2_0_R16 256 66;
    0x5c00_0027 MXFP4_R16 32 17;
    0x5c00_0028 NVFP4_R16 64 36;
    0x5c00_0029 Q1_0_R16 128 18;
    0x5c00_002a Q2_0_R16 64 18;
}

impl TensorType {
    /// The type with this number, if there is one.
    pub fn from_id(id: u32) -> Option<Self> {
        Self::ALL.iter().copied().find(|ty| ty.id() == id)
    }

    /// The number that stands for this type in a file.
    pub const fn id(self) -> u32 {
        self.0
    }

    /// Its name, such as `Q4_1`.
    pub const fn name(self) -> &'static str {
        self.entry().0
    }

    /// The elements in a block; 1 for types without blocks.
    pub const fn block_len(self) -> usize {
        self.entry().1
    }

    /// The bytes of a block.
    pub const fn block_bytes(self) -> usize {
        self.entry().2
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The dimensions of a tensor in ggml's order: `dims[0]` is the length of a row, whose elements lie side by side.
///
/// Reads like a slice of at most [`limits::MAX_DIMS`]; none is zero. A tensor without dimensions is a single number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Dims {
    sizes: [u64; limits::MAX_DIMS],
    count: u8,
}

impl Dims {
    /// The dimensions given, or `None` where there are too many or one is zero.
    pub fn new(dims: &[u64]) -> Option<Self> {
        let mut sizes = [1; limits::MAX_DIMS];
        sizes.get_mut(..dims.len())?.copy_from_slice(dims);
        (!dims.contains(&0)).then_some(Self { sizes, count: dims.len() as u8 })
    }

    /// The dimensions, as many as the file states.
    pub fn as_slice(&self) -> &[u64] {
        &self.sizes[..usize::from(self.count)]
    }

    /// The length of a row.
    pub const fn row_len(&self) -> u64 {
        self.sizes[0]
    }

    /// All elements, or `None` where their number does not fit.
    pub fn elements(&self) -> Option<u64> {
        self.sizes.iter().try_fold(1_u64, |product, &size| product.checked_mul(size))
    }

    /// The bytes of such a tensor of type `ty`: `None` where their number does not fit or rows are not whole blocks.
    pub fn bytes(&self, ty: TensorType) -> Option<u64> {
        let block = ty.block_len() as u64;
        if !self.row_len().is_multiple_of(block) {
            return None;
        }
        (self.elements()? / block).checked_mul(ty.block_bytes() as u64)
    }
}

impl Deref for Dims {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        self.as_slice()
    }
}

impl fmt::Debug for Dims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(f)
    }
}

/// A tensor: its entry in the table, and its data.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tensor<'a> {
    /// Its name, such as `blk.0.attn_q.weight`.
    pub name: &'a str,
    /// Its dimensions in ggml's order.
    pub dims: Dims,
    /// How its elements are stored.
    pub ty: TensorType,
    /// Where its data begins in the file.
    pub offset: u64,
    /// Its data, exactly as long as dimensions and type ask for.
    pub data: &'a [u8],
}

impl fmt::Debug for Tensor<'_> {
    /// Everything but the data, which may be gigabytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {:?} at {}", Name::new(self.name), self.ty, self.dims, self.offset)
    }
}

/// A table entry by itself: all is checked but where the data lies, which is known once the table has ended.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub(crate) name: &'a str,
    /// Where the entry begins in the file.
    pub(crate) at: u64,
    dims: Dims,
    ty: TensorType,
    /// Where the data begins, counted from the start of all tensor data.
    start: u64,
    /// Where `start` stands in the file.
    start_at: u64,
    /// The length of the data.
    len: u64,
}

impl<'a> Entry<'a> {
    pub(crate) fn read(cursor: &mut Cursor<'a>, index: u32) -> Result<Self, Error> {
        let at = cursor.offset();
        cursor.place = Place::TensorName(index);
        let name = read_bytes(cursor, Quantity::TensorNameBytes, limits::MAX_TENSOR_NAME_BYTES)?;
        let name = core::str::from_utf8(name)
            .map_err(|_| Error::NameNotUtf8 { offset: at, section: cursor.place.section() })?;
        cursor.place = Place::TensorEntry(name);

        let offset = cursor.offset();
        let count = cursor.u32()?;
        check_limit(cursor, offset, Quantity::Dimensions, count.into(), limits::MAX_DIMS as u64)?;
        let mut sizes = [1; limits::MAX_DIMS];
        for size in &mut sizes[..count as usize] {
            let offset = cursor.offset();
            *size = cursor.u64()?;
            if *size == 0 {
                return Err(Error::ZeroDimension { tensor: Name::new(name), offset });
            }
        }
        let dims = Dims { sizes, count: count as u8 };

        let offset = cursor.offset();
        let id = cursor.u32()?;
        let ty = TensorType::from_id(id).ok_or_else(|| Error::UnknownTensorType {
            tensor: Name::new(name),
            offset,
            id,
        })?;
        if !dims.row_len().is_multiple_of(ty.block_len() as u64) {
            let row = dims.row_len();
            return Err(Error::PartialBlock { tensor: Name::new(name), offset: at, ty, row });
        }
        let len =
            dims.bytes(ty).ok_or_else(|| Error::TensorTooLarge { tensor: Name::new(name), offset: at })?;

        let start_at = cursor.offset();
        let start = cursor.u64()?;
        Ok(Self { name, at, dims, ty, start, start_at, len })
    }

    /// The length of the data.
    #[cfg(feature = "alloc")]
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Checks where the data lies, and gives its first byte in the file and the one after its last.
    pub(crate) fn range(&self, data: u64, alignment: u64, file: u64) -> Result<(u64, u64), Error> {
        let Self { name, start, len, .. } = *self;
        if !start.is_multiple_of(alignment) {
            let (tensor, offset) = (Name::new(name), self.start_at);
            return Err(Error::MisalignedTensor { tensor, offset, start, alignment });
        }
        let first = data.checked_add(start);
        match first.and_then(|first| Some((first, first.checked_add(len)?))) {
            Some((first, end)) if end <= file => Ok((first, end)),
            _ => Err(Error::TensorOutOfFile { tensor: Name::new(name), start, len, data, file }),
        }
    }
}

/// All tensors of a file, in the order of its table.
#[derive(Clone)]
pub struct Tensors<'a> {
    bytes: &'a [u8],
    cursor: Cursor<'a>,
    /// Where all tensor data begins.
    data: u64,
    index: u32,
    count: u32,
}

impl<'a> Tensors<'a> {
    /// `table` is where the table begins; the table must have been checked.
    pub(crate) fn new(bytes: &'a [u8], table: usize, count: u32, data: u64) -> Self {
        Self { bytes, cursor: Cursor::new(bytes, table, Place::TensorName(0)), data, index: 0, count }
    }

    pub(crate) fn next_entry(&mut self) -> Option<Entry<'a>> {
        if self.index == self.count {
            return None;
        }
        let entry = Entry::read(&mut self.cursor, self.index).ok()?;
        self.index += 1;
        Some(entry)
    }
}

impl<'a> Iterator for Tensors<'a> {
    type Item = Tensor<'a>;

    fn next(&mut self) -> Option<Tensor<'a>> {
        let entry = self.next_entry()?;
        let Entry { name, dims, ty, .. } = entry;
        let (offset, end) = entry.range(self.data, 1, self.bytes.len() as u64).ok()?;
        let data = self.bytes.get(offset as usize..end as usize)?;
        Some(Tensor { name, dims, ty, offset, data })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.count - self.index) as usize;
        (left, Some(left))
    }
}

impl fmt::Debug for Tensors<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

impl ExactSizeIterator for Tensors<'_> {}
impl core::iter::FusedIterator for Tensors<'_> {}
