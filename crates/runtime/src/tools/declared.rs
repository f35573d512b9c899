//! Tools that are local commands, as a file declares them.
//!
//! In: TOML, or JSON where the file's name ends so. Out: [`Tool`]s, whose definitions a model is told and which
//! [run](Tool::call). A mistake is named with its line.
//!
//! ```toml
//! [[tools]]
//! name = "weather"
//! description = "Tells the weather of a city."
//! # {city} becomes the argument; all arguments are on stdin, too, as JSON.
//! command = ["curl", "-s", "--", "https://wttr.in/{city}?format=3"]
//! time_limit = 10        # seconds; 30 if not given
//! output_limit = 4096    # bytes; 16384 if not given
//!
//! [tools.parameters]     # a JSON schema
//! type = "object"
//! required = ["city"]
//! properties.city = { type = "string", description = "The city" }
//! ```

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::Error;

/// A local command that a model may call.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    name: Name,
    description: String,
    /// The schema of its arguments.
    #[serde(default = "no_arguments")]
    parameters: Map<String, Value>,
    command: Words,
    #[serde(default)]
    time_limit: Seconds,
    #[serde(default)]
    output_limit: Bytes,
}

/// What the file has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Declarations {
    tools: Vec<Tool>,
}

/// What a model can write without doubt: letters, digits, `_` and `-`.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
struct Name(String);

/// A program and its arguments.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Vec<String>")]
struct Words(Vec<String>);

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "f64")]
struct Seconds(f64);

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "u64")]
struct Bytes(usize);

/// The longest name that all models take.
const MOST_NAME: usize = 64;
/// Nobody waits longer for an answer.
const MOST_SECONDS: f64 = 3600.0;
/// More is more than any context.
const MOST_OUTPUT: u64 = 1 << 20;

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if name.is_empty() || name.len() > MOST_NAME || !name.chars().all(plain) {
            return Err(format!("'{name}' is no name; write 1 to {MOST_NAME} letters, digits, _ or -"));
        }
        Ok(Self(name))
    }
}

impl TryFrom<Vec<String>> for Words {
    type Error = &'static str;

    fn try_from(words: Vec<String>) -> Result<Self, &'static str> {
        match words.first() {
            Some(program) if !program.is_empty() => Ok(Self(words)),
            _ => Err("a command needs a program; write for instance [\"date\"]"),
        }
    }
}

impl TryFrom<f64> for Seconds {
    type Error = String;

    fn try_from(seconds: f64) -> Result<Self, String> {
        if seconds > 0.0 && seconds <= MOST_SECONDS {
            return Ok(Self(seconds));
        }
        Err(format!("{seconds} is no time limit; write seconds, more than 0 and at most {MOST_SECONDS}"))
    }
}

impl TryFrom<u64> for Bytes {
    type Error = String;

    fn try_from(bytes: u64) -> Result<Self, String> {
        if (1..=MOST_OUTPUT).contains(&bytes) {
            return Ok(Self(bytes as usize));
        }
        Err(format!("{bytes} is no output limit; write bytes, 1 to {MOST_OUTPUT}"))
    }
}

impl Default for Seconds {
    fn default() -> Self {
        Self(30.0)
    }
}

impl Default for Bytes {
    fn default() -> Self {
        Self(16384)
    }
}

fn no_arguments() -> Map<String, Value> {
    Map::from_iter([("type".into(), json!("object")), ("properties".into(), json!({}))])
}

/// The tools that a file declares.
pub fn read(path: &Path) -> Result<Vec<Tool>, Error> {
    let bytes = std::fs::read(path).map_err(|source| Error::from_io("read", path, source))?;
    let wrong = |line, reason| Error::Tools { path: path.into(), line, reason };
    let text = str::from_utf8(&bytes).map_err(|error| {
        wrong(Some(line_at(&bytes, error.valid_up_to())), "this is no UTF-8; save the file as UTF-8".into())
    })?;
    let is_json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let tools = if is_json { from_json(text) } else { from_toml(text) };
    let tools = tools.map_err(|(line, reason)| wrong(Some(line), named(text, line, &reason)))?;
    if tools.is_empty() {
        return Err(wrong(None, "it declares no tool; add one that begins with [[tools]]".into()));
    }
    for (number, tool) in tools.iter().enumerate() {
        if tools[..number].iter().any(|other| other.name() == tool.name()) {
            let line = line_of(text, &format!("\"{}\"", tool.name()));
            return Err(wrong(line, format!("name: there are two tools '{}'", tool.name())));
        }
        if let Some(unknown) = tool.unknown_placeholder() {
            let line = line_of(text, &format!("{{{unknown}}}"));
            let reason = format!(
                "command: the tool '{}' has no parameter '{unknown}' that {{{unknown}}} could stand for",
                tool.name()
            );
            return Err(wrong(line, reason));
        }
        if tool.program_is_an_argument() {
            let line = line_of(text, &tool.command.0[0]);
            let reason = format!(
                "command: which program the tool '{}' is must not be an argument; write its name",
                tool.name()
            );
            return Err(wrong(line, reason));
        }
    }
    Ok(tools)
}

/// Tools, or the line of a mistake and what it is.
fn from_toml(text: &str) -> Result<Vec<Tool>, (usize, String)> {
    toml::from_str::<Declarations>(text).map(|declared| declared.tools).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start).min(text.len());
        (line_at(text.as_bytes(), at), error.message().to_owned())
    })
}

fn from_json(text: &str) -> Result<Vec<Tool>, (usize, String)> {
    serde_json::from_str::<Declarations>(text).map(|declared| declared.tools).map_err(|error| {
        let reason = error.to_string();
        let reason = reason.split(" at line ").next().unwrap_or_default();
        (error.line(), reason.to_owned())
    })
}

/// A mistake with the key of its line, if that has one.
fn named(text: &str, line: usize, reason: &str) -> String {
    let line = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let key = line.split(['=', ':']).next().unwrap_or_default();
    let key = key.trim_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '{' | '['));
    let is_key = key.len() < line.trim().len()
        && !key.is_empty()
        && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    // Reasons that span lines are the parser's drawings.
    let reason = reason.lines().collect::<Vec<_>>().join(", ");
    if is_key { format!("{key}: {reason}") } else { reason }
}

/// The line of a byte, from 1.
fn line_at(text: &[u8], at: usize) -> usize {
    text[..at].split(|byte| *byte == b'\n').count()
}

/// The last line that has these words.
fn line_of(text: &str, words: &str) -> Option<usize> {
    let lines = text.lines().enumerate().filter(|(_, line)| line.contains(words));
    lines.last().map(|(number, _)| number + 1)
}

impl Tool {
    /// The name by which a model calls it.
    pub fn name(&self) -> &str {
        &self.name.0
    }

    /// How long it may take.
    pub fn time_limit(&self) -> Duration {
        Duration::from_secs_f64(self.time_limit.0)
    }

    /// The bytes of its output at most.
    pub const fn output_limit(&self) -> usize {
        self.output_limit.0
    }

    /// What a model is told of it, as OpenAI's interface defines functions.
    pub fn definition(&self) -> Value {
        let function =
            json!({ "name": self.name(), "description": self.description, "parameters": self.parameters });
        json!({ "type": "function", "function": function })
    }

    /// An argument without which it cannot be called, and that is missing.
    pub(super) fn missing<'t>(&'t self, arguments: &Map<String, Value>) -> Option<&'t str> {
        let required = self.parameters.get("required").and_then(Value::as_array);
        let mut names = required.into_iter().flatten().filter_map(Value::as_str);
        names.find(|name| !arguments.contains_key(*name))
    }

    /// The program and its arguments, in which `{name}` is replaced. A word that is nothing but an argument that is missing
    /// is left out.
    pub(super) fn words(&self, arguments: &Map<String, Value>) -> Vec<String> {
        let spelled = |name: &str| match arguments.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => String::new(),
            Some(value) => value.to_string(),
        };
        let words = self.command.0.iter().filter_map(|word| {
            let parts = parts(word);
            let alone = matches!(parts[..], [Part::Argument(_)]);
            let word: String = parts
                .into_iter()
                .map(|part| match part {
                    Part::Text(text) => text.to_owned(),
                    Part::Argument(name) => spelled(name),
                })
                .collect();
            Some(word).filter(|word| !(alone && word.is_empty()))
        });
        words.collect()
    }

    /// Whether a model could choose the program.
    fn program_is_an_argument(&self) -> bool {
        parts(&self.command.0[0]).iter().any(|part| matches!(part, Part::Argument(_)))
    }

    /// A placeholder that no parameter fills.
    fn unknown_placeholder(&self) -> Option<&str> {
        let known = self.parameters.get("properties").and_then(Value::as_object);
        let mut names = self.command.0.iter().flat_map(|word| parts(word)).filter_map(|part| match part {
            Part::Argument(name) => Some(name),
            Part::Text(_) => None,
        });
        names.find(|name| known.is_none_or(|known| !known.contains_key(*name)))
    }
}

/// A part of a command's word.
enum Part<'w> {
    Text(&'w str),
    Argument(&'w str),
}

/// Text and placeholders by turns. Braces around what is no name are text.
fn parts(word: &str) -> Vec<Part<'_>> {
    let (mut parts, mut begin, mut from) = (Vec::new(), 0, 0);
    while let Some(open) = word[from..].find('{').map(|at| from + at) {
        from = open + 1;
        let Some(close) = word[from..].find('}').map(|at| from + at) else { break };
        let name = &word[from..close];
        if !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-')) {
            if begin < open {
                parts.push(Part::Text(&word[begin..open]));
            }
            parts.push(Part::Argument(name));
            (begin, from) = (close + 1, close + 1);
        }
    }
    if begin < word.len() || word.is_empty() {
        parts.push(Part::Text(&word[begin..]));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(name: &str, text: &str) -> Result<Vec<Tool>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        read(&path).map_err(|error| error.to_string().replace(&path.display().to_string(), "FILE"))
    }

    const TOML: &str = r#"[[tools]]
name = "weather"
description = "Tells the weather."
command = ["sh", "-c", "echo {city} {}", "{days}", ""]
time_limit = 2
[tools.parameters]
type = "object"
required = ["city"]
properties = { city = { type = "string" }, days = { type = "integer" } }
"#;

    #[test]
    fn a_file_says_what_a_tool_is_and_how_it_runs() {
        let [tool] = &read_text("tools.toml", TOML).unwrap()[..] else { panic!("one tool") };
        assert_eq!(tool.time_limit(), Duration::from_secs(2));
        assert_eq!(tool.output_limit(), 16384);
        let function = &tool.definition()["function"];
        assert_eq!(function["name"], "weather");
        assert_eq!(function["parameters"]["properties"]["city"]["type"], "string");
        let arguments = |json: Value| json.as_object().unwrap().clone();
        let words = tool.words(&arguments(json!({ "city": "Zürich \"x\"", "days": 3 })));
        assert_eq!(words, ["sh", "-c", "echo Zürich \"x\" {}", "3", ""]);
        let words = tool.words(&arguments(json!({ "city": "a" })));
        assert_eq!(words, ["sh", "-c", "echo a {}", ""]);
        assert_eq!(tool.missing(&arguments(json!({ "days": 1 }))), Some("city"));
        let same = json!({"tools": [{"name": "a", "description": "", "command": ["b"]}]}).to_string();
        assert_eq!(
            read_text("tools.json", &same).unwrap()[0].definition()["function"]["parameters"]["type"],
            "object"
        );
    }

    #[test]
    fn a_mistake_is_named_with_key_and_line() {
        let change = |from: &str, to: &str| {
            assert!(TOML.contains(from));
            read_text("tools.toml", &TOML.replacen(from, to, 1)).map(|_| ()).unwrap_err()
        };
        for (error, words) in [
            (change("\"weather\"", "3"), "FILE, line 2: name: invalid type: integer `3`"),
            (change("\"weather\"", "\"two words\""), "FILE, line 2: name: 'two words' is no name"),
            (change("time_limit = 2", "time_limit = 0"), "FILE, line 5: time_limit: 0 is no time limit"),
            (
                change("time_limit = 2", "output_limit = 0"),
                "FILE, line 5: output_limit: 0 is no output limit",
            ),
            (change("time_limit", "timeout"), "FILE, line 5: timeout: unknown field `timeout`"),
            (
                change("[\"sh\", \"-c\", \"echo {city} {}\", \"{days}\", \"\"]", "[]"),
                "FILE, line 4: command: a command needs",
            ),
            (change("command", "#"), "FILE, line 1: missing field `command`"),
            (
                change("city = {", "town = {"),
                "FILE, line 4: command: the tool 'weather' has no parameter 'city'",
            ),
            (change("= 2", "= "), "FILE, line 5: time_limit: "),
        ] {
            assert!(error.starts_with(words) && !error.contains('\n'), "{error}");
        }
        let twice = read_text("tools.toml", &format!("{TOML}{TOML}")).unwrap_err();
        assert!(twice.starts_with("FILE, line 11: name: there are two tools 'weather'"), "{twice}");
        let none = read_text("tools.toml", "tools = []").unwrap_err();
        assert!(none.starts_with("FILE: it declares no tool"), "{none}");
        let json = "{\"tools\": [{\n\"name\": 3,\n\"description\": \"\"}]}";
        let json = read_text("tools.json", json).unwrap_err();
        assert!(json.starts_with("FILE, line 2: name: invalid type: integer `3`"), "{json}");
    }
}
