//! The hardware that a configuration names, opened.
//!
//! In: a [`Config`]. Out: [`Wiring`], what an assistant's `Parts` are made of. A pin that cannot be had is wrong wiring: a
//! [`Mistake`] that names line and key. A display or a serial line that is not there is done without, and told.

use std::io::ErrorKind;
use std::path::Path;

use gpiocdev::line::{Bias, EdgeDetection, EdgeKind, Value};
use gpiocdev::{Chip, Request};
use gpiocdev_embedded_hal::OutputPin;
use stonechat_assistant::{ActiveHigh, ActiveLow, Button, Failed, Lamp};
use stonechat_runtime::error::reason;
use toml::Spanned;

use crate::config::{Active, Config, Mistake, Source};
use crate::display::{self, Oled};
use crate::serial::Line;

/// What users see in the list of a chip's lines.
const CONSUMER: &str = "stonechat";

/// The hardware of an assistant.
pub struct Wiring {
    /// The button.
    pub button: Option<Edges>,
    /// Idle, reading, thinking, speaking, error.
    pub lamps: [Option<Box<dyn Lamp>>; 5],
    /// The display.
    pub display: Option<Oled>,
    /// The serial line.
    pub serial: Option<Line>,
    /// What is not there, each in one sentence.
    pub absent: Vec<String>,
}

impl Wiring {
    /// Opens all that the configuration names.
    pub fn open(config: &Config, source: &Source<'_>) -> Result<Self, Mistake> {
        let mut absent = Vec::new();
        let button = config.button.as_ref().map(|pin| {
            check(source, &pin.chip, &pin.line)?;
            let at = |error| refused(source, &pin.chip, &pin.line, &error);
            Edges::open(&pin.chip, *pin.line.get_ref(), pin.active).map_err(at)
        });
        let button = button.transpose()?;
        let mut lamps = [const { None }; 5];
        for (lamp, (_, line)) in lamps.iter_mut().zip(config.leds.all()) {
            if let Some(line) = line {
                check(source, &config.leds.chip, line)?;
                *lamp = Some(led(source, config, line)?);
            }
        }
        let display = config.display.as_ref().and_then(|display| {
            let bus = display.bus.get_ref();
            display::open(bus, *display.address.get_ref(), display.upside_down)
                .map_err(|error| {
                    let why = format!("there is no display ({}: {error}), it goes on without", bus.display());
                    absent.push(source.mistake(display.bus.span(), why).to_string());
                })
                .ok()
        });
        let serial = match &config.serial {
            // What is said goes to the journal, or to whoever started it. One who closed both wants to hear nothing.
            None => Line::standard().ok(),
            Some(serial) if serial.port.get_ref() == Path::new("stdio") => Line::standard().ok(),
            Some(serial) => match Line::open(serial.port.get_ref(), *serial.baud.get_ref()) {
                Ok(line) => Some(line),
                // A speed that no port has.
                Err(error) if error.kind() == ErrorKind::InvalidInput => {
                    let baud = serial.baud.get_ref();
                    return Err(
                        source.mistake(serial.baud.span(), format!("the port does not know {baud} baud"))
                    );
                }
                Err(error) => {
                    let (port, why) = (serial.port.get_ref().display(), reason(&error));
                    let why = format!("there is no serial line ({port}: {why}), it goes on without");
                    absent.push(source.mistake(serial.port.span(), why).to_string());
                    None
                }
            },
        };
        Ok(Self { button, lamps, display, serial, absent })
    }
}

/// Whether the chip has the line, and nobody else does.
fn check(source: &Source<'_>, path: &Path, line: &Spanned<u32>) -> Result<(), Mistake> {
    let name = path.display();
    let mistake = |why: String| source.mistake(line.span(), why);
    let chip = Chip::from_path(path).map_err(|error| match std::fs::File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let chips = gpiocdev::chip::chips().unwrap_or_default();
            let there: Vec<_> = chips.iter().map(|chip| chip.display().to_string()).collect();
            mistake(if there.is_empty() {
                format!("there is no {name}, and no other GPIO chip; is this a board with pins?")
            } else {
                format!("there is no {name}, but {}; name one of these as chip", there.join(", "))
            })
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            mistake(format!("no permission to use {name}; let the user who runs this be in the group gpio"))
        }
        _ => mistake(format!("{name} is no GPIO chip: {error}")),
    })?;
    let failed = |error| mistake(format!("{name} does not answer: {error}"));
    let lines = chip.info().map_err(failed)?.num_lines;
    let number = *line.get_ref();
    if number >= lines {
        return Err(mistake(format!("{name} has no line {number}, but 0 to {}", lines.saturating_sub(1))));
    }
    let info = chip.line_info(number).map_err(failed)?;
    if info.used {
        let who = if info.consumer.is_empty() { "another driver" } else { &info.consumer };
        return Err(mistake(format!(
            "line {number} of {name} is in use by {who}; wire it to another line, or free it"
        )));
    }
    Ok(())
}

fn refused(source: &Source<'_>, chip: &Path, line: &Spanned<u32>, error: &dyn std::fmt::Display) -> Mistake {
    let why = format!("line {} of {} cannot be had: {error}", line.get_ref(), chip.display());
    source.mistake(line.span(), why)
}

/// An LED, switched off.
fn led(source: &Source<'_>, config: &Config, line: &Spanned<u32>) -> Result<Box<dyn Lamp>, Mistake> {
    let off = match config.leds.active {
        Active::High => Value::Inactive,
        Active::Low => Value::Active,
    };
    let request = Request::builder()
        .on_chip(&config.leds.chip)
        .with_consumer(CONSUMER)
        .with_line(*line.get_ref())
        .as_output(off)
        .request();
    let pin = request
        .map_err(gpiocdev_embedded_hal::Error::from)
        .and_then(OutputPin::try_from)
        .map_err(|error| refused(source, &config.leds.chip, line, &error))?;
    Ok(match config.leds.active {
        Active::High => Box::new(ActiveHigh(pin)),
        Active::Low => Box::new(ActiveLow(pin)),
    })
}

/// A button whose edges the kernel notes, so that a press which is shorter than a token is seen, too.
pub struct Edges {
    request: Request,
    line: u32,
}

impl Edges {
    fn open(chip: &Path, line: u32, active: Active) -> gpiocdev::Result<Self> {
        let mut builder = Request::builder();
        builder.on_chip(chip).with_consumer(CONSUMER).with_line(line);
        // A button connects the line to one level; the chip's own resistor pulls it to the other.
        match active {
            Active::Low => builder.with_bias(Bias::PullUp).as_active_low(),
            Active::High => builder.with_bias(Bias::PullDown),
        };
        let request = builder.with_edge_detection(EdgeDetection::RisingEdge).request()?;
        Ok(Self { request, line })
    }

    fn read(&self) -> gpiocdev::Result<bool> {
        let mut pressed = self.request.value(self.line)? == Value::Active;
        while self.request.has_edge_event()? {
            pressed |= self.request.read_edge_event()?.kind == EdgeKind::Rising;
        }
        Ok(pressed)
    }
}

impl Button for Edges {
    fn is_pressed(&mut self) -> Result<bool, Failed> {
        self.read().map_err(|error| Failed::because(&error))
    }
}
