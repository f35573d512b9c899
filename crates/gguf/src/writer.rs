//! Writes GGUF files, for tests and for the programs that make models: metadata, tensors, and their layout.
//!
//! A [`Writer`] checks each entry with the reader's own code before it takes it, so that whatever it writes,
//! [`Gguf::parse`](crate::Gguf::parse) reads; where it refuses one, the `offset` in the error counts from the start of
//! that entry. It never holds tensor data: that is borrowed until [`Writer::finish`], or written by the caller after
//! [`Writer::header`].
//!
//! ```
//! use stonechat_gguf::writer::{ArrayBuffer, Writer};
//! use stonechat_gguf::{Gguf, TensorType};
//!
//! let tokens = ArrayBuffer::new(["a", "b"]);
//! let mut writer = Writer::new();
//! writer.metadata("general.architecture", "llama")?;
//! writer.metadata("tokenizer.ggml.tokens", &tokens)?;
//! writer.tensor("output.weight", &[2, 1], TensorType::F32, &[0; 8])?;
//! let file = writer.finish()?;
//!
//! let view = Gguf::parse(&file)?;
//! assert_eq!(view.array("tokenizer.ggml.tokens")?.len(), 2);
//! # Ok::<(), stonechat_gguf::Error>(())
//! ```

use alloc::borrow::ToOwned;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use crate::cursor::{Cursor, Place};
use crate::error::{Error, Name, Quantity, Section};
use crate::file::{ALIGNMENT_KEY, MAGIC, SPLIT_KEY, check_alignment, check_split, to_u32};
use crate::limits;
use crate::metadata::read_key;
use crate::tensor::{Entry, TensorType};
use crate::value::{Array, Value, ValueType};

/// Bytes before the first metadata entry: magic, version and two counts.
const PREAMBLE: usize = 24;

/// Builds a file. See the [module](self).
#[derive(Clone, Debug)]
pub struct Writer<'a> {
    version: u32,
    alignment: u64,
    keys: BTreeSet<String>,
    metadata: Vec<u8>,
    names: BTreeSet<String>,
    tensors: Vec<Planned<'a>>,
    /// The length of the tensor table.
    table: usize,
}

/// A tensor that the file will have.
#[derive(Clone, Debug)]
struct Planned<'a> {
    name: String,
    /// The table entry, all but the offset that ends it.
    entry: Vec<u8>,
    len: u64,
    data: Option<&'a [u8]>,
}

impl Default for Writer<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> Writer<'a> {
    /// An empty file of the newest version.
    pub const fn new() -> Self {
        Self {
            version: limits::MAX_VERSION,
            alignment: limits::DEFAULT_ALIGNMENT,
            keys: BTreeSet::new(),
            metadata: Vec::new(),
            names: BTreeSet::new(),
            tensors: Vec::new(),
            table: 0,
        }
    }

    /// An empty file of version 2 or 3. Little-endian files differ in nothing but that number.
    pub fn with_version(version: u32) -> Result<Self, Error> {
        match version {
            limits::MIN_VERSION..=limits::MAX_VERSION => Ok(Self { version, ..Self::new() }),
            _ => Err(Error::UnsupportedVersion { version }),
        }
    }

    /// Adds a metadata entry. `general.alignment` sets the alignment of the tensor data, too.
    pub fn metadata<'v>(&mut self, key: &str, value: impl Into<Value<'v>>) -> Result<(), Error> {
        self.add_metadata(key, value.into())
    }

    fn add_metadata(&mut self, key: &str, value: Value<'_>) -> Result<(), Error> {
        if self.keys.contains(key) {
            return Err(Error::DuplicateKey { key: Name::new(key), offset: 0 });
        }
        check_count(self.keys.len(), Quantity::Metadata, limits::MAX_METADATA)?;

        let mut entry = Vec::new();
        encode_bytes(key.as_bytes(), &mut entry);
        entry.extend(value.value_type().id().to_le_bytes());
        encode(value, &mut entry);
        self.check_header_len(entry.len())?;

        let mut cursor = Cursor::new(&entry, 0, Place::Header);
        let read = read_key(&mut cursor, self.keys.len() as u32)?;
        let value = Value::read(&mut cursor, read)?;
        match key {
            ALIGNMENT_KEY => self.alignment = check_alignment(to_u32(key, &value)?)?,
            SPLIT_KEY => check_split(to_u32(key, &value)?)?,
            _ => {}
        }

        self.metadata.append(&mut entry);
        self.keys.insert(key.to_owned());
        Ok(())
    }

    /// Adds a tensor whose data are at hand. `dims` are in ggml's order: the length of a row comes first.
    pub fn tensor(&mut self, name: &str, dims: &[u64], ty: TensorType, data: &'a [u8]) -> Result<(), Error> {
        self.add_tensor(name, dims, ty, Some(data))
    }

    /// Adds a tensor whose data the caller will write after [`header`](Self::header).
    pub fn tensor_without_data(&mut self, name: &str, dims: &[u64], ty: TensorType) -> Result<(), Error> {
        self.add_tensor(name, dims, ty, None)
    }

    fn add_tensor(
        &mut self,
        name: &str,
        dims: &[u64],
        ty: TensorType,
        data: Option<&'a [u8]>,
    ) -> Result<(), Error> {
        if self.names.contains(name) {
            return Err(Error::DuplicateTensor { tensor: Name::new(name), offset: 0 });
        }
        check_count(self.names.len(), Quantity::Tensors, limits::MAX_TENSORS)?;

        let mut entry = Vec::new();
        encode_bytes(name.as_bytes(), &mut entry);
        entry.extend(u32::try_from(dims.len()).unwrap_or(u32::MAX).to_le_bytes());
        entry.extend(dims.iter().flat_map(|dim| dim.to_le_bytes()));
        entry.extend(ty.id().to_le_bytes());
        let without_offset = entry.len();
        entry.extend([0; 8]);
        self.check_header_len(entry.len())?;

        let mut cursor = Cursor::new(&entry, 0, Place::Header);
        let len = Entry::read(&mut cursor, self.tensors.len() as u32)?.len();
        if let Some(data) = data
            && data.len() as u64 != len
        {
            let (tensor, found) = (Name::new(name), data.len() as u64);
            return Err(Error::DataLength { tensor, expected: len, found });
        }

        self.table += entry.len();
        entry.truncate(without_offset);
        self.names.insert(name.to_owned());
        self.tensors.push(Planned { name: name.to_owned(), entry, len, data });
        Ok(())
    }

    /// Everything before the tensor data, which must follow in the order in which the tensors were added, each padded
    /// with [`padding`](Self::padding).
    pub fn header(&self) -> Result<Vec<u8>, Error> {
        let mut header = Vec::with_capacity(PREAMBLE + self.metadata.len() + self.table);
        header.extend(MAGIC);
        header.extend(self.version.to_le_bytes());
        header.extend((self.tensors.len() as u64).to_le_bytes());
        header.extend((self.keys.len() as u64).to_le_bytes());
        header.extend(&self.metadata);

        let mut start = 0_u64;
        for tensor in &self.tensors {
            let offset = header.len() as u64;
            header.extend(&tensor.entry);
            header.extend(start.to_le_bytes());
            start = start
                .checked_add(tensor.len)
                .and_then(|end| end.checked_next_multiple_of(self.alignment))
                .ok_or_else(|| Error::TensorTooLarge { tensor: Name::new(&tensor.name), offset })?;
        }
        // A file of metadata alone ends with the metadata.
        if !self.tensors.is_empty() {
            self.pad(&mut header);
        }
        Ok(header)
    }

    /// The zero bytes that follow the data of a tensor of `len` bytes.
    pub const fn padding(&self, len: u64) -> u64 {
        // The alignment is a power of two.
        len.wrapping_neg() & (self.alignment - 1)
    }

    /// The whole file.
    pub fn finish(self) -> Result<Vec<u8>, Error> {
        let mut file = self.header()?;
        for tensor in &self.tensors {
            let data = tensor.data.ok_or_else(|| Error::NoData { tensor: Name::new(&tensor.name) })?;
            file.extend(data);
            self.pad(&mut file);
        }
        Ok(file)
    }

    fn pad(&self, bytes: &mut Vec<u8>) {
        bytes.resize(bytes.len() + self.padding(bytes.len() as u64) as usize, 0);
    }

    /// Whether an entry of `more` bytes still fits in the header.
    fn check_header_len(&self, more: usize) -> Result<(), Error> {
        let count = (PREAMBLE + self.metadata.len() + self.table + more) as u64;
        check_count_is(count, Quantity::HeaderBytes, limits::MAX_HEADER_BYTES)
    }
}

/// Whether one more than `have` keeps the limit.
fn check_count(have: usize, quantity: Quantity, limit: u64) -> Result<(), Error> {
    check_count_is(have as u64 + 1, quantity, limit)
}

fn check_count_is(count: u64, quantity: Quantity, limit: u64) -> Result<(), Error> {
    if count > limit {
        return Err(Error::TooMuch { offset: 0, section: Section::Header, quantity, count, limit });
    }
    Ok(())
}

fn encode_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend((bytes.len() as u64).to_le_bytes());
    out.extend(bytes);
}

/// Encodes a value without its type.
fn encode(value: Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::U8(v) => out.push(v),
        Value::I8(v) => out.extend(v.to_le_bytes()),
        Value::U16(v) => out.extend(v.to_le_bytes()),
        Value::I16(v) => out.extend(v.to_le_bytes()),
        Value::U32(v) => out.extend(v.to_le_bytes()),
        Value::I32(v) => out.extend(v.to_le_bytes()),
        Value::F32(v) => out.extend(v.to_le_bytes()),
        Value::Bool(v) => out.push(v.into()),
        Value::String(v) => encode_bytes(v, out),
        Value::Array(v) => {
            out.extend(v.element_type().id().to_le_bytes());
            out.extend((v.len() as u64).to_le_bytes());
            out.extend(v.bytes());
        }
        Value::U64(v) => out.extend(v.to_le_bytes()),
        Value::I64(v) => out.extend(v.to_le_bytes()),
        Value::F64(v) => out.extend(v.to_le_bytes()),
    }
}

/// What an array can hold. The types of this crate that implement it are all there are.
pub trait Element<'a>: Into<Value<'a>> + sealed::Sealed {
    /// The type as the file states it.
    const TYPE: ValueType;
}

mod sealed {
    pub trait Sealed {}
}

/// Each type and the variant of [`Value`] that holds it.
macro_rules! elements {
    ($($ty:ty, $variant:ident;)*) => {$(
        impl sealed::Sealed for $ty {}

        impl<'a> Element<'a> for $ty {
            const TYPE: ValueType = ValueType::$variant;
        }
    )*};
}

elements! {
    u8, U8;
    i8, I8;
    u16, U16;
    i16, I16;
    u32, U32;
    i32, I32;
    f32, F32;
    bool, Bool;
        u64, U64;
    i64, I64;
    f64, F64;
}

impl sealed::Sealed for &[u8] {}
impl<'a> Element<'a> for &'a [u8] {
    const TYPE: ValueType = ValueType::String;
}

impl sealed::Sealed for &str {}
impl<'a> Element<'a> for &'a str {
    const TYPE: ValueType = ValueType::String;
}

impl sealed::Sealed for Array<'_> {}
impl<'a> Element<'a> for Array<'a> {
    const TYPE: ValueType = ValueType::Array;
}

impl sealed::Sealed for &ArrayBuffer {}
impl<'a> Element<'a> for &'a ArrayBuffer {
    const TYPE: ValueType = ValueType::Array;
}

/// An array in the making: holds its elements encoded. `&buffer` is its [`Value`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ArrayBuffer {
    ty: ValueType,
    len: usize,
    bytes: Vec<u8>,
}

impl ArrayBuffer {
    /// An array of these elements.
    pub fn new<'a, E: Element<'a>>(elements: impl IntoIterator<Item = E>) -> Self {
        let mut buffer = Self { ty: E::TYPE, len: 0, bytes: Vec::new() };
        for element in elements {
            encode(element.into(), &mut buffer.bytes);
            buffer.len += 1;
        }
        buffer
    }

    /// The array as a reader sees it.
    pub fn as_array(&self) -> Array<'_> {
        Array::from_parts(self.ty, self.len, &self.bytes)
    }
}

impl<'a> From<&'a ArrayBuffer> for Value<'a> {
    fn from(buffer: &'a ArrayBuffer) -> Self {
        Self::Array(buffer.as_array())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_bytes_than_a_header_may_have_are_refused() {
        let full = Writer { table: limits::MAX_HEADER_BYTES as usize - 100, ..Writer::new() };
        let text = [0; 100];
        let too_much = |result| matches!(result, Err(Error::TooMuch { quantity: Quantity::HeaderBytes, .. }));
        assert!(full.clone().metadata("k", &text[..50]).is_ok());
        assert!(too_much(full.clone().metadata("k", &text[..])));
        assert!(full.clone().tensor("t", &[1], TensorType::I8, &[0]).is_ok());
        assert!(too_much(full.clone().tensor(&"t".repeat(64), &[1; 4], TensorType::I8, &[0])));
    }
}
