//! Presses of a button that bounces.
//!
//! In: whether it is pressed, at some moments, which may be far apart: a model looks at its button between two tokens. Out: a
//! press, at the first moment at which it is seen. That is why a change counts at once, and what follows it is what is not
//! believed for a while: a button that had to be seen twice would be answered a token later.

use core::time::Duration;

/// Finds presses.
#[derive(Debug)]
pub struct Presses {
    bounce: Duration,
    /// What the button was when it last changed, and when that was. A button that is pressed from the start was not
    /// pressed by anybody who meant it.
    last: Option<(bool, Duration)>,
}

impl Presses {
    /// Of a button that bounces for so long.
    pub const fn new(bounce: Duration) -> Self {
        Self { bounce, last: None }
    }

    /// Looks at the button at a moment. Returns whether it was pressed since the last time.
    pub fn look(&mut self, pressed: bool, now: Duration) -> bool {
        match self.last {
            Some((was, _)) if was == pressed => false,
            Some((_, since)) if now.saturating_sub(since) < self.bounce => false,
            was => {
                self.last = Some((pressed, now));
                pressed && was.is_some()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// At which of these moments, in milliseconds, a press is seen.
    fn presses(looks: &[(u64, bool)]) -> Vec<u64> {
        let mut presses = Presses::new(Duration::from_millis(30));
        let pressed = |(at, pressed): &&(u64, bool)| presses.look(*pressed, Duration::from_millis(*at));
        looks.iter().filter(pressed).map(|(at, _)| *at).collect()
    }

    #[test]
    fn a_press_counts_when_it_is_first_seen() {
        assert_eq!(presses(&[(0, false), (100, true), (200, true), (300, false), (400, true)]), [100, 400]);
    }

    #[test]
    fn what_bounces_counts_once() {
        let down = [(100, true), (102, false), (105, true), (109, false), (115, true), (140, true)];
        let up = [(300, false), (303, true), (306, false), (340, false), (500, true)];
        let mut looks = Vec::from([(0, false)]);
        looks.extend(down);
        looks.extend(up);
        assert_eq!(presses(&looks), [100, 500]);
    }

    #[test]
    fn a_button_that_is_held_or_stuck_is_no_second_press() {
        assert_eq!(presses(&[(0, true), (1000, true), (9000, true)]), []);
        assert_eq!(presses(&[(0, true), (1000, false), (2000, true), (9000, true)]), [2000]);
    }
}
