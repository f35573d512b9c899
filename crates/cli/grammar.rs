//! From flags to what an answer must match.

use std::path::Path;

use stonechat_runtime::grammar::{Grammar, Language};
use stonechat_runtime::{Constraint, Engine, Error};

use crate::args::GrammarArgs;
use crate::failure::{Failure, read_text};

/// A grammar as it was given.
pub struct Given {
    language: Language,
    text: String,
    /// The file that it came from.
    file: Option<String>,
}

impl GrammarArgs {
    /// Reads what the answer must match, if anything was asked for.
    pub fn read(&self) -> Result<Option<Given>, Failure> {
        let inline = |text: &str, language| Given { language, text: text.to_owned(), file: None };
        let file = |path: &Path, language| {
            let text = read_text(path)?;
            Ok(Some(Given { language, text, file: Some(path.display().to_string()) }))
        };
        match self {
            Self { json_schema: Some(text), .. } if text.trim_start().starts_with('{') => {
                Ok(Some(inline(text, Language::JsonSchema)))
            }
            Self { json_schema: Some(path), .. } => file(path.as_ref(), Language::JsonSchema),
            Self { json_schema_file: Some(path), .. } => file(path, Language::JsonSchema),
            Self { grammar: Some(text), .. } if text.contains("::=") => {
                Ok(Some(inline(text, Language::Gbnf)))
            }
            Self { grammar: Some(path), .. } => file(path.as_ref(), Language::Gbnf),
            Self { grammar_file: Some(path), .. } => file(path, Language::Gbnf),
            Self { lark: Some(path), .. } => file(path, Language::Lark),
            Self { regex: Some(text), .. } => Ok(Some(inline(text, Language::Regex))),
            _ => Ok(None),
        }
    }
}

impl Given {
    /// The grammar for a model.
    pub fn of(&self, engine: &Engine) -> Result<Box<dyn Constraint>, Failure> {
        match Grammar::new(engine, self.language, &self.text) {
            Ok(grammar) => Ok(Box::new(grammar)),
            Err(error @ Error::Grammar { .. }) => match &self.file {
                Some(file) => Err(Failure::at(file, error)),
                None => Err(error.into()),
            },
            Err(error) => Err(error.into()),
        }
    }
}
