//! What can be wrong with a file, or with a question asked of it. Every error says where: the byte, and the key or
//! tensor. Nothing here allocates: names are copied into a fixed buffer and cut where they are too long.

use core::fmt;

use crate::limits;
use crate::tensor::TensorType;
use crate::value::ValueType;

/// A key or a tensor name, copied into an error and cut after [`limits::ERROR_NAME_BYTES`] bytes.
///
/// It comes from the file, so it is shown escaped: a terminal never sees its control characters.
#[derive(Clone, PartialEq, Eq)]
pub struct Name {
    text: heapless::String<{ limits::ERROR_NAME_BYTES }, u8>,
    cut: bool,
}

impl Name {
    /// Copies `name`, or as much of it as fits.
    pub fn new(name: &str) -> Self {
        let mut text = heapless::String::default();
        let cut = name.chars().any(|c| text.push(c).is_err());
        Self { text, cut }
    }

    /// The name, or its beginning.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the name was longer than what is kept.
    pub const fn is_cut(&self) -> bool {
        self.cut
    }
}

impl From<&str> for Name {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}{}`", self.text.escape_debug(), if self.cut { "…" } else { "" })
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The part of a file in which reading failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Section {
    /// Magic, version and the two counts.
    Header,
    /// The key of the metadata entry with this number, counted from 0.
    Key(u32),
    /// The value that belongs to this key.
    Value(Name),
    /// The name of the tensor with this number, counted from 0.
    TensorName(u32),
    /// The table entry of this tensor: dimensions, type and offset.
    TensorEntry(Name),
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("the header"),
            Self::Key(index) => write!(f, "the key of metadata entry {index}"),
            Self::Value(key) => write!(f, "the value of key {key}"),
            Self::TensorName(index) => write!(f, "the name of tensor {index}"),
            Self::TensorEntry(tensor) => write!(f, "the table entry of tensor {tensor}"),
        }
    }
}

/// A quantity that one of the [`limits`] holds down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Quantity {
    /// Metadata entries, against [`limits::MAX_METADATA`].
    Metadata,
    /// Tensors, against [`limits::MAX_TENSORS`].
    Tensors,
    /// Bytes of a key, against [`limits::MAX_KEY_BYTES`].
    KeyBytes,
    /// Bytes of a string, against [`limits::MAX_STRING_BYTES`].
    StringBytes,
    /// Elements of an array, against [`limits::MAX_ARRAY_LEN`].
    ArrayElements,
    /// Arrays within one another, against [`limits::MAX_ARRAY_DEPTH`].
    ArrayDepth,
    /// Bytes of a tensor's name, against [`limits::MAX_TENSOR_NAME_BYTES`].
    TensorNameBytes,
    /// Dimensions of a tensor, against [`limits::MAX_DIMS`].
    Dimensions,
    /// Bytes before the tensor data, against [`limits::MAX_HEADER_BYTES`].
    HeaderBytes,
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Metadata => "metadata entries",
            Self::Tensors => "tensors",
            Self::KeyBytes => "bytes of a key",
            Self::StringBytes => "bytes of a string",
            Self::ArrayElements => "elements of an array",
            Self::ArrayDepth => "arrays within one another",
            Self::TensorNameBytes => "bytes of a tensor name",
            Self::Dimensions => "dimensions of a tensor",
            Self::HeaderBytes => "bytes before the tensor data",
        })
    }
}

/// A number from the file that does not fit the type it was asked for in.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Number {
    /// Any integer of the format.
    Integer(i128),
    /// A 64-bit float.
    Float(f64),
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
        }
    }
}

/// Why a file was refused, or why a value could not be given.
///
/// `offset` is always a byte of the file.
#[derive(Clone, PartialEq, Debug)]
pub enum Error {
    /// The file has no bytes at all.
    Empty,
    /// The file does not begin with `GGUF`.
    NotGguf {
        /// What it begins with.
        magic: [u8; 4],
    },
    /// The file was written for big-endian machines.
    BigEndian {
        /// Its version, read as such a machine would.
        version: u32,
    },
    /// A version that is not read here.
    UnsupportedVersion {
        /// The version that the file states.
        version: u32,
    },
    /// The file ends inside its header, metadata or tensor table.
    Truncated {
        /// Where the missing piece begins.
        offset: u64,
        /// What it belongs to.
        section: Section,
        /// Its length.
        needed: u64,
        /// Bytes that the file still has there.
        left: u64,
    },
    /// A count or length exceeds its limit.
    TooMuch {
        /// Where it stands.
        offset: u64,
        /// What it belongs to.
        section: Section,
        /// What is counted.
        quantity: Quantity,
        /// How much of it the file has.
        count: u64,
        /// How much is allowed.
        limit: u64,
    },
    /// A key or a tensor name is not UTF-8.
    NameNotUtf8 {
        /// Where the name begins.
        offset: u64,
        /// Which name.
        section: Section,
    },
    /// Two metadata entries have the same key.
    DuplicateKey {
        /// The key.
        key: Name,
        /// Where the second entry begins.
        offset: u64,
    },
    /// A value or an array element has a type that the format does not know.
    UnknownValueType {
        /// The key whose value it is.
        key: Name,
        /// Where the type stands.
        offset: u64,
        /// The type's number.
        id: u32,
    },
    /// A truth value is neither 0 nor 1.
    BadBool {
        /// The key whose value it is.
        key: Name,
        /// Where the value stands.
        offset: u64,
        /// The byte found.
        value: u8,
    },
    /// `general.alignment` is not a power of two between [`limits::MIN_ALIGNMENT`] and [`limits::MAX_ALIGNMENT`].
    BadAlignment {
        /// What it is.
        alignment: u32,
    },
    /// The file is one of several that make up a model.
    Split {
        /// How many files there are.
        count: u32,
    },
    /// Two tensors have the same name.
    DuplicateTensor {
        /// The name.
        tensor: Name,
        /// Where the second table entry begins.
        offset: u64,
    },
    /// A dimension of a tensor is zero.
    ZeroDimension {
        /// The tensor.
        tensor: Name,
        /// Where the dimension stands.
        offset: u64,
    },
    /// A tensor's type is not one of ggml's.
    UnknownTensorType {
        /// The tensor.
        tensor: Name,
        /// Where the type stands.
        offset: u64,
        /// The type's number.
        id: u32,
    },
    /// A tensor's rows are not whole blocks of its type.
    PartialBlock {
        /// The tensor.
        tensor: Name,
        /// Where its table entry begins.
        offset: u64,
        /// The tensor's type.
        ty: TensorType,
        /// Its first dimension.
        row: u64,
    },
    /// The size of a tensor does not fit in 64 bits.
    TensorTooLarge {
        /// The tensor.
        tensor: Name,
        /// Where its table entry begins.
        offset: u64,
    },
    /// A tensor's data does not begin at a multiple of the file's alignment.
    MisalignedTensor {
        /// The tensor.
        tensor: Name,
        /// Where the offset stands.
        offset: u64,
        /// Where the data would begin, counted from the start of all tensor data.
        start: u64,
        /// The file's alignment.
        alignment: u64,
    },
    /// A tensor's data lies outside the file: the file is damaged, or was cut short.
    TensorOutOfFile {
        /// The tensor.
        tensor: Name,
        /// Where its data would begin, counted from the start of all tensor data.
        start: u64,
        /// The length of its data.
        len: u64,
        /// Where all tensor data begins in the file.
        data: u64,
        /// The length of the file.
        file: u64,
    },
    /// The data of two tensors share bytes.
    Overlap {
        /// The tensor that comes later in the table.
        tensor: Name,
        /// Where its data begins in the file.
        offset: u64,
        /// Where the other tensor's data begins in the file.
        other: u64,
    },
    /// The file has no such key.
    MissingKey {
        /// The key asked for.
        key: Name,
    },
    /// A value is of another type than the one asked for.
    WrongType {
        /// The key.
        key: Name,
        /// What was asked for.
        expected: &'static str,
        /// What the file has.
        found: ValueType,
    },
    /// An array's elements are of another type than the one asked for.
    WrongElementType {
        /// The key.
        key: Name,
        /// What was asked for.
        expected: &'static str,
        /// What the file has.
        found: ValueType,
    },
    /// A number does not fit the type asked for.
    OutOfRange {
        /// The key.
        key: Name,
        /// The type asked for.
        expected: &'static str,
        /// The number.
        found: Number,
    },
    /// A string that should be text is not UTF-8.
    NotUtf8 {
        /// The key.
        key: Name,
    },
    /// A writer was given data of another length than a tensor's dimensions ask for.
    DataLength {
        /// The tensor.
        tensor: Name,
        /// The bytes that dimensions and type ask for.
        expected: u64,
        /// The bytes given.
        found: u64,
    },
    /// A writer was to finish a file without the data of a tensor.
    NoData {
        /// The tensor.
        tensor: Name,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the file is empty"),
            Self::NotGguf { magic } => {
                write!(f, "not a GGUF file: it begins with \"{}\", not \"GGUF\"; ", magic.escape_ascii())?;
                f.write_str(advice(*magic))
            }
            Self::BigEndian { version } => write!(
                f,
                "the file is big-endian (GGUF version {version}); convert it to little-endian first"
            ),
            Self::UnsupportedVersion { version } => write!(
                f,
                "GGUF version {version} at byte 4 is not supported; versions {} to {} are",
                limits::MIN_VERSION,
                limits::MAX_VERSION
            ),
            Self::Truncated { offset, section, needed, left } => write!(
                f,
                "the file ends inside {section}: {needed} bytes are needed at byte {offset} and {left} are left; \
                 it is damaged or incomplete"
            ),
            Self::TooMuch { offset, section, quantity, count, limit } => {
                write!(f, "{section} at byte {offset} states {count} {quantity}; the limit is {limit}")
            }
            Self::NameNotUtf8 { offset, section } => write!(f, "{section} at byte {offset} is not UTF-8"),
            Self::DuplicateKey { key, offset } => {
                write!(f, "key {key} occurs a second time at byte {offset}")
            }
            Self::UnknownValueType { key, offset, id } => {
                write!(f, "the value of key {key} has the unknown type {id} at byte {offset}")
            }
            Self::BadBool { key, offset, value } => {
                write!(f, "the value of key {key} at byte {offset} is {value} where a bool must be 0 or 1")
            }
            Self::BadAlignment { alignment } => write!(
                f,
                "key `general.alignment` is {alignment}; it must be a power of two from {} to {}",
                limits::MIN_ALIGNMENT,
                limits::MAX_ALIGNMENT
            ),
            Self::Split { count } => write!(
                f,
                "the model is split into {count} files (key `split.count`), which is not supported; \
                 merge them with `llama-gguf-split --merge` first"
            ),
            Self::DuplicateTensor { tensor, offset } => {
                write!(f, "tensor {tensor} occurs a second time at byte {offset}")
            }
            Self::ZeroDimension { tensor, offset } => {
                write!(f, "tensor {tensor} has a dimension of zero at byte {offset}")
            }
            Self::UnknownTensorType { tensor, offset, id } => write!(
                f,
                "tensor {tensor} has the type {id} at byte {offset}, which is unknown or no longer in use"
            ),
            Self::PartialBlock { tensor, offset, ty, row } => write!(
                f,
                "tensor {tensor} at byte {offset} has rows of {row} elements, which are not whole blocks of {} ({ty})",
                ty.block_len()
            ),
            Self::TensorTooLarge { tensor, offset } => {
                write!(
                    f,
                    "the dimensions of tensor {tensor} at byte {offset} multiply to more than 64 bits hold"
                )
            }
            Self::MisalignedTensor { tensor, offset, start, alignment } => write!(
                f,
                "the data offset {start} of tensor {tensor}, stated at byte {offset}, is not a multiple of {alignment}"
            ),
            Self::TensorOutOfFile { tensor, start, len, data, file } => write!(
                f,
                "tensor {tensor} has {len} bytes at offset {start} of the data at byte {data}, but the file ends \
                 at byte {file}; it is damaged or incomplete"
            ),
            Self::Overlap { tensor, offset, other } => write!(
                f,
                "the data of tensor {tensor} at byte {offset} overlaps that of another tensor at byte {other}"
            ),
            Self::MissingKey { key } => write!(f, "the file has no key {key}"),
            Self::WrongType { key, expected, found } => {
                write!(f, "the value of key {key} is of type {found}; {expected} was expected")
            }
            Self::WrongElementType { key, expected, found } => {
                write!(f, "the array of key {key} has elements of type {found}; {expected} was expected")
            }
            Self::OutOfRange { key, expected, found } => {
                write!(f, "the value of key {key} is {found}, which does not fit the type {expected}")
            }
            Self::NotUtf8 { key } => write!(f, "the value of key {key} is not UTF-8 text"),
            Self::DataLength { tensor, expected, found } => {
                write!(
                    f,
                    "tensor {tensor} was given {found} bytes of data; its dimensions ask for {expected}"
                )
            }
            Self::NoData { tensor } => write!(f, "tensor {tensor} was given no data"),
        }
    }
}

/// What to do with a file that begins so: what people have in place of a model is often one of these.
const fn advice(magic: [u8; 4]) -> &'static str {
    match &magic {
        b"vers" => "it looks like a Git LFS pointer: fetch the file that it points to",
        b"<!DO" | b"<!do" | b"<htm" | b"<HTM" => "it looks like a web page: fetch the file itself",
        b"PK\x03\x04" => "it looks like a zip archive: unpack it first",
        b"lmgg" | b"fmgg" | b"tjgg" => "it looks like a model of before GGUF: convert it first",
        _ => "give a GGUF file, or convert this one first",
    }
}

impl core::error::Error for Error {}
