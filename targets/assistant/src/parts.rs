//! What a board gives to an assistant: traits for its hardware, and how pins implement them.
//!
//! They are small, and objects of them can be made, so that a board names no types for what it lacks: all of [`Parts`] but
//! clock and delay is optional. What fails says why in a [`Failed`]; the assistant says it once and goes on without.

use core::fmt::{self, Write as _};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use embedded_hal::delay::DelayNs;
use embedded_hal::digital::{InputPin, OutputPin};
use embedded_io::{Read, ReadReady, Write};

use crate::gauge::Gauge;
use crate::screen::Screen;

/// The hardware of an assistant.
pub struct Parts<'h> {
    /// Tells the time, for all that has to do with it.
    pub clock: &'h dyn Clock,
    /// Waits, where there is nothing to do and where a sensor asks for it.
    pub delay: &'h mut dyn DelayNs,
    /// Starts and stops.
    pub button: Option<&'h mut dyn Button>,
    /// Show the state.
    pub lamps: Lamps<'h>,
    /// Shows state, progress and text.
    pub screen: Option<&'h mut dyn Screen>,
    /// Brings prompts, and takes text and all that there is to say about it.
    pub serial: Option<&'h mut dyn Port>,
    /// Temperatures, voltages and powers that are heeded.
    pub gauges: &'h mut [Gauge<'h>],
    /// Restarts the board unless it is fed.
    pub watchdog: Option<&'h mut dyn Watchdog>,
}

impl<'h> Parts<'h> {
    /// What every board has; all else is absent, and can be filled in.
    pub fn new(clock: &'h dyn Clock, delay: &'h mut dyn DelayNs) -> Self {
        Self {
            clock,
            delay,
            button: None,
            lamps: Lamps::default(),
            screen: None,
            serial: None,
            gauges: &mut [],
            watchdog: None,
        }
    }
}

/// One lamp for each state; those of a board may be fewer.
#[derive(Default)]
pub struct Lamps<'h> {
    /// Ready for a prompt.
    pub idle: Option<&'h mut dyn Lamp>,
    /// The model reads a prompt.
    pub reading: Option<&'h mut dyn Lamp>,
    /// The model thinks before it speaks.
    pub thinking: Option<&'h mut dyn Lamp>,
    /// The model speaks.
    pub speaking: Option<&'h mut dyn Lamp>,
    /// The last prompt could not be answered.
    pub error: Option<&'h mut dyn Lamp>,
}

/// Why a part does not work, in a few words: what its driver says, cut where it is long.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Failed(heapless::String<64>);

impl Failed {
    /// From a driver's error.
    pub fn because(error: &dyn fmt::Debug) -> Self {
        let mut words = heapless::String::new();
        // What does not fit is left out.
        let _ = write!(words, "{error:?}");
        Self(words)
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for Failed {}

/// A clock that never goes back.
pub trait Clock {
    /// The time since some moment, the same for each call.
    fn now(&self) -> Duration;
}

impl<F: Fn() -> Duration> Clock for F {
    fn now(&self) -> Duration {
        self()
    }
}

/// A button, or anything else that is pressed. It may bounce.
pub trait Button {
    /// Whether it is pressed now.
    fn is_pressed(&mut self) -> Result<bool, Failed>;
}

/// A light.
pub trait Lamp {
    /// Switches it on or off.
    fn set(&mut self, on: bool) -> Result<(), Failed>;
}

/// What restarts the board unless it is fed in time. The assistant feeds it when a batch or a token was computed, and
/// where it waits, when time went on: so the time that it allows must be longer than a batch takes.
pub trait Watchdog {
    /// Starts its time anew.
    fn feed(&mut self);
}

impl<F: FnMut()> Watchdog for F {
    fn feed(&mut self) {
        self();
    }
}

/// A serial line that does not wait for input. Whatever reads and writes as `embedded-io` wants it and can tell whether there
/// is anything to read is one.
pub trait Port {
    /// What came since the last call, as far as it fits: `None` if nothing did, and no bytes at the end of the line.
    fn read<'b>(&mut self, buffer: &'b mut [u8]) -> Result<Option<&'b [u8]>, Failed>;
    /// Sends all bytes.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Failed>;
}

impl<P: Read + ReadReady + Write> Port for P {
    fn read<'b>(&mut self, buffer: &'b mut [u8]) -> Result<Option<&'b [u8]>, Failed> {
        if !self.read_ready().map_err(|error| Failed::because(&error))? {
            return Ok(None);
        }
        let len = Read::read(self, buffer).map_err(|error| Failed::because(&error))?;
        Ok(Some(&buffer[..len]))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failed> {
        self.write_all(bytes).and_then(|()| self.flush()).map_err(|error| Failed::because(&error))
    }
}

/// A pin that is high when its button is pressed or its lamp shines.
#[derive(Clone, Copy, Debug)]
pub struct ActiveHigh<P>(pub P);

/// A pin that is low when its button is pressed (as with a pull-up) or its lamp shines.
#[derive(Clone, Copy, Debug)]
pub struct ActiveLow<P>(pub P);

impl<P: InputPin> Button for ActiveHigh<P> {
    fn is_pressed(&mut self) -> Result<bool, Failed> {
        self.0.is_high().map_err(|error| Failed::because(&error))
    }
}

impl<P: InputPin> Button for ActiveLow<P> {
    fn is_pressed(&mut self) -> Result<bool, Failed> {
        self.0.is_low().map_err(|error| Failed::because(&error))
    }
}

impl<P: OutputPin> Lamp for ActiveHigh<P> {
    fn set(&mut self, on: bool) -> Result<(), Failed> {
        self.0.set_state(on.into()).map_err(|error| Failed::because(&error))
    }
}

impl<P: OutputPin> Lamp for ActiveLow<P> {
    fn set(&mut self, on: bool) -> Result<(), Failed> {
        self.0.set_state((!on).into()).map_err(|error| Failed::because(&error))
    }
}

/// A button whose presses an interrupt or a thread notes, so that even one that is shorter than a token is seen: call
/// [`press`](Self::press) there, and give a reference to the assistant.
#[derive(Debug, Default)]
pub struct Latch(AtomicBool);

impl Latch {
    /// Not pressed.
    pub const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Notes a press.
    pub fn press(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Button for &Latch {
    fn is_pressed(&mut self) -> Result<bool, Failed> {
        // Chips without an exchange of bits in memory have loads and stores. A press between the two is lost, as one that
        // bounces would be.
        let pressed = self.0.load(Ordering::Relaxed);
        if pressed {
            self.0.store(false, Ordering::Relaxed);
        }
        Ok(pressed)
    }
}
