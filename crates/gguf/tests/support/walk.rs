//! Asks a file everything that it can be asked. Used where nothing may panic whatever the bytes are.

use std::fmt::Write;

use stonechat_gguf::{Array, Error, Gguf, Value};

/// Parses `bytes` and, if that works, reads all of it in every way there is. Gives the error otherwise.
pub fn walk(bytes: &[u8]) -> Result<(), Error> {
    let file = Gguf::parse(bytes).inspect_err(|error| assert_sentence(&error.to_string()))?;
    assert!(matches!(file.version(), 2 | 3));
    assert!(file.alignment().is_power_of_two());

    let entries = file.metadata();
    assert_eq!(entries.len(), entries.clone().count());
    for (key, value) in entries {
        walk_value(&value);
        let found = file.get(key).expect("a key that the file lists is found");
        assert_eq!(found.value_type(), value.value_type());
        walk_typed(&file, key);
    }
    walk_typed(&file, "no.such.key");

    let tensors = file.tensors();
    assert_eq!(tensors.len(), tensors.clone().count());
    for tensor in tensors {
        assert_eq!(tensor.dims.bytes(tensor.ty), Some(tensor.data.len() as u64));
        let first = usize::try_from(tensor.offset).expect("an offset in a slice is a usize");
        assert_eq!(bytes[first..].as_ptr(), tensor.data.as_ptr());
    }
    if let Some(tensor) = file.tensors().last() {
        assert_eq!(file.tensor(tensor.name), Some(tensor));
    }
    assert_eq!(file.tensor("no.such.tensor"), None);
    Ok(())
}

fn walk_typed(file: &Gguf<'_>, key: &str) {
    let errors = [
        file.opt_u32(key).err(),
        file.u32(key).err(),
        file.f32(key).err(),
        file.bool(key).err(),
        file.str(key).err(),
        file.array(key).err(),
    ];
    for error in errors.into_iter().flatten() {
        assert_sentence(&error.to_string());
    }
}

fn walk_value(value: &Value<'_>) {
    let mut text = String::new();
    write!(text, "{value:?}").expect("a String takes everything");
    let _ = (value.as_i64(), value.as_u64(), value.as_u32(), value.as_f64(), value.as_bool(), value.as_str());
    if let Some(array) = value.as_array() {
        walk_array(&array);
    }
}

fn walk_array(array: &Array<'_>) {
    assert_eq!(array.iter().len(), array.len());
    assert_eq!(array.iter().inspect(walk_value).count(), array.len());
    assert!(array.get(array.len()).is_none());
    if !array.is_empty() {
        assert!(array.get(array.len() - 1).is_some());
    }
    match array.strings() {
        Ok(strings) => {
            assert_eq!(strings.len(), array.len());
            for (offset, text) in strings {
                assert_eq!(array.string_at(offset), Some(text));
            }
        }
        Err(error) => assert_sentence(&error.to_string()),
    }
    for offset in [0, 1, array.bytes().len(), usize::MAX] {
        let _ = array.string_at(offset);
    }
}

/// An error is one line that a terminal can show.
fn assert_sentence(text: &str) {
    assert!(!text.is_empty() && !text.contains(char::is_control), "{text:?}");
}
