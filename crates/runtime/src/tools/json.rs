//! Calls that are written as JSON.

use serde_json::{Deserializer, Map, Value};

use super::Written;

/// A call as an object: `name`, with `arguments` or `parameters`, an object or the text of one, and perhaps an `id`; or
/// with these in an object `function`.
pub(super) fn object(value: Value) -> Option<Written> {
    let Value::Object(mut object) = value else { return None };
    if let Some(function @ Value::Object(_)) = object.get("function") {
        return self::object(function.clone());
    }
    let Some(Value::String(name)) = object.remove("name") else { return None };
    let arguments = object.remove("arguments").or_else(|| object.remove("parameters"));
    let id = ["id", "call_id", "tool_call_id"].iter().find_map(|key| object.get(*key)?.as_str());
    let id = id.filter(|id| !id.is_empty()).map(str::to_owned);
    Some(Written { id, name, arguments: self::arguments(arguments)? })
}

/// Arguments: an object, the text of one, or none at all.
fn arguments(value: Option<Value>) -> Option<Map<String, Value>> {
    match value {
        None | Some(Value::Null) => Some(Map::new()),
        Some(Value::Object(arguments)) => Some(arguments),
        Some(Value::String(text)) => serde_json::from_str(&text).ok(),
        Some(_) => None,
    }
}

/// The call in a text that is one JSON object.
pub(super) fn call(text: &str) -> Option<Written> {
    object(serde_json::from_str(text).ok()?)
}

/// Calls one after the other, with spaces or semicolons between, or in a list; at least one.
pub(super) fn sequence(text: &str) -> Option<Vec<Written>> {
    let mut calls = Vec::new();
    let mut rest = text.trim_start();
    rest = rest.strip_prefix("<|python_tag|>").unwrap_or(rest);
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ';');
        if rest.is_empty() {
            return Some(calls).filter(|calls| !calls.is_empty());
        }
        let mut values = Deserializer::from_str(rest).into_iter::<Value>();
        match values.next()?.ok()? {
            Value::Array(list) => calls.extend(list.into_iter().map(object).collect::<Option<Vec<_>>>()?),
            value => calls.push(object(value)?),
        }
        rest = &rest[values.byte_offset()..];
    }
}

/// Whether a text may be the beginning of a call, or of a list of them.
pub(super) fn may_be_call(text: &str) -> bool {
    let mut rest = text;
    for opening in ['[', '{'] {
        rest = rest.trim_start();
        match rest.strip_prefix(opening) {
            Some(inner) => rest = inner,
            // A list is not needed.
            None if opening == '[' && rest.starts_with('{') => (),
            None => return rest.is_empty(),
        }
    }
    let rest = rest.trim_start();
    ["\"name\"", "\"type\"", "\"function\"", "\"id\"", "\"parameters\"", "\"arguments\""]
        .iter()
        .any(|key| rest.starts_with(key) || key.starts_with(rest))
}

/// What follows `[TOOL_CALLS]`: a list of calls, or a name, perhaps `[CALL_ID]` and an id, perhaps `[ARGS]`, and arguments;
/// then perhaps the same again.
pub(super) fn mistral(text: &str) -> Option<Vec<Written>> {
    let mut calls = Vec::new();
    for part in text.split("[TOOL_CALLS]") {
        let part = part.trim().trim_end_matches("</s>");
        if let Some(more) = sequence(part) {
            calls.extend(more);
            continue;
        }
        let (head, arguments) = part.split_at_checked(part.find('{')?)?;
        let head = head.trim().trim_end_matches("[ARGS]");
        let (name, id) = head.split_once("[CALL_ID]").map_or((head, None), |(name, id)| (name, Some(id)));
        let name = name.trim();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return None;
        }
        let id = id.map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned);
        calls.push(Written { id, name: name.to_owned(), arguments: serde_json::from_str(arguments).ok()? });
    }
    Some(calls)
}

/// What follows `<｜tool▁calls▁begin｜>`.
pub(super) fn deepseek(text: &str) -> Option<Vec<Written>> {
    let mut calls = Vec::new();
    for part in text.split("<｜tool▁call▁begin｜>") {
        let part = part.trim();
        if part.is_empty() {
            continue;
        }
        let (head, rest) = part.split_once("<｜tool▁sep｜>")?;
        let (body, _) = rest.split_once("<｜tool▁call▁end｜>").unwrap_or((rest, ""));
        // R1 writes `function`, then the name and a block of code; V3.1 the name, then bare JSON.
        let (name, arguments) = match body.split_once("```json") {
            Some((name, block)) => (name, block.trim().trim_end_matches("```")),
            None => (head, body),
        };
        let arguments = serde_json::from_str(arguments.trim()).ok()?;
        calls.push(Written { id: None, name: name.trim().to_owned(), arguments });
    }
    Some(calls).filter(|calls| !calls.is_empty())
}
