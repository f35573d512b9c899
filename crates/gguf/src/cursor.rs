//! A place in the file that moves forward. Every read is checked against the end of the file; none panics.

use core::fmt;

use crate::error::{Error, Name, Section};

/// What is being read, in borrowed form: cheap to set before every read, turned into a [`Section`] when one fails.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    Header,
    Key(u32),
    Value(&'a str),
    TensorName(u32),
    TensorEntry(&'a str),
}

impl Place<'_> {
    pub(crate) fn section(self) -> Section {
        match self {
            Self::Header => Section::Header,
            Self::Key(index) => Section::Key(index),
            Self::Value(key) => Section::Value(Name::new(key)),
            Self::TensorName(index) => Section::TensorName(index),
            Self::TensorEntry(tensor) => Section::TensorEntry(Name::new(tensor)),
        }
    }
}

/// Invariant: `at <= bytes.len()`.
#[derive(Clone, Copy)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    pub(crate) place: Place<'a>,
}

impl<'a> Cursor<'a> {
    /// A cursor at byte `at` of the file, or at its end if it is shorter.
    pub(crate) fn new(bytes: &'a [u8], at: usize, place: Place<'a>) -> Self {
        Self { bytes, at: at.min(bytes.len()), place }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn offset(&self) -> u64 {
        self.at as u64
    }

    /// The bytes read since the cursor stood at `start`.
    pub(crate) fn since(&self, start: usize) -> &'a [u8] {
        self.bytes.get(start..self.at).unwrap_or_default()
    }

    /// The next `len` bytes.
    #[inline]
    pub(crate) fn take(&mut self, len: u64) -> Result<&'a [u8], Error> {
        let rest = &self.bytes[self.at..];
        match usize::try_from(len).ok().and_then(|len| rest.get(..len)) {
            Some(bytes) => {
                self.at += bytes.len();
                Ok(bytes)
            }
            None => Err(self.truncated(len)),
        }
    }

    /// The next `N` bytes as an array.
    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        match self.bytes[self.at..].first_chunk() {
            Some(bytes) => {
                self.at += N;
                Ok(*bytes)
            }
            None => Err(self.truncated(N as u64)),
        }
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_le_bytes)
    }

    #[inline]
    pub(crate) fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_le_bytes)
    }

    #[cold]
    fn truncated(&self, needed: u64) -> Error {
        let left = (self.bytes.len() - self.at) as u64;
        Error::Truncated { offset: self.offset(), section: self.place.section(), needed, left }
    }
}

impl fmt::Debug for Cursor<'_> {
    /// The place, not the bytes, which may be gigabytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.at, self.bytes.len())
    }
}
