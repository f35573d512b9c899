//! Values asked for by key and type: what is missing, of another type or out of range is named.

#[path = "support/raw.rs"]
mod raw;

use raw::Raw;
use stonechat_gguf::{Error, Gguf, Name, Number, ValueType};

const U32: u32 = ValueType::U32.id();
const STRING: u32 = ValueType::String.id();
const ARRAY: u32 = ValueType::Array.id();
const F64: u32 = ValueType::F64.id();
const I32: u32 = ValueType::I32.id();

fn name(text: &str) -> Name {
    Name::new(text)
}

#[test]
fn a_key_that_is_missing() {
    let raw = Raw::new(0, 0);
    let file = Gguf::parse(&raw.0).unwrap();
    let missing = Error::MissingKey { key: name("k") };
    assert_eq!(missing.to_string(), "the file has no key `k`");
    assert_eq!(file.u32("k").unwrap_err(), missing);
    assert_eq!(file.f32("k").unwrap_err(), missing);
    assert_eq!(file.bool("k").unwrap_err(), missing);
    assert_eq!(file.str("k").unwrap_err(), missing);
    assert_eq!(file.array("k").unwrap_err(), missing);
    assert_eq!(file.opt_u32("k"), Ok(None));
    assert_eq!(file.opt_f32("k"), Ok(None));
    assert_eq!(file.opt_bool("k"), Ok(None));
    assert_eq!(file.opt_str("k"), Ok(None));
    assert_eq!(file.opt_array("k"), Ok(None));
}

#[test]
fn a_value_of_another_type() {
    let raw = Raw::new(0, 2).string("s").u32(STRING).string("1").string("n").u32(U32).u32(1);
    let file = Gguf::parse(&raw.0).unwrap();
    let wrong = |key, expected, found| Error::WrongType { key: name(key), expected, found };
    let error = file.u32("s").unwrap_err();
    assert_eq!(error, wrong("s", "an integer", ValueType::String));
    assert_eq!(error.to_string(), "the value of key `s` is of type string; an integer was expected");
    assert_eq!(file.f32("n"), Err(wrong("n", "a float", ValueType::U32)));
    assert_eq!(file.bool("n"), Err(wrong("n", "a bool", ValueType::U32)));
    assert_eq!(file.str("n"), Err(wrong("n", "a string", ValueType::U32)));
    assert_eq!(file.array("s"), Err(wrong("s", "an array", ValueType::String)));
}

#[test]
fn an_array_of_another_type() {
    let raw = Raw::new(0, 1).string("k").u32(ARRAY).u32(U32).u64(1).u32(5);
    let file = Gguf::parse(&raw.0).unwrap();
    let error = file.array("k").unwrap().strings().unwrap_err();
    let key = name("k");
    assert_eq!(error, Error::WrongElementType { key, expected: "string", found: ValueType::U32 });
    assert_eq!(error.to_string(), "the array of key `k` has elements of type u32; string was expected");
}

#[test]
fn a_number_that_does_not_fit() {
    let raw = Raw::new(0, 3)
        .string("i")
        .u32(I32)
        .u32(u32::MAX)
        .string("u")
        .u32(ValueType::U64.id())
        .u64(1 << 32)
        .string("f")
        .u32(F64)
        .u64(1e300_f64.to_bits());
    let file = Gguf::parse(&raw.0).unwrap();
    let out = |key, expected, found| Error::OutOfRange { key: name(key), expected, found };
    let error = file.u32("i").unwrap_err();
    assert_eq!(error, out("i", "u32", Number::Integer(-1)));
    assert_eq!(error.to_string(), "the value of key `i` is -1, which does not fit the type u32");
    assert_eq!(file.u32("u"), Err(out("u", "u32", Number::Integer(1 << 32))));
    assert_eq!(file.f32("f"), Err(out("f", "f32", Number::Float(1e300))));
}

#[test]
fn a_text_that_is_not_utf8() {
    let raw = Raw::new(0, 1).string("k").u32(STRING).string(b"\xff");
    let file = Gguf::parse(&raw.0).unwrap();
    let error = file.str("k").unwrap_err();
    assert_eq!(error, Error::NotUtf8 { key: name("k") });
    assert_eq!(error.to_string(), "the value of key `k` is not UTF-8 text");
    assert_eq!(file.get("k").unwrap().as_bytes(), Some(&b"\xff"[..]));
}

#[test]
fn integers_of_every_type_that_fit() {
    let raw = Raw::new(0, 8)
        .string("u8")
        .u32(0)
        .bytes(&[200])
        .string("i8")
        .u32(1)
        .bytes(&[100])
        .string("u16")
        .u32(2)
        .bytes(&60_000_u16.to_le_bytes())
        .string("i16")
        .u32(3)
        .bytes(&30_000_i16.to_le_bytes())
        .string("u32")
        .u32(4)
        .u32(u32::MAX)
        .string("i32")
        .u32(5)
        .u32(7)
        .string("u64")
        .u32(10)
        .u64(8)
        .string("i64")
        .u32(11)
        .u64(9);
    let file = Gguf::parse(&raw.0).unwrap();
    let expected = [200, 100, 60_000, 30_000, u32::MAX, 7, 8, 9];
    for ((key, _), expected) in file.metadata().zip(expected) {
        assert_eq!(file.u32(key), Ok(expected), "{key}");
    }
}

#[test]
fn floats_of_both_types() {
    let raw = Raw::new(0, 3)
        .string("a")
        .u32(ValueType::F32.id())
        .u32(1.5_f32.to_bits())
        .string("b")
        .u32(F64)
        .u64(0.1_f64.to_bits())
        .string("c")
        .u32(F64)
        .u64(f64::NEG_INFINITY.to_bits());
    let file = Gguf::parse(&raw.0).unwrap();
    assert_eq!(file.f32("a"), Ok(1.5));
    assert_eq!(file.f32("b"), Ok(0.1));
    assert_eq!(file.f32("c"), Ok(f32::NEG_INFINITY));
}
