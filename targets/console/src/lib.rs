//! Prompts by a serial line: what boards without an operating system do with `stonechat-core`.
//!
//! In: a model as bytes, an arena, workers, and a port over `embedded-io`, through which lines come in. Out: for each line
//! the story that the model makes of it, as it comes, and a line that says what it was: the hash of the logits that
//! followed the prompt, which is the same as the desktop's (`stonechat logits -p LINE --hash`), and how long a token took.
//! What goes wrong with one line is said in one sentence, and the next line is read. This crate knows no board, and
//! allocates nothing.
//!
//! Lines that the console writes beside stories begin with `#`, so that a script can tell them apart. Its [`Editor`] and its
//! [`Story`] serve `stonechat-assistant`, too, which does more between two tokens.
#![no_std]
#![forbid(unsafe_code)]
#![allow(clippy::result_large_err, reason = "there is no heap to box an error on, and each ends a story")]

#[cfg(test)]
extern crate std;

mod line;
mod serial;
mod story;
mod tell;

use core::fmt;

use embedded_io::{Read, Write};
use stonechat_core::{Limits, Model, Plan, Sampling, Session};
use stonechat_gguf::Gguf;
use stonechat_kernels::{Level, Workers};

pub use line::{Editor, MOST_BYTES, Typed, write_lines};
pub use serial::{Serial, Uart};
pub use story::{BeginError, Prompt, Story};

/// A counter that runs at a steady rate, and its rate.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// What it shows. It may start again from 0 after 2^32; no token takes that long.
    pub ticks: fn() -> u32,
    /// Ticks of a second.
    pub hertz: u32,
}

/// What a board gives, beside the port.
#[derive(Clone, Copy)]
pub struct Board<'a> {
    /// Its name, for the greeting.
    pub name: &'a str,
    /// Its instructions.
    pub level: Level,
    /// Its cores.
    pub workers: &'a dyn Workers,
    /// Its clock.
    pub clock: Clock,
    /// What the plan may take.
    pub limits: Limits,
    /// How tokens are picked.
    pub sampling: Sampling,
    /// Tokens of a story, at most; the line `/n 100` changes it.
    pub most: usize,
}

/// Why the console ended.
#[derive(Debug)]
pub enum Error<E> {
    /// The image was built without a model.
    NoModel,
    /// The model, the plan or the arena does not fit.
    Core(stonechat_core::Error),
    /// A story cannot begin.
    Begin(BeginError),
    /// The arena is smaller than the plan.
    Arena {
        /// What the plan takes.
        needed: usize,
        /// What the board has.
        given: usize,
    },
    /// The port failed.
    Port(E),
}

impl<E: fmt::Debug> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoModel => f.write_str(
                "there is no model in this image; set STONECHAT_MODEL to a GGUF file and build it again",
            ),
            Self::Core(error) => write!(f, "{error}"),
            Self::Begin(error) => write!(f, "{error}"),
            Self::Arena { needed, given } => write!(
                f,
                "the plan takes {needed} bytes and this board has {given} for it, {} too few; build with a shorter \
                 context or a smaller batch",
                needed.saturating_sub(*given)
            ),
            Self::Port(error) => write!(f, "the serial port failed: {error:?}"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for Error<E> {}

impl<E> From<stonechat_core::Error> for Error<E> {
    fn from(error: stonechat_core::Error) -> Self {
        Self::Core(error)
    }
}

impl<E> From<BeginError> for Error<E> {
    fn from(error: BeginError) -> Self {
        Self::Begin(error)
    }
}

/// Answers lines until the port ends or brings an end of transmission (Ctrl-D).
pub fn serve<P: Read + Write>(
    port: &mut P,
    board: &Board<'_>,
    bytes: &[u8],
    arena: &mut [u8],
) -> Result<(), Error<P::Error>> {
    if bytes.is_empty() {
        return Err(Error::NoModel);
    }
    let gguf = Gguf::parse(bytes).map_err(stonechat_core::Error::Gguf)?;
    let model = Model::from_gguf(&gguf)?;
    let plan = Plan::new(&model, board.limits)?;
    if arena.len() < plan.bytes() {
        return Err(Error::Arena { needed: plan.bytes(), given: arena.len() });
    }
    let mut session = Session::new(&model, &plan, arena, board.level)?;
    say(
        port,
        format_args!(
            "# stonechat on {}: level {}, {} worker(s); model {} bytes, context {}, arena {} bytes\n\
             # type the beginning of a story and Enter; Ctrl-D ends\n",
            board.name,
            board.level.name(),
            board.workers.count(),
            bytes.len(),
            plan.limits().context,
            plan.bytes()
        ),
    )?;
    let (mut editor, mut most) = (Editor::new(), board.most);
    loop {
        say(port, format_args!("> "))?;
        match read_line(&mut editor, port).map_err(Error::Port)? {
            Typed::More => {}
            Typed::End => return say(port, format_args!("\n# bye\n")),
            Typed::TooLong => say(
                port,
                format_args!("# the line is longer than {MOST_BYTES} bytes; type a shorter beginning\n"),
            )?,
            Typed::Line => match editor.text() {
                text if text.trim_ascii().is_empty() => {}
                [b'/', command @ ..] => match length(command) {
                    Some(tokens) => most = tokens,
                    None => say(
                        port,
                        format_args!(
                            "# there is no such command; /n 100 sets how many tokens a story has at most\n"
                        ),
                    )?,
                },
                text => tell::tell(text, most, board, &mut session, port)?,
            },
        }
    }
}

/// Waits for a line, or for the end of the port.
fn read_line<P: Read + Write>(editor: &mut Editor, port: &mut P) -> Result<Typed, P::Error> {
    loop {
        let mut byte = [0];
        if port.read(&mut byte)? == 0 {
            return Ok(Typed::End);
        }
        match editor.push(byte[0], &mut |echo| port.write_all(echo).and_then(|()| port.flush()))? {
            Typed::More => {}
            typed => return Ok(typed),
        }
    }
}

/// The number in `n 100`.
fn length(command: &[u8]) -> Option<usize> {
    core::str::from_utf8(command.strip_prefix(b"n ")?).ok()?.trim().parse().ok()
}

/// Writes to the port.
fn say<P: Write>(port: &mut P, words: fmt::Arguments<'_>) -> Result<(), Error<P::Error>> {
    let mut sink = Sink { port, error: None };
    let written = fmt::Write::write_fmt(&mut sink, words);
    match (sink.error, written) {
        (Some(error), _) => Err(Error::Port(error)),
        // Nothing that is written here fails to print itself.
        (None, _) => Ok(()),
    }
}

/// A port for formatted text, whose lines end as a terminal wants it.
struct Sink<'p, P: Write> {
    port: &'p mut P,
    error: Option<P::Error>,
}

impl<P: Write> Sink<'_, P> {
    fn write(&mut self, text: &str) -> Result<(), P::Error> {
        write_lines(text, &mut |bytes| self.port.write_all(bytes))?;
        self.port.flush()
    }
}

impl<P: Write> fmt::Write for Sink<'_, P> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.write(text).map_err(|error| {
            self.error = Some(error);
            fmt::Error
        })
    }
}

#[cfg(test)]
mod tests;
