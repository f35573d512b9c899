//! The watchdog: systemd's, which restarts the service unless it hears that there is progress.
//!
//! In: what an assistant feeds. Out: messages to the service manager, where there is one. Elsewhere nothing happens.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use stonechat_assistant::Watchdog;

/// Tells the service manager, and not more often than it has to know.
pub struct Service {
    /// Half of the time after which the manager gives the service up.
    every: Duration,
    last: Instant,
}

impl Service {
    /// The manager's, if it wants to hear.
    pub fn watched() -> Option<Self> {
        let timeout = sd_notify::watchdog_enabled()?;
        Some(Self { every: timeout / 2, last: Instant::now() })
    }
}

impl Watchdog for Service {
    fn feed(&mut self) {
        if self.last.elapsed() >= self.every {
            // A manager that does not listen cannot be told so.
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
            self.last = Instant::now();
        }
    }
}

/// Tells the service manager that the model is loaded and prompts are taken.
pub fn ready() {
    let _ = sd_notify::notify(&[NotifyState::Ready]);
}

/// Tells the service manager what is being done, and that it takes longer than a start usually does.
#[cfg(feature = "pull")]
pub fn busy(what: &str) {
    let _ = sd_notify::notify(&[NotifyState::Status(what), NotifyState::ExtendTimeoutUsec(60_000_000)]);
}
