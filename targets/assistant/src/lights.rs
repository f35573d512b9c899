//! The lamps: one shines, that of the state.

use core::time::Duration;

use crate::health::{Health, News};
use crate::{Failed, Lamp, Lamps, State};

/// Lamps, and what they show.
pub(crate) struct Lights<'h> {
    lamps: Lamps<'h>,
    health: [Health; State::ALL.len()],
    /// What shines: at first nobody knows.
    shown: Shown,
}

/// Which lamp shines.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Unknown,
    Known(Option<State>),
}

impl Shown {
    /// Whether that of `state` does, where it is known.
    fn has(self, state: State) -> Option<bool> {
        match self {
            Self::Unknown => None,
            Self::Known(lit) => Some(lit == Some(state)),
        }
    }
}

impl<'h> Lights<'h> {
    pub fn new(lamps: Lamps<'h>) -> Self {
        Self { lamps, health: Default::default(), shown: Shown::Unknown }
    }

    /// Whether a state has a lamp.
    pub fn are_there(&mut self) -> bool {
        State::ALL.into_iter().any(|state| self.lamp(state).is_some())
    }

    /// Lets the lamp of one state shine, or none. `news` is told which of them begins to fail, or works again.
    pub fn show(
        &mut self,
        lit: Option<State>,
        now: Duration,
        retry: Duration,
        news: &mut dyn FnMut(State, News),
    ) {
        let before = core::mem::replace(&mut self.shown, Shown::Known(lit));
        if before == self.shown {
            return;
        }
        // First what goes out, so that never two shine.
        for on in [false, true] {
            for (place, state) in State::ALL.into_iter().enumerate() {
                let (was, is) = (before.has(state), lit == Some(state));
                if is != on || was == Some(is) {
                    continue;
                }
                let Some(lamp) = self.lamp(state) else { continue };
                let set: Result<(), Failed> = lamp.set(on);
                // A lamp is tried at every change; what it costs to fail is small.
                if let Some(what) = self.health[place].note(set, now, retry) {
                    news(state, what);
                }
            }
        }
    }

    fn lamp(&mut self, state: State) -> Option<&mut (dyn Lamp + 'h)> {
        let lamp = match state {
            State::Idle => &mut self.lamps.idle,
            State::Reading => &mut self.lamps.reading,
            State::Thinking => &mut self.lamps.thinking,
            State::Speaking => &mut self.lamps.speaking,
            State::Error => &mut self.lamps.error,
        };
        lamp.as_deref_mut()
    }
}
