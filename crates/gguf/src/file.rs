//! The view of a whole file: what [`Gguf::parse`] checks and in which order, and how values and tensors are found.

use core::fmt;

use crate::clash::first_clash;
use crate::cursor::{Cursor, Place};
use crate::error::{Error, Name, Number, Quantity};
use crate::limits;
use crate::metadata::{Index, Metadata, fingerprint};
use crate::tensor::{Entry, Tensor, Tensors};
use crate::value::{Array, Value, check_limit};

pub(crate) const MAGIC: [u8; 4] = *b"GGUF";

/// The key that sets the alignment of tensor data.
pub(crate) const ALIGNMENT_KEY: &str = "general.alignment";

/// The key that says over how many files the model is split.
pub(crate) const SPLIT_KEY: &str = "split.count";

/// A GGUF file that was checked from end to end. The bytes stay where they are; this is a view of some 2 KB, most of
/// it an index of the metadata.
#[derive(Clone, Copy)]
pub struct Gguf<'a> {
    pub(crate) bytes: &'a [u8],
    version: u32,
    alignment: u64,
    pub(crate) index: Index,
    /// Where the tensor table begins.
    table: usize,
    tensors: u32,
    /// Where all tensor data begins.
    data: u64,
}

impl<'a> Gguf<'a> {
    /// Checks a whole file, except for what the tensors' data say. After this no question asked of the view can meet
    /// a damaged byte.
    ///
    /// The work is bounded by the size of the header, and for files whose tensors or keys are made to be slow, by the
    /// square of [`limits::MAX_TENSORS`] or [`limits::MAX_METADATA`] in steps of a nanosecond.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut cursor = Cursor::new(bytes, 0, Place::Header);
        let version = read_version(&mut cursor)?;
        let tensors = read_count(&mut cursor, Quantity::Tensors, limits::MAX_TENSORS)?;
        let entries = read_count(&mut cursor, Quantity::Metadata, limits::MAX_METADATA)?;

        let index = Index::read(&mut cursor, entries)?;
        let table = cursor.at();
        let mut file = Self {
            bytes,
            version,
            alignment: limits::DEFAULT_ALIGNMENT,
            index,
            table,
            tensors,
            data: bytes.len() as u64,
        };
        file.check_keys()?;
        file.check_general()?;

        for index in 0..tensors {
            Entry::read(&mut cursor, index)?;
            check_header_len(&cursor)?;
        }
        // Header and alignment are both small: their limits were checked.
        file.data = cursor.offset().next_multiple_of(file.alignment);
        file.check_tensor_names()?;
        file.check_tensor_data()?;
        Ok(file)
    }

    /// The whole file.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The version of the format: 2 or 3.
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// The alignment of tensor data: `general.alignment`, or the default.
    pub const fn alignment(&self) -> u64 {
        self.alignment
    }

    /// Every key and its value, in the order of the file.
    pub fn metadata(&self) -> Metadata<'a> {
        Metadata::new(self)
    }

    /// The value of a key.
    ///
    /// Takes the same short time for each of the first [`limits::INDEXED_METADATA`] entries, however long the values
    /// before it are.
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        self.index.find(self.bytes, key)
    }

    /// Every tensor, in the order of the file.
    pub fn tensors(&self) -> Tensors<'a> {
        Tensors::new(self.bytes, self.table, self.tensors, self.data)
    }

    /// The tensor with this name. Walks the table, which costs some microseconds for hundreds of tensors.
    pub fn tensor(&self, name: &str) -> Option<Tensor<'a>> {
        self.tensors().find(|tensor| tensor.name == name)
    }

    fn check_keys(&self) -> Result<(), Error> {
        let keys = self.index.keys(self.bytes).map(|(key, at)| (fingerprint(key), key, at));
        match first_clash(keys, |a, b| a.0 == b.0 && a.1 == b.1) {
            None => Ok(()),
            Some((_, (_, key, offset))) => Err(Error::DuplicateKey { key: Name::new(key), offset }),
        }
    }

    /// The keys that say how the file itself is to be read.
    fn check_general(&mut self) -> Result<(), Error> {
        if let Some(alignment) = self.opt_u32(ALIGNMENT_KEY)? {
            self.alignment = check_alignment(alignment)?;
        }
        check_split(self.opt_u32(SPLIT_KEY)?.unwrap_or(1))
    }

    fn entries(&self) -> impl Iterator<Item = Entry<'a>> + Clone {
        let mut tensors = self.tensors();
        core::iter::from_fn(move || tensors.next_entry())
    }

    fn check_tensor_names(&self) -> Result<(), Error> {
        let names = self.entries().map(|entry| (fingerprint(entry.name), entry.name, entry.at));
        match first_clash(names, |a, b| a.0 == b.0 && a.1 == b.1) {
            None => Ok(()),
            Some((_, (_, name, offset))) => Err(Error::DuplicateTensor { tensor: Name::new(name), offset }),
        }
    }

    /// Every tensor lies in the file, is aligned, and shares no byte with another.
    fn check_tensor_data(&self) -> Result<(), Error> {
        let file = self.bytes.len() as u64;
        let mut ordered = true;
        let mut previous_end = 0;
        for entry in self.entries() {
            let (first, end) = entry.range(self.data, self.alignment, file)?;
            ordered &= previous_end <= first;
            previous_end = end;
        }
        // Every known writer lays the data out in the order of the table: nothing more to do then.
        if ordered {
            return Ok(());
        }
        let ranges = self.entries().filter_map(|entry| {
            let (first, end) = entry.range(self.data, self.alignment, file).ok()?;
            Some((first, end, entry.name))
        });
        match first_clash(ranges, |a, b| a.0 < b.1 && b.0 < a.1) {
            None => Ok(()),
            Some(((other, ..), (offset, _, name))) => {
                Err(Error::Overlap { tensor: Name::new(name), offset, other })
            }
        }
    }
}

/// Typed values. `opt_` gives `None` where the file has no such key, the others an error; both give an error that
/// names the key where the value is of another type or does not fit.
impl<'a> Gguf<'a> {
    /// An integer of any type that fits.
    pub fn u32(&self, key: &str) -> Result<u32, Error> {
        required(key, self.opt_u32(key)?)
    }

    /// An integer of any type that fits.
    pub fn opt_u32(&self, key: &str) -> Result<Option<u32>, Error> {
        self.get(key).map(|value| to_u32(key, &value)).transpose()
    }

    /// A float of either type, rounded to 32 bits.
    pub fn f32(&self, key: &str) -> Result<f32, Error> {
        required(key, self.opt_f32(key)?)
    }

    /// A float of either type, rounded to 32 bits.
    pub fn opt_f32(&self, key: &str) -> Result<Option<f32>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let float = value.as_f64().ok_or_else(|| wrong_type(key, "a float", &value))?;
        let rounded = float as f32;
        if float.is_finite() && !rounded.is_finite() {
            let found = Number::Float(float);
            return Err(Error::OutOfRange { key: Name::new(key), expected: "f32", found });
        }
        Ok(Some(rounded))
    }

    /// A truth value.
    pub fn bool(&self, key: &str) -> Result<bool, Error> {
        required(key, self.opt_bool(key)?)
    }

    /// A truth value.
    pub fn opt_bool(&self, key: &str) -> Result<Option<bool>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| wrong_type(key, "a bool", &value))
    }

    /// A string of UTF-8 text.
    pub fn str(&self, key: &str) -> Result<&'a str, Error> {
        required(key, self.opt_str(key)?)
    }

    /// A string of UTF-8 text.
    pub fn opt_str(&self, key: &str) -> Result<Option<&'a str>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let bytes = value.as_bytes().ok_or_else(|| wrong_type(key, "a string", &value))?;
        core::str::from_utf8(bytes).map(Some).map_err(|_| Error::NotUtf8 { key: Name::new(key) })
    }

    /// An array of any element type.
    pub fn array(&self, key: &str) -> Result<Array<'a>, Error> {
        required(key, self.opt_array(key)?)
    }

    /// An array of any element type.
    pub fn opt_array(&self, key: &str) -> Result<Option<Array<'a>>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_array().map(Some).ok_or_else(|| wrong_type(key, "an array", &value))
    }
}

impl fmt::Debug for Gguf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gguf")
            .field("version", &self.version)
            .field("alignment", &self.alignment)
            .field("metadata", &self.index.len())
            .field("tensors", &self.tensors)
            .field("bytes", &self.bytes.len())
            .finish()
    }
}

fn required<T>(key: &str, value: Option<T>) -> Result<T, Error> {
    value.ok_or_else(|| Error::MissingKey { key: Name::new(key) })
}

pub(crate) fn to_u32(key: &str, value: &Value<'_>) -> Result<u32, Error> {
    let integer = value.as_integer().ok_or_else(|| wrong_type(key, "an integer", value))?;
    let found = Number::Integer(integer);
    integer.try_into().map_err(|_| Error::OutOfRange { key: Name::new(key), expected: "u32", found })
}

fn wrong_type(key: &str, expected: &'static str, value: &Value<'_>) -> Error {
    Error::WrongType { key: Name::new(key), expected, found: value.value_type() }
}

fn read_version(cursor: &mut Cursor<'_>) -> Result<u32, Error> {
    let magic = cursor.array().map_err(|error| match error {
        Error::Truncated { left: 0, .. } => Error::Empty,
        error => error,
    })?;
    if magic != MAGIC {
        return Err(Error::NotGguf { magic });
    }
    let version = cursor.u32()?;
    match version {
        limits::MIN_VERSION..=limits::MAX_VERSION => Ok(version),
        // No version will reach 65,536, but a small one looks like that when its bytes are in the other order.
        _ if version != 0 && version.trailing_zeros() >= 16 => {
            Err(Error::BigEndian { version: version.swap_bytes() })
        }
        _ => Err(Error::UnsupportedVersion { version }),
    }
}

fn read_count(cursor: &mut Cursor<'_>, quantity: Quantity, limit: u64) -> Result<u32, Error> {
    let offset = cursor.offset();
    let count = cursor.u64()?;
    check_limit(cursor, offset, quantity, count, limit)?;
    Ok(count as u32)
}

pub(crate) fn check_alignment(alignment: u32) -> Result<u64, Error> {
    let value = u64::from(alignment);
    if value.is_power_of_two() && (limits::MIN_ALIGNMENT..=limits::MAX_ALIGNMENT).contains(&value) {
        Ok(value)
    } else {
        Err(Error::BadAlignment { alignment })
    }
}

pub(crate) fn check_split(count: u32) -> Result<(), Error> {
    if count > 1 { Err(Error::Split { count }) } else { Ok(()) }
}

pub(crate) fn check_header_len(cursor: &Cursor<'_>) -> Result<(), Error> {
    let offset = cursor.offset();
    check_limit(cursor, offset, Quantity::HeaderBytes, offset, limits::MAX_HEADER_BYTES)
}
