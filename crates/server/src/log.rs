//! The log: a line for each thing that happens, on stderr, for people or for programs. What is said to the model, and what it says, is
//! in none of them.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;

/// How lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// Words and values.
    #[default]
    Text,
    /// A JSON object each.
    Json,
}

/// Begins to write it. `RUST_LOG` says how much, where it is set: `warn`, `stonechat_server=debug`.
pub fn start(format: Format) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr).with_target(false);
    // A line that cannot be written is lost. To complain of it, as is done otherwise, would panic: stderr is where it failed.
    let log = log.log_internal_errors(false);
    // Where somebody else writes a log already, that one goes on.
    let _ = match format {
        Format::Text => log.with_ansi(stderr().is_terminal()).try_init(),
        Format::Json => {
            log.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
        }
    };
}
