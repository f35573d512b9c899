//! A JSON file with values that may be missing or of another kind.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{Error, MappedFile};

/// A JSON object and the file it is from.
#[derive(Clone, Debug)]
pub(super) struct Json {
    value: Value,
    path: PathBuf,
}

impl Json {
    /// Reads a file that holds an object.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let file = MappedFile::open(path)?;
        let value = serde_json::from_slice(&file);
        file.check()?;
        let json = Self { value: Value::Null, path: path.into() };
        match value {
            Ok(value @ (Value::Object(_) | Value::Array(_))) => Ok(Self { value, ..json }),
            Ok(_) => Err(json.damaged("it is no JSON object")),
            Err(error) => Err(json.damaged(&error.to_string())),
        }
    }

    /// With what `text_config` says, where there is one, in place of what the object itself does.
    pub(super) fn with_text_config(mut self) -> Self {
        if let Some(Value::Object(text)) = self.value.get("text_config").cloned()
            && let Some(all) = self.value.as_object_mut()
        {
            all.extend(text);
        }
        self
    }

    pub(super) fn value(&self) -> &Value {
        &self.value
    }

    /// A value that is there and not null.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.value.get(key).filter(|value| !value.is_null())
    }

    /// A number that is not negative and fits in 32 bits, as those of a GGUF file.
    pub(super) fn u32(&self, key: &str) -> Result<Option<u32>, Error> {
        let number = |value: &Value| value.as_u64().and_then(|number| number.try_into().ok());
        self.get(key).map(|value| number(value).ok_or_else(|| self.wrong(key, value))).transpose()
    }

    /// A number that must be there, or else is `default`.
    pub(super) fn u32_or(&self, key: &str, default: Option<u32>) -> Result<u32, Error> {
        self.u32(key)?.or(default).ok_or_else(|| self.damaged(&format!("it has no {key}")))
    }

    /// A float.
    pub(super) fn f32(&self, key: &str) -> Result<Option<f32>, Error> {
        float(self.get(key)).map_err(|value| self.wrong(key, value))
    }

    /// What is wrong, as an error over this file.
    pub(super) fn damaged(&self, reason: &str) -> Error {
        Error::Unconvertible { path: self.path.clone(), reason: format!("{reason}; fetch the file again") }
    }

    /// What cannot be done about it.
    pub(super) fn unsupported(&self, reason: String) -> Error {
        Error::Unconvertible { path: self.path.clone(), reason }
    }

    pub(super) fn wrong(&self, key: &str, value: &Value) -> Error {
        self.damaged(&format!("its {key} is {}, which makes no sense", short(value)))
    }
}

/// A float, if there is one.
pub(super) fn float(value: Option<&Value>) -> Result<Option<f32>, &Value> {
    let finite =
        |value: &Value| value.as_f64().map(|number| number as f32).filter(|number| number.is_finite());
    value.map(|value| finite(value).ok_or(value)).transpose()
}

/// A value as a sentence can hold it.
fn short(value: &Value) -> String {
    let mut text = value.to_string();
    if text.len() > 40 {
        text = text.chars().take(40).chain("...".chars()).collect();
    }
    text
}
