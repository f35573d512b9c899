//! What an assistant does in each state, and what brings it from one to another: pins are those of `embedded-hal-mock`, the
//! model is the tiny one.

#![allow(clippy::large_types_passed_by_value, reason = "settings are made where they are given")]

mod support;

use std::io::ErrorKind;
use std::time::Duration;

use embedded_hal_mock::eh1::MockError;
use embedded_hal_mock::eh1::digital::{Mock as Pin, State as Level, Transaction};
use stonechat_assistant::{
    ActiveHigh, ActiveLow, Assistant, Clock as _, Crew, Over, Parts, Settings, State, Tags,
};
use stonechat_core::Session;
use support::{BATCH, Slowly, Terminal, Time, settings, with_session, with_session_of};

use Level::{High, Low};

type TestAssistant<'h, 's, 'a> = Assistant<'h, 's, 'a, 256, 512>;

/// What a lamp is set to, one after the other.
fn lamp(levels: &[Level]) -> Pin {
    Pin::new(&levels.iter().copied().map(Transaction::set).collect::<Vec<_>>())
}

/// What a button with a pull-up says, one after the other.
fn button(levels: &[Level]) -> Pin {
    Pin::new(&levels.iter().copied().map(Transaction::get).collect::<Vec<_>>())
}

/// Runs until the assistant is in a state. Returns how many passes that took.
fn run_until(assistant: &mut TestAssistant<'_, '_, '_>, state: State) -> usize {
    for passes in 1..5000 {
        assert!(assistant.run_once().is_continue(), "it does not end before it is {state}");
        if assistant.state() == state {
            return passes;
        }
    }
    panic!("it is never {state}, but stays {}", assistant.state());
}

/// What a terminal shows of an assistant that has nothing else, until it has answered all that was typed.
fn shown(typed: &str, settings: Settings<'_>, session: &mut Session<'_>) -> String {
    let (time, terminal) = (Time::default(), Terminal::typing(typed));
    terminal.hang_up();
    let (mut delay, mut serial, workers) = (time.clone(), terminal.clone(), Slowly::with(&time));
    let mut parts = Parts::new(&time, &mut delay);
    parts.serial = Some(&mut serial);
    let mut assistant = TestAssistant::new(parts, session, Crew::both(&workers), settings).unwrap();
    assert_eq!(assistant.run(), Over::Deaf);
    terminal.shown()
}

/// The story that follows a prompt, which is the beginning of it.
fn story(prompt: &str, settings: Settings<'_>) -> String {
    let shown = with_session(|session| shown(&format!("{prompt}\r"), settings, session));
    let story = shown.split(&format!("> {prompt}\r\n")).nth(1).expect("an answer");
    story.split("\r\n# ").next().unwrap().to_string()
}

#[test]
fn each_state_has_its_lamp_and_never_do_two_shine() {
    let mut idle = lamp(&[High, Low, High]);
    let mut reading = lamp(&[Low, High, Low]);
    let mut thinking = lamp(&[Low]);
    let mut speaking = lamp(&[Low, High, Low]);
    let mut error = lamp(&[Low]);
    with_session(|session| {
        let (time, terminal) = (Time::default(), Terminal::default());
        let (mut delay, mut serial, workers) = (time.clone(), terminal.clone(), Slowly::with(&time));
        let (mut a, mut b, mut c) =
            (ActiveHigh(idle.clone()), ActiveHigh(reading.clone()), ActiveHigh(thinking.clone()));
        let (mut d, mut e) = (ActiveHigh(speaking.clone()), ActiveHigh(error.clone()));
        let mut parts = Parts::new(&time, &mut delay);
        parts.serial = Some(&mut serial);
        parts.lamps.idle = Some(&mut a);
        parts.lamps.reading = Some(&mut b);
        parts.lamps.thinking = Some(&mut c);
        parts.lamps.speaking = Some(&mut d);
        parts.lamps.error = Some(&mut e);
        let mut assistant = TestAssistant::new(parts, session, Crew::both(&workers), settings()).unwrap();
        assert_eq!(run_until(&mut assistant, State::Idle), 1);
        terminal.type_("Once upon a time\r");
        let passes = run_until(&mut assistant, State::Speaking);
        assert!(passes > 2, "a batch is a pass of its own");
        run_until(&mut assistant, State::Idle);
    });
    [&mut idle, &mut reading, &mut thinking, &mut speaking, &mut error].into_iter().for_each(Pin::done);
}

#[test]
fn lamps_that_shine_when_their_pins_are_low_do_the_opposite() {
    let mut speaking = lamp(&[High, Low, High]);
    with_session(|session| {
        let (time, terminal) = (Time::default(), Terminal::typing("Once upon a time\r"));
        let (mut delay, mut serial, workers) = (time.clone(), terminal, Slowly::with(&time));
        let mut on_speaking = ActiveLow(speaking.clone());
        let mut parts = Parts::new(&time, &mut delay);
        parts.serial = Some(&mut serial);
        parts.lamps.speaking = Some(&mut on_speaking);
        let mut assistant = TestAssistant::new(parts, session, Crew::both(&workers), settings()).unwrap();
        run_until(&mut assistant, State::Speaking);
        run_until(&mut assistant, State::Idle);
    });
    speaking.done();
}

#[test]
fn thoughts_have_a_lamp_and_are_not_said() {
    // Words of a story that the tiny model tells serve as tags: its tokens are real, and the tags are in it.
    let whole = story("Once upon a time", Settings { most: 40, ..settings() });
    let words: Vec<&str> = whole.split(' ').collect();
    let (open, close) = (words[7], words[14]);
    let (before, rest) = whole.split_once(open).unwrap();
    let (thought, after) = rest.split_once(close).unwrap();
    assert!(!thought.is_empty() && after.len() > 10 && !after.contains(open), "{whole}");
    let expected = format!("{before}\r\n# thinking\r\n{}", after.trim_start_matches('\n'));

    let mut lamp = lamp(&[Low, High, Low]);
    let settings = Settings { thoughts: Some(Tags { open, close }), most: 40, ..settings() };
    with_session(|session| {
        let (time, terminal) = (Time::default(), Terminal::typing("Once upon a time\r"));
        let (mut delay, mut serial, workers) = (time.clone(), terminal.clone(), Slowly::with(&time));
        let mut thinking = ActiveHigh(lamp.clone());
        let mut parts = Parts::new(&time, &mut delay);
        parts.serial = Some(&mut serial);
        parts.lamps.thinking = Some(&mut thinking);
        let mut assistant = TestAssistant::new(parts, session, Crew::both(&workers), settings).unwrap();
        run_until(&mut assistant, State::Speaking);
        run_until(&mut assistant, State::Thinking);
        run_until(&mut assistant, State::Speaking);
        run_until(&mut assistant, State::Idle);
        assert!(terminal.shown().contains(&expected), "{expected:?} in {:?}", terminal.shown());
    });
    lamp.done();
}

#[test]
fn a_model_that_begins_within_a_thought_thinks_at_once() {
    let whole = story("Once upon a time", Settings { most: 40, ..settings() });
    let answer = whole.strip_prefix("Once upon a time").unwrap();
    let close = answer.split(' ').nth(4).unwrap();
    let settings = Settings {
        thoughts: Some(Tags { open: "upon a time", close }),
        before: "Once ",
        after: "upon a time",
        most: 40,
        ..settings()
    };
    with_session(|session| {
        let (time, terminal) = (Time::default(), Terminal::typing(".\x08Once\x08\x08\x08\x08x\x08?\x08y\r"));
        let (mut delay, mut serial, workers) = (time.clone(), terminal.clone(), Slowly::with(&time));
        let mut parts = Parts::new(&time, &mut delay);
        parts.serial = Some(&mut serial);
        let mut assistant = TestAssistant::new(parts, session, Crew::both(&workers), settings).unwrap();
        run_until(&mut assistant, State::Reading);
        run_until(&mut assistant, State::Thinking);
        run_until(&mut assistant, State::Idle);
        assert!(terminal.shown().contains("# thinking\r\n"), "{}", terminal.shown());
    });
}

#[test]
fn a_prompt_that_does_not_fit_is_an_error_until_the_next_one() {
    let mut idle = lamp(&[High, Low, High]);
    let mut error = lamp(&[Low, High, Low]);
    with_session_of(16, |session| {
        let time = Time::default();
        let terminal = Terminal::default();
        let (mut delay, mut serial, workers) = (time.clone(), terminal.clone(), Slowly::with(&time));
        let (mut on_idle, mut on_error) = (ActiveHigh(idle.clone()), ActiveHigh(error.clone()));
        let mut parts = Parts::new(&time, &mut delay);
        parts.serial = Some(&mut serial);
        parts.lamps.idle = Some(&mut on_idle);
        parts.lamps.error = Some(&mut on_error);
        let mut assistant = TestAssistant::new(parts, session, Crew::both(&workers), settings()).unwrap();
        run_until(&mut assistant, State::Idle);
        terminal.type_("Once upon a time there was a dog and a cat and a bird and a fish\r");
        run_until(&mut assistant, State::Error);
        let said = terminal.news();
        assert!(
            said.contains("more tokens do not fit into the context of 16, of which 0 are used"),
            "{said}"
        );
        assert!(said.ends_with("\r\n> "), "it goes on: {said}");
        terminal.type_("A cat\r");
        run_until(&mut assistant, State::Reading);
        run_until(&mut assistant, State::Idle);
        assert!(terminal.shown().contains(" tokens read in "), "{}", terminal.shown());
    });
    idle.done();
    error.done();
}

#[test]
fn a_prompt_with_too_many_bytes_around_it_is_refused() {
    let before = "x".repeat(512);
    let settings = Settings { before: &before, ..settings() };
    let said = with_session(|session| shown("Hi\r", settings, session));
    let sentence =
        "# the prompt has 514 bytes with what stands around it, and 512 is the most; ask shorter\r\n";
    assert!(said.contains(sentence), "{said}");
}

#[test]
fn what_stands_around_a_prompt_is_read_with_it() {
    let whole = story("Once upon a time, there", settings());
    let expected = whole.strip_prefix("Once upon a time, there").unwrap();
    let settings = Settings { before: "Once upon", after: " time, there", ..settings() };
    let said = with_session(|session| shown(" a\r", settings, session));
    assert!(said.contains(&format!(">  a\r\n{expected}\r\n# ")), "{expected:?} in {said:?}");
}

#[test]
fn the_same_story_is_told_whatever_was_told_before() {
    let said = with_session(|session| shown("A cat\rThe dog\rA cat\r", settings(), session));
    let stories: Vec<&str> =
        said.split("> A cat\r\n").skip(1).map(|s| s.split("\r\n").next().unwrap()).collect();
    assert_eq!(stories.len(), 2, "{said}");
    assert_eq!(stories[0], stories[1]);
    assert!(stories[0].len() > "A cat".len(), "{said}");
}

/// An assistant with a button and a terminal runs as many passes as the button has levels. Returns what the terminal shows
/// with the last pass, and what it showed before.
fn pressed(levels: &[Level], settings: Settings<'_>) -> (String, String, State) {
    let mut pin = button(levels);
    let result = with_session(|session| {
        let (time, terminal) = (Time::default(), Terminal::typing("Once upon a time\r"));
        let (mut delay, mut serial, workers) = (time.clone(), terminal.clone(), Slowly::with(&time));
        let mut pressed = ActiveLow(pin.clone());
        let mut parts = Parts::new(&time, &mut delay);
        parts.serial = Some(&mut serial);
        parts.button = Some(&mut pressed);
        let mut assistant = TestAssistant::new(parts, session, Crew::both(&workers), settings).unwrap();
        for _ in 1..levels.len() {
            assert!(assistant.run_once().is_continue());
        }
        let before = terminal.news();
        assert!(assistant.run_once().is_continue());
        (terminal.news(), before, assistant.state())
    });
    pin.done();
    result
}

#[test]
fn a_press_stops_an_answer_before_another_token() {
    for passes in [8, 9, 10] {
        let mut levels = vec![High; passes];
        let (_, unpressed, state) = pressed(&[levels.clone(), vec![High]].concat(), settings());
        assert_eq!(state, State::Speaking, "{unpressed}");
        levels.push(Low);
        let (last, before, state) = pressed(&levels, settings());
        assert_eq!(before, unpressed, "until then it is the same");
        assert_eq!((last.as_str(), state), ("\r\n# stopped\r\n> ", State::Idle), "after {passes} passes");
    }
}

#[test]
fn a_press_stops_reading_too() {
    // The first pass takes the prompt, each further one reads a batch of it.
    let (last, before, state) = pressed(&[High, High, Low], settings());
    assert_eq!((last.as_str(), state), ("\r\n# stopped\r\n> ", State::Idle), "{before}");
}

#[test]
fn a_press_while_a_token_is_computed_stops_before_another_one() {
    // Once the first token was said, a press comes in mid-token: an interrupt notes it, and no pin has it any more when the
    // token is there.
    let jobs = with_session(|session| {
        let (time, terminal) = (Time::default(), Terminal::typing("Once upon a time\r"));
        let (mut delay, mut serial, workers) = (time.clone(), terminal, Slowly::with(&time));
        let mut parts = Parts::new(&time, &mut delay);
        parts.serial = Some(&mut serial);
        let mut assistant = TestAssistant::new(parts, session, Crew::both(&workers), settings()).unwrap();
        run_until(&mut assistant, State::Speaking);
        let first = workers.jobs.load(std::sync::atomic::Ordering::Relaxed);
        assert!(assistant.run_once().is_continue());
        (first, workers.jobs.load(std::sync::atomic::Ordering::Relaxed))
    });
    assert!(jobs.1 > jobs.0 + 2, "a token is several jobs: {jobs:?}");
    with_session(|session| {
        let (time, terminal) = (Time::default(), Terminal::typing("Once upon a time\r"));
        let (mut delay, mut serial) = (time.clone(), terminal.clone());
        let workers = Slowly { presses_at: jobs.0 + 2, ..Slowly::with(&time) };
        let mut latch = &workers.latch;
        let mut parts = Parts::new(&time, &mut delay);
        parts.serial = Some(&mut serial);
        parts.button = Some(&mut latch);
        let mut assistant = TestAssistant::new(parts, session, Crew::both(&workers), settings()).unwrap();
        run_until(&mut assistant, State::Speaking);
        assert!(assistant.run_once().is_continue());
        assert_eq!(assistant.state(), State::Speaking, "the token is finished");
        terminal.news();
        assert!(assistant.run_once().is_continue());
        assert_eq!(terminal.news(), "\r\n# stopped\r\n> ");
    });
}

#[test]
fn a_button_that_bounces_asks_once() {
    let questions = Settings { questions: &["A cat", "The dog"], ..settings() };
    // The first pass takes the typed prompt, so that the answer is over long before the press.
    let mut levels = vec![High; 40];
    // Passes while nothing is done take 10 ms each.
    levels.extend([Low, High, Low, High, Low, Low, Low, High, Low, High]);
    levels.extend([High; 40]);
    let (last, before, state) = pressed(&levels, questions);
    let said = before + &last;
    assert_eq!(said.matches("> A cat\r\n").count(), 1, "{said}");
    assert!(!said.contains("stopped") && !said.contains("The dog\r\n"), "{said}");
    assert_eq!(state, State::Idle);
}

#[test]
fn each_press_asks_the_next_question() {
    let mut pin = Vec::new();
    for _ in 0..3 {
        pin.push(Low);
        pin.extend([High; 60]);
    }
    pin.insert(0, High);
    let mut pin = button(&pin);
    with_session(|session| {
        let (time, terminal) = (Time::default(), Terminal::default());
        let (mut delay, mut serial, workers) = (time.clone(), terminal.clone(), Slowly::with(&time));
        let mut pressed = ActiveLow(pin.clone());
        let mut parts = Parts::new(&time, &mut delay);
        parts.serial = Some(&mut serial);
        parts.button = Some(&mut pressed);
        let settings = Settings { questions: &["A cat", "The dog"], ..settings() };
        let mut assistant = TestAssistant::new(parts, session, Crew::both(&workers), settings).unwrap();
        for _ in 0..=3 * 61 {
            assert!(assistant.run_once().is_continue());
        }
        let said = terminal.shown();
        let asked: Vec<_> = said.lines().filter_map(|line| line.strip_prefix("> ")).collect();
        assert_eq!(asked, ["A cat", "The dog", "A cat", ""], "{said}");
        assert_eq!(said.matches(" written in ").count(), 3, "{said}");
    });
    pin.done();
}

#[test]
fn without_questions_the_button_asks_again_what_was_asked() {
    let mut levels = vec![High; 40];
    levels.extend([Low, High]);
    levels.extend([High; 40]);
    let (last, before, _) = pressed(&levels, settings());
    let said = before + &last;
    assert_eq!(said.matches("> Once upon a time\r\nOnce upon a time").count(), 2, "{said}");

    let mut pin = button(&[High, Low]);
    with_session(|session| {
        let (time, terminal) = (Time::default(), Terminal::default());
        let (mut delay, mut serial, workers) = (time.clone(), terminal.clone(), Slowly::with(&time));
        let mut pressed = ActiveLow(pin.clone());
        let mut parts = Parts::new(&time, &mut delay);
        parts.serial = Some(&mut serial);
        parts.button = Some(&mut pressed);
        let mut assistant = TestAssistant::new(parts, session, Crew::both(&workers), settings()).unwrap();
        assert!(assistant.run_once().is_continue() && assistant.run_once().is_continue());
        let said = terminal.shown();
        assert!(said.ends_with("# there is nothing to ask yet; type a prompt and Enter\r\n> "), "{said}");
    });
    pin.done();
}

#[test]
fn a_button_or_a_lamp_that_fails_is_said_once_and_done_without() {
    let broken = || MockError::Io(ErrorKind::NotConnected);
    let mut pin = Pin::new(&[
        Transaction::get(High).with_error(broken()),
        // After five seconds it is tried again.
        Transaction::get(High).with_error(broken()),
        Transaction::get(High),
    ]);
    let mut idle = Pin::new(&[
        Transaction::set(High).with_error(broken()),
        Transaction::set(Low).with_error(broken()),
        Transaction::set(High),
    ]);
    with_session(|session| {
        let (time, terminal) = (Time::default(), Terminal::default());
        let (mut delay, mut serial, workers) = (time.clone(), terminal.clone(), Slowly::with(&time));
        let (mut pressed, mut lamp) = (ActiveLow(pin.clone()), ActiveHigh(idle.clone()));
        let mut parts = Parts::new(&time, &mut delay);
        parts.serial = Some(&mut serial);
        parts.button = Some(&mut pressed);
        parts.lamps.idle = Some(&mut lamp);
        let settings = Settings { poll: Duration::from_millis(100), ..settings() };
        let mut assistant = TestAssistant::new(parts, session, Crew::both(&workers), settings).unwrap();
        run_until(&mut assistant, State::Idle);
        terminal.type_("A cat\r");
        run_until(&mut assistant, State::Speaking);
        run_until(&mut assistant, State::Idle);
        let end = time.now() + Duration::from_secs(9);
        while time.now() < end {
            assert!(assistant.run_once().is_continue());
        }
        let said = terminal.shown();
        for sentence in [
            "# the button does not answer (Io(NotConnected)); going on without it\r\n",
            "# the lamp for idle does not answer (Io(NotConnected)); going on without it\r\n",
            "# the lamp for idle answers again\r\n",
        ] {
            assert_eq!(said.matches(sentence).count(), 1, "{sentence} in {said}");
        }
        assert!(said.contains(" written in "), "it answers: {said}");
        while !terminal.shown().contains("# the button answers again\r\n> ") {
            assert!(time.now() < end + Duration::from_secs(5), "{}", terminal.shown());
            assert!(assistant.run_once().is_continue());
        }
    });
    pin.done();
    idle.done();
}

#[test]
fn ctrl_c_stops_and_forgets_what_was_typed_ahead() {
    with_session(|session| {
        let (time, terminal) = (Time::default(), Terminal::typing("Once upon a time\r"));
        let (mut delay, mut serial, workers) = (time.clone(), terminal.clone(), Slowly::with(&time));
        let mut parts = Parts::new(&time, &mut delay);
        parts.serial = Some(&mut serial);
        let mut assistant = TestAssistant::new(parts, session, Crew::both(&workers), settings()).unwrap();
        run_until(&mut assistant, State::Speaking);
        terminal.news();
        terminal.type_("The dog\r\x03");
        assert_eq!(run_until(&mut assistant, State::Idle), 1);
        assert_eq!(terminal.news(), "\r\n# stopped\r\n> ");
        terminal.type_("The do\x03A cat\r");
        run_until(&mut assistant, State::Speaking);
        let said = terminal.news();
        assert!(said.contains("> A cat\r\nA cat"), "{said}");
    });
}

#[test]
fn what_is_typed_ahead_is_answered_in_turn() {
    let prompts = ["A cat", "The dog", "A bird", "Tom had a ball"];
    let typed = prompts.map(|prompt| format!("{prompt}\r\n")).concat();
    let said = with_session(|session| shown(&typed, settings(), session));
    let mut rest = said.as_str();
    for prompt in prompts {
        let (_, behind) = rest.split_once(&format!("> {prompt}\r\n{prompt}")).expect(prompt);
        rest = behind;
    }
    assert_eq!(said.matches(" written in ").count(), 4, "{said}");
}

#[test]
fn garbage_on_the_line_is_survived() {
    // All bytes there are, among them ends of transmission; but neither Enter, which would ask it, nor Ctrl-C at the end.
    let mut noise: Vec<u8> = (0..1500u32).map(|i| ((i * 7919) >> 3) as u8).collect();
    noise.extend((0..=255).filter(|byte| *byte != 3));
    with_session(|session| {
        let (time, terminal) = (Time::default(), Terminal::typing(noise));
        terminal.type_("\rA cat\r");
        let (mut delay, mut serial, workers) = (time.clone(), terminal.clone(), Slowly::with(&time));
        let mut parts = Parts::new(&time, &mut delay);
        parts.serial = Some(&mut serial);
        let mut assistant = TestAssistant::new(parts, session, Crew::both(&workers), settings()).unwrap();
        for passes in 0.. {
            assert!(assistant.run_once().is_continue(), "noise does not end it");
            if terminal.shown().contains("> A cat\r\nA cat") && assistant.state() == State::Idle {
                break;
            }
            assert!(passes < 10_000, "{}", terminal.shown());
        }
    });
}

#[test]
fn ctrl_d_ends_it_only_where_that_was_asked_for() {
    for quits in [true, false] {
        with_session(|session| {
            let (time, terminal) = (Time::default(), Terminal::typing("\x04A cat\r"));
            let (mut delay, mut serial, workers) = (time.clone(), terminal.clone(), Slowly::with(&time));
            terminal.hang_up();
            let mut parts = Parts::new(&time, &mut delay);
            parts.serial = Some(&mut serial);
            let settings = Settings { quits, ..settings() };
            let mut assistant = TestAssistant::new(parts, session, Crew::both(&workers), settings).unwrap();
            assert_eq!(assistant.run(), if quits { Over::Quit } else { Over::Deaf });
            assert_eq!(terminal.shown().contains(" written in "), !quits, "{}", terminal.shown());
        });
    }
}

#[test]
fn a_line_that_ends_leaves_a_button_with_questions_to_work() {
    let mut levels = vec![High; 50];
    levels.push(Low);
    levels.extend([High; 49]);
    let mut pin = button(&levels);
    with_session(|session| {
        let (time, terminal) = (Time::default(), Terminal::default());
        terminal.hang_up();
        let (mut delay, mut serial, workers) = (time.clone(), terminal.clone(), Slowly::with(&time));
        let mut pressed = ActiveLow(pin.clone());
        let mut parts = Parts::new(&time, &mut delay);
        parts.serial = Some(&mut serial);
        parts.button = Some(&mut pressed);
        let settings = Settings { questions: &["A cat"], ..settings() };
        let mut assistant = TestAssistant::new(parts, session, Crew::both(&workers), settings).unwrap();
        for _ in 0..levels.len() {
            assert!(assistant.run_once().is_continue());
        }
        assert!(terminal.shown().contains(" written in "), "{}", terminal.shown());
    });
    pin.done();
}

#[test]
fn without_line_and_button_there_is_nothing_to_wait_for() {
    with_session(|session| {
        let time = Time::default();
        let (mut delay, workers) = (time.clone(), Slowly::with(&time));
        let parts = Parts::new(&time, &mut delay);
        let settings = Settings { questions: &["A cat"], ..settings() };
        let mut assistant = TestAssistant::new(parts, session, Crew::both(&workers), settings).unwrap();
        assert_eq!(assistant.run(), Over::Deaf);
    });
}

#[test]
fn what_is_absent_is_said_at_the_start() {
    let said = with_session(|session| shown("", settings(), session));
    for what in ["button", "lamps", "display", "sensors", "watchdog"] {
        assert!(said.contains(&format!("# this board has no {what}; going on without\r\n")), "{said}");
    }
    assert!(said.contains("a context of 64 tokens"), "{said}");
}

#[test]
fn the_watchdog_is_fed_for_batches_tokens_and_time_that_passes_and_for_nothing_else() {
    let feeds = std::cell::Cell::new(0);
    with_session(|session| {
        let (time, terminal) = (Time::default(), Terminal::typing("Once upon a time\r"));
        let (mut delay, mut serial, workers) = (time.clone(), terminal.clone(), Slowly::with(&time));
        let mut watchdog = || feeds.set(feeds.get() + 1);
        let mut parts = Parts::new(&time, &mut delay);
        parts.serial = Some(&mut serial);
        parts.watchdog = Some(&mut watchdog);
        let mut assistant = TestAssistant::new(parts, session, Crew::both(&workers), settings()).unwrap();
        run_until(&mut assistant, State::Reading);
        assert_eq!(feeds.take(), 0, "nothing was computed yet");
        run_until(&mut assistant, State::Idle);
        let said = terminal.shown();
        let counts: Vec<usize> =
            said.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
        let [.., read, _, written, _] = counts[..] else { panic!("{said}") };
        assert_eq!(feeds.take(), read.div_ceil(BATCH) + written, "{said}");
        for _ in 0..10 {
            assert!(assistant.run_once().is_continue());
        }
        assert_eq!(feeds.take(), 10, "time goes on while nothing is done");
        terminal.type_("x".repeat(200));
        terminal.type_("\r");
        run_until(&mut assistant, State::Error);
        assert_eq!(feeds.take(), 0, "what could not be read is no progress");
    });
    with_session(|session| {
        let (time, still) = (Time::default(), Time::default());
        let (mut delay, mut serial, workers) = (still.clone(), Terminal::default(), Slowly::with(&time));
        let mut watchdog = || feeds.set(feeds.get() + 1);
        let mut parts = Parts::new(&time, &mut delay);
        parts.serial = Some(&mut serial);
        parts.watchdog = Some(&mut watchdog);
        let mut assistant = TestAssistant::new(parts, session, Crew::both(&workers), settings()).unwrap();
        for _ in 0..100 {
            assert!(assistant.run_once().is_continue());
        }
        assert_eq!(feeds.take(), 0, "a clock that stands still is found out");
    });
}
