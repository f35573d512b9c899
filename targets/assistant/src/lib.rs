//! An appliance around `stonechat-core`: a button, lights, a display, a serial line, sensors and a watchdog.
//!
//! In: [`Parts`], the board's hardware behind small traits that pins of `embedded-hal`, ports of `embedded-io` and displays
//! of `embedded-graphics` implement; a [`Session`](stonechat_core::Session); [`Settings`]. Out: an [`Assistant`], which
//! answers prompts from the serial line, or canned questions when the button is pressed, as text on the line and on the
//! display, and shows in what [`State`] it is. It knows no board, allocates nothing, and asks for nothing that cannot be
//! absent but a clock: what is absent or fails is said on the serial line, and done without.
//!
//! ```text
//!          prompt             read              thought            answer
//!   Idle ----------> Reading ------> Thinking <-------> Speaking --------> Idle
//!    ^                  |               |                  |
//!    |                  +---------------+------------------+---- button, Ctrl-C ----> Idle
//!    +---- prompt --- Error <--- a prompt that is too long, a model that fails
//! ```
//!
//! ```no_run
//! # use core::time::Duration;
//! # use embedded_hal::{delay::DelayNs, digital::{InputPin, OutputPin}};
//! # use stonechat_assistant::{ActiveHigh, ActiveLow, Assistant, Crew, Gauge, Failed, Limits, Parts, Settings};
//! # use stonechat_core::Session;
//! # fn board(session: &mut Session<'_>, uptime: fn() -> Duration, mut delay: impl DelayNs, pin: impl InputPin,
//! #     led: impl OutputPin, celsius: fn() -> Option<i32>) -> Result<(), Box<dyn std::error::Error>> {
//! let mut button = ActiveLow(pin);
//! let mut lamp = ActiveHigh(led);
//! let mut thermometer = || celsius().ok_or_else(|| Failed::because(&"no answer"));
//! let limits = Limits { well: 70_000, slow: 75_000, pause: 80_000 };
//! let mut gauges = [Gauge::new("the temperature", "°C", &mut thermometer, limits)?];
//!
//! let mut parts = Parts::new(&uptime, &mut delay);
//! parts.button = Some(&mut button);
//! parts.lamps.speaking = Some(&mut lamp);
//! parts.gauges = &mut gauges;
//! let settings = Settings { questions: &["Tell me a story.", "Why is the sea salt?"], ..Settings::default() };
//! Assistant::<1024, 1024>::new(parts, session, Crew::both(&stonechat_kernels::Alone), settings)?.run();
//! # Ok(())
//! # }
//! ```
//!
//! [`run`](Assistant::run) goes on until nothing can bring a prompt any more. A board that has other things to do calls
//! [`run_once`](Assistant::run_once), which waits for [`Settings::poll`] or computes one batch or one token, and
//! [`switch_off`](Assistant::switch_off) in the end.
#![no_std]
#![forbid(unsafe_code)]
#![allow(clippy::result_large_err, reason = "there is no heap to box an error on, and each ends an answer")]

#[cfg(test)]
extern crate std;

mod assistant;
mod button;
mod display;
mod gauge;
mod health;
mod lights;
mod lines;
mod panel;
mod parts;
mod screen;
mod settings;
mod state;
mod talk;
mod thoughts;

pub use assistant::Assistant;
pub use gauge::{Gauge, Limits, LimitsError, Pace, Sensor};
pub use panel::{Panel, Surface};
pub use parts::{ActiveHigh, ActiveLow, Button, Clock, Failed, Lamp, Lamps, Latch, Parts, Port, Watchdog};
pub use screen::{Screen, Show};
pub use settings::{Crew, Settings, Tags};
pub use state::{Over, State};
