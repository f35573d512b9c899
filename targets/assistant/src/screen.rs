//! What an assistant shows of itself: the trait of a display, and what it is told.
//!
//! A screen keeps the text that it is given, because it alone knows how much of it fits. [`Panel`](crate::Panel) is one on
//! any surface that `embedded-graphics` draws on.

use crate::gauge::Pace;
use crate::{Failed, State};

/// A display.
pub trait Screen {
    /// Makes it ready: at the start, and again after it failed.
    fn begin(&mut self) -> Result<(), Failed>;
    /// Forgets the text.
    fn clear(&mut self);
    /// Adds text, which may end within a word.
    fn add(&mut self, text: &str);
    /// Draws the text, and what else there is to show.
    fn draw(&mut self, show: &Show<'_>) -> Result<(), Failed>;
    /// Draws nothing at all.
    fn blank(&mut self) -> Result<(), Failed>;
}

/// What a display shows beside the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Show<'s> {
    /// What the assistant does.
    pub state: State,
    /// How fast sensors let it go.
    pub pace: Pace,
    /// What else is to be said of that, in a word or two: a reading, or how much of a prompt was read.
    pub note: &'s str,
    /// How far it is, of 1,000.
    pub progress: Option<u16>,
}
