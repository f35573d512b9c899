//! The serial line, if there is one: what comes is kept until it is asked for, but for Ctrl-C, and what goes has whole lines
//! for what is said beside answers.

use core::fmt::{self, Write as _};
use core::time::Duration;

use stonechat_console::{MOST_BYTES, write_lines};

use crate::Port;
use crate::health::Health;

const INTERRUPT: u8 = 0x03;

/// A serial line, or none.
pub(crate) struct Talk<'h> {
    port: Option<&'h mut dyn Port>,
    health: Health,
    retry: Duration,
    now: Duration,
    /// Bytes that came and nobody has asked for.
    ahead: heapless::Deque<u8, MOST_BYTES>,
    /// Nothing more will come.
    ended: bool,
    /// What goes next stands at the beginning of a line.
    fresh: bool,
}

impl<'h> Talk<'h> {
    pub fn new(port: Option<&'h mut dyn Port>, retry: Duration) -> Self {
        let ended = port.is_none();
        Self {
            port,
            health: Health::default(),
            retry,
            now: Duration::ZERO,
            ahead: heapless::Deque::new(),
            ended,
            fresh: true,
        }
    }

    /// Whether more may come.
    pub fn has_ended(&self) -> bool {
        self.ended && self.ahead.is_empty()
    }

    /// Whether there is one that does not work.
    pub const fn is_broken(&self) -> bool {
        !self.health.is_well()
    }

    /// Takes what has come, as far as there is room for it. Returns whether Ctrl-C is part of it, before which all is
    /// forgotten.
    pub fn listen(&mut self, now: Duration) -> bool {
        self.now = now;
        let mut interrupted = false;
        let Some(port) = self.port.as_deref_mut() else { return false };
        // A line that never rests must not keep the assistant from its work.
        for _ in 0..4 {
            let mut buffer = [0; MOST_BYTES / 4];
            if self.ended
                || !self.health.is_due(now)
                || self.ahead.capacity() - self.ahead.len() < buffer.len()
            {
                break;
            }
            let read = port.read(&mut buffer);
            self.health.note(read.as_ref().map(|_| ()).map_err(Clone::clone), now, self.retry);
            match read {
                Ok(Some([])) => self.ended = true,
                Ok(Some(bytes)) => bytes.iter().for_each(|&byte| {
                    if byte == INTERRUPT {
                        self.ahead.clear();
                        interrupted = true;
                    } else {
                        // There is room for the whole buffer.
                        let _ = self.ahead.push_back(byte);
                    }
                }),
                Ok(None) | Err(_) => break,
            }
        }
        interrupted
    }

    /// The next byte that came.
    pub fn byte(&mut self) -> Option<u8> {
        self.ahead.pop_front()
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        let Some(port) = self.port.as_deref_mut() else { return };
        let Some(last) = bytes.last() else { return };
        if self.health.is_due(self.now) {
            self.fresh = *last == b'\n';
            self.health.note(port.write(bytes), self.now, self.retry);
        }
    }

    /// Sends text.
    pub fn say(&mut self, text: &str) {
        let Ok(()) = write_lines::<core::convert::Infallible>(text, &mut |bytes| {
            self.send(bytes);
            Ok(())
        });
    }

    /// Says something in a line of its own.
    pub fn remark(&mut self, words: fmt::Arguments<'_>) {
        let start = if self.fresh { "# " } else { "\n# " };
        // What fails is noted.
        let _ = self.write_fmt(format_args!("{start}{words}\n"));
    }
}

impl fmt::Write for Talk<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.say(text);
        Ok(())
    }
}
