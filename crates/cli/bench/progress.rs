//! A line on stderr that says how far a run is; only where a person watches.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

/// How long a run stays silent: what is over sooner needs no line.
const PATIENCE: Duration = Duration::from_secs(1);

/// The line.
pub struct Progress {
    visible: bool,
    start: Instant,
    shown: bool,
    /// What is measured: `2 of 8: pp512, 2 x avx2`.
    what: String,
}

impl Progress {
    pub fn new() -> Self {
        Self { visible: stderr().is_terminal(), start: Instant::now(), shown: false, what: String::new() }
    }

    /// Goes on to another test.
    pub fn begin(&mut self, what: String) {
        self.what = what;
    }

    /// Says where in the test the run is.
    pub fn say(&mut self, step: impl Fn() -> String) {
        if self.visible && self.start.elapsed() > PATIENCE {
            eprint!("\r\x1b[K{}: {}", self.what, step());
            self.shown = true;
        }
    }

    /// Clears the line, so that something else can be written.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            eprint!("\r\x1b[K");
        }
    }
}
