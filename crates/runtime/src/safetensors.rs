//! Reads safetensors files, in which models are published: a table in JSON, and behind it the numbers.
//!
//! In: a path. Out: names with types, shapes and bytes of the mapped file, all of it checked. Nothing is copied.
//! Source: the format's description in the repository huggingface/safetensors.

use std::ops::Range;
use std::path::Path;

use serde_json::{Map, Value};
use stonechat_kernels::Format;

use crate::{Error, MappedFile};

/// The most bytes that a table may have; the format's own limit.
const MAX_TABLE_BYTES: u64 = 100_000_000;
/// Where the table begins: behind its length.
const TABLE: usize = 8;

/// A file, mapped, with its table.
#[derive(Debug)]
pub struct SafeTensors {
    file: MappedFile,
    tensors: Vec<(String, Place)>,
}

/// What the table says of a tensor.
#[derive(Debug)]
struct Place {
    dtype: String,
    shape: Vec<u64>,
    bytes: Range<usize>,
}

/// A tensor in a [`SafeTensors`] file.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Its name, such as `model.embed_tokens.weight`.
    pub name: &'a str,
    /// The type of its numbers, such as `BF16`.
    pub dtype: &'a str,
    /// Its dimensions: the number of rows comes first.
    pub shape: &'a [u64],
    /// Its numbers, exactly as many as the shape asks for.
    pub bytes: &'a [u8],
    /// The file that they are in.
    pub file: &'a MappedFile,
}

impl View<'_> {
    /// How its numbers are stored, if they are floats that are known here.
    pub fn format(&self) -> Option<Format> {
        match self.dtype {
            "F32" => Some(Format::F32),
            "F16" => Some(Format::F16),
            "BF16" => Some(Format::BF16),
            _ => None,
        }
    }
}

impl SafeTensors {
    /// Maps a file and checks its table.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = MappedFile::open(path)?;
        let tensors = read(&file).map_err(|reason| Error::Unconvertible {
            path: path.into(),
            reason: format!("not a whole safetensors file ({reason}); fetch the file again"),
        });
        file.check()?;
        Ok(Self { tensors: tensors?, file })
    }

    /// The file.
    pub fn file(&self) -> &MappedFile {
        &self.file
    }

    /// Every tensor, in the order of the table.
    pub fn tensors(&self) -> impl Iterator<Item = View<'_>> {
        self.tensors.iter().map(|(name, place)| View {
            name,
            dtype: &place.dtype,
            shape: &place.shape,
            bytes: &self.file[place.bytes.clone()],
            file: &self.file,
        })
    }
}

/// The table, or what is wrong with it.
fn read(bytes: &[u8]) -> Result<Vec<(String, Place)>, String> {
    let (head, rest) = bytes.split_first_chunk::<TABLE>().ok_or("it ends before its table")?;
    let len = u64::from_le_bytes(*head);
    if len > MAX_TABLE_BYTES {
        return Err(format!("its table would have {len} bytes"));
    }
    let (table, data) = rest
        .split_at_checked(len as usize)
        .ok_or_else(|| format!("its table has {len} bytes, and only {} are there", rest.len()))?;
    let table: Map<String, Value> =
        serde_json::from_slice(table).map_err(|error| format!("its table is no JSON object: {error}"))?;
    table
        .into_iter()
        .filter(|(name, _)| name != "__metadata__")
        .map(|(name, entry)| {
            let place = place(&entry, bytes.len() - data.len(), data.len());
            match place {
                Ok(place) => Ok((name, place)),
                Err(reason) => Err(format!("the tensor '{name}' {reason}")),
            }
        })
        .collect()
}

/// Where a tensor lies, in a file with `len` bytes from byte `start` on, behind the table.
fn place(entry: &Value, start: usize, len: usize) -> Result<Place, String> {
    let numbers = |key: &str| {
        let list = entry.get(key)?.as_array()?;
        list.iter().map(Value::as_u64).collect::<Option<Vec<u64>>>()
    };
    let dtype = entry.get("dtype").and_then(Value::as_str).ok_or("has no dtype")?;
    let shape = numbers("shape").ok_or("has no shape")?;
    let offsets = numbers("data_offsets").ok_or("has no data_offsets")?;
    let [first, end] = offsets[..] else { return Err("has no two data_offsets".into()) };
    if first > end || end > len as u64 {
        return Err(format!("lies at bytes {first} to {end} of {len}"));
    }
    let bits = bits(dtype).ok_or_else(|| format!("is of the unknown type '{dtype}'"))?;
    let wanted = shape.iter().try_fold(bits, |bits, dim| bits.checked_mul(*dim)).map(|bits| bits.div_ceil(8));
    if wanted != Some(end - first) {
        return Err(format!("has {} bytes, which its shape {shape:?} of {dtype} contradicts", end - first));
    }
    // Within the file, so that they fit.
    let bytes = start + first as usize..start + end as usize;
    Ok(Place { dtype: dtype.into(), shape, bytes })
}

/// The bits of a number of this type.
fn bits(dtype: &str) -> Option<u64> {
    Some(match dtype {
        "F4" => 4,
        "BOOL" | "U8" | "I8" | "F8_E4M3" | "F8_E5M2" | "F8_E8M0" | "F8_E4M3FNUZ" | "F8_E5M2FNUZ" => 8,
        "U16" | "I16" | "F16" | "BF16" => 16,
        "U32" | "I32" | "F32" => 32,
        "U64" | "I64" | "F64" | "C64" => 64,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(table: &str, data: usize) -> Vec<u8> {
        let mut bytes = (table.len() as u64).to_le_bytes().to_vec();
        bytes.extend(table.as_bytes());
        bytes.resize(bytes.len() + data, 7);
        bytes
    }

    #[test]
    fn tensors_lie_where_the_table_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let table = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},
            "a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"c":{"dtype":"I64","shape":[0,5],"data_offsets":[16,16]}}"#;
        std::fs::write(&path, file(table, 16)).unwrap();
        let tensors = SafeTensors::open(&path).unwrap();
        let found: Vec<_> = tensors
            .tensors()
            .map(|view| (view.name, view.shape.to_vec(), view.bytes.len(), view.format()))
            .collect();
        let expected = [
            ("b", vec![2, 3], 12, Some(Format::BF16)),
            ("a", vec![], 4, Some(Format::F32)),
            ("c", vec![0, 5], 0, None),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn whatever_a_file_says_is_checked() {
        let one = |entry: &str| file(&format!(r#"{{"x":{entry}}}"#), 16);
        let whole = one(r#"{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}"#);
        assert!(read(&whole).is_ok());
        for cut in 0..whole.len() {
            assert!(read(&whole[..cut]).is_err(), "cut to {cut} bytes");
        }
        for (bytes, words) in [
            (vec![], "ends before its table"),
            (u64::MAX.to_le_bytes().to_vec(), "would have 18446744073709551615 bytes"),
            (file("[1]", 0), "no JSON object"),
            (file(&format!("{}{}", "[".repeat(1000), "]".repeat(1000)), 0), "no JSON object"),
            (one("1"), "has no dtype"),
            (one(r#"{"dtype":"F33","shape":[1],"data_offsets":[0,4]}"#), "unknown type 'F33'"),
            (one(r#"{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}"#), "has no shape"),
            (one(r#"{"dtype":"F32","shape":[1],"data_offsets":[0]}"#), "no two data_offsets"),
            (one(r#"{"dtype":"F32","shape":[1],"data_offsets":[4,0]}"#), "bytes 4 to 0 of 16"),
            (one(r#"{"dtype":"F32","shape":[1],"data_offsets":[16,20]}"#), "bytes 16 to 20 of 16"),
            (one(r#"{"dtype":"F32","shape":[1],"data_offsets":[0,8]}"#), "contradicts"),
            (one(r#"{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}"#), "contradicts"),
        ] {
            let error = read(&bytes).unwrap_err();
            assert!(error.contains(words), "'{words}' is not in '{error}'");
        }
    }
}
