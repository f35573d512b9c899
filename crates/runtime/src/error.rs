//! Everything that can go wrong in this crate, as one enum whose every variant prints one sentence.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::board::TooLarge;
use crate::state::Problem;

/// Why the runtime could not do what it was asked. See the variants; [`fmt::Display`] gives one sentence that
/// says what happened, where, and what to do about it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// There is nothing at this path.
    NotFound {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The path leads to a folder, a device or a pipe, where a file was needed.
    NotAFile {
        /// The path as it was given.
        path: PathBuf,
        /// What it is, with its article: "a folder".
        kind: &'static str,
    },
    /// The file has no byte.
    EmptyFile {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The operating system forbids it.
    Denied {
        /// What was tried: "read".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
    },
    /// Any other failure of the operating system about a path.
    Io {
        /// What was tried: "read", "create the folder".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The mapped file lost bytes (it was truncated, or its disk failed) while it was in use.
    CutShort {
        /// The file.
        path: PathBuf,
    },
    /// The board has too little memory for the model.
    TooLarge {
        /// The model's file.
        path: PathBuf,
        /// By how much, and what would fit.
        problem: TooLarge,
    },
    /// The operating system has no memory of that size.
    OutOfMemory {
        /// The bytes that were asked for.
        bytes: usize,
    },
    /// A worker thread could not be started.
    Threads {
        /// How many workers the pool should have had.
        wanted: usize,
        /// How many had started, the calling thread included.
        started: usize,
        /// What the operating system said.
        source: io::Error,
    },
    /// The chat template cannot be read, or fails on a conversation that it should take.
    Template {
        /// `chat template` for the model file's own, or the fallback's name.
        name: &'static str,
        /// The line in the template, from 1.
        line: Option<usize>,
        /// What is wrong there.
        reason: String,
    },
    /// The chat template refuses the conversation, in its own words.
    Conversation {
        /// What the template said.
        words: String,
    },
    /// The environment does not say where to keep files.
    NoHome,
    /// The folder for the program's files cannot be made.
    NoFolder {
        /// The folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// No manifest has this name.
    UnknownModel {
        /// The name as it was typed.
        name: String,
        /// Names that could have been meant, nearest first.
        near: Vec<&'static str>,
        /// All names.
        known: Vec<&'static str>,
    },
    /// A `tokenizer.json` cannot be used.
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The operating system does not let this process handle Ctrl-C.
    Signals {
        /// What it said.
        source: io::Error,
    },
    /// The pull was asked to stop.
    Stopped {
        /// The model.
        name: String,
    },
    /// Writing a file was asked to stop.
    Abandoned {
        /// The file that was to be.
        path: PathBuf,
    },
    /// Tools are given to a model that is told of none.
    NoTools {
        /// The template's name.
        template: &'static str,
    },
    /// A file of tools has a mistake.
    Tools {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: Option<usize>,
        /// The key, where one is to blame, and what is wrong.
        reason: String,
    },
    /// A conversation leaves no room for an answer.
    ContextFull {
        /// Its tokens.
        tokens: usize,
        /// The tokens that an answer should find room for.
        room: usize,
        /// The context.
        context: usize,
    },
    /// A grammar, schema or expression that answers should match has a mistake, or no text matches it.
    #[cfg(feature = "grammar")]
    Grammar {
        /// What it is: "JSON schema".
        kind: &'static str,
        /// The line and column of the mistake, from 1.
        place: Option<(usize, usize)>,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// No answer that a grammar allows is as short as it has to be.
    NoAnswerSoShort {
        /// The tokens of the shortest.
        fewest: usize,
        /// The tokens that there may be.
        most: usize,
    },
    /// A model whose answers never end cannot be held to a grammar.
    #[cfg(feature = "grammar")]
    NoEnd {
        /// Its file.
        path: PathBuf,
    },
    /// A model cannot guess for another.
    DraftVocabulary {
        /// The file of the model that should guess.
        draft: PathBuf,
        /// The file of the other.
        model: PathBuf,
    },
    /// A file of state that cannot be used.
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: Problem,
    },
    /// A model cannot be used, or not so.
    Model {
        /// Its file.
        path: PathBuf,
        /// Why not.
        error: Box<stonechat_core::Error>,
    },
    /// The disk cannot take the model.
    DiskFull {
        /// The folder of the models.
        folder: PathBuf,
        /// The bytes still needed there.
        needed: u64,
    },
    /// One source did not give the file.
    Source {
        /// The source: a URL, or a package.
        source: String,
        /// Why not.
        reason: String,
    },
    /// A source gave a file of another size.
    WrongSize {
        /// The source: a URL, or a package.
        source: String,
        /// The bytes that the manifest states.
        expected: u64,
        /// The bytes that the source has; where more came than stated, that many.
        got: u64,
    },
    /// A source gave other bytes.
    WrongChecksum {
        /// The source: a URL, or a package.
        source: String,
        /// The SHA-256 that the manifest states.
        expected: String,
        /// The SHA-256 of what came.
        got: String,
    },
    /// A file has no matrix that packing could change.
    NothingToPack {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be written because its header would not be one that is read again.
    Header {
        /// The file that was to be.
        path: PathBuf,
        /// What is wrong with it.
        error: Box<stonechat_gguf::Error>,
    },
    /// A tensor's weights cannot be brought to a format.
    #[cfg(feature = "quantize")]
    Weights {
        /// The tensor.
        tensor: stonechat_gguf::Name,
        /// The format.
        format: stonechat_kernels::Format,
    },
    /// A tensor that should be quantized does not hold weights.
    #[cfg(feature = "quantize")]
    NotWeights {
        /// The tensor.
        tensor: stonechat_gguf::Name,
        /// What it holds.
        ty: stonechat_gguf::TensorType,
    },
    /// A file of a folder in Hugging Face's layout is damaged, or says what cannot be converted.
    #[cfg(feature = "quantize")]
    Unconvertible {
        /// The file, or the folder.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// No source gave the file.
    NoSource {
        /// The model.
        name: String,
        /// Why not, for each source in turn.
        failures: Vec<Error>,
    },
}

impl Error {
    /// What the core objects to in the model at `path`.
    pub(crate) fn model(path: &Path, error: impl Into<stonechat_core::Error>) -> Self {
        Self::Model { path: path.to_path_buf(), error: Box::new(error.into()) }
    }

    /// Sorts a failure of the operating system about `path` into the variant that says it best.
    pub(crate) fn from_io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::NotFound => Self::NotFound { path },
            io::ErrorKind::PermissionDenied => Self::Denied { action, path },
            io::ErrorKind::IsADirectory => Self::NotAFile { path, kind: "a folder" },
            _ => Self::Io { action, path, source },
        }
    }
}

/// What the operating system said, without the "(os error 28)" that std appends.
pub fn reason(error: &io::Error) -> String {
    let mut text = error.to_string();
    if let Some(code) = text.rfind(" (os error ") {
        text.truncate(code);
    }
    text
}

impl fmt::Display for Error {
    #[allow(clippy::too_many_lines, reason = "a sentence for each variant")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { path } => {
                write!(f, "there is no file {}; check the path", path.display())
            }
            Self::NotAFile { path, kind } => {
                write!(f, "{} is {kind}, not a file; give the path of a file", path.display())
            }
            Self::EmptyFile { path } => {
                write!(f, "the file {} is empty; fetch or copy it again", path.display())
            }
            Self::Denied { action, path } => {
                write!(f, "no permission to {action} {}; change its owner or mode", path.display())
            }
            Self::Io { action, path, source } => {
                write!(f, "cannot {action} {}: {}", path.display(), reason(source))?;
                match source.kind() {
                    io::ErrorKind::StorageFull
                    | io::ErrorKind::QuotaExceeded
                    | io::ErrorKind::FileTooLarge => f.write_str("; free some space, or write elsewhere"),
                    _ => Ok(()),
                }
            }
            Self::CutShort { path } => write!(
                f,
                "the file {} was cut short, or its disk failed, while it was in use; fetch or copy it again",
                path.display()
            ),
            Self::TooLarge { path, problem } => write!(f, "{} {problem}", path.display()),
            Self::OutOfMemory { bytes } => write!(
                f,
                "the operating system has no {bytes} bytes of memory to give; choose a smaller context or batch"
            ),
            Self::Threads { wanted, started, source } => write!(
                f,
                "cannot start {wanted} threads, only {started} started ({}); ask for fewer",
                reason(source)
            ),
            Self::Template { name, line, reason } => {
                let line = line.map(|line| format!(" at line {line}")).unwrap_or_default();
                write!(
                    f,
                    "the {name} is broken{line} ({reason}); give another (--chat-template FILE, or chatml), or the \
                     prompt without one (--raw)"
                )
            }
            Self::Conversation { words } => {
                write!(f, "the model's chat template refuses this conversation: {words}")
            }
            Self::NoHome => {
                f.write_str("no folder for the program's files is known; set STONECHAT_HOME to one")
            }
            Self::NoFolder { path, source } => write!(
                f,
                "cannot create the folder {}: {}; set STONECHAT_HOME to a folder that you may write to",
                path.display(),
                reason(source)
            ),
            Self::UnknownModel { name, near, known } if near.is_empty() => write!(
                f,
                "there is no model named '{name}'; there are {}, or give the path of a GGUF file",
                known.join(", ")
            ),
            Self::UnknownModel { name, near, .. } => {
                write!(f, "there is no model named '{name}'; did you mean {}?", near.join(" or "))
            }
            Self::Tokenizer { path, reason } => {
                write!(f, "the tokenizer {} cannot be used ({reason}); fetch the file again", path.display())
            }
            Self::Signals { source } => write!(f, "cannot handle Ctrl-C: {}", reason(source)),
            Self::Stopped { name } => write!(
                f,
                "pulling {name} was stopped; what has arrived is kept, and the next pull goes on from there"
            ),
            Self::Abandoned { path } => {
                write!(f, "writing {} was stopped, and nothing is left of it; run it again", path.display())
            }
            Self::ContextFull { tokens, room, context } => write!(
                f,
                "the conversation has {tokens} tokens, which leaves no room for an answer of {room} in the context of \
                 {context}; say less, begin anew, or ask for a longer context (-c)"
            ),
            Self::Tools { path, line, reason } => {
                let line = line.map(|line| format!(", line {line}")).unwrap_or_default();
                write!(f, "{}{line}: {reason}", path.display())
            }
            Self::NoTools { template } => write!(
                f,
                "the {template} tells a model of no tools; give a model that was trained to call them, or a template that \
                 does (--chat-template FILE)"
            ),
            #[cfg(feature = "grammar")]
            Self::Grammar { kind, place: Some((line, column)), reason } => {
                write!(f, "the {kind} has a mistake at line {line}, column {column}: {reason}")
            }
            #[cfg(feature = "grammar")]
            Self::Grammar { kind, place: None, reason } => write!(f, "the {kind} cannot be used: {reason}"),
            Self::NoAnswerSoShort { fewest, most } => write!(
                f,
                "the shortest answer that the grammar allows has {fewest} tokens, but there is room for {most}; allow \
                  {fewest} (-n), in a context that holds them (-c)"
            ),
            #[cfg(feature = "grammar")]
            Self::NoEnd { path } => write!(
                f,
                "{} has no token that ends an answer, so that a grammar cannot end one; use another model",
                path.display()
            ),
            Self::DraftVocabulary { draft, model } => write!(
                f,
                "{} has other tokens than {}, so it cannot guess for it; give a smaller model of the same family",
                draft.display(),
                model.display()
            ),
            Self::State { path, problem } => write!(f, "{} {problem}", path.display()),
            Self::Model { path, error } => write!(f, "{}: {error}", path.display()),
            Self::DiskFull { folder, needed } => write!(
                f,
                "the disk of {} is too full: {needed} more bytes are needed there; free some, or set STONECHAT_HOME to \
                 a folder on another disk (what has arrived is kept)",
                folder.display()
            ),
            Self::Source { source, reason } => write!(f, "cannot fetch {source}: {reason}"),
            Self::WrongSize { source, expected, got } => {
                write!(f, "{source} has {got} bytes in place of {expected}, so it is not the model's file")
            }
            Self::WrongChecksum { source, expected, got } => write!(
                f,
                "what came from {source} has SHA-256 {got} in place of {expected} and was removed; try again later"
            ),
            Self::NothingToPack { path } => write!(
                f,
                "{} has no quantized matrix that packing would make faster; use the file as it is",
                path.display()
            ),
            Self::Header { path, error } => write!(f, "cannot write {}: {error}", path.display()),
            #[cfg(feature = "quantize")]
            Self::Weights { tensor, format } => write!(
                f,
                "the tensor {tensor} holds a weight that is NaN, infinite or too large for {format}; choose another type, \
                 or fetch the model again"
            ),
            #[cfg(feature = "quantize")]
            Self::NotWeights { tensor, ty } => {
                write!(
                    f,
                    "the tensor {tensor} is of type {ty}, which cannot be quantized; use the file as it is"
                )
            }
            #[cfg(feature = "quantize")]
            Self::Unconvertible { path, reason } => write!(f, "{}: {reason}", path.display()),
            Self::NoSource { name, failures } => {
                write!(f, "cannot pull {name}")?;
                for (index, failure) in failures.iter().enumerate() {
                    write!(f, "{}{failure}", if index == 0 { ": " } else { "; then: " })?;
                }
                // A source that gave another file has said what to do.
                if failures.iter().any(|failure| matches!(failure, Self::Source { .. })) {
                    f.write_str("; check the network, or pull again later")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. }
            | Self::NoFolder { source, .. }
            | Self::Threads { source, .. }
            | Self::Signals { source } => Some(source),
            _ => None,
        }
    }
}
