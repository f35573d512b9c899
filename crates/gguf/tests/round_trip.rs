//! Files of any content: what the writer was given is what the reader gives back.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use stonechat_gguf::writer::{ArrayBuffer, Element, Writer};
use stonechat_gguf::{Gguf, TensorType, Value, ValueType};

/// A value that owns what it holds.
#[derive(Clone, Debug, PartialEq)]
enum Owned {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(u32),
    Bool(bool),
    String(Vec<u8>),
    Array(Items),
    U64(u64),
    I64(i64),
    F64(u64),
}

/// An array's elements, of one type. Floats are kept as bits, so that every NaN can be compared.
#[derive(Clone, Debug, PartialEq)]
enum Items {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<u32>),
    Bool(Vec<bool>),
    String(Vec<Vec<u8>>),
    Array(Vec<Items>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<u64>),
}

impl Items {
    fn encoded(&self) -> ArrayBuffer {
        fn of<'a, E: Element<'a> + Copy>(items: &[E]) -> ArrayBuffer {
            ArrayBuffer::new(items.iter().copied())
        }
        match self {
            Self::U8(items) => of(items),
            Self::I8(items) => of(items),
            Self::U16(items) => of(items),
            Self::I16(items) => of(items),
            Self::U32(items) => of(items),
            Self::I32(items) => of(items),
            Self::F32(items) => ArrayBuffer::new(items.iter().map(|&bits| f32::from_bits(bits))),
            Self::Bool(items) => of(items),
            Self::String(items) => ArrayBuffer::new(items.iter().map(Vec::as_slice)),
            Self::Array(items) => {
                let items: Vec<ArrayBuffer> = items.iter().map(Self::encoded).collect();
                ArrayBuffer::new(&items)
            }
            Self::U64(items) => of(items),
            Self::I64(items) => of(items),
            Self::F64(items) => ArrayBuffer::new(items.iter().map(|&bits| f64::from_bits(bits))),
        }
    }

    fn value_type(&self) -> ValueType {
        self.encoded().as_array().element_type()
    }

    fn values(&self) -> Vec<Owned> {
        fn of<T: Clone>(items: &[T], variant: fn(T) -> Owned) -> Vec<Owned> {
            items.iter().cloned().map(variant).collect()
        }
        match self {
            Self::U8(items) => of(items, Owned::U8),
            Self::I8(items) => of(items, Owned::I8),
            Self::U16(items) => of(items, Owned::U16),
            Self::I16(items) => of(items, Owned::I16),
            Self::U32(items) => of(items, Owned::U32),
            Self::I32(items) => of(items, Owned::I32),
            Self::F32(items) => of(items, Owned::F32),
            Self::Bool(items) => of(items, Owned::Bool),
            Self::String(items) => of(items, Owned::String),
            Self::Array(items) => of(items, Owned::Array),
            Self::U64(items) => of(items, Owned::U64),
            Self::I64(items) => of(items, Owned::I64),
            Self::F64(items) => of(items, Owned::F64),
        }
    }
}

fn write(writer: &mut Writer<'_>, key: &str, value: &Owned) {
    let result = match value {
        Owned::U8(value) => writer.metadata(key, *value),
        Owned::I8(value) => writer.metadata(key, *value),
        Owned::U16(value) => writer.metadata(key, *value),
        Owned::I16(value) => writer.metadata(key, *value),
        Owned::U32(value) => writer.metadata(key, *value),
        Owned::I32(value) => writer.metadata(key, *value),
        Owned::F32(bits) => writer.metadata(key, f32::from_bits(*bits)),
        Owned::Bool(value) => writer.metadata(key, *value),
        Owned::String(value) => writer.metadata(key, value.as_slice()),
        Owned::Array(items) => writer.metadata(key, &items.encoded()),
        Owned::U64(value) => writer.metadata(key, *value),
        Owned::I64(value) => writer.metadata(key, *value),
        Owned::F64(bits) => writer.metadata(key, f64::from_bits(*bits)),
    };
    result.unwrap();
}

/// Reads a value, and every element both by its number and in order.
fn same(read: &Value<'_>, written: &Owned) -> bool {
    match (*read, written) {
        (Value::U8(a), Owned::U8(b)) => a == *b,
        (Value::I8(a), Owned::I8(b)) => a == *b,
        (Value::U16(a), Owned::U16(b)) => a == *b,
        (Value::I16(a), Owned::I16(b)) => a == *b,
        (Value::U32(a), Owned::U32(b)) => a == *b,
        (Value::I32(a), Owned::I32(b)) => a == *b,
        (Value::F32(a), Owned::F32(b)) => a.to_bits() == *b,
        (Value::Bool(a), Owned::Bool(b)) => a == *b,
        (Value::String(a), Owned::String(b)) => a == b,
        (Value::Array(a), Owned::Array(b)) => {
            let b_values = b.values();
            a.element_type() == b.value_type()
                && a.len() == b_values.len()
                && a.iter().zip(&b_values).all(|(a, b)| same(&a, b))
                && b_values.iter().enumerate().all(|(i, b)| same(&a.get(i).unwrap(), b))
        }
        (Value::U64(a), Owned::U64(b)) => a == *b,
        (Value::I64(a), Owned::I64(b)) => a == *b,
        (Value::F64(a), Owned::F64(b)) => a.to_bits() == *b,
        _ => false,
    }
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..12)
}

fn plain_items() -> impl Strategy<Value = Items> {
    prop_oneof![
        vec(any::<u8>(), 0..9).prop_map(Items::U8),
        vec(any::<i8>(), 0..9).prop_map(Items::I8),
        vec(any::<u16>(), 0..9).prop_map(Items::U16),
        vec(any::<i16>(), 0..9).prop_map(Items::I16),
        vec(any::<u32>(), 0..9).prop_map(Items::U32),
        vec(any::<i32>(), 0..9).prop_map(Items::I32),
        vec(any::<u32>(), 0..9).prop_map(Items::F32),
        vec(any::<bool>(), 0..9).prop_map(Items::Bool),
        vec(bytes(), 0..9).prop_map(Items::String),
        vec(any::<u64>(), 0..9).prop_map(Items::U64),
        vec(any::<i64>(), 0..9).prop_map(Items::I64),
        vec(any::<u64>(), 0..9).prop_map(Items::F64),
    ]
}

/// Arrays up to the depth that the limits allow.
fn items() -> impl Strategy<Value = Items> {
    plain_items().prop_recursive(3, 24, 4, |inner| vec(inner, 0..4).prop_map(Items::Array))
}

fn value() -> impl Strategy<Value = Owned> {
    prop_oneof![
        any::<u8>().prop_map(Owned::U8),
        any::<i8>().prop_map(Owned::I8),
        any::<u16>().prop_map(Owned::U16),
        any::<i16>().prop_map(Owned::I16),
        any::<u32>().prop_map(Owned::U32),
        any::<i32>().prop_map(Owned::I32),
        any::<u32>().prop_map(Owned::F32),
        any::<bool>().prop_map(Owned::Bool),
        bytes().prop_map(Owned::String),
        items().prop_map(Owned::Array),
        any::<u64>().prop_map(Owned::U64),
        any::<i64>().prop_map(Owned::I64),
        any::<u64>().prop_map(Owned::F64),
    ]
}

/// A tensor's dimensions, type and data.
fn tensor() -> impl Strategy<Value = (Vec<u64>, TensorType, Vec<u8>)> {
    let ty = proptest::sample::select(TensorType::ALL);
    (ty, 1..3_u64, vec(1..4_u64, 0..4), any::<u8>()).prop_map(|(ty, blocks, rest, seed)| {
        let row = blocks * ty.block_len() as u64;
        let len = blocks * rest.iter().product::<u64>() * ty.block_bytes() as u64;
        let data = (0..len).map(|i| seed.wrapping_add(i as u8)).collect();
        ([&[row], rest.as_slice()].concat(), ty, data)
    })
}

fn entries(sizes: std::ops::Range<usize>) -> impl Strategy<Value = BTreeMap<String, Owned>> {
    btree_map("[a-z_.é]{0,20}", value(), sizes)
}

fn check(
    version: u32,
    alignment: Option<u32>,
    entries: &BTreeMap<String, Owned>,
    tensors: &BTreeMap<String, (Vec<u64>, TensorType, Vec<u8>)>,
) {
    let mut writer = Writer::with_version(version).unwrap();
    if let Some(alignment) = alignment {
        writer.metadata("general.alignment", alignment).unwrap();
    }
    for (key, value) in entries {
        write(&mut writer, key, value);
    }
    for (name, (dims, ty, data)) in tensors {
        writer.tensor(name, dims, *ty, data).unwrap();
    }
    let bytes = writer.finish().unwrap();

    let file = Gguf::parse(&bytes).unwrap();
    assert_eq!(file.version(), version);
    assert_eq!(file.alignment(), u64::from(alignment.unwrap_or(32)));

    let own = usize::from(alignment.is_some());
    assert_eq!(file.metadata().len(), entries.len() + own);
    for ((read_key, read), (key, written)) in file.metadata().skip(own).zip(entries) {
        assert_eq!(read_key, key);
        assert!(same(&read, written), "{key}: {read:?}, {written:?}");
        assert!(same(&file.get(key).unwrap(), written), "{key} by name");
    }

    assert_eq!(file.tensors().len(), tensors.len());
    for (tensor, (name, (dims, ty, data))) in file.tensors().zip(tensors) {
        assert_eq!((tensor.name, &*tensor.dims, tensor.ty), (name.as_str(), dims.as_slice(), *ty));
        assert_eq!(tensor.data, data);
        assert!(tensor.offset.is_multiple_of(file.alignment()));
        assert_eq!(file.tensor(name), Some(tensor));
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        version in 2..=3_u32,
        alignment in proptest::option::of((3..9_u32).prop_map(|power| 1 << power)),
        entries in entries(0..12),
        tensors in btree_map("[a-z0-9._]{0,64}", tensor(), 0..8),
    ) {
        check(version, alignment, &entries, &tensors);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// More entries than the index holds.
    #[test]
    fn metadata_beyond_the_index_is_read_as_well(entries in entries(250..400)) {
        check(3, None, &entries, &BTreeMap::new());
    }
}
