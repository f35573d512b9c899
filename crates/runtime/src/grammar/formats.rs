//! Formats of strings in JSON schemas, as strict as those who judge JSON.
//!
//! In: a schema. Out: the same, in which strings of some formats have to match a pattern, too: what llguidance lets pass as a
//! date may be the 29th of February of any year, as a time a leap second at any hour, and as an address or a host one that
//! is longer than such may be. The patterns leave out a few that would be right.

use serde_json::{Value, json};

/// A day that there is. Only leap years have a 29th of February.
macro_rules! day {
    () => {
        concat!(
            "([0-9]{4}-(0[13-9]|1[0-2])-[0-9]{2}|[0-9]{4}-02-([01][0-9]|2[0-8])|",
            "([0-9]{2}(0[48]|[2468][048]|[13579][26])|(0[48]|[2468][048]|[13579][26])00)-02-29)"
        )
    };
}

/// Labels of a host: few and short enough that all of them are no more than 253 characters.
macro_rules! host {
    () => {
        "([a-zA-Z0-9](-?[a-zA-Z0-9]){0,14}\\.){0,7}[a-zA-Z0-9](-?[a-zA-Z0-9]){0,14}"
    };
}

/// What a string of a format has to match beside what llguidance asks for.
const STRICTER: [(&str, &str); 5] = [
    ("date", concat!("^", day!(), "$")),
    ("date-time", concat!("^", day!(), "[tT][0-9]{2}:[0-9]{2}:[0-5][0-9].*$")),
    ("time", "^[0-9]{2}:[0-9]{2}:[0-5][0-9].*$"),
    ("email", concat!("^[^@]{1,64}@(", host!(), "|\\[[0-9.]*\\])$")),
    ("hostname", concat!("^", host!(), "$")),
];

/// Keywords that hold values, not schemas.
const VALUES: [&str; 4] = ["const", "enum", "default", "examples"];
/// Keywords that hold schemas by names, which may be keywords themselves.
const NAMED: [&str; 5] = ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"];

/// Makes a schema stricter.
pub(super) fn tighten(schema: &mut Value) {
    match schema {
        Value::Array(schemas) => schemas.iter_mut().for_each(tighten),
        Value::Object(keywords) => {
            for (keyword, value) in keywords.iter_mut() {
                match value {
                    Value::Object(named) if NAMED.contains(&keyword.as_str()) => {
                        named.values_mut().for_each(tighten);
                    }
                    _ if VALUES.contains(&keyword.as_str()) => (),
                    value => tighten(value),
                }
            }
            let format = keywords.get("format").and_then(Value::as_str);
            let Some((_, pattern)) = STRICTER.iter().find(|(name, _)| format == Some(*name)) else { return };
            if !keywords.contains_key("pattern") {
                keywords.insert("pattern".into(), json!(pattern));
            } else if let Value::Array(all) = keywords.entry("allOf").or_insert_with(|| json!([])) {
                all.push(json!({ "pattern": pattern }));
            }
        }
        _ => (),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_get_a_pattern_and_values_stay_as_they_are() {
        let mut schema = json!({
            "properties": {
                "day": { "format": "date" }, "format": { "const": { "format": "date" } }, "default": { "format": "time" },
            },
            "items": [{ "format": "email", "pattern": "^a" }, { "format": "uuid" }],
        });
        tighten(&mut schema);
        assert_eq!(schema["properties"]["day"]["pattern"], STRICTER[0].1);
        assert_eq!(schema["properties"]["format"], json!({ "const": { "format": "date" } }));
        assert_eq!(schema["properties"]["default"]["pattern"], STRICTER[2].1);
        assert_eq!(schema["items"][0]["pattern"], "^a");
        assert_eq!(schema["items"][0]["allOf"], json!([{ "pattern": STRICTER[3].1 }]));
        assert_eq!(schema["items"][1], json!({ "format": "uuid" }));
    }
}
