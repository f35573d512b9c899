//! How much of a prompt is read at once, so that whoever waits is not left without news.
//!
//! In: how long the last piece took. Out: the length of the next one. Bits do not depend on how a prompt is cut, so the pieces
//! may follow the clock: on a small computer a whole batch can take a minute, in which nobody would see a number move,
//! and Ctrl-C would not be heard.

use std::time::Duration;

/// What a piece should take: half of what a person takes for an answer at once, since later pieces attend to more.
const MOMENT: Duration = Duration::from_millis(250);
/// The first piece, of which nothing is known.
const FIRST: usize = 8;
/// Longer pieces are multiples of this, which kernels like.
const EVEN: usize = 32;

/// How quickly prompts are read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// The seconds that a token of the last piece took.
    token: Option<f64>,
}

impl Pace {
    /// The tokens of the next piece: at least one, and at most `most`.
    pub fn next(&self, most: usize) -> usize {
        self.next_within(MOMENT, most)
    }

    /// The same for a piece that should take so long, because others wait for more than news.
    pub fn next_within(&self, moment: Duration, most: usize) -> usize {
        let fit = self.token.map_or(FIRST, |token| (moment.as_secs_f64() / token) as usize);
        let even = if fit > EVEN { fit - fit % EVEN } else { fit };
        even.min(most).max(1)
    }

    /// Notes that a piece of so many tokens took so long.
    pub fn note(&mut self, tokens: usize, time: Duration) {
        self.token = Some(time.as_secs_f64() / tokens.max(1) as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_takes_a_moment() {
        let mut pace = Pace::default();
        assert_eq!(pace.next(256), 8);
        assert_eq!(pace.next(4), 4);
        // A second for eight tokens: two at once.
        pace.note(8, Duration::from_secs(1));
        assert_eq!(pace.next(256), 2);
        pace.note(2, Duration::from_secs(9));
        assert_eq!(pace.next(256), 1);
        pace.note(1, Duration::from_millis(5));
        assert_eq!(pace.next(256), 32);
        pace.note(32, Duration::from_millis(40));
        assert_eq!(pace.next(1024), 192);
        assert_eq!(pace.next_within(Duration::from_millis(100), 1024), 64);
        pace.note(256, Duration::ZERO);
        assert_eq!(pace.next(256), 256);
    }
}
