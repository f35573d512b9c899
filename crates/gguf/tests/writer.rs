//! What the writer lays out, and what it refuses.

use stonechat_gguf::writer::{ArrayBuffer, Writer};
use stonechat_gguf::{Error, Gguf, Name, Quantity, Section, TensorType, Value, ValueType, limits};

fn name(text: &str) -> Name {
    Name::new(text)
}

#[test]
fn an_empty_file_is_a_header() {
    for version in [2, 3] {
        let file = Writer::with_version(version).unwrap().finish().unwrap();
        assert_eq!(file.len(), 24);
        let view = Gguf::parse(&file).unwrap();
        assert_eq!((view.version(), view.alignment()), (version, 32));
        assert_eq!((view.metadata().len(), view.tensors().len()), (0, 0));
    }
}

/// Byte for byte, so that a mistake that reader and writer share is found.
#[test]
fn the_layout_is_the_one_of_the_format() {
    let mut writer = Writer::new();
    writer.metadata("general.alignment", 16_u32).unwrap();
    writer.metadata("a", &ArrayBuffer::new([ArrayBuffer::new([1_u16, 2]).as_array()])).unwrap();
    writer.tensor("t", &[2, 1], TensorType::F32, &[1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
    let mut expected: Vec<u8> = Vec::new();
    expected.extend(b"GGUF\x03\0\0\0");
    expected.extend(b"\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0");
    expected.extend(b"\x11\0\0\0\0\0\0\0general.alignment\x04\0\0\0\x10\0\0\0");
    expected.extend(b"\x01\0\0\0\0\0\0\0a\x09\0\0\0\x09\0\0\0\x01\0\0\0\0\0\0\0");
    expected.extend(b"\x02\0\0\0\x02\0\0\0\0\0\0\0\x01\0\x02\0");
    expected.extend(b"\x01\0\0\0\0\0\0\0t\x02\0\0\0\x02\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0");
    expected.extend(b"\0\0\0\0\0\0\0\0\0\0\0\0");
    expected.resize(expected.len().next_multiple_of(16), 0);
    expected.extend([1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(writer.finish().unwrap(), expected);
}

#[test]
fn tensors_begin_at_multiples_of_the_alignment_whenever_it_was_set() {
    let data = [7; 36];
    let mut writer = Writer::new();
    writer.tensor("a", &[9], TensorType::F32, &data).unwrap();
    writer.metadata("general.alignment", 4096_u32).unwrap();
    writer.tensor("b", &[32], TensorType::Q4_0, &data[..18]).unwrap();
    let file = writer.finish().unwrap();
    let view = Gguf::parse(&file).unwrap();
    assert_eq!(view.alignment(), 4096);
    assert_eq!(view.tensors().map(|tensor| tensor.offset).collect::<Vec<_>>(), [4096, 8192]);
    assert!(view.tensors().all(|tensor| tensor.data.iter().all(|&byte| byte == 7)));
    assert_eq!(file.len(), 3 * 4096);
}

#[test]
fn data_can_be_written_after_the_header() {
    let data = [[1; 20], [2; 20]];
    let mut whole = Writer::new();
    let mut streamed = Writer::new();
    for (data, name) in data.iter().zip(["a", "b"]) {
        whole.tensor(name, &[32], TensorType::Q4_1, data).unwrap();
        streamed.tensor_without_data(name, &[32], TensorType::Q4_1).unwrap();
    }
    let mut file = streamed.header().unwrap();
    for data in data {
        file.extend(data);
        file.resize(file.len() + streamed.padding(20) as usize, 0);
    }
    assert_eq!(file, whole.finish().unwrap());

    let error = streamed.finish().unwrap_err();
    assert_eq!(error, Error::NoData { tensor: name("a") });
    assert_eq!(error.to_string(), "tensor `a` was given no data");
}

#[test]
fn metadata_of_one_file_can_be_copied_to_another() {
    let mut first = Writer::new();
    let tokens = [&b"a"[..], b"\xff", b""];
    first.metadata("tokenizer.ggml.tokens", &ArrayBuffer::new(tokens)).unwrap();
    first.metadata("general.name", "x").unwrap();
    let first = first.finish().unwrap();
    let mut second = Writer::new();
    for (key, value) in Gguf::parse(&first).unwrap().metadata() {
        second.metadata(key, value).unwrap();
    }
    assert_eq!(second.finish().unwrap(), first);
}

#[test]
fn an_empty_array_keeps_its_type() {
    let mut writer = Writer::new();
    writer.metadata("k", &ArrayBuffer::new::<f32>([])).unwrap();
    let file = writer.finish().unwrap();
    let array = Gguf::parse(&file).unwrap().array("k").unwrap();
    assert_eq!((array.element_type(), array.len(), array.bytes()), (ValueType::F32, 0, &[][..]));
}

#[test]
fn what_is_refused_leaves_no_trace() {
    let mut writer = Writer::new();
    writer.metadata("k", 1_u8).unwrap();
    writer.tensor("t", &[1], TensorType::I8, &[0]).unwrap();
    let before = writer.clone().finish().unwrap();

    let key = name("k");
    assert_eq!(writer.metadata("k", 2_u8), Err(Error::DuplicateKey { key, offset: 0 }));
    let alignment = writer.metadata("general.alignment", 48_u32);
    assert_eq!(alignment, Err(Error::BadAlignment { alignment: 48 }));
    let key = name("general.alignment");
    let found = ValueType::Bool;
    let wrong = Error::WrongType { key, expected: "an integer", found };
    assert_eq!(writer.metadata("general.alignment", true), Err(wrong));
    assert_eq!(writer.metadata("split.count", 2_u32), Err(Error::Split { count: 2 }));
    let long = "k".repeat(1 << 16);
    assert!(matches!(
        writer.metadata(&long, 1_u8),
        Err(Error::TooMuch { section: Section::Key(1), quantity: Quantity::KeyBytes, .. })
    ));
    let text = vec![b' '; limits::MAX_STRING_BYTES as usize + 1];
    assert!(matches!(
        writer.metadata("text", Value::String(&text)),
        Err(Error::TooMuch { quantity: Quantity::StringBytes, .. })
    ));
    let elements = vec![0_u8; limits::MAX_ARRAY_LEN as usize + 1];
    assert!(matches!(
        writer.metadata("array", &ArrayBuffer::new(elements)),
        Err(Error::TooMuch { quantity: Quantity::ArrayElements, .. })
    ));
    let deep = (1..=limits::MAX_ARRAY_DEPTH)
        .fold(ArrayBuffer::new([1_u8]), |inner, _| ArrayBuffer::new([inner.as_array()]));
    assert!(matches!(
        writer.metadata("deep", &deep),
        Err(Error::TooMuch { quantity: Quantity::ArrayDepth, .. })
    ));

    let tensor = name("t");
    let again = writer.tensor("t", &[1], TensorType::I8, &[0]);
    assert_eq!(again, Err(Error::DuplicateTensor { tensor, offset: 0 }));
    let short = writer.tensor("u", &[2], TensorType::F16, &[0; 3]).unwrap_err();
    assert_eq!(short, Error::DataLength { tensor: name("u"), expected: 4, found: 3 });
    let sentence = "tensor `u` was given 3 bytes of data; its dimensions ask for 4";
    assert_eq!(short.to_string(), sentence);
    assert!(matches!(
        writer.tensor("u", &[31], TensorType::Q8_0, &[]),
        Err(Error::PartialBlock { row: 31, .. })
    ));
    assert!(matches!(writer.tensor("u", &[1, 0], TensorType::I8, &[]), Err(Error::ZeroDimension { .. })));
    assert!(matches!(
        writer.tensor("u", &[1; 5], TensorType::I8, &[0]),
        Err(Error::TooMuch { quantity: Quantity::Dimensions, count: 5, .. })
    ));
    assert!(matches!(
        writer.tensor_without_data("u", &[1 << 63, 2], TensorType::I8),
        Err(Error::TensorTooLarge { .. })
    ));
    assert!(matches!(
        writer.tensor(&"u".repeat(65), &[1], TensorType::I8, &[0]),
        Err(Error::TooMuch { quantity: Quantity::TensorNameBytes, .. })
    ));

    assert_eq!(writer.finish().unwrap(), before);
}

#[test]
fn versions_that_do_not_exist_are_refused() {
    for version in [0, 1, 4] {
        assert_eq!(Writer::with_version(version).unwrap_err(), Error::UnsupportedVersion { version });
    }
}

#[test]
fn more_entries_than_a_reader_takes_are_refused() {
    let mut writer = Writer::new();
    for i in 0..limits::MAX_METADATA {
        writer.metadata(&format!("k{i}"), true).unwrap();
    }
    let error = writer.metadata("one.more", true).unwrap_err();
    assert!(matches!(error, Error::TooMuch { quantity: Quantity::Metadata, count: 4097, .. }));
    for i in 0..limits::MAX_TENSORS {
        writer.tensor(&format!("t{i}"), &[1], TensorType::I8, &[0]).unwrap();
    }
    let error = writer.tensor("one.more", &[1], TensorType::I8, &[0]).unwrap_err();
    assert!(matches!(error, Error::TooMuch { quantity: Quantity::Tensors, count: 16_385, .. }));
    Gguf::parse(&writer.finish().unwrap()).unwrap();
}

#[test]
fn sizes_whose_sum_wraps_are_refused() {
    let mut writer = Writer::new();
    for name in ["a", "b", "c"] {
        writer.tensor_without_data(name, &[1 << 63], TensorType::I8).unwrap();
    }
    let error = writer.header().unwrap_err();
    assert!(matches!(error, Error::TensorTooLarge { ref tensor, .. } if tensor.as_str() == "b"), "{error}");
}
