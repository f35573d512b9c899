//! The metadata: entries of a key and a value, one after the other without a table. A small index of where they begin
//! makes up for that.

use core::fmt;

use crate::cursor::{Cursor, Place};
use crate::error::{Error, Quantity};
use crate::file::{Gguf, check_header_len};
use crate::limits::{self, INDEXED_METADATA};
use crate::value::{Value, read_bytes};

/// Where the entries begin, and a fingerprint of each one's key. Holds for the first [`INDEXED_METADATA`]; those
/// after, the tail, are walked.
#[derive(Clone, Copy)]
pub(crate) struct Index {
    fingerprints: [u32; INDEXED_METADATA],
    starts: [u32; INDEXED_METADATA],
    /// All entries of the file.
    len: u32,
    /// Where the tail begins; without a tail, where the metadata ends.
    tail: u32,
}

impl Index {
    /// Reads and checks all metadata.
    pub(crate) fn read(cursor: &mut Cursor<'_>, len: u32) -> Result<Self, Error> {
        let mut index =
            Self { fingerprints: [0; INDEXED_METADATA], starts: [0; INDEXED_METADATA], len, tail: 0 };
        for entry in 0..len {
            let start = cursor.at();
            let key = read_key(cursor, entry)?;
            Value::read(cursor, key)?;
            check_header_len(cursor)?;
            if let Some(slot) = index.starts.get_mut(entry as usize) {
                // Below `MAX_HEADER_BYTES`, so both fit.
                *slot = start as u32;
                index.fingerprints[entry as usize] = fingerprint(key);
                index.tail = cursor.at() as u32;
            }
        }
        if len == 0 {
            index.tail = cursor.at() as u32;
        }
        Ok(index)
    }

    /// All entries of the file.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// The entries that are indexed.
    fn indexed(&self) -> usize {
        (self.len as usize).min(INDEXED_METADATA)
    }

    /// An indexed entry: where it begins and ends.
    fn bounds(&self, entry: usize) -> (usize, usize) {
        let end = if entry + 1 < self.indexed() { self.starts[entry + 1] } else { self.tail };
        (self.starts[entry] as usize, end as usize)
    }

    /// An indexed entry.
    fn entry<'a>(&self, bytes: &'a [u8], entry: usize) -> Option<(&'a str, Value<'a>)> {
        let (start, end) = self.bounds(entry);
        let mut cursor = Cursor::new(bytes, start, Place::Key(entry as u32));
        let key = read_key(&mut cursor, entry as u32).ok()?;
        Some((key, Value::read_to(&mut cursor, key, end).ok()?))
    }

    pub(crate) fn find<'a>(&self, bytes: &'a [u8], key: &str) -> Option<Value<'a>> {
        let wanted = fingerprint(key);
        let indexed = self.indexed();
        for entry in 0..indexed {
            if self.fingerprints[entry] == wanted {
                match self.entry(bytes, entry)? {
                    (found, value) if found == key => return Some(value),
                    _ => {}
                }
            }
        }
        self.tail(bytes).find_map(|(_, found, value)| (found == key).then_some(value))
    }

    /// Every key and where its entry begins.
    pub(crate) fn keys<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = (&'a str, u64)> + Clone {
        let indexed = self.starts[..self.indexed()].iter().filter_map(move |&start| {
            let mut cursor = Cursor::new(bytes, start as usize, Place::Key(0));
            Some((read_key(&mut cursor, 0).ok()?, u64::from(start)))
        });
        indexed.chain(self.tail(bytes).map(|(start, key, _)| (key, start)))
    }

    fn tail<'a>(&self, bytes: &'a [u8]) -> Tail<'a> {
        let left = self.len - self.indexed() as u32;
        Tail { cursor: Cursor::new(bytes, self.tail as usize, Place::Key(0)), left }
    }
}

/// Walks the entries that are not indexed: where each begins, its key and its value.
#[derive(Clone)]
struct Tail<'a> {
    cursor: Cursor<'a>,
    left: u32,
}

impl<'a> Iterator for Tail<'a> {
    type Item = (u64, &'a str, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let start = self.cursor.offset();
        let key = read_key(&mut self.cursor, 0).ok()?;
        Some((start, key, Value::read(&mut self.cursor, key).ok()?))
    }
}

pub(crate) fn read_key<'a>(cursor: &mut Cursor<'a>, entry: u32) -> Result<&'a str, Error> {
    cursor.place = Place::Key(entry);
    let offset = cursor.offset();
    let key = read_bytes(cursor, Quantity::KeyBytes, limits::MAX_KEY_BYTES)?;
    let key = core::str::from_utf8(key)
        .map_err(|_| Error::NameNotUtf8 { offset, section: cursor.place.section() })?;
    cursor.place = Place::Value(key);
    Ok(key)
}

/// 32-bit FNV-1a. Names with equal fingerprints are compared in full, so that a collision costs only time.
pub(crate) fn fingerprint(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Every key and value of a file, in its order.
#[derive(Clone)]
pub struct Metadata<'a> {
    file: Gguf<'a>,
    next: usize,
    tail: Tail<'a>,
}

impl<'a> Metadata<'a> {
    pub(crate) fn new(file: &Gguf<'a>) -> Self {
        Self { tail: file.index.tail(file.bytes), file: *file, next: 0 }
    }
}

impl<'a> Iterator for Metadata<'a> {
    type Item = (&'a str, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.next < self.file.index.indexed() {
            self.next += 1;
            return self.file.index.entry(self.file.bytes, self.next - 1);
        }
        self.tail.next().map(|(_, key, value)| (key, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.file.index.indexed() - self.next + self.tail.left as usize;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Metadata<'_> {}
impl core::iter::FusedIterator for Metadata<'_> {}

impl fmt::Debug for Metadata<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.clone()).finish()
    }
}
