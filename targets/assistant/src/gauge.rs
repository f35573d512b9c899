//! Sensors that are heeded: before the board throttles itself, the assistant slows down, pauses, and goes on.
//!
//! In: readings. Out: a [`Pace`]. Limits have hysteresis: what was slowed or paused goes on as before only once the reading
//! has come back to where all is well.

use core::fmt;
use core::time::Duration;

use crate::Failed;

/// Something that measures.
pub trait Sensor {
    /// A reading, in thousandths of a unit: of °C, V or W.
    fn read(&mut self) -> Result<i32, Failed>;
}

impl<F: FnMut() -> Result<i32, Failed>> Sensor for F {
    fn read(&mut self) -> Result<i32, Failed> {
        self()
    }
}

/// Where a reading begins to matter, in thousandths of the sensor's unit. Where `pause` is above `well`, high readings are
/// bad (a temperature); where it is below, low ones (the voltage of a battery).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Back to here, all is well again.
    pub well: i32,
    /// From here on, tokens take twice their time.
    pub slow: i32,
    /// From here on, there are none.
    pub pause: i32,
}

impl Limits {
    /// Whether the three are in order.
    const fn are_in_order(self) -> bool {
        (self.well < self.slow && self.slow < self.pause) || (self.well > self.slow && self.slow > self.pause)
    }
}

/// How fast the assistant may go.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Pace {
    /// As fast as it can.
    #[default]
    Full,
    /// Half as fast: after each batch or token it waits as long as that took.
    Slow,
    /// Not at all.
    Pause,
}

/// A sensor, its name and its limits.
pub struct Gauge<'h> {
    /// What it measures, for people: "the temperature".
    name: &'h str,
    /// The unit: "°C".
    unit: &'h str,
    sensor: &'h mut dyn Sensor,
    limits: Limits,
}
