//! What a person sees.

use std::borrow::Cow;
use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// Whether a character would steer a terminal: what a model writes must not move the cursor or rename the window.
fn steers(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\t')
}

/// Text from a model, for eyes.
pub fn harmless(text: &str) -> Cow<'_, str> {
    if text.contains(steers) { text.replace(steers, "\u{fffd}").into() } else { text.into() }
}

/// How much of a prompt has been read, as soon as that takes longer than a moment.
pub struct Reading {
    start: Instant,
    visible: bool,
    shown: bool,
}

impl Reading {
    /// Begins now; shows nothing where stderr is no terminal.
    pub fn begin() -> Self {
        Self { start: Instant::now(), visible: stderr().is_terminal(), shown: false }
    }

    /// So many tokens of so many have been read.
    pub fn show(&mut self, done: usize, total: usize) {
        if self.visible && self.start.elapsed() > Duration::from_millis(500) && done < total {
            let _ = write!(stderr(), "\rreading {done}/{total} tokens");
            self.shown = true;
        }
    }

    /// Takes it away.
    pub fn end(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}
