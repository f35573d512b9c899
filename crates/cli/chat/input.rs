//! Where messages come from: an edited line at a terminal, else stdin line by line.

use std::io::{IsTerminal, stderr, stdin};
use std::path::PathBuf;

use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Completer, Config, DefaultEditor, Editor, Helper, Highlighter, Hinter};
use stonechat_runtime::Home;

use crate::failure::Failure;

/// Lines that are remembered.
const MOST_REMEMBERED: usize = 1000;

/// What came.
pub enum Line {
    Text(String),
    /// Ctrl-C.
    Interrupted,
    End,
}

/// Whether a person allows something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Permission {
    Given,
    Refused,
    /// There is a pipe where a person could be.
    NobodyThere,
}

/// A line that ends with a backslash goes on.
#[derive(Completer, Helper, Highlighter, Hinter)]
pub struct Continued;

impl Validator for Continued {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let incomplete = context.input().ends_with('\\');
        Ok(if incomplete { ValidationResult::Incomplete } else { ValidationResult::Valid(None) })
    }
}

/// Where messages come from.
pub enum Input {
    Terminal { editor: Box<Editor<Continued, FileHistory>>, history: Option<PathBuf> },
    Pipe,
}

impl Input {
    /// The terminal, if stdin is one.
    pub fn new() -> Result<Self, Failure> {
        if !stdin().is_terminal() {
            return Ok(Self::Pipe);
        }
        let failed = |error| Failure::Failed(format!("cannot use the terminal: {error}"));
        let config =
            Config::builder().max_history_size(MOST_REMEMBERED).map_err(failed)?.auto_add_history(true);
        let mut editor = Editor::with_config(config.build()).map_err(failed)?;
        editor.set_helper(Some(Continued));
        // Without a folder, lines are remembered until the end.
        let history = Home::locate().ok().map(|home| home.folder().join("history"));
        if let Some(path) = &history {
            let _ = editor.load_history(path);
        }
        Ok(Self::Terminal { editor: Box::new(editor), history })
    }

    /// Whether a person sits there.
    pub const fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal { .. })
    }

    /// The next message.
    pub fn line(&mut self) -> Result<Line, Failure> {
        match self {
            Self::Terminal { editor, history } => match editor.readline("> ") {
                Ok(line) => {
                    if let Some(path) = history {
                        let made = path.parent().map(std::fs::create_dir_all);
                        let _ = made.map(|_| editor.append_history(path));
                    }
                    Ok(Line::Text(line.replace("\\\n", "\n")))
                }
                Err(ReadlineError::Interrupted) => Ok(Line::Interrupted),
                Err(ReadlineError::Eof) => {
                    eprintln!();
                    Ok(Line::End)
                }
                Err(error) => Err(Failure::Failed(format!("cannot read the terminal: {error}"))),
            },
            Self::Pipe => {
                let mut bytes = Vec::new();
                let read = std::io::BufRead::read_until(&mut stdin().lock(), b'\n', &mut bytes);
                match read {
                    Ok(0) => Ok(Line::End),
                    Ok(_) => Ok(Line::Text(text(&bytes))),
                    Err(error) => Err(Failure::at("stdin", error)),
                }
            }
        }
    }

    /// Asks a person, who must say yes.
    pub fn may(&self, question: &str) -> Result<Permission, Failure> {
        if !self.is_terminal() {
            return Ok(Permission::NobodyThere);
        }
        let failed = |error| Failure::Failed(format!("cannot use the terminal: {error}"));
        // An editor of its own: answers are not remembered among the lines.
        let mut editor = DefaultEditor::new().map_err(failed)?;
        match editor.readline(&format!("{question} [y/N] ")) {
            Ok(answer) if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") => {
                Ok(Permission::Given)
            }
            Ok(_) | Err(ReadlineError::Interrupted | ReadlineError::Eof) => Ok(Permission::Refused),
            Err(error) => Err(failed(error)),
        }
    }
}

/// Bytes as text. What is no UTF-8 is replaced, and that said.
fn text(bytes: &[u8]) -> String {
    // A space at the end of a command means something.
    let end = bytes.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
    let text = String::from_utf8_lossy(&bytes[..end]);
    if matches!(text, std::borrow::Cow::Owned(_)) && stderr().is_terminal() {
        eprintln!("(what was no UTF-8 has been replaced)");
    }
    text.into_owned()
}
