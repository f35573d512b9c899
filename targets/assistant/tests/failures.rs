//! Sensors and displays over an I2C bus of `embedded-hal-mock`: what they say is heeded, and what fails is done without.

mod support;

use std::cell::Cell;
use std::time::Duration;

use embedded_hal::i2c::{ErrorKind, I2c as _, NoAcknowledgeSource};
use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
use stonechat_assistant::{Assistant, Clock as _, Crew, Failed, Gauge, Limits, Pace, Parts, Settings, State};
use support::{Slowly, Terminal, Time, settings, with_session};

type TestAssistant<'h, 's, 'a> = Assistant<'h, 's, 'a, 256, 512>;

/// An LM75, which most small boards could have: the register of its temperature has half degrees in its highest nine bits.
const LM75: u8 = 0x48;
const WARM: Limits = Limits { well: 70_000, slow: 75_000, pause: 80_000 };
const ABSENT: ErrorKind = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);

fn degrees(celsius: u8) -> Transaction {
    Transaction::write_read(LM75, vec![0], vec![celsius, 0])
}

/// Thousandths of a degree.
fn read(bus: &mut Mock) -> Result<i32, Failed> {
    let mut register = [0; 2];
    bus.write_read(LM75, &[0], &mut register).map_err(|error| Failed::because(&error))?;
    Ok(i32::from(i16::from_be_bytes(register) >> 7) * 500)
}

/// What the assistant does while its sensor says these things, one after the other: the pace at each, how many tokens there
/// were until the next, and what the terminal shows.
fn heeded(says: &[Transaction]) -> (Vec<(Pace, usize)>, String) {
    let mut bus = Mock::new(says);
    let mut sensor_bus = bus.clone();
    let reads = Cell::new(0);
    let heeded = with_session(|session| {
        let (time, terminal) = (Time::default(), Terminal::typing("Once upon a time\r"));
        let (mut delay, mut serial, workers) = (time.clone(), terminal.clone(), Slowly::with(&time));
        let mut sensor = || {
            reads.set(reads.get() + 1);
            read(&mut sensor_bus)
        };
        let mut gauges = [Gauge::new("the temperature", "°C", &mut sensor, WARM).unwrap()];
        let tokens = Cell::new(0);
        let mut watchdog = || tokens.set(tokens.get() + 1);
        let mut parts = Parts::new(&time, &mut delay);
        parts.serial = Some(&mut serial);
        parts.gauges = &mut gauges;
        parts.watchdog = Some(&mut watchdog);
        // A measurement each 20 ms, which is some tokens: so that all happens in one answer.
        let settings = Settings {
            most: 59,
            measure: Duration::from_millis(20),
            retry: Duration::from_millis(40),
            ..settings()
        };
        let mut assistant = TestAssistant::new(parts, session, Crew::both(&workers), settings).unwrap();
        let mut paces = Vec::new();
        while reads.get() < says.len() {
            let before = workers.jobs.load(std::sync::atomic::Ordering::Relaxed);
            let last = reads.get();
            assert!(assistant.run_once().is_continue());
            let worked = workers.jobs.load(std::sync::atomic::Ordering::Relaxed) > before;
            if reads.get() > last {
                paces.push((assistant.pace(), 0));
            }
            if let Some((_, work)) = paces.last_mut() {
                *work += usize::from(worked);
            }
        }
        (paces, terminal.shown())
    });
    bus.done();
    heeded
}

#[test]
fn heat_slows_and_pauses_and_what_cools_goes_on() {
    use Pace::{Full, Pause, Slow};

    let (paces, said) = heeded(&[20, 60, 75, 72, 80, 71, 69, 60, 60].map(degrees));
    let only: Vec<Pace> = paces.iter().map(|(pace, _)| *pace).collect();
    assert_eq!(only, [Full, Full, Slow, Slow, Pause, Pause, Full, Full, Full], "{said}");
    let work: Vec<usize> = paces.iter().map(|(_, work)| *work).collect();
    assert_eq!((work[4], work[5]), (0, 0), "no token in a pause: {work:?}");
    assert!(work[3] > 0 && work[3] * 2 <= work[1] + 1, "half as many where it is warm: {work:?}");
    assert!(work[6] >= work[1] - 1, "all of them where it is cool again: {work:?}");
    for sentence in [
        "# the temperature is 75.0 °C: half speed until it is 70.0 °C\r\n",
        "# the temperature is 80.0 °C: pausing until it is 70.0 °C\r\n",
        "# the temperature is 69.0 °C: full speed again\r\n",
    ] {
        assert_eq!(said.matches(sentence).count(), 1, "{sentence} in {said}");
    }
}

#[test]
fn a_pause_can_be_stopped_and_blinks() {
    use embedded_hal_mock::eh1::digital::{Mock as Pin, State as Level, Transaction as PinTransaction};
    let mut lamp = Pin::new(&[Level::High, Level::Low, Level::High, Level::Low].map(PinTransaction::set));
    with_session(|session| {
        let (time, terminal) = (Time::default(), Terminal::typing("A cat\r"));
        let (mut delay, mut serial, workers) = (time.clone(), terminal.clone(), Slowly::with(&time));
        let mut reading = stonechat_assistant::ActiveHigh(lamp.clone());
        let mut sensor = || Ok(90_000);
        let mut gauges = [Gauge::new("the temperature", "°C", &mut sensor, WARM).unwrap()];
        let mut parts = Parts::new(&time, &mut delay);
        parts.serial = Some(&mut serial);
        parts.lamps.reading = Some(&mut reading);
        parts.gauges = &mut gauges;
        let mut assistant = TestAssistant::new(parts, session, Crew::both(&workers), settings()).unwrap();
        while time.now() < Duration::from_millis(1200) {
            assert!(assistant.run_once().is_continue());
        }
        assert_eq!((assistant.state(), assistant.pace()), (State::Reading, Pace::Pause));
        terminal.type_("\x03");
        assert!(assistant.run_once().is_continue());
        assert_eq!(assistant.state(), State::Idle);
    });
    lamp.done();
}

#[test]
fn a_sensor_that_fails_is_said_once_and_done_without() {
    let absent = || degrees(20).with_error(ABSENT);
    let (paces, said) = heeded(&[absent(), absent(), absent()]);
    assert!(paces.iter().all(|(pace, _)| *pace == Pace::Full));
    assert!(paces.iter().all(|(_, work)| *work > 0), "it goes on: {paces:?}");
    assert_eq!(said.matches("# the sensor for the temperature does not answer (").count(), 1, "{said}");

    let (paces, said) = heeded(&[degrees(85), absent(), absent(), degrees(60)]);
    let only: Vec<Pace> = paces.iter().map(|(pace, _)| *pace).collect();
    assert_eq!(only, [Pace::Pause, Pace::Slow, Pace::Slow, Pace::Full], "{said}");
    assert!(
        said.contains("; going on slowly\r\n") && said.contains("answers again; the temperature is 60.0 °C"),
        "{said}"
    );
}

#[cfg(feature = "ssd1306")]
#[test]
fn a_display_that_is_absent_is_said_once_and_tried_again() {
    use ssd1306::prelude::{DisplayRotation, DisplaySize128x64};
    use ssd1306::{I2CDisplayInterface, Ssd1306};

    // The first command to the display switches it off, while it is set up; nobody acknowledges it.
    let absent = || Transaction::write(0x3c, vec![0, 0xae]).with_error(ABSENT);
    let mut bus = Mock::new(&[absent(), absent()]);
    with_session(|session| {
        let driver =
            Ssd1306::new(I2CDisplayInterface::new(bus.clone()), DisplaySize128x64, DisplayRotation::Rotate0);
        let mut panel = stonechat_assistant::Panel::<_>::new(driver.into_buffered_graphics_mode());
        let (time, terminal) = (Time::default(), Terminal::typing("A cat\r"));
        let (mut delay, mut serial, workers) = (time.clone(), terminal.clone(), Slowly::with(&time));
        let mut parts = Parts::new(&time, &mut delay);
        parts.serial = Some(&mut serial);
        parts.screen = Some(&mut panel);
        let mut assistant = TestAssistant::new(parts, session, Crew::both(&workers), settings()).unwrap();
        // A retry comes after five seconds.
        while time.now() < Duration::from_secs(6) {
            assert!(assistant.run_once().is_continue());
        }
        let said = terminal.shown();
        let sentence = "# the display does not answer (BusWriteError); going on without it\r\n";
        assert_eq!(said.matches(sentence).count(), 1, "{said}");
        assert!(said.contains(" written in "), "it answers: {said}");
    });
    bus.done();
}

#[test]
fn a_line_that_fails_is_no_end_where_there_is_a_button() {
    let latch = stonechat_assistant::Latch::new();
    with_session(|session| {
        let (time, terminal) = (Time::default(), Terminal::default());
        let (mut delay, mut serial, workers) = (time.clone(), terminal.clone(), Slowly::with(&time));
        let mut button = &latch;
        let mut parts = Parts::new(&time, &mut delay);
        parts.serial = Some(&mut serial);
        parts.button = Some(&mut button);
        let settings = Settings { questions: &["A cat"], ..settings() };
        let mut assistant = TestAssistant::new(parts, session, Crew::both(&workers), settings).unwrap();
        terminal.break_(true);
        assert!(assistant.run_once().is_continue());
        latch.press();
        for state in [State::Reading, State::Speaking, State::Idle] {
            while assistant.state() != state {
                assert!(assistant.run_once().is_continue());
            }
        }
        assert_eq!(terminal.shown(), "", "nobody heard it");
        terminal.break_(false);
        terminal.type_("The dog\r");
        let end = time.now() + Duration::from_secs(6);
        while time.now() < end {
            assert!(assistant.run_once().is_continue());
        }
        assert!(terminal.shown().contains("The dog"), "the line works again: {}", terminal.shown());
    });
}
