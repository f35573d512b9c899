//! A bar on stderr while something takes longer than a moment, where somebody sees it.

use std::io::{IsTerminal, stderr};
use std::time::Instant;

/// The characters of a whole bar.
const WIDTH: usize = 30;

/// How far some work is. Dropping it clears its line.
pub struct Progress {
    what: &'static str,
    start: Instant,
    is_visible: bool,
    shown: Option<u64>,
}

impl Progress {
    /// Of work that is about to begin, with its name: "packing".
    pub fn new(what: &'static str) -> Self {
        Self { what, start: Instant::now(), is_visible: stderr().is_terminal(), shown: None }
    }

    /// Shows how far it is.
    pub fn show(&mut self, done: u64, total: u64) {
        let percent = u128::from(done) * 100 / u128::from(total.max(1));
        let percent = percent.min(100) as u64;
        let taken = self.start.elapsed();
        if !self.is_visible || taken.as_millis() <= 500 || self.shown == Some(percent) {
            return;
        }
        self.shown = Some(percent);
        let full = percent as usize * WIDTH / 100;
        let bar = format!("{}{}", "=".repeat(full), " ".repeat(WIDTH - full));
        let left = taken.as_secs_f64() * (100 - percent) as f64 / percent.max(1) as f64;
        eprint!("\r{} [{bar}] {percent} %, {left:.0} s left \x1b[K", self.what);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            eprint!("\r\x1b[K");
        }
    }
}
