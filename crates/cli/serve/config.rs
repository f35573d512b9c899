//! Flags in a file: TOML whose keys are the flags' names, in place of the command line.
//!
//! In: a file. Out: the words that the command line would have had. A mistake is named with its line.

use std::collections::BTreeMap;
use std::path::Path;

use clap::{Arg, ArgAction, Command, CommandFactory};
use toml::{Spanned, Value};

use crate::args::Program;
use crate::failure::{Failure, read_text, sentence};

/// The verb whose flags these are.
const VERB: &str = "serve";
/// Flags that a file cannot have: they are about the file.
const NOT_HERE: [&str; 2] = ["config", "check"];

/// The words of a file.
pub fn read(path: &Path) -> Result<Vec<String>, Failure> {
    let text = read_text(path)?;
    let wrong = |at: usize, what: &str| {
        let line = text.as_bytes()[..at.min(text.len())].split(|byte| *byte == b'\n').count();
        let what = what.lines().collect::<Vec<_>>().join(", ");
        Failure::Usage(format!("{}, line {line}: {what}", path.display()))
    };
    let table: BTreeMap<Spanned<String>, Value> = toml::from_str(&text)
        .map_err(|error| wrong(error.span().map_or(0, |span| span.start), error.message()))?;
    let verb = verb();
    let mut words = Vec::new();
    for (key, value) in &table {
        let at = key.span().start;
        let key = key.get_ref();
        let flag = flag(&verb, key).ok_or_else(|| wrong(at, &unknown(&verb, key)))?;
        let own = flag_words(flag, key, value).map_err(|what| wrong(at, &what))?;
        // Each alone, so that what is wrong with it is said with its line. What it needs beside it is seen later.
        let alone =
            verb.clone().try_get_matches_from([VERB.to_owned()].into_iter().chain(own.iter().cloned()));
        if let Err(error) = alone
            && error.kind() != clap::error::ErrorKind::MissingRequiredArgument
        {
            return Err(wrong(at, &sentence(&error)));
        }
        words.extend(own);
    }
    Ok(words)
}

fn verb() -> Command {
    let mut program = Program::command();
    program.build();
    program.find_subcommand(VERB).cloned().unwrap_or_default().no_binary_name(false)
}

fn flag<'c>(verb: &'c Command, key: &str) -> Option<&'c Arg> {
    let mut flags =
        verb.get_arguments().filter(|flag| flag.get_long().is_some_and(|name| !NOT_HERE.contains(&name)));
    flags.find(|flag| {
        flag.get_long() == Some(key) || flag.get_all_aliases().is_some_and(|names| names.contains(&key))
    })
}

fn unknown(verb: &Command, key: &str) -> String {
    let known = verb.get_arguments().filter_map(Arg::get_long);
    let near = known
        .filter(|name| !NOT_HERE.contains(name))
        .find(|name| name.replace('-', "_") == key.replace('-', "_"));
    match near {
        Some(near) => format!("there is no key '{key}'; write {near}"),
        None => {
            format!("there is no key '{key}'; 'stonechat {VERB} --help' lists the flags, which are the keys")
        }
    }
}

/// A key and its value as they would be on the command line.
fn flag_words(flag: &Arg, key: &str, value: &Value) -> Result<Vec<String>, String> {
    if matches!(flag.get_action(), ArgAction::SetTrue) {
        return match value {
            Value::Boolean(true) => Ok(vec![format!("--{key}")]),
            Value::Boolean(false) => Ok(Vec::new()),
            _ => Err(format!("{key} is either true or false")),
        };
    }
    let text = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        // JSON, where a flag takes that.
        Value::Table(_) => serde_json::to_string(value).map_err(|error| format!("{key}: {error}")),
        _ => Err(format!("{key} is a text or a number")),
    };
    let values = match value {
        Value::Array(values) if matches!(flag.get_action(), ArgAction::Append) => {
            values.iter().map(text).collect()
        }
        Value::Array(_) => Err(format!("{key} has one value, not several")),
        value => text(value).map(|text| vec![text]),
    };
    Ok(values?.into_iter().map(|value| format!("--{key}={value}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("serve.toml");
        std::fs::write(&path, text).unwrap();
        read(&path).map_err(|failure| match failure {
            Failure::Usage(text) | Failure::Failed(text) => text.replace(&path.display().to_string(), "FILE"),
            other => format!("{other:?}"),
        })
    }

    #[test]
    fn a_file_has_flags_as_keys() {
        let made =
            words("port = 1234\nno-key = true\ncheck-not = 1\n".replace("check-not = 1\n", "").as_str())
                .unwrap();
        assert_eq!(made, ["--no-key", "--port=1234"]);
        let made = words("cors = [\"https://a\", \"https://b\"]\ntemp = 0.5\nmodel = \"tiny\"").unwrap();
        assert_eq!(made, ["--cors=https://a", "--cors=https://b", "--model=tiny", "--temp=0.5"]);
    }

    #[test]
    fn a_mistake_is_named_with_its_line() {
        for (text, said) in [
            ("port = 8080\nportt = 1", "FILE, line 2: there is no key 'portt'"),
            ("\napi_key_file = \"x\"", "FILE, line 2: there is no key 'api_key_file'; write api-key-file"),
            ("port = 80800", "FILE, line 1: invalid value '80800' for '--port <N>'"),
            ("# x\n\nhost = \"nowhere\"", "FILE, line 3: invalid value 'nowhere' for '--host <ADDRESS>'"),
            ("no-key = 1", "FILE, line 1: no-key is either true or false"),
            ("port = [1, 2]", "FILE, line 1: port has one value, not several"),
            ("port = ", "FILE, line 1: "),
            ("check = true", "FILE, line 1: there is no key 'check'"),
            ("port = 1\nport = 2", "FILE, line 2: duplicate key"),
        ] {
            let failed = words(text).unwrap_err();
            assert!(failed.starts_with(said) && !failed.contains('\n'), "{text}: {failed}");
        }
    }
}
