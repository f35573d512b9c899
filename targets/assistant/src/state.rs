//! What an assistant does.

use core::fmt;

/// What an assistant does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum State {
    /// Nothing: it is ready for a prompt.
    Idle,
    /// It reads a prompt.
    Reading,
    /// It thinks, and nothing is to be heard.
    Thinking,
    /// It speaks.
    Speaking,
    /// Nothing, because the last prompt could not be answered; it is ready for another one.
    Error,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Idle, Self::Reading, Self::Thinking, Self::Speaking, Self::Error];

    /// Whether a prompt is in work.
    pub const fn is_busy(self) -> bool {
        matches!(self, Self::Reading | Self::Thinking | Self::Speaking)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::Reading => "reading",
            Self::Thinking => "thinking",
            Self::Speaking => "speaking",
            Self::Error => "error",
        })
    }
}

/// Why an assistant ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Over {
    /// Ctrl-D on the line, where [`Settings::quits`](crate::Settings::quits).
    Quit,
    /// Nothing can bring a prompt any more: the line has ended or is absent, and there is no button, or nothing that it could
    /// ask.
    Deaf,
}
