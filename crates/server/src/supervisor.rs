//! What starts a server and starts it again: systemd, as far as it is there.
//!
//! In: what the environment says. Out: words to the supervisor, that the server is ready, or that it still makes progress. Where there is
//! no supervisor, nothing is said.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::scheduler::{Activity, Counters, SlotState};
use crate::state::Shared;

/// A supervisor, if there is one.
#[derive(Clone, Debug)]
pub struct Supervisor {
    /// So often it wants to hear that the server is alive.
    interval: Option<Duration>,
}

impl Supervisor {
    /// The one that the environment names.
    pub fn of_environment() -> Self {
        Self { interval: sd_notify::watchdog_enabled() }
    }

    /// Questions are answered.
    pub fn ready(&self) {
        say(&[NotifyState::Ready]);
    }

    /// The model is being loaded anew.
    pub fn reloading(&self) {
        say(&[NotifyState::Reloading]);
    }

    /// The server is about to end.
    pub fn stopping(&self) {
        say(&[NotifyState::Stopping]);
    }
}

fn say(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the supervisor did not hear");
    }
}

/// Tells the supervisor that the server is alive, as long as it is: who is asked something and makes no progress is not.
pub async fn watch(supervisor: Supervisor, state: Shared) {
    let Some(interval) = supervisor.interval else { return };
    let mut ticks = tokio::time::interval(interval / 2);
    let mut before = None;
    loop {
        ticks.tick().await;
        let scheduler = &state.served().scheduler;
        let now = (scheduler.counters(), scheduler.slots());
        let stuck = is_at_work(&now) && before.as_ref() == Some(&now);
        if !stuck {
            say(&[NotifyState::Watchdog]);
        }
        before = Some(now);
    }
}

fn is_at_work((counters, slots): &(Counters, Vec<SlotState>)) -> bool {
    counters.waiting > 0 || slots.iter().any(|slot| slot.activity != Activity::Idle)
}
