//! How a verb ends badly: one sentence on stderr and an exit code.

use std::fmt::Display;
use std::io;
use std::process::ExitCode;

/// Why a verb did not do what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// It could not: exit code 1.
    Failed(String),
    /// It was asked for something that makes no sense: exit code 2.
    Usage(String),
    /// Ctrl-C: exit code 130, and nothing to say.
    Interrupted,
    /// Whoever read our output is gone: nothing to say, and no failure of ours.
    ReaderGone,
}

impl Failure {
    /// A failure that concerns a file or a thing of that name.
    pub fn at(name: impl Display, error: impl Display) -> Self {
        Self::Failed(format!("{name}: {error}"))
    }

    /// Says it, and gives the exit code.
    pub fn report(&self) -> ExitCode {
        match self {
            Self::Failed(sentence) => {
                eprintln!("stonechat: {sentence}");
                ExitCode::from(1)
            }
            Self::Usage(sentence) => {
                eprintln!("stonechat: {sentence}");
                ExitCode::from(2)
            }
            Self::Interrupted => ExitCode::from(130),
            Self::ReaderGone => ExitCode::SUCCESS,
        }
    }
}

impl From<stonechat_core::Error> for Failure {
    fn from(error: stonechat_core::Error) -> Self {
        Self::Failed(error.to_string())
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
            stonechat_runtime::Error::Stopped { .. } | stonechat_runtime::Error::Abandoned { .. } => {
                Self::Interrupted
            }
            error => Self::Failed(error.to_string()),
        }
    }
}

impl From<io::Error> for Failure {
    /// The only input and output that is not wrapped with a path is that of the terminal or pipe.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderGone,
            _ => Self::Failed(format!("cannot write the output: {error}")),
        }
    }
}
