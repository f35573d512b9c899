//! How a verb ends badly: one sentence on stderr and an exit code.

use std::fmt::{Display, Write as _};
use std::io::{self, Write, stderr};
use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory;
use clap::error::ErrorKind;
use stonechat_runtime::error::reason;

use crate::args::Program;

/// The text of a file that was named.
pub fn read_text(path: &Path) -> Result<String, Failure> {
    let failed = |error| Failure::at(path.display(), format_args!("{}; check the path", reason(&error)));
    std::fs::read_to_string(path).map_err(failed)
}

/// Why a verb did not do what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// It could not: exit code 1.
    Failed(String),
    /// A model is not here and cannot be fetched: exit code 1, where nothing else answers.
    NoModel(String),
    /// It was asked for something that makes no sense: exit code 2.
    Usage(String),
    /// Ctrl-C: exit code 130, and nothing to say unless something was kept.
    Interrupted(Option<String>),
    /// Whoever read our output is gone: nothing to say, and no failure of ours.
    ReaderGone,
}

impl Failure {
    /// A failure that concerns a file or a thing of that name.
    pub fn at(name: impl Display, error: impl Display) -> Self {
        Self::Failed(format!("{name}: {error}"))
    }

    /// A failure over a model: what is wrong with its file is said with the file's name and what to do about it.
    pub fn in_model(path: &Path, error: impl Into<stonechat_core::Error>) -> Self {
        use stonechat_core::Error;

        let error = error.into();
        match &error {
            Error::ZeroLimit(_) | Error::ContextTooLong { .. } | Error::BadSampling { .. } => {
                Self::Usage(error.to_string())
            }
            Error::TooLarge | Error::MemoryTooSmall { .. } | Error::Arena { .. } | Error::NoTokens => {
                Self::Failed(error.to_string())
            }
            _ if is_damage(&error) => {
                Self::at(path.display(), format_args!("{error}; fetch the file again, or convert it anew"))
            }
            _ => Self::at(path.display(), error),
        }
    }

    /// Says it, and gives the exit code.
    pub fn report(&self) -> ExitCode {
        let (sentence, code) = match self {
            Self::Failed(sentence) | Self::NoModel(sentence) => (Some(sentence), 1),
            Self::Usage(sentence) => (Some(sentence), 2),
            Self::Interrupted(sentence) => (sentence.as_ref(), 130),
            Self::ReaderGone => (None, 0),
        };
        if let Some(sentence) = sentence {
            // Where stderr is closed, the exit code alone has to tell.
            let _ = writeln!(stderr(), "stonechat: {}", one_line(sentence));
        }
        ExitCode::from(code)
    }
}

/// Whether the file breaks the format's or the architecture's rules, so that another copy of it may help.
fn is_damage(error: &stonechat_core::Error) -> bool {
    use stonechat_core::{Error, vocabulary};
    use stonechat_gguf::Error as Gguf;

    match error {
        // These say what to do, or that no copy would help.
        Error::Gguf(
            Gguf::NotGguf { .. }
            | Gguf::BigEndian { .. }
            | Gguf::UnsupportedVersion { .. }
            | Gguf::Split { .. },
        )
        | Error::Vocabulary(
            vocabulary::Error::UnknownModel { .. } | vocabulary::Error::UnknownPreTokenizer { .. },
        ) => false,
        Error::Gguf(_)
        | Error::Vocabulary(_)
        | Error::BadValue { .. }
        | Error::MissingTensor(_)
        | Error::TensorShape { .. }
        | Error::PartialGroup { .. }
        | Error::VocabularySize { .. }
        | Error::NotFinite(_) => true,
        _ => false,
    }
}

/// The sentence on one line, without what would steer a terminal: parts of it come from files and from templates.
pub fn one_line(sentence: &str) -> String {
    let mut line = String::with_capacity(sentence.len());
    for c in sentence.chars() {
        if c.is_control() {
            let _ = write!(line, "{}", c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

/// clap's paragraphs as one sentence, without the help that they point to.
pub fn sentence(error: &clap::Error) -> String {
    let text = error.to_string();
    let mut sentence = String::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if line.starts_with("Usage:") || line.starts_with("For more information") {
            break;
        }
        let (separator, words) = match (line.strip_prefix("error: "), line.strip_prefix("tip: ")) {
            (Some(words), _) => ("", words),
            (_, Some(words)) => ("; ", words),
            _ => (" ", line),
        };
        sentence.push_str(separator);
        sentence.push_str(words);
    }
    sentence
}

impl From<clap::Error> for Failure {
    /// clap's paragraphs as the one sentence that every other failure is. To be asked only of errors: `--help` and
    /// `--version`, which clap hands over as such, are answers.
    fn from(error: clap::Error) -> Self {
        let mut sentence = sentence(&error);
        let mut words = std::env::args_os().skip(1).filter_map(|word| word.into_string().ok());
        let verb = words.find(|word| Program::command().find_subcommand(word).is_some());
        // A verb that was not understood has no help of its own.
        let verb = verb.filter(|_| error.kind() != ErrorKind::InvalidSubcommand);
        let verb = verb.map(|verb| format!("{verb} ")).unwrap_or_default();
        let _ = write!(sentence, "; see 'stonechat {verb}--help'");
        Self::Usage(sentence)
    }
}

impl From<stonechat_core::vocabulary::Error> for Failure {
    fn from(error: stonechat_core::vocabulary::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<stonechat_runtime::Error> for Failure {
    fn from(error: stonechat_runtime::Error) -> Self {
        match error {
            error @ (stonechat_runtime::Error::Stopped { .. }
            | stonechat_runtime::Error::Abandoned { .. }) => Self::Interrupted(Some(error.to_string())),
            stonechat_runtime::Error::Model { path, error } => Self::in_model(&path, *error),
            error @ stonechat_runtime::Error::NoSource { .. } => Self::NoModel(error.to_string()),
            error => Self::Failed(error.to_string()),
        }
    }
}

impl From<io::Error> for Failure {
    /// The only input and output that is not wrapped with a path is that of the terminal or pipe.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::ReaderGone;
        }
        let reason = reason(&error);
        Self::Failed(format!("cannot write the output: {reason}; free some space, or write elsewhere"))
    }
}
