//! The configuration: one TOML file, whose mistakes are told with line and key.
//!
//! In: a file's text. Out: a [`Config`] that makes sense in itself. Whether the hardware that it names is there, `wiring` finds
//! out, and tells in the same way.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use stonechat_runtime::Pool;
use toml::Spanned;

/// What the file says. Everything has a default; hardware that is not named is not there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A GGUF file, or the name of a model; by default the one that is at home on the board.
    pub model: Option<String>,
    /// Tokens of context; by default what the board has room for.
    pub context: Option<Spanned<usize>>,
    /// Tokens of a prompt that are read together. Between two batches the button is looked at, so it is small.
    #[serde(default = "batch")]
    pub batch: Spanned<usize>,
    /// Threads that write; by default as many as suit the board.
    pub threads: Option<Spanned<usize>>,
    /// Threads that read.
    pub threads_batch: Option<Spanned<usize>>,
    /// What the model is told before all else.
    pub system: Option<String>,
    /// Takes prompts as they are, without the model's chat template: for models that continue texts.
    #[serde(default)]
    pub raw: bool,
    /// Tokens of an answer at most.
    #[serde(default = "answer")]
    pub answer: Spanned<usize>,
    /// How freely tokens are picked; 0 for the likeliest.
    #[serde(default = "temperature")]
    pub temperature: Spanned<f32>,
    /// Equal seeds give equal answers.
    #[serde(default)]
    pub seed: u64,
    /// What the button asks, one after the other.
    #[serde(default)]
    pub questions: Vec<String>,
    /// The line that brings prompts and takes answers.
    pub serial: Option<Serial>,
    /// Starts and stops.
    pub button: Option<Pin>,
    /// Show the state.
    #[serde(default)]
    pub leds: Leds,
    /// A small OLED display.
    pub display: Option<Display>,
    /// At which temperatures of the CPU it goes slower; by default below where the board would by itself.
    pub temperature_limits: Option<Spanned<Limits>>,
    /// Further sensors.
    #[serde(default, rename = "sensor")]
    pub sensors: Vec<Sensor>,
}

/// A serial line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Serial {
    /// A device such as `/dev/serial0`, or `stdio`.
    pub port: Spanned<PathBuf>,
    /// Its speed.
    #[serde(default = "baud")]
    pub baud: Spanned<u32>,
}

/// A line of a GPIO chip.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// The chip.
    #[serde(default = "chip")]
    pub chip: PathBuf,
    /// The line's number there: on a Raspberry Pi that of the GPIO.
    pub line: Spanned<u32>,
    /// Which level means pressed or lit.
    pub active: Active,
}

/// LEDs, all of one chip and active at one level.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Leds {
    /// The chip.
    pub chip: PathBuf,
    /// At which level they shine.
    pub active: Active,
    /// Ready for a prompt.
    pub idle: Option<Spanned<u32>>,
    /// The model reads.
    pub reading: Option<Spanned<u32>>,
    /// It thinks.
    pub thinking: Option<Spanned<u32>>,
    /// It speaks.
    pub speaking: Option<Spanned<u32>>,
    /// It could not answer.
    pub error: Option<Spanned<u32>>,
}

impl Default for Leds {
    fn default() -> Self {
        Self {
            chip: chip(),
            active: Active::High,
            idle: None,
            reading: None,
            thinking: None,
            speaking: None,
            error: None,
        }
    }
}

impl Leds {
    /// All, with the names of their keys.
    pub fn all(&self) -> [(&'static str, &Option<Spanned<u32>>); 5] {
        [
            ("idle", &self.idle),
            ("reading", &self.reading),
            ("thinking", &self.thinking),
            ("speaking", &self.speaking),
            ("error", &self.error),
        ]
    }
}

/// A level of a pin.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Active {
    /// Low: a button that connects to ground, an LED that hangs on the supply.
    Low,
    /// High.
    High,
}

/// An SSD1306 on an I2C bus.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Display {
    /// The bus.
    pub bus: Spanned<PathBuf>,
    /// Its address there.
    #[serde(default = "address")]
    pub address: Spanned<u8>,
    /// Whether it hangs upside down.
    #[serde(default)]
    pub upside_down: bool,
}

/// A sensor that the kernel knows, as a file with a number.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sensor {
    /// What it measures, for people: "the supply voltage".
    pub name: String,
    /// Its unit: "V".
    pub unit: String,
    /// The file, with thousandths of the unit, as the kernel's hwmon drivers have them.
    pub file: PathBuf,
    /// What its readings mean.
    pub limits: Spanned<Limits>,
}

/// Where a reading begins to matter, in the sensor's unit.
#[derive(Clone, Copy, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Back to here, all is well again.
    pub well: f64,
    /// From here on, it goes half as fast.
    pub slow: f64,
    /// From here on, it waits.
    pub pause: f64,
}

impl Limits {
    /// In thousandths.
    pub fn in_thousandths(self) -> stonechat_assistant::Limits {
        let [well, slow, pause] =
            [self.well, self.slow, self.pause].map(|value| (value * 1000.0).round() as i32);
        stonechat_assistant::Limits { well, slow, pause }
    }
}

fn batch() -> Spanned<usize> {
    Spanned::new(0..0, 32)
}

fn answer() -> Spanned<usize> {
    Spanned::new(0..0, 256)
}

fn temperature() -> Spanned<f32> {
    Spanned::new(0..0, 0.0)
}

fn baud() -> Spanned<u32> {
    Spanned::new(0..0, 115_200)
}

fn chip() -> PathBuf {
    "/dev/gpiochip0".into()
}

fn address() -> Spanned<u8> {
    Spanned::new(0..0, 0x3c)
}

/// A mistake in the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The key, with the table that it is in.
    pub key: String,
    /// What is wrong, and what to do.
    pub reason: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, line {}", self.file.display(), self.line)?;
        if !self.key.is_empty() {
            write!(f, ", {}", self.key)?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl std::error::Error for Mistake {}

/// A file's text, which knows where its mistakes are.
#[derive(Clone, Copy, Debug)]
pub struct Source<'s> {
    /// The file.
    pub file: &'s Path,
    /// What it holds.
    pub text: &'s str,
}

impl Source<'_> {
    /// Reads it. `most_celsius` is where the board slows itself down: limits of the temperature are below that.
    pub fn config(&self, most_celsius: Option<f64>) -> Result<Config, Mistake> {
        let config: Config = toml::from_str(self.text).map_err(|error| {
            let reason = error.message().trim().replace('\n', "; ");
            self.mistake(error.span().unwrap_or(0..0), reason)
        })?;
        self.check(&config, most_celsius)?;
        Ok(config)
    }

    /// A mistake at some place.
    pub fn mistake(&self, place: Range<usize>, reason: impl Into<String>) -> Mistake {
        let (line, key) = self.place(place.start);
        Mistake { file: self.file.to_path_buf(), line, key, reason: reason.into() }
    }

    /// The line of a byte, from 1, and the key whose value it is in.
    fn place(&self, byte: usize) -> (usize, String) {
        let (mut table, mut key, mut start, mut number) = ("", "", 0, 1);
        for line in self.text.split_inclusive('\n') {
            let words = line.trim_start();
            if let Some(header) = words.strip_prefix('[') {
                // A line of a list may begin with a bracket, too, but has no bracket behind it alone.
                if let Some(name) =
                    header.trim_start_matches('[').split(']').next().filter(|name| is_key(name))
                {
                    (table, key) = (name, "");
                }
            } else if let Some((name, _)) = words.split_once('=').filter(|(name, _)| is_key(name.trim())) {
                key = name.trim();
            }
            if byte < start + line.len() {
                break;
            }
            start += line.len();
            // The end of the file belongs to its last line.
            if start < self.text.len() {
                number += 1;
            }
        }
        let dot = if table.is_empty() || key.is_empty() { "" } else { "." };
        (number, format!("{table}{dot}{key}"))
    }

    /// What a file can get wrong though each key for itself is right.
    fn check(&self, config: &Config, most_celsius: Option<f64>) -> Result<(), Mistake> {
        let positive = [Some(&config.batch), Some(&config.answer), config.context.as_ref()];
        if let Some(zero) = positive.into_iter().flatten().find(|number| *number.get_ref() == 0) {
            return Err(self.mistake(zero.span(), "must be at least 1"));
        }
        for threads in [&config.threads, &config.threads_batch].into_iter().flatten() {
            if !(1..=Pool::MAX_THREADS).contains(threads.get_ref()) {
                return Err(self.mistake(threads.span(), format!("must be from 1 to {}", Pool::MAX_THREADS)));
            }
        }
        if let Some(context) = &config.context
            && config.answer.get_ref() >= context.get_ref()
            && !config.answer.span().is_empty()
        {
            let (answer, context) = (config.answer.get_ref(), context.get_ref());
            return Err(self.mistake(
                config.answer.span(),
                format!("{answer} tokens of an answer leave no room for a prompt in a context of {context}; take fewer"),
            ));
        }
        let temperature = *config.temperature.get_ref();
        if !(temperature.is_finite() && temperature >= 0.0) {
            return Err(self.mistake(config.temperature.span(), "must be 0 or more"));
        }
        self.check_pins(config)?;
        if let Some(display) = &config.display
            && !(0x08..=0x77).contains(display.address.get_ref())
        {
            return Err(self.mistake(
                display.address.span(),
                format!(
                    "{:#x} is no address of an I2C device; displays have 0x3c or 0x3d",
                    display.address.get_ref()
                ),
            ));
        }
        let heat = config.temperature_limits.as_ref();
        for limits in heat.into_iter().chain(config.sensors.iter().map(|sensor| &sensor.limits)) {
            let Limits { well, slow, pause } = *limits.get_ref();
            let finite = [well, slow, pause].iter().all(|value| value.abs() < 1e6);
            if !(finite && ((well < slow && slow < pause) || (well > slow && slow > pause))) {
                return Err(self.mistake(
                    limits.span(),
                    format!("well, slow and pause must rise or fall in this order, but are {well}, {slow} and {pause}"),
                ));
            }
        }
        if let Some((limits, most)) = heat.zip(most_celsius)
            && limits.get_ref().slow > most
        {
            return Err(self.mistake(
                limits.span(),
                format!(
                    "slow is {} °C, but from {most} °C on the board slows itself down; take less",
                    limits.get_ref().slow
                ),
            ));
        }
        Ok(())
    }

    /// No line is two things.
    fn check_pins(&self, config: &Config) -> Result<(), Mistake> {
        let mut taken: Vec<(&Path, &Spanned<u32>)> = Vec::new();
        let button = config.button.iter().map(|pin| (pin.chip.as_path(), &pin.line));
        let leds = config.leds.all().into_iter().filter_map(|(_, led)| led.as_ref());
        for (chip, line) in button.chain(leds.map(|led| (config.leds.chip.as_path(), led))) {
            if let Some((_, other)) = taken.iter().find(|(c, l)| *c == chip && l.get_ref() == line.get_ref())
            {
                let (at, key) = self.place(other.span().start);
                return Err(self.mistake(
                    line.span(),
                    format!(
                        "line {} of {} is {key} already, in line {at} of this file; wire it to another",
                        line.get_ref(),
                        chip.display()
                    ),
                ));
            }
            taken.push((chip, line));
        }
        Ok(())
    }
}

/// Whether it is a bare key, or several with dots between.
fn is_key(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
}

#[cfg(test)]
mod tests;
