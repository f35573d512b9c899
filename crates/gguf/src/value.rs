//! Metadata values: the thirteen types of the format as views over the file's bytes. Scalars are read out; strings
//! and arrays stay where they are.

use core::fmt;

use crate::cursor::{Cursor, Place};
use crate::error::{Error, Name, Quantity};
use crate::limits;

/// The type of a value or of an array's elements.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum ValueType {
    /// 8-bit unsigned integer.
    U8,
    /// 8-bit signed integer.
    I8,
    /// 16-bit unsigned integer.
    U16,
    /// 16-bit signed integer.
    I16,
    /// 32-bit unsigned integer.
    U32,
    /// 32-bit signed integer.
    I32,
    /// 32-bit float.
    F32,
    /// One byte, 0 or 1.
    Bool,
    /// Bytes with a length before them, mostly UTF-8.
    String,
    /// Elements of one type with their type and number before them.
    Array,
    /// 64-bit unsigned integer.
    U64,
    /// 64-bit signed integer.
    I64,
    /// 64-bit float.
    F64,
}

impl ValueType {
    /// Every type; a type's place here is its number in the file.
    pub const ALL: [Self; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::String,
        Self::Array,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    /// The type with this number.
    pub fn from_id(id: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(id).ok()?).copied()
    }

    /// The number that stands for this type in a file.
    pub const fn id(self) -> u32 {
        self as u32
    }

    /// The name as it is printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::F32 => "f32",
            Self::Bool => "bool",
            Self::String => "string",
            Self::Array => "array",
            Self::U64 => "u64",
            Self::I64 => "i64",
            Self::F64 => "f64",
        }
    }

    /// The bytes that each value takes, if all values of the type take the same.
    pub const fn size(self) -> Option<usize> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::String | Self::Array => None,
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A metadata value.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Value<'a> {
    /// 8-bit unsigned integer.
    U8(u8),
    /// 8-bit signed integer.
    I8(i8),
    /// 16-bit unsigned integer.
    U16(u16),
    /// 16-bit signed integer.
    I16(i16),
    /// 32-bit unsigned integer.
    U32(u32),
    /// 32-bit signed integer.
    I32(i32),
    /// 32-bit float.
    F32(f32),
    /// Truth value.
    Bool(bool),
    /// The bytes of a string; tokens need not be UTF-8.
    String(&'a [u8]),
    /// Elements of one type.
    Array(Array<'a>),
    /// 64-bit unsigned integer.
    U64(u64),
    /// 64-bit signed integer.
    I64(i64),
    /// 64-bit float.
    F64(f64),
}

impl<'a> Value<'a> {
    /// The type of this value.
    pub const fn value_type(&self) -> ValueType {
        match self {
            Self::U8(_) => ValueType::U8,
            Self::I8(_) => ValueType::I8,
            Self::U16(_) => ValueType::U16,
            Self::I16(_) => ValueType::I16,
            Self::U32(_) => ValueType::U32,
            Self::I32(_) => ValueType::I32,
            Self::F32(_) => ValueType::F32,
            Self::Bool(_) => ValueType::Bool,
            Self::String(_) => ValueType::String,
            Self::Array(_) => ValueType::Array,
            Self::U64(_) => ValueType::U64,
            Self::I64(_) => ValueType::I64,
            Self::F64(_) => ValueType::F64,
        }
    }

    /// An integer of any type.
    pub fn as_integer(&self) -> Option<i128> {
        Some(match *self {
            Self::U8(v) => v.into(),
            Self::I8(v) => v.into(),
            Self::U16(v) => v.into(),
            Self::I16(v) => v.into(),
            Self::U32(v) => v.into(),
            Self::I32(v) => v.into(),
            Self::U64(v) => v.into(),
            Self::I64(v) => v.into(),
            _ => return None,
        })
    }

    /// An integer of any type, if it is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        self.as_integer()?.try_into().ok()
    }

    /// An integer of any type, if it fits.
    pub fn as_u32(&self) -> Option<u32> {
        self.as_integer()?.try_into().ok()
    }

    /// An integer of any type, if it fits.
    pub fn as_i64(&self) -> Option<i64> {
        self.as_integer()?.try_into().ok()
    }

    /// A float of either type, exactly.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Self::F32(v) => Some(v.into()),
            Self::F64(v) => Some(v),
            _ => None,
        }
    }

    /// A truth value.
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Self::Bool(v) => Some(v),
            _ => None,
        }
    }

    /// A string's bytes.
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        match *self {
            Self::String(v) => Some(v),
            _ => None,
        }
    }

    /// A string, if it is UTF-8.
    pub fn as_str(&self) -> Option<&'a str> {
        core::str::from_utf8(self.as_bytes()?).ok()
    }

    /// An array.
    pub fn as_array(&self) -> Option<Array<'a>> {
        match *self {
            Self::Array(v) => Some(v),
            _ => None,
        }
    }

    /// Reads the value of `key`, its type first, and checks every byte of it.
    pub(crate) fn read(cursor: &mut Cursor<'a>, key: &'a str) -> Result<Self, Error> {
        let ty = read_type(cursor, key)?;
        Self::read_payload(cursor, key, ty, 1)
    }

    /// Reads a value that was checked before and is known to end at `end`, so that an array need not be walked.
    pub(crate) fn read_to(cursor: &mut Cursor<'a>, key: &'a str, end: usize) -> Result<Self, Error> {
        let ty = read_type(cursor, key)?;
        if ty != ValueType::Array {
            return Self::read_payload(cursor, key, ty, 1);
        }
        let ty = read_type(cursor, key)?;
        let len = cursor.u64()? as usize;
        let bytes = cursor.take(end.saturating_sub(cursor.at()) as u64)?;
        Ok(Self::Array(Array { key, ty, len, bytes }))
    }

    fn read_payload(cursor: &mut Cursor<'a>, key: &'a str, ty: ValueType, depth: u32) -> Result<Self, Error> {
        Ok(match ty {
            ValueType::U8 => Self::U8(u8::from_le_bytes(cursor.array()?)),
            ValueType::I8 => Self::I8(i8::from_le_bytes(cursor.array()?)),
            ValueType::U16 => Self::U16(u16::from_le_bytes(cursor.array()?)),
            ValueType::I16 => Self::I16(i16::from_le_bytes(cursor.array()?)),
            ValueType::U32 => Self::U32(cursor.u32()?),
            ValueType::I32 => Self::I32(i32::from_le_bytes(cursor.array()?)),
            ValueType::F32 => Self::F32(f32::from_le_bytes(cursor.array()?)),
            ValueType::Bool => {
                let offset = cursor.offset();
                let [value] = cursor.array()?;
                check_bools(&[value], key, offset)?;
                Self::Bool(value != 0)
            }
            ValueType::String => Self::String(read_string(cursor)?),
            ValueType::Array => Self::Array(Array::read(cursor, key, depth)?),
            ValueType::U64 => Self::U64(cursor.u64()?),
            ValueType::I64 => Self::I64(i64::from_le_bytes(cursor.array()?)),
            ValueType::F64 => Self::F64(f64::from_le_bytes(cursor.array()?)),
        })
    }
}

/// Lets each type that a value can hold become one.
macro_rules! values {
    ($($ty:ty, $variant:ident;)*) => {$(
        impl<'a> From<$ty> for Value<'a> {
            fn from(value: $ty) -> Self {
                Self::$variant(value)
            }
        }
    )*};
}

values! {
    u8, U8;
    i8, I8;
    u16, U16;
    i16, I16;
    u32, U32;
    i32, I32;
    f32, F32;
    bool, Bool;
    &'a [u8], String;
    Array<'a>, Array;
    u64, U64;
    i64, I64;
    f64, F64;
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Self::String(value.as_bytes())
    }
}

fn read_type(cursor: &mut Cursor<'_>, key: &str) -> Result<ValueType, Error> {
    let offset = cursor.offset();
    let id = cursor.u32()?;
    ValueType::from_id(id).ok_or_else(|| Error::UnknownValueType { key: Name::new(key), offset, id })
}

#[inline]
fn read_string<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], Error> {
    read_bytes(cursor, Quantity::StringBytes, limits::MAX_STRING_BYTES)
}

/// Bytes with their length before them: a string, a key, a tensor name.
#[inline]
pub(crate) fn read_bytes<'a>(
    cursor: &mut Cursor<'a>,
    quantity: Quantity,
    limit: u64,
) -> Result<&'a [u8], Error> {
    let offset = cursor.offset();
    let count = cursor.u64()?;
    check_limit(cursor, offset, quantity, count, limit)?;
    cursor.take(count)
}

#[inline]
pub(crate) fn check_limit(
    cursor: &Cursor<'_>,
    offset: u64,
    quantity: Quantity,
    count: u64,
    limit: u64,
) -> Result<(), Error> {
    if count > limit {
        return Err(Error::TooMuch { offset, section: cursor.place.section(), quantity, count, limit });
    }
    Ok(())
}

fn check_bools(bytes: &[u8], key: &str, offset: u64) -> Result<(), Error> {
    match bytes.iter().position(|&byte| byte > 1) {
        None => Ok(()),
        Some(i) => Err(Error::BadBool { key: Name::new(key), offset: offset + i as u64, value: bytes[i] }),
    }
}

/// Elements of one type, encoded as the file has them.
#[derive(Clone, Copy, PartialEq)]
pub struct Array<'a> {
    key: &'a str,
    ty: ValueType,
    len: usize,
    bytes: &'a [u8],
}

impl<'a> Array<'a> {
    /// The type of the elements.
    pub const fn element_type(&self) -> ValueType {
        self.ty
    }

    /// The number of elements.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements as they are encoded, without the array's own type and length.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Element `index`: at once where elements have a fixed size; strings and arrays before it are walked over.
    pub fn get(&self, index: usize) -> Option<Value<'a>> {
        match self.ty.size() {
            _ if index >= self.len => None,
            Some(size) => {
                let mut cursor = Cursor::new(self.bytes, index * size, Place::Value(self.key));
                Value::read_payload(&mut cursor, self.key, self.ty, 1).ok()
            }
            None => self.iter().nth(index),
        }
    }

    /// The elements in order.
    pub fn iter(&self) -> Values<'a> {
        Values {
            cursor: Cursor::new(self.bytes, 0, Place::Value(self.key)),
            key: self.key,
            ty: self.ty,
            left: self.len,
        }
    }

    /// The elements of an array of strings, each with the place at which [`string_at`](Self::string_at) finds it.
    pub fn strings(&self) -> Result<Strings<'a>, Error> {
        if self.ty != ValueType::String {
            let key = Name::new(self.key);
            return Err(Error::WrongElementType { key, expected: "string", found: self.ty });
        }
        Ok(Strings { array: *self, offset: 0, left: self.len })
    }

    /// The string at `offset`, one that [`strings`](Self::strings) gave, without walking over those before it.
    ///
    /// Another offset, or an array of another type, gives `None` or bytes without meaning, never a panic.
    #[inline]
    pub fn string_at(&self, offset: usize) -> Option<&'a [u8]> {
        Some(self.string_and_rest_at(offset)?.0)
    }

    /// The string at `offset` as [`string_at`](Self::string_at) gives it, and all of the array's bytes from where it
    /// begins: whoever reads more than the string at once finds how far that is allowed.
    #[inline]
    pub fn string_and_rest_at(&self, offset: usize) -> Option<(&'a [u8], &'a [u8])> {
        let (len, rest) = self.bytes.get(offset..)?.split_first_chunk()?;
        Some((rest.get(..usize::try_from(u64::from_le_bytes(*len)).ok()?)?, rest))
    }

    /// An array that belongs to no key yet; `bytes` must be `len` encoded elements.
    #[cfg(feature = "alloc")]
    pub(crate) fn from_parts(ty: ValueType, len: usize, bytes: &'a [u8]) -> Self {
        Self { key: "", ty, len, bytes }
    }

    /// Reads an array that is `depth` deep, and checks every element.
    fn read(cursor: &mut Cursor<'a>, key: &'a str, depth: u32) -> Result<Self, Error> {
        let offset = cursor.offset();
        let limit = limits::MAX_ARRAY_DEPTH;
        check_limit(cursor, offset, Quantity::ArrayDepth, depth.into(), limit.into())?;
        let ty = read_type(cursor, key)?;
        let offset = cursor.offset();
        let count = cursor.u64()?;
        check_limit(cursor, offset, Quantity::ArrayElements, count, limits::MAX_ARRAY_LEN)?;
        let start = cursor.at();
        match ty.size() {
            Some(size) => {
                // Both factors are small: the limit was checked.
                let bytes = cursor.take(count * size as u64)?;
                if ty == ValueType::Bool {
                    check_bools(bytes, key, start as u64)?;
                }
            }
            None if ty == ValueType::String => {
                for _ in 0..count {
                    read_string(cursor)?;
                }
            }
            None => {
                for _ in 0..count {
                    Self::read(cursor, key, depth + 1)?;
                }
            }
        }
        Ok(Self { key, ty, len: count as usize, bytes: cursor.since(start) })
    }
}

impl fmt::Debug for Array<'_> {
    /// The shape alone: arrays hold vocabularies.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}; {}]", self.ty, self.len)
    }
}

impl<'a> IntoIterator for Array<'a> {
    type Item = Value<'a>;
    type IntoIter = Values<'a>;

    fn into_iter(self) -> Values<'a> {
        self.iter()
    }
}

impl<'a> IntoIterator for &Array<'a> {
    type Item = Value<'a>;
    type IntoIter = Values<'a>;

    fn into_iter(self) -> Values<'a> {
        self.iter()
    }
}

/// The elements of an [`Array`].
#[derive(Clone, Debug)]
pub struct Values<'a> {
    cursor: Cursor<'a>,
    key: &'a str,
    ty: ValueType,
    left: usize,
}

impl<'a> Iterator for Values<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        self.left = self.left.checked_sub(1)?;
        // The array was checked when the file was parsed, its depth included.
        Value::read_payload(&mut self.cursor, self.key, self.ty, 1).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Values<'_> {}
impl core::iter::FusedIterator for Values<'_> {}

/// The elements of an [`Array`] of strings, each with its offset.
#[derive(Clone, Debug)]
pub struct Strings<'a> {
    array: Array<'a>,
    offset: usize,
    left: usize,
}

impl Strings<'_> {
    /// The offset of the next string: [`Array::string_at`] finds it there.
    pub const fn offset_in_bytes(&self) -> usize {
        self.offset
    }
}

impl<'a> Iterator for Strings<'a> {
    type Item = (usize, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<(usize, &'a [u8])> {
        self.left = self.left.checked_sub(1)?;
        let offset = self.offset;
        // The length of each was checked when the array was read: vocabularies of half a million need not pay for it again.
        let string = self.array.string_at(offset)?;
        self.offset = offset + size_of::<u64>() + string.len();
        Some((offset, string))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Strings<'_> {}
impl core::iter::FusedIterator for Strings<'_> {}
