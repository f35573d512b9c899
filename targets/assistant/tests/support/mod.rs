//! A board of a test: time that passes only where something is computed or waited for, a terminal, and the tiny model.

#![allow(dead_code, reason = "each test uses some of it")]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use embedded_hal::delay::DelayNs;
use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write};
use stonechat_assistant::{Clock, Latch, Settings};
use stonechat_core::{Limits, Model, Plan, Session};
use stonechat_gguf::Gguf;
use stonechat_kernels::{Level, Line, Workers};

static MODEL: &[u8] = include_bytes!("../../../../models/tiny/tiny-Q8_0.gguf");

/// Tokens that are read at once.
pub const BATCH: usize = 4;
/// The length of the context.
pub const CONTEXT: usize = 64;

/// Runs with a session of the tiny model.
pub fn with_session<T>(work: impl FnOnce(&mut Session<'_>) -> T) -> T {
    with_session_of(CONTEXT, work)
}

/// Runs with a session that has so many tokens of context.
pub fn with_session_of<T>(context: usize, work: impl FnOnce(&mut Session<'_>) -> T) -> T {
    let gguf = Gguf::parse(MODEL).unwrap();
    let model = Model::from_gguf(&gguf).unwrap();
    let plan = Plan::new(&model, Limits { context, batch: BATCH, ..Limits::default() }).unwrap();
    let mut arena = vec![Line::ZERO; plan.bytes() / Line::BYTES];
    let mut session =
        Session::new(&model, &plan, bytemuck::cast_slice_mut(&mut arena), Level::REFERENCE).unwrap();
    work(&mut session)
}

/// Settings of most tests: short answers.
pub fn settings<'h>() -> Settings<'h> {
    Settings { most: 12, ..Settings::default() }
}

/// A clock that shows what was waited for, and what was computed: each job of the workers takes 100 microseconds.
#[derive(Clone, Default)]
pub struct Time(Arc<AtomicU64>);

impl Time {
    pub fn pass(&self, time: Duration) {
        self.0.fetch_add(time.as_micros() as u64, Ordering::Relaxed);
    }
}

impl Clock for Time {
    fn now(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}

impl DelayNs for Time {
    fn delay_ns(&mut self, ns: u32) {
        self.pass(Duration::from_nanos(ns.into()));
    }

    fn delay_us(&mut self, us: u32) {
        self.pass(Duration::from_micros(us.into()));
    }
}

/// One worker, whose work takes time. At one of its jobs, it may press a button.
#[derive(Default)]
pub struct Slowly {
    pub time: Time,
    pub jobs: AtomicUsize,
    pub presses_at: usize,
    pub latch: Latch,
}

impl Slowly {
    pub fn with(time: &Time) -> Self {
        Self { time: time.clone(), ..Self::default() }
    }
}

impl Workers for Slowly {
    fn count(&self) -> usize {
        1
    }

    fn run(&self, job: &(dyn Fn() + Sync)) {
        job();
        self.time.pass(Duration::from_micros(100));
        if self.jobs.fetch_add(1, Ordering::Relaxed) + 1 == self.presses_at {
            self.latch.press();
        }
    }
}

/// What is typed, and what was shown.
#[derive(Clone, Default)]
pub struct Terminal(Rc<RefCell<Inner>>);

#[derive(Default)]
struct Inner {
    typed: VecDeque<u8>,
    shown: Vec<u8>,
    hung_up: bool,
    broken: bool,
}

impl Terminal {
    pub fn typing(text: impl AsRef<[u8]>) -> Self {
        let terminal = Self::default();
        terminal.type_(text);
        terminal
    }

    pub fn type_(&self, text: impl AsRef<[u8]>) {
        self.0.borrow_mut().typed.extend(text.as_ref());
    }

    /// Nothing more comes, once all was read that was typed.
    pub fn hang_up(&self) {
        self.0.borrow_mut().hung_up = true;
    }

    pub fn break_(&self, broken: bool) {
        self.0.borrow_mut().broken = broken;
    }

    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.0.borrow().shown).into_owned()
    }

    /// What was shown since the last call.
    pub fn news(&self) -> String {
        let shown = std::mem::take(&mut self.0.borrow_mut().shown);
        String::from_utf8_lossy(&shown).into_owned()
    }

    fn check(&self) -> Result<(), ErrorKind> {
        if self.0.borrow().broken { Err(ErrorKind::BrokenPipe) } else { Ok(()) }
    }
}

impl ErrorType for Terminal {
    type Error = ErrorKind;
}

impl ReadReady for Terminal {
    fn read_ready(&mut self) -> Result<bool, ErrorKind> {
        self.check()?;
        let inner = self.0.borrow();
        Ok(inner.hung_up || !inner.typed.is_empty())
    }
}

impl Read for Terminal {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        self.check()?;
        let mut inner = self.0.borrow_mut();
        let len = buffer.len().min(inner.typed.len());
        inner.typed.drain(..len).zip(buffer).for_each(|(byte, place)| *place = byte);
        Ok(len)
    }
}

impl Write for Terminal {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        self.check()?;
        self.0.borrow_mut().shown.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}
