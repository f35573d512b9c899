//! Real files, of this repository and of the folder that `STONECHAT_GOLDEN` names: they parse, and another reader of
//! the format sees the same keys, values and tensors in them.

#[path = "support/golden.rs"]
mod golden;
#[path = "support/walk.rs"]
mod walk;

use std::fs;
use std::io::Cursor;

use gguf_rs_lib::format::metadata::MetadataValue;
use gguf_rs_lib::reader::GGUFFileReader;
use stonechat_gguf::{Gguf, Value};

#[test]
fn every_real_file_can_be_read_to_its_end() {
    for path in golden::files() {
        let bytes = fs::read(&path).unwrap();
        walk::walk(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let file = Gguf::parse(&bytes).unwrap();
        assert!(file.str("general.architecture").is_ok(), "{}", path.display());
        assert!(!file.array("tokenizer.ggml.tokens").unwrap().is_empty(), "{}", path.display());
        for tensor in file.tensors() {
            assert_eq!(file.tensor(tensor.name), Some(tensor), "{}", path.display());
        }
    }
}

#[test]
fn another_reader_sees_the_same_in_every_real_file() {
    for path in golden::files() {
        let bytes = fs::read(&path).unwrap();
        let ours = Gguf::parse(&bytes).unwrap();
        // The other reader holds keys to the letter of the format, which real architectures like `gpt-oss` do not.
        if ours.metadata().any(|(key, _)| key.contains('-')) {
            continue;
        }
        let theirs = GGUFFileReader::new(Cursor::new(&bytes)).unwrap();

        assert_eq!(ours.metadata().len(), theirs.metadata().len(), "{}", path.display());
        for (key, value) in ours.metadata() {
            let other = theirs.metadata().get(key).unwrap();
            assert!(same(&value, other), "{}: {key}", path.display());
        }

        assert_eq!(ours.alignment(), theirs.tensor_alignment());
        assert_eq!(ours.tensors().len(), theirs.tensor_infos().len(), "{}", path.display());
        for (tensor, other) in ours.tensors().zip(theirs.tensor_infos()) {
            assert_eq!(tensor.name, other.name());
            assert_eq!(*tensor.dims, *other.shape().dimensions);
            assert_eq!(tensor.ty.id(), other.tensor_type() as u32);
            assert_eq!(tensor.offset, theirs.tensor_data_offset() + other.data_offset());
            assert_eq!(tensor.data.len() as u64, other.expected_data_size());
        }
    }
}

fn same(ours: &Value<'_>, theirs: &MetadataValue) -> bool {
    match (*ours, theirs) {
        (Value::U8(a), MetadataValue::U8(b)) => a == *b,
        (Value::I8(a), MetadataValue::I8(b)) => a == *b,
        (Value::U16(a), MetadataValue::U16(b)) => a == *b,
        (Value::I16(a), MetadataValue::I16(b)) => a == *b,
        (Value::U32(a), MetadataValue::U32(b)) => a == *b,
        (Value::I32(a), MetadataValue::I32(b)) => a == *b,
        (Value::F32(a), MetadataValue::F32(b)) => a.to_bits() == b.to_bits(),
        (Value::Bool(a), MetadataValue::Bool(b)) => a == *b,
        (Value::String(a), MetadataValue::String(b)) => a == b.as_bytes(),
        (Value::Array(a), MetadataValue::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| same(&a, b))
        }
        (Value::U64(a), MetadataValue::U64(b)) => a == *b,
        (Value::I64(a), MetadataValue::I64(b)) => a == *b,
        (Value::F64(a), MetadataValue::F64(b)) => a.to_bits() == b.to_bits(),
        _ => false,
    }
}
