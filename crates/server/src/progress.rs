//! Whether the thread that computes makes progress, as far as that can be seen from outside.
//!
//! In: what the scheduler says of itself, whenever somebody looks. Out: for how long it has had something to do and done nothing. A
//! thread that has panicked says so itself; this is for one that hangs, which nobody else would notice.

use std::time::{Duration, Instant};

use crate::scheduler::{Activity, Counters, Scheduler, SlotState};

/// What the last look saw. See the [module](self).
#[derive(Debug)]
pub struct Progress {
    /// Nothing where there was nothing to do.
    seen: Option<(Counters, Vec<SlotState>)>,
    since: Instant,
}

impl Progress {
    /// Of a server that begins now.
    pub fn new(now: Instant) -> Self {
        Self { seen: None, since: now }
    }

    /// Looks at `now`: how long ago it was first seen as it is. Nothing, if there is nothing to do.
    pub fn look(&mut self, now: Instant, scheduler: &Scheduler) -> Duration {
        self.compare(now, scheduler.counters(), scheduler.slots())
    }

    fn compare(&mut self, now: Instant, counters: Counters, slots: Vec<SlotState>) -> Duration {
        let at_work = counters.waiting > 0 || slots.iter().any(|slot| slot.activity != Activity::Idle);
        // Who comes and finds no place is no progress, and comes all the more often where there is none.
        let seen = at_work.then_some((Counters { waiting: 0, refused: 0, ..counters }, slots));
        if seen.is_none() || seen != self.seen {
            *self = Self { seen, since: now };
        }
        now - self.since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn slots(activity: Activity, tokens: usize) -> Vec<SlotState> {
        vec![SlotState::default(), SlotState { activity, tokens, context: 64 }]
    }

    #[test]
    fn who_has_something_to_do_and_does_nothing_makes_no_progress() {
        let start = Instant::now();
        let mut progress = Progress::new(start);
        let counters = Counters { waiting: 1, generated_tokens: 7, ..Counters::default() };
        let mut look = |second, counters| {
            progress.compare(start + second * SECOND, counters, slots(Activity::Writing, 9))
        };
        assert_eq!(look(10, counters), Duration::ZERO, "it is seen for the first time");
        assert_eq!(look(15, counters), 5 * SECOND);
        let crowd = Counters { waiting: 4, refused: 20, ..counters };
        assert_eq!(look(30, crowd), 20 * SECOND, "others come, and wait or are refused");
        assert_eq!(look(31, Counters { generated_tokens: 8, ..crowd }), Duration::ZERO);
        assert_eq!(look(33, Counters { generated_tokens: 8, ..crowd }), 2 * SECOND);
    }

    #[test]
    fn who_has_nothing_to_do_is_well() {
        let start = Instant::now();
        let mut progress = Progress::new(start);
        for second in [1, 100, 10_000] {
            let idle =
                progress.compare(start + second * SECOND, Counters::default(), slots(Activity::Idle, 9));
            assert_eq!(idle, Duration::ZERO);
        }
        let waits = Counters { waiting: 1, ..Counters::default() };
        let mut look = |second| progress.compare(start + second * SECOND, waits, slots(Activity::Idle, 9));
        assert_eq!(look(20_000), Duration::ZERO, "it has just been asked, however long nobody has looked");
        assert_eq!(look(20_001), SECOND);
    }
}
