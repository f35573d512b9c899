//! What starts a server and starts it again: systemd, as far as it is there.
//!
//! In: what the environment says. Out: words to the supervisor, that the server is ready, or that it still makes progress. Where there is
//! no supervisor, nothing is said.

use std::time::Instant;

use sd_notify::NotifyState;

use crate::progress::Progress;
use crate::state::Shared;

/// Questions are answered.
pub fn ready() {
    say(&[NotifyState::Ready]);
}

/// The model is being loaded anew.
pub fn reloading() {
    // systemd wants to know when, to tell this reload from others.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => say(&[NotifyState::Reloading, now]),
        Err(_) => say(&[NotifyState::Reloading]),
    }
}

/// The server is about to end.
pub fn stopping() {
    say(&[NotifyState::Stopping]);
}

fn say(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the supervisor did not hear");
    }
}

/// Tells the supervisor that the server is alive, as long as it is: who is asked something and makes no progress is not, nor is who has
/// lost the model's file, since a start may find it whole.
pub async fn watch(state: Shared) {
    let Some(interval) = sd_notify::watchdog_enabled() else { return };
    let mut ticks = tokio::time::interval(interval / 2);
    let mut progress = Progress::new(Instant::now());
    loop {
        ticks.tick().await;
        let scheduler = &state.served().scheduler;
        let stuck = !progress.look(Instant::now(), scheduler).is_zero();
        if !stuck && !scheduler.is_cut_short() {
            say(&[NotifyState::Watchdog]);
        }
    }
}
