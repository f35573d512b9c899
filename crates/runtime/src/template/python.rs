//! Values as Python prints them: `True`, `None`, `1e+20`, `['a', {'b': 1.0}]`.

use std::fmt::Write as _;

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, Output, State, escape_formatter};

/// Prints a value as Python's `str` does where it differs from Jinja in Rust.
pub fn print(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    match value.kind() {
        ValueKind::Bool
        | ValueKind::None
        | ValueKind::Number
        | ValueKind::Seq
        | ValueKind::Iterable
        | ValueKind::Map => Ok(out.write_str(&text(value))?),
        _ => escape_formatter(out, state, value),
    }
}

/// The filter `string`: Python's `str`.
pub fn text(value: &Value) -> String {
    if let Some(text) = value.as_str() {
        return text.to_owned();
    }
    let mut out = String::new();
    represent(&mut out, value, 0);
    out
}

/// The test `iterable`: whether Python's `iter` takes it. Jinja's undefined value is an empty list to it.
pub fn is_iterable(value: &Value) -> bool {
    !matches!(value.kind(), ValueKind::None | ValueKind::Bool | ValueKind::Number)
}

/// The test `sequence`: whether it has a length and items, as strings and dictionaries do, too.
pub fn is_sequence(value: &Value) -> bool {
    is_iterable(value) && value.kind() != ValueKind::Iterable
}

/// Deeper than any conversation, shallower than the stack.
const MAX_DEPTH: usize = 128;

/// Python's `repr`.
fn represent(out: &mut String, value: &Value, depth: usize) {
    if depth > MAX_DEPTH {
        out.push_str("...");
        return;
    }
    let items = || value.try_iter().into_iter().flatten().enumerate();
    match value.kind() {
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::None => out.push_str("None"),
        ValueKind::Number => number(out, value),
        ValueKind::String => quoted(out, value.as_str().unwrap_or_default()),
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            for (index, item) in items() {
                out.push_str(if index > 0 { ", " } else { "" });
                represent(out, &item, depth + 1);
            }
            out.push(']');
        }
        ValueKind::Map => {
            out.push('{');
            for (index, key) in items() {
                out.push_str(if index > 0 { ", " } else { "" });
                represent(out, &key, depth + 1);
                out.push_str(": ");
                represent(out, &value.get_item(&key).unwrap_or_default(), depth + 1);
            }
            out.push('}');
        }
        _ => {
            let _ = write!(out, "{value}");
        }
    }
}

/// A number as Python writes it, and its JSON: an integer with all its digits, a float with the fewest that tell it from
/// others, and with an exponent from 1e16 on and below 1e-4.
pub fn number(out: &mut String, value: &Value) {
    let float = if value.is_integer() { None } else { f64::try_from(value.clone()).ok() };
    let Some(float) = float else {
        let _ = write!(out, "{value}");
        return;
    };
    let size = float.abs();
    if size != 0.0 && size.is_finite() && !(1e-4..1e16).contains(&size) {
        let text = format!("{float:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
        let _ = write!(out, "{digits}e{sign}{exponent:0>2}");
    } else {
        let _ = write!(out, "{float:?}");
    }
}

/// A string in quotes, double ones if it has single ones and no double.
fn quoted(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            // What does not print, as far as one can tell without tables.
            c if c.is_control() && u32::from(c) < 0x100 => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push(quote);
}

#[cfg(test)]
mod tests {
    use super::text;
    use minijinja::value::Value;

    /// What Python 3.11 prints.
    #[test]
    fn values_are_printed_as_by_python() {
        for (float, expected) in [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (1e-4, "0.0001"),
            (-5e-8, "-5e-08"),
            (-0.0, "-0.0"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(text(&Value::from(float)), expected);
        }
        let list =
            crate::template::value(&serde_json::json!(["a'b", "a'\"", "\n\u{7f}é\\", {"k": null}, true, 2]));
        assert_eq!(text(&list), r#"["a'b", 'a\'"', '\n\x7fé\\', {'k': None}, True, 2]"#);
        assert_eq!(text(&Value::from("as it is")), "as it is");
    }
}
