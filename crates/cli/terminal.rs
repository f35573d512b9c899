//! What a person sees.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{IsTerminal, Write, stderr};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::args::Reasoning;

/// Whether a character would steer a terminal: what a model writes must not move the cursor or rename the window.
fn steers(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\t')
}

/// Text from a model, for eyes.
pub fn harmless(text: &str) -> Cow<'_, str> {
    if text.contains(steers) { text.replace(steers, "\u{fffd}").into() } else { text.into() }
}

/// Does what may take longer than a moment, of which `news` tells then.
pub fn patiently<T>(news: impl Display + Send, work: impl FnOnce() -> T) -> T {
    if !stderr().is_terminal() {
        return work();
    }
    let (done, is_done) = channel::<()>();
    thread::scope(|scope| {
        let watch = move || {
            let mut line = News::begin();
            if is_done.recv_timeout(MOMENT) == Err(RecvTimeoutError::Timeout) {
                line.show(news);
                let _ = is_done.recv();
            }
            line.end();
        };
        // Without a thread it is only silent.
        let _ = thread::Builder::new().spawn_scoped(scope, watch);
        let result = work();
        drop(done);
        result
    })
}

/// So long may nothing be seen.
const MOMENT: Duration = Duration::from_millis(500);

/// What is being done while nothing is written, as soon as that takes longer than a moment. It stands where the cursor
/// is, be that behind other text, and leaves the cursor there.
pub struct News {
    start: Instant,
    visible: bool,
    shown: bool,
}

impl News {
    /// Begins now; shows nothing where stderr is no terminal.
    pub fn begin() -> Self {
        Self { start: Instant::now(), visible: stderr().is_terminal(), shown: false }
    }

    /// Shows this in place of what stands there.
    pub fn show(&mut self, news: impl Display) {
        if self.visible && self.start.elapsed() >= MOMENT {
            // The cursor is kept; what does not fit into the line is not shown, since a line more could move the screen.
            let _ = write!(stderr(), "\x1b7\x1b[?7l{news}\x1b[K\x1b[?7h\x1b8");
            self.shown = true;
        }
    }

    /// Takes it away: something is written, and the next wait begins.
    pub fn end(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(stderr(), "\x1b[K");
        }
        self.start = Instant::now();
    }
}

/// Where thoughts go: to stderr, dimmed at a terminal, or nowhere; never to stdout, where the answer is.
pub struct Thoughts {
    visible: bool,
    dims: bool,
    /// Text of a thought stands there, and whether it ends a line.
    open: Option<bool>,
}

impl Thoughts {
    /// As a person asks for it.
    pub fn new(reasoning: Reasoning) -> Self {
        let terminal = stderr().is_terminal();
        let visible = match reasoning {
            Reasoning::Auto => terminal,
            Reasoning::Show => true,
            Reasoning::Hide => false,
        };
        let colourless = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { visible, dims: terminal && !colourless, open: None }
    }

    /// Whether anybody sees them.
    pub const fn is_visible(&self) -> bool {
        self.visible
    }

    /// Shows a part of a thought.
    pub fn show(&mut self, text: &str) {
        if self.visible {
            let dim = if self.dims && self.open.is_none() { "\x1b[2m" } else { "" };
            let _ = write!(stderr(), "{dim}{}", harmless(text));
            self.open = Some(text.ends_with('\n'));
        }
    }

    /// The thought has ended, or the answer begins.
    pub fn end(&mut self) {
        if let Some(ends_line) = self.open.take() {
            let plain = if self.dims { "\x1b[0m" } else { "" };
            let line = if ends_line { "" } else { "\n" };
            let _ = writeln!(stderr(), "{plain}{line}");
        }
    }
}

impl Drop for Thoughts {
    /// A terminal must not stay dim.
    fn drop(&mut self) {
        self.end();
    }
}
