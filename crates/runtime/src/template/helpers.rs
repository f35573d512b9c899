//! What transformers gives its templates beside plain Jinja.

use std::fmt::Write as _;

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};

use super::python;

/// Marks an error as the template's own words. Not text that a template could say by accident.
pub const RAISED: &str = "\u{0}raised:";

/// `raise_exception(words)`: the template objects to the conversation.
#[allow(clippy::needless_pass_by_value)] // The shape that a function must have.
pub fn raise_exception(words: String) -> Result<String, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, format!("{RAISED}{words}")))
}

/// The variable in which the time is kept that a template is told, in seconds since 1970. Not a name that a template
/// can say.
pub const NOW: &str = "the time";

/// `strftime_now(format)`: the local date and time, by C's format letters.
pub fn strftime_now(state: &State, format: &str) -> Result<String, Error> {
    let told = state.lookup(NOW).and_then(|seconds| i64::try_from(seconds).ok());
    let told = told.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    let now = told.unwrap_or_else(jiff::Timestamp::now).to_zoned_datetime(jiff::tz::TimeZone::system());
    jiff::fmt::strtime::format(format, &now).map_err(|error| {
        Error::new(ErrorKind::InvalidOperation, format!("strftime_now cannot follow {format:?}: {error}"))
    })
}

/// Turns transformers' `{% generation %}` blocks, which mark the assistant's words for training and print them
/// unchanged, into blocks that every Jinja knows.
pub fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(open) = rest.find("{%") {
        let Some(close) = rest[open..].find("%}").map(|at| open + at) else { break };
        let inside = &rest[open + 2..close];
        let word = inside.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        let plain = match word {
            "generation" => "if true",
            "endgeneration" => "endif",
            _ => word,
        };
        out.push_str(&rest[..open + 2]);
        out.push_str(&if plain == word { inside.to_owned() } else { inside.replace(word, plain) });
        rest = &rest[close..];
    }
    out + rest
}

/// `value | tojson(indent=…, separators=…, sort_keys=…, ensure_ascii=…)` as Python's `json.dumps` writes it, with no
/// character escaped for HTML: a model must see `<` as `<`.
#[allow(clippy::needless_pass_by_value)] // The shape that a filter must have.
pub fn tojson(value: &Value, arguments: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = arguments.get("indent")?;
    let separators: Option<(String, String)> = match arguments.get::<Option<Vec<String>>>("separators")? {
        None => None,
        Some(pair) => match <[String; 2]>::try_from(pair) {
            Ok([item, key]) => Some((item, key)),
            Err(_) => {
                return Err(Error::new(ErrorKind::InvalidOperation, "tojson needs two separators"));
            }
        },
    };
    let json = Json {
        indent,
        separators: separators.unwrap_or_else(|| {
            let item = if indent.is_some() { "," } else { ", " };
            (item.to_owned(), ": ".to_owned())
        }),
        sort_keys: arguments.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        ensure_ascii: arguments.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
    };
    arguments.assert_all_used()?;
    let mut out = String::new();
    json.write(&mut out, value, 0)?;
    Ok(out)
}

/// How to write JSON.
struct Json {
    indent: Option<usize>,
    /// Between items, and between a key and its value.
    separators: (String, String),
    sort_keys: bool,
    ensure_ascii: bool,
}

impl Json {
    /// Deeper than any schema, shallower than the stack.
    const MAX_DEPTH: usize = 128;

    fn write(&self, out: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > Self::MAX_DEPTH {
            return Err(Error::new(ErrorKind::InvalidOperation, "tojson: too many levels"));
        }
        match value.kind() {
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => python::number(out, value),
            ValueKind::String => self.text(out, value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.list(out, ('[', ']'), depth, &items, |out, item| self.write(out, item, depth + 1))?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort_keys {
                    keys.sort();
                }
                self.list(out, ('{', '}'), depth, &keys, |out, key| {
                    self.text(out, &key.to_string());
                    out.push_str(&self.separators.1);
                    self.write(out, &value.get_item(key)?, depth + 1)
                })?;
            }
            kind => {
                let words = format!("tojson cannot write a value of type {kind}");
                return Err(Error::new(ErrorKind::InvalidOperation, words));
            }
        }
        Ok(())
    }

    fn list(
        &self,
        out: &mut String,
        brackets: (char, char),
        depth: usize,
        items: &[Value],
        mut write: impl FnMut(&mut String, &Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let new_line = |out: &mut String, depth: usize| {
            if let Some(indent) = self.indent {
                out.push('\n');
                out.extend(std::iter::repeat_n(' ', indent * depth));
            }
        };
        out.push(brackets.0);
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                out.push_str(&self.separators.0);
            }
            new_line(out, depth + 1);
            write(out, item)?;
        }
        if !items.is_empty() {
            new_line(out, depth);
        }
        out.push(brackets.1);
        Ok(())
    }

    fn text(&self, out: &mut String, text: &str) {
        out.push('"');
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                c if c < ' ' || (self.ensure_ascii && !c.is_ascii()) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                }
                c => out.push(c),
            }
        }
        out.push('"');
    }
}
