//! Calls as Gemma writes them: `call:name{key:<|"|>text<|"|>,list:[1,true],inner:{a:null}}`.

use serde_json::{Map, Value};

use super::Written;

/// Deeper than any arguments, shallower than the stack.
const MAX_DEPTH: usize = 64;

/// The call in a text, whose strings stand between two `quote`s.
pub(super) fn call(text: &str, quote: &str) -> Option<Written> {
    let text = text.trim().strip_prefix("call:")?;
    let (name, _) = text.split_once('{')?;
    let mut reader = Reader { rest: &text[name.len()..], quote };
    let Value::Object(arguments) = reader.value(0)? else { return None };
    let name = name.trim();
    (reader.rest.trim().is_empty() && !name.is_empty()).then(|| Written {
        id: None,
        name: name.to_owned(),
        arguments,
    })
}

struct Reader<'t> {
    rest: &'t str,
    quote: &'t str,
}

impl<'t> Reader<'t> {
    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        if self.takes(self.quote) {
            return Some(Value::from(self.quoted()?));
        }
        if self.takes("{") {
            let mut object = Map::new();
            while !self.takes("}") {
                let key = if self.takes(self.quote) { self.quoted()? } else { self.until(&[':'])? };
                if !self.takes(":") {
                    return None;
                }
                object.insert(key.to_owned(), self.value(depth + 1)?);
                if !self.takes(",") && !self.rest.trim_start().starts_with('}') {
                    return None;
                }
            }
            return Some(object.into());
        }
        if self.takes("[") {
            let mut list = Vec::new();
            while !self.takes("]") {
                list.push(self.value(depth + 1)?);
                if !self.takes(",") && !self.rest.trim_start().starts_with(']') {
                    return None;
                }
            }
            return Some(list.into());
        }
        // What Jinja printed: a number, true, false, or none in its ways.
        match self.until(&[',', '}', ']'])? {
            "None" | "none" => Some(Value::Null),
            word => serde_json::from_str(word).ok(),
        }
    }

    fn takes(&mut self, token: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// A string, whose quote was taken, if it ends.
    fn quoted(&mut self) -> Option<&'t str> {
        let (text, rest) = self.rest.split_once(self.quote)?;
        self.rest = rest;
        Some(text)
    }

    fn until(&mut self, ends: &[char]) -> Option<&'t str> {
        let (word, rest) = self.rest.split_at_checked(self.rest.find(ends)?)?;
        self.rest = rest;
        Some(word.trim())
    }
}
