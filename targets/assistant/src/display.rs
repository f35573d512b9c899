//! The screen, if there is one: drawn when there is something new, but not for every token, and left alone while it fails.

use core::fmt;
use core::time::Duration;

use crate::Screen;
use crate::health::{Health, News};
use crate::screen::Show;

/// A screen, or none.
pub(crate) struct Display<'h> {
    screen: Option<&'h mut dyn Screen>,
    health: Health,
    /// Whether it was made ready.
    begun: bool,
    /// Whether there is something new to be seen.
    stale: bool,
    drawn: Duration,
}

impl<'h> Display<'h> {
    pub fn new(screen: Option<&'h mut dyn Screen>) -> Self {
        Self { screen, health: Health::default(), begun: false, stale: true, drawn: Duration::ZERO }
    }

    /// Whether the board has one.
    pub const fn is_there(&self) -> bool {
        self.screen.is_some()
    }

    /// Whether there is one that works.
    pub const fn is_well(&self) -> bool {
        self.screen.is_some() && self.health.is_well()
    }

    /// In place of the text: nothing.
    pub fn clear(&mut self) {
        if let Some(screen) = &mut self.screen {
            screen.clear();
            self.stale = true;
        }
    }

    /// Adds text.
    pub fn add(&mut self, text: &str) {
        if let Some(screen) = &mut self.screen {
            screen.add(text);
            self.stale = true;
        }
    }

    /// There is something new, beside the text.
    pub const fn touch(&mut self) {
        self.stale = true;
    }

    /// Draws what is new, if the last time was so long ago. A screen that failed is made ready again after `retry`. Returns
    /// what is new of it.
    pub fn draw(&mut self, show: &Show<'_>, now: Duration, after: Duration, retry: Duration) -> Option<News> {
        let screen = self.screen.as_deref_mut()?;
        let wanted = if self.health.is_well() {
            self.stale && (!self.begun || now.saturating_sub(self.drawn) >= after)
        } else {
            self.health.is_due(now)
        };
        if !wanted {
            return None;
        }
        let ready = if self.begun { Ok(()) } else { screen.begin() };
        let drawn = ready.and_then(|()| screen.draw(show));
        (self.begun, self.stale, self.drawn) = (drawn.is_ok(), false, now);
        self.health.note(drawn, now, retry)
    }

    /// Makes it dark. Nobody is told if it fails.
    pub fn switch_off(&mut self) {
        if let Some(screen) = &mut self.screen {
            let _ = screen.blank();
            (self.begun, self.stale) = (false, true);
        }
    }
}

impl fmt::Write for Display<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.add(text);
        Ok(())
    }
}
