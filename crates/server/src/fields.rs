//! What a request's body says, field by field.
//!
//! In: a body. Out: a JSON object whose fields are taken one by one, with their types. A mistake is named with its field; what
//! nobody took is named, too.

use axum::body::Bytes;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::ApiError;

/// The fields of an object that were not taken yet.
#[derive(Clone, Debug)]
pub struct Fields {
    fields: Map<String, Value>,
    /// What stands before a field's name where the object is itself a field: `response_format.`.
    path: String,
}

impl Fields {
    /// Of a body.
    pub fn read(body: &Bytes) -> Result<Self, ApiError> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Err(ApiError::bad("the body is empty; send a JSON object").with_code("invalid_json"));
        }
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self { fields, path: String::new() }),
            Ok(other) => Err(ApiError::bad(format!("the body is {}; send a JSON object", kind(&other)))
                .with_code("invalid_json")),
            Err(error) => {
                let reason = error.to_string();
                let reason = reason.split(" at line ").next().unwrap_or_default();
                let (line, column) = (error.line(), error.column());
                Err(ApiError::bad(format!("the body is no JSON at line {line}, column {column}: {reason}"))
                    .with_code("invalid_json"))
            }
        }
    }

    /// Of an object that is a field.
    pub fn within(path: &str, value: Value) -> Result<Self, ApiError> {
        match value {
            Value::Object(fields) => Ok(Self { fields, path: format!("{path}.") }),
            other => Err(ApiError::param(path, format!("{path} is {}; write an object", kind(&other)))),
        }
    }

    /// The full name of a field.
    pub fn name(&self, field: &str) -> String {
        format!("{}{field}", self.path)
    }

    /// A field's value; nothing where it is missing or null.
    pub fn take<T: DeserializeOwned>(&mut self, field: &str) -> Result<Option<T>, ApiError> {
        match self.fields.shift_remove(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value).map(Some).map_err(|error| {
                let name = self.name(field);
                ApiError::param(&name, format!("{name}: {error}")).with_code("invalid_type")
            }),
        }
    }

    /// A field that has to be there.
    pub fn need<T: DeserializeOwned>(&mut self, field: &str) -> Result<T, ApiError> {
        let name = self.name(field);
        self.take(field)?.ok_or_else(|| {
            ApiError::param(&name, format!("the field '{name}' is missing"))
                .with_code("missing_required_parameter")
        })
    }

    /// An object that is a field.
    pub fn object(&mut self, field: &str) -> Result<Option<Self>, ApiError> {
        let name = self.name(field);
        self.take::<Value>(field)?.map(|value| Self::within(&name, value)).transpose()
    }

    /// A number of things, within limits.
    pub fn count(&mut self, field: &str, least: usize, most: usize) -> Result<Option<usize>, ApiError> {
        let name = self.name(field);
        let Some(count) = self.take::<i64>(field)? else { return Ok(None) };
        match usize::try_from(count) {
            Ok(count) if (least..=most).contains(&count) => Ok(Some(count)),
            _ if most == usize::MAX => {
                Err(ApiError::param(&name, format!("{name} is {count}; write {least} or more"))
                    .with_code("out_of_range"))
            }
            _ => Err(ApiError::param(
                &name,
                format!("{name} is {count}; write a number from {least} to {most}"),
            )
            .with_code("out_of_range")),
        }
    }

    /// Passes over fields that change nothing here.
    pub fn ignore(&mut self, fields: &[&str]) {
        for field in fields {
            self.fields.shift_remove(*field);
        }
    }

    /// Refuses what is left.
    pub fn finish(self) -> Result<(), ApiError> {
        match self.fields.keys().next() {
            None => Ok(()),
            Some(field) => {
                let name = self.name(field);
                let error = ApiError::param(&name, format!("the field '{name}' is not known; leave it out"));
                Err(error.with_code("unknown_parameter"))
            }
        }
    }
}

/// What a value is, with its article.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Result<Fields, ApiError> {
        Fields::read(&Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn a_body_that_is_no_object_is_named_with_its_place() {
        let message = |text: &str| fields(text).unwrap_err().message;
        assert_eq!(message(" "), "the body is empty; send a JSON object");
        assert_eq!(message("[1]"), "the body is an array; send a JSON object");
        assert_eq!(message("{\"a\": 1,\n}"), "the body is no JSON at line 2, column 1: trailing comma");
        assert!(message(&"[".repeat(100_000)).contains("recursion limit exceeded"));
        assert!(
            Fields::read(&Bytes::from_static(b"{\"a\": \"\xff\"}")).unwrap_err().message.contains("line 1")
        );
    }

    #[test]
    fn fields_are_taken_with_their_types_and_the_rest_is_named() {
        let mut taken =
            fields(r#"{"n": 2, "seed": null, "top_p": "x", "stop": ["a"], "more": {"n": -1}}"#).unwrap();
        assert_eq!(taken.count("n", 1, 4).unwrap(), Some(2));
        assert_eq!(taken.take::<u64>("seed").unwrap(), None);
        let wrong = taken.take::<f32>("top_p").unwrap_err();
        assert_eq!(wrong.param.as_deref(), Some("top_p"));
        assert!(wrong.message.starts_with("top_p: invalid type: string \"x\""), "{}", wrong.message);
        assert_eq!(
            taken.clone().finish().unwrap_err().message,
            "the field 'stop' is not known; leave it out"
        );
        let mut more = taken.object("more").unwrap().unwrap();
        assert_eq!(more.count("n", 1, 4).unwrap_err().message, "more.n is -1; write a number from 1 to 4");
        taken.ignore(&["stop"]);
        assert!(taken.finish().is_ok());
    }
}
