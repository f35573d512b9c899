//! An assistant on a board with Linux: what the boards' programs share.
//!
//! In: the profile of a board, and the configuration that its package brings. Out: a program that loads the model that the
//! board has room for, opens what is wired, and answers until it is stopped: `stonechat-assistant` over `gpiocdev` (button and
//! LEDs), `linux-embedded-hal` (a display on I2C), a serial port or the terminal, the kernel's temperature sensors, and systemd's
//! watchdog. Each board's crate is a page around this: its profile's name, its configuration, its package.
#![forbid(unsafe_code)]

mod config;
mod display;
mod model;
mod sensors;
mod serial;
mod watchdog;
mod wiring;

use std::fmt;
use std::io::{self, Write, stderr, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use clap::Parser;
use linux_embedded_hal::Delay;
use signal_hook::consts::{SIGINT, SIGTERM};
use stonechat_assistant::{Assistant, Crew, Gauge, Parts, Sensor, Settings, Tags};
use stonechat_core::{Sampling, Session};
use stonechat_runtime::Board;
use stonechat_runtime::board::Profile;
use stonechat_runtime::engine::Engine;

use config::{Config, Mistake, Source};
use model::Around;
use sensors::{NumberFile, Thermometer};
use wiring::Wiring;

/// Where the package puts the configuration.
const PLACE: &str = "/etc/stonechat/assistant.toml";

/// Answers prompts that a button, a serial line or a terminal brings, on the hardware that its configuration names.
#[derive(Debug, Parser)]
#[command(name = "stonechat-assistant", version, max_term_width = 100)]
struct Arguments {
    /// The configuration; by default /etc/stonechat/assistant.toml, or what the package brought where that is not there
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Look at the board, the model and the wiring, say what was found, and end
    #[arg(long)]
    check: bool,
}

/// Why an assistant did not start, or had to end.
#[derive(Debug)]
enum Failure {
    /// The configuration has a mistake, or what it names is not as it says.
    Config(Mistake),
    /// The configuration cannot be read.
    Read(PathBuf, io::Error),
    /// The model cannot be had, or does not fit.
    Runtime(stonechat_runtime::Error),
    /// The assistant does not take it.
    Assistant(String),
    /// The terminal or pipe is gone.
    Output(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(mistake) => write!(f, "{mistake}"),
            Self::Read(path, error) => {
                let reason = stonechat_runtime::error::reason(error);
                write!(
                    f,
                    "cannot read the configuration {}: {reason}; name another by --config",
                    path.display()
                )
            }
            Self::Runtime(error) => write!(f, "{error}"),
            Self::Assistant(words) => f.write_str(words),
            Self::Output(error) => {
                write!(f, "cannot write the output: {}", stonechat_runtime::error::reason(error))
            }
        }
    }
}

impl From<Mistake> for Failure {
    fn from(mistake: Mistake) -> Self {
        Self::Config(mistake)
    }
}

impl From<stonechat_runtime::Error> for Failure {
    fn from(error: stonechat_runtime::Error) -> Self {
        Self::Runtime(error)
    }
}

/// Says something to whoever started the program, or to the journal.
fn tell(words: &str) {
    // Nobody may be there to read it.
    let _ = writeln!(stderr(), "stonechat: {words}");
}

/// The program of the board whose profile has the name `board`, and whose package brings `configuration`.
///
/// # Panics
/// If there is no such profile, which is a mistake in a board's `main.rs`.
pub fn main(board: &str, configuration: &str) -> ExitCode {
    let profile = Profile::named(board).expect("a board is named as its profile");
    match run(&Arguments::parse(), profile, configuration) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tell(&failure.to_string());
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments, profile: &'static Profile, configuration: &str) -> Result<(), Failure> {
    let (file, text) = read(arguments.config.as_deref(), configuration)?;
    let mut board = Board::detect();
    match board.profile {
        Some(found) if found != profile => {
            tell(&format!(
                "this package is for the {}, but this is a {}, whose profile it follows",
                profile.title, found.title
            ));
        }
        Some(_) => {}
        // Somebody has put it on a relative that is not known.
        None => {
            tell(&format!(
                "this board is not recognised; it is taken for a {}, as its package says",
                profile.title
            ));
            board.profile = Some(profile);
        }
    }
    let source = Source { file: &file, text: &text };
    let config = source.config(board.slows_at())?;
    let mut engine = model::load(&config, &source, &board, &mut |words| tell(words))?;
    let around = model::around(&engine, &config)?;
    let wiring = Wiring::open(&config, &source)?;
    for absent in &wiring.absent {
        tell(absent);
    }
    if arguments.check {
        return report(&board, &engine, &wiring).map_err(Failure::Output);
    }
    answer(&config, &board, &mut engine, &around, wiring)
}

/// The configuration's file and text.
fn read(named: Option<&Path>, configuration: &str) -> Result<(PathBuf, String), Failure> {
    let path = named.unwrap_or(Path::new(PLACE));
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((path.to_path_buf(), text)),
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => {
            Ok((PathBuf::from("the package's assistant.toml"), configuration.to_owned()))
        }
        Err(error) => Err(Failure::Read(path.to_path_buf(), error)),
    }
}

/// What `--check` says.
fn report(board: &Board, engine: &Engine, wiring: &Wiring) -> io::Result<()> {
    let out = &mut stdout().lock();
    let mib = |bytes: u64| bytes as f64 / 1_048_576.0;
    let (file, arena) = (engine.file().len() as u64, engine.plan().bytes() as u64);
    let threads = engine.threads();
    writeln!(out, "board      {}", board.name.as_deref().unwrap_or("not known"))?;
    writeln!(out, "profile    {}", board.profile.map_or("none", |profile| profile.name))?;
    writeln!(out, "level      {}", engine.level().name())?;
    writeln!(out, "threads    {} write, {} read", threads.token, threads.batch)?;
    writeln!(out, "model      {}", engine.file().path().display())?;
    writeln!(out, "context    {} tokens", engine.plan().limits().context)?;
    let room = board.room().map(|room| format!(" of {:.1}", mib(room))).unwrap_or_default();
    writeln!(
        out,
        "memory     {:.1}{room} MiB: {:.1} file, {:.1} arena",
        mib(file + arena),
        mib(file),
        mib(arena)
    )?;
    let lamps = wiring.lamps.iter().filter(|lamp| lamp.is_some()).count();
    let there = |is: bool| if is { "yes" } else { "no" };
    writeln!(out, "button     {}", there(wiring.button.is_some()))?;
    writeln!(out, "LEDs       {lamps}")?;
    writeln!(out, "display    {}", there(wiring.display.is_some()))?;
    writeln!(out, "serial     {}", there(wiring.serial.is_some()))?;
    for hindrance in board.hindrances(engine.level().name()) {
        writeln!(out, "slow       {hindrance}")?;
    }
    Ok(())
}

/// Answers until it is stopped, or until nothing can bring a prompt any more.
fn answer(
    config: &Config,
    board: &Board,
    engine: &mut Engine,
    around: &Around,
    wiring: Wiring,
) -> Result<(), Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(|source| stonechat_runtime::Error::Signals { source })?;
    }
    let file_name = engine.file().path().display().to_string();
    watchdog::ready();
    let result = engine.with_crew(|session, token, batch| {
        let crew = Crew { reading: &batch, speaking: &token };
        serve(config, board, around, wiring, session, crew, &stop)
    });
    result.map_err(|words| Failure::Assistant(format!("{file_name}: {words}")))?;
    Ok(engine.file().check()?)
}

/// Puts the parts together, and answers until `stop`. An error is what the assistant does not take.
fn serve(
    config: &Config,
    board: &Board,
    around: &Around,
    mut wiring: Wiring,
    session: &mut Session<'_>,
    crew: Crew<'_>,
    stop: &AtomicBool,
) -> Result<(), String> {
    let start = Instant::now();
    let clock = move || start.elapsed();
    let mut delay = Delay;
    let quits = wiring.serial.as_ref().is_some_and(serial::Line::is_standard);

    let mut sensors: Vec<(&str, &str, Box<dyn Sensor>, stonechat_assistant::Limits)> = Vec::new();
    if let Some(limits) = sensors::limits(config, board) {
        sensors.push(("the temperature", "°C", Box::new(Thermometer(board.clone())), limits));
    }
    for sensor in &config.sensors {
        let limits = sensor.limits.get_ref().in_thousandths();
        sensors.push((&sensor.name, &sensor.unit, Box::new(NumberFile(sensor.file.clone())), limits));
    }
    let gauges =
        sensors.iter_mut().map(|(name, unit, sensor, limits)| Gauge::new(name, unit, &mut **sensor, *limits));
    let mut gauges = gauges.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    let mut watchdog = watchdog::Service::watched();

    let mut parts = Parts::new(&clock, &mut delay);
    parts.button = wiring.button.as_mut().map(|button| button as _);
    let [idle, reading, thinking, speaking, error] = &mut wiring.lamps;
    parts.lamps.idle = idle.as_mut().map(|lamp| &mut **lamp as _);
    parts.lamps.reading = reading.as_mut().map(|lamp| &mut **lamp as _);
    parts.lamps.thinking = thinking.as_mut().map(|lamp| &mut **lamp as _);
    parts.lamps.speaking = speaking.as_mut().map(|lamp| &mut **lamp as _);
    parts.lamps.error = error.as_mut().map(|lamp| &mut **lamp as _);
    parts.screen = wiring.display.as_mut().map(|display| display as _);
    parts.serial = wiring.serial.as_mut().map(|serial| serial as _);
    parts.gauges = &mut gauges;
    parts.watchdog = watchdog.as_mut().map(|watchdog| watchdog as _);

    let questions: Vec<&str> = config.questions.iter().map(String::as_str).collect();
    let settings = Settings {
        questions: &questions,
        before: &around.before,
        after: &around.after,
        thoughts: around.thoughts.map(|tags| Tags { open: tags.open, close: tags.close }),
        sampling: Sampling {
            temperature: *config.temperature.get_ref(),
            seed: config.seed,
            ..Sampling::default()
        },
        most: *config.answer.get_ref(),
        quits,
        ..Settings::default()
    };
    let mut assistant = Assistant::<MOST_TOKENS, MOST_BYTES>::new(parts, session, crew, settings)
        .map_err(|error| error.to_string())?;
    while !stop.load(Ordering::Relaxed) {
        if assistant.run_once().is_break() {
            break;
        }
    }
    assistant.switch_off();
    Ok(())
}

/// Bytes of a prompt, and tokens of prompt and answer, at most.
const MOST_BYTES: usize = 4096;
const MOST_TOKENS: usize = 8192;
