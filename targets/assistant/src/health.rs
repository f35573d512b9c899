//! Whether a part works: what is said of it once, and when it is tried again.

use core::time::Duration;

use crate::Failed;

/// Whether a part works.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// When it is tried again, if it failed.
    again: Option<Duration>,
}

/// What is new of a part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum News {
    /// It worked, and does no more.
    Failed(Failed),
    /// It works again.
    Back,
}

impl Health {
    /// Whether it works, as far as is known.
    pub const fn is_well(&self) -> bool {
        self.again.is_none()
    }

    /// Whether it is worth a try.
    pub fn is_due(&self, now: Duration) -> bool {
        self.again.is_none_or(|again| now >= again)
    }

    /// Notes how a try went. Returns what is new.
    pub fn note(&mut self, result: Result<(), Failed>, now: Duration, retry: Duration) -> Option<News> {
        let was_well = self.is_well();
        match result {
            Ok(()) => {
                self.again = None;
                (!was_well).then_some(News::Back)
            }
            Err(failed) => {
                self.again = Some(now.saturating_add(retry));
                was_well.then_some(News::Failed(failed))
            }
        }
    }
}
