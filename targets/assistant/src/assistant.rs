//! The assistant: what it does in each state, and what brings it from one to another.
//!
//! One pass of [`Assistant::run_once`] looks at line, button and sensors, then does one piece of work: a batch of the prompt, a
//! token of the answer, or a short wait. So nothing that a person does has to wait longer than one token, and nothing here
//! waits for itself.

use core::fmt;
use core::fmt::Write as _;
use core::ops::ControlFlow;
use core::time::Duration;

use embedded_hal::delay::DelayNs;
use stonechat_console::{Editor, MOST_BYTES, Prompt, Story, Typed};
use stonechat_core::Session;
use stonechat_core::vocabulary::Utf8Stream;

use crate::button::Presses;
use crate::display::Display;
use crate::gauge::{Gauge, Pace};
use crate::health::{Health, News};
use crate::lights::Lights;
use crate::screen::Show;
use crate::state::{Over, State};
use crate::talk::Talk;
use crate::thoughts::Thoughts;
use crate::{Button, Clock, Crew, Parts, Settings, Watchdog};

/// How long a lamp shines, and how long it does not, while sensors ask for a pause.
const BLINK: Duration = Duration::from_millis(500);

/// An assistant. `TOKENS` of prompt and answer at most, if the session has room for them; a prompt, with what stands around it,
/// has `BYTES` at most.
pub struct Assistant<'h, 's, 'a, const TOKENS: usize = 1024, const BYTES: usize = 1024> {
    clock: &'h dyn Clock,
    delay: &'h mut dyn DelayNs,
    button: Option<&'h mut dyn Button>,
    button_health: Health,
    presses: Presses,
    lights: Lights<'h>,
    display: Display<'h>,
    talk: Talk<'h>,
    gauges: &'h mut [Gauge<'h>],
    measured: Option<Duration>,
    watchdog: Option<&'h mut dyn Watchdog>,

    session: &'s mut Session<'a>,
    crew: Crew<'h>,
    settings: Settings<'h>,
    story: Story<TOKENS, BYTES>,
    thoughts: Thoughts<'h>,
    editor: Editor,
    /// The line that was asked last.
    last: heapless::Vec<u8, MOST_BYTES>,
    /// The question that the button asks next.
    question: usize,
    /// Since when the display shows that question; `None` while it shows an answer.
    asking: Option<Duration>,

    state: State,
    pace: Pace,
    /// State and pace as lamps and display show them.
    shown: Option<(State, Pace)>,
    begun: bool,
    /// When the last prompt was answered.
    answered: Duration,
    /// Until when it rests, because it is to go slowly.
    rest: Duration,
    /// What reading took, and what speaking did.
    spent: [Duration; 2],
}

impl<'h, 's, 'a, const TOKENS: usize, const BYTES: usize> Assistant<'h, 's, 'a, TOKENS, BYTES> {
    /// An assistant of these parts, which has not begun yet. An error if the sampling makes no sense.
    pub fn new(
        parts: Parts<'h>,
        session: &'s mut Session<'a>,
        crew: Crew<'h>,
        settings: Settings<'h>,
    ) -> Result<Self, stonechat_core::Error> {
        Ok(Self {
            clock: parts.clock,
            delay: parts.delay,
            button: parts.button,
            button_health: Health::default(),
            presses: Presses::new(settings.bounce),
            lights: Lights::new(parts.lamps),
            display: Display::new(parts.screen),
            talk: Talk::new(parts.serial, settings.retry),
            gauges: parts.gauges,
            measured: None,
            watchdog: parts.watchdog,
            session,
            crew,
            settings,
            story: Story::new(settings.sampling)?,
            thoughts: Thoughts::new(settings.thoughts),
            editor: Editor::new(),
            last: heapless::Vec::new(),
            question: 0,
            asking: None,
            state: State::Idle,
            pace: Pace::Full,
            shown: None,
            begun: false,
            answered: Duration::ZERO,
            rest: Duration::ZERO,
            spent: [Duration::ZERO; 2],
        })
    }

    /// What it does.
    pub const fn state(&self) -> State {
        self.state
    }

    /// How fast sensors let it go.
    pub const fn pace(&self) -> Pace {
        self.pace
    }

    /// Goes on until nothing can bring a prompt any more.
    pub fn run(&mut self) -> Over {
        loop {
            if let ControlFlow::Break(over) = self.run_once() {
                return over;
            }
        }
    }

    /// Looks at all parts, and does one piece of work: computes a batch or a token, or waits for [`Settings::poll`] where there
    /// is nothing to do. Breaks when nothing can bring a prompt any more.
    pub fn run_once(&mut self) -> ControlFlow<Over> {
        if !self.begun {
            self.begin();
        }
        let now = self.clock.now();
        let interrupted = self.talk.listen(now);
        let pressed = self.is_pressed(now);
        self.measure(now);
        if self.state.is_busy() {
            if interrupted || pressed {
                self.stop();
            } else if self.pace == Pace::Pause {
                self.wait(self.settings.poll);
            } else if now < self.rest {
                self.wait(self.settings.poll.min(self.rest.saturating_sub(now)));
            } else {
                self.work(now);
            }
        } else if interrupted {
            self.editor = Editor::new();
            self.talk.say("\n");
            self.invite();
        } else if pressed {
            self.press(now);
        } else {
            self.idle(now)?;
        }
        self.show();
        ControlFlow::Continue(())
    }

    /// Switches lamps and display off. If it is run again, they go on again.
    pub fn switch_off(&mut self) {
        let (now, talk) = (self.clock.now(), &mut self.talk);
        self.lights.show(None, now, self.settings.retry, &mut |state, news| remark_lamp(talk, state, &news));
        self.display.switch_off();
    }

    /// Says what there is and what there is not, and shows it.
    fn begin(&mut self) {
        self.begun = true;
        let now = self.clock.now();
        self.talk.listen(now);
        self.talk.remark(format_args!(
            "stonechat: a context of {} tokens, {} question(s); type a prompt and Enter, Ctrl-C stops",
            self.session.context().min(TOKENS),
            self.settings.questions.len()
        ));
        let absent = [
            ("button", self.button.is_none()),
            ("lamps", !self.lights.are_there()),
            ("display", !self.display.is_there()),
            ("sensors", self.gauges.is_empty()),
            ("watchdog", self.watchdog.is_none()),
        ];
        for (what, is_absent) in absent {
            if is_absent {
                self.talk.remark(format_args!("this board has no {what}; going on without"));
            }
        }
        self.invite();
        self.show_question(now);
    }

    /// Nothing is in work: takes what was typed.
    fn idle(&mut self, now: Duration) -> ControlFlow<Over> {
        while let Some(byte) = self.talk.byte() {
            let talk = &mut self.talk;
            let Ok(typed) = self.editor.push::<core::convert::Infallible>(byte, &mut |echo| {
                talk.send(echo);
                Ok(())
            });
            match typed {
                Typed::More => {}
                Typed::End if !self.settings.quits => {}
                Typed::End => {
                    self.talk.remark(format_args!("bye"));
                    return ControlFlow::Break(Over::Quit);
                }
                Typed::TooLong => {
                    self.talk.remark(format_args!(
                        "the line is longer than {MOST_BYTES} bytes; type a shorter one"
                    ));
                    self.invite();
                }
                Typed::Line if self.editor.text().trim_ascii().is_empty() => self.invite(),
                Typed::Line => {
                    let line = heapless::Vec::from_slice(self.editor.text()).unwrap_or_default();
                    self.last = line.clone();
                    self.start(&line);
                    return ControlFlow::Continue(());
                }
            }
        }
        let asks = !self.settings.questions.is_empty() || !self.last.is_empty();
        if self.talk.has_ended() && !(self.button.is_some() && asks) {
            return ControlFlow::Break(Over::Deaf);
        }
        let (count, turn) = (self.settings.questions.len(), self.settings.turn);
        match self.asking {
            Some(since) if count > 1 && !turn.is_zero() && now.saturating_sub(since) >= turn => {
                self.question = (self.question + 1) % count;
                self.show_question(now);
            }
            None if count > 0 && now.saturating_sub(self.answered) >= self.settings.linger => {
                self.state = State::Idle;
                self.show_question(now);
            }
            _ => {}
        }
        self.wait(self.settings.poll);
        ControlFlow::Continue(())
    }

    /// The button was pressed while nothing was in work.
    fn press(&mut self, now: Duration) {
        let questions = self.settings.questions;
        let Some(question) = questions.get(self.question) else {
            let last = self.last.clone();
            if last.is_empty() {
                self.remark(format_args!("there is nothing to ask yet; type a prompt and Enter"));
                return;
            }
            self.talk.send(&last);
            self.talk.say("\n");
            return self.start(&last);
        };
        // Nobody asks what he cannot see: where an answer is still shown, the question comes in its place.
        if self.asking.is_none() && self.display.is_well() {
            self.state = State::Idle;
            return self.show_question(now);
        }
        self.question = (self.question + 1) % questions.len();
        self.editor = Editor::new();
        let _ = writeln!(self.talk, "{question}");
        self.start(question.as_bytes());
    }

    /// Shows what the button asks.
    fn show_question(&mut self, now: Duration) {
        self.asking = Some(now);
        self.display.clear();
        match self.settings.questions.get(self.question) {
            Some(question) if self.button.is_some() => {
                let _ = write!(self.display, "Press to ask:\n\n{question}");
            }
            _ => self.display.add("Type a prompt."),
        }
    }

    /// Begins to answer.
    fn start(&mut self, prompt: &[u8]) {
        let Settings { before, after, most, .. } = self.settings;
        // With nothing around it, a prompt is the beginning of what follows; else it is a line of its own.
        let is_beginning = before.is_empty() && after.is_empty();
        let Self { display, talk, .. } = self;
        display.clear();
        let mut stream = Utf8Stream::new();
        let mut out = |text: &str| {
            display.add(text);
            if is_beginning {
                talk.say(text);
            }
        };
        stream.push(prompt, &mut out);
        stream.finish(&mut out);
        if !is_beginning {
            self.display.add("\n");
        }
        self.asking = None;
        self.spent = [Duration::ZERO; 2];
        self.rest = Duration::ZERO;
        self.thoughts.begin(after);
        match self.story.begin(Prompt { before, text: prompt, after }, most, self.session) {
            Ok(()) => self.state = State::Reading,
            Err(error) => self.fail(&error),
        }
    }

    /// One batch or token.
    fn work(&mut self, start: Duration) {
        let (fed, reads) = (self.story.fed(), !self.story.is_read());
        let worked = if reads { self.read() } else { self.speak() };
        let end = self.clock.now();
        let took = end.saturating_sub(start);
        self.spent[usize::from(!reads)] += took;
        if self.story.fed() > fed {
            self.feed_watchdog();
        }
        if self.pace == Pace::Slow {
            self.rest = end.saturating_add(took);
        }
        match worked {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => self.end(),
            Err(error) => self.fail(&error),
        }
    }

    /// Reads a batch of the prompt.
    fn read(&mut self) -> Result<ControlFlow<()>, stonechat_core::Error> {
        self.story.read(self.session, self.crew.reading)?;
        if self.story.is_read() && self.thoughts.is_thinking() {
            self.think();
        }
        self.display.touch();
        Ok(ControlFlow::Continue(()))
    }

    /// Picks a token, says it and feeds it. Breaks where the answer ends.
    fn speak(&mut self) -> Result<ControlFlow<()>, stonechat_core::Error> {
        let Some(token) = self.story.pick(self.session) else { return Ok(ControlFlow::Break(())) };
        let tags = self.settings.thoughts;
        let Self { story, thoughts, display, talk, .. } = self;
        let mut spoke = false;
        let mut out = |text: &str| {
            spoke = true;
            display.add(text);
            talk.say(text);
        };
        let counts = |piece: &[u8]| tags.is_some_and(|tags| tags.have(piece));
        story.say(self.session, token, &counts, &mut |text| thoughts.push(text, &mut out))?;
        if self.thoughts.is_thinking() {
            self.think();
        } else if spoke {
            self.state = State::Speaking;
        }
        // What was said is seen before the next token is computed.
        self.show();
        self.story.feed(self.session, self.crew.speaking)?;
        Ok(ControlFlow::Continue(()))
    }

    fn think(&mut self) {
        if self.state != State::Thinking {
            self.state = State::Thinking;
            self.talk.remark(format_args!("thinking"));
        }
    }

    /// The answer ends.
    fn end(&mut self) {
        let Self { story, thoughts, display, talk, .. } = self;
        let mut out = |text: &str| {
            display.add(text);
            talk.say(text);
        };
        story.finish(&mut |text| thoughts.push(text, &mut out));
        thoughts.finish(&mut out);
        self.rest_in(State::Idle);
        let (read, written, [reading, speaking]) =
            (self.story.prompt_len(), self.story.written(), self.spent);
        self.remark(format_args!(
            "{read} tokens read in {} ms, {written} written in {} ms",
            reading.as_millis(),
            speaking.as_millis()
        ));
    }

    /// Somebody wants no more of it.
    fn stop(&mut self) {
        self.rest_in(State::Idle);
        self.remark(format_args!("stopped"));
    }

    /// It cannot be answered.
    fn fail(&mut self, error: &dyn fmt::Display) {
        self.rest_in(State::Error);
        self.remark(format_args!("{error}"));
        self.display.clear();
        let _ = write!(self.display, "{error}");
    }

    fn rest_in(&mut self, state: State) {
        self.state = state;
        self.answered = self.clock.now();
    }

    /// Says something in a line of its own, and invites to go on typing where that is what was interrupted.
    fn remark(&mut self, words: fmt::Arguments<'_>) {
        self.talk.remark(words);
        if !self.state.is_busy() {
            self.invite();
        }
    }

    /// Invites to type, or to go on typing.
    fn invite(&mut self) {
        self.talk.say("> ");
        if !self.editor.is_whole() {
            self.talk.send(self.editor.text());
        }
    }

    fn is_pressed(&mut self, now: Duration) -> bool {
        let Some(button) = self.button.as_deref_mut() else { return false };
        if !self.button_health.is_due(now) {
            return false;
        }
        let pressed = button.is_pressed();
        let failed = pressed.as_ref().map(|_| ()).map_err(Clone::clone);
        match self.button_health.note(failed, now, self.settings.retry) {
            Some(News::Failed(why)) => {
                self.remark(format_args!("the button does not answer ({why}); going on without it"));
            }
            Some(News::Back) => self.remark(format_args!("the button answers again")),
            None => {}
        }
        pressed.is_ok_and(|pressed| self.presses.look(pressed, now))
    }

    /// Reads the sensors, if it is time.
    fn measure(&mut self, now: Duration) {
        if self.measured.is_some_and(|at| now.saturating_sub(at) < self.settings.measure) {
            return;
        }
        self.measured = Some(now);
        let (mut pace, mut is_new) = (Pace::Full, false);
        for gauge in self.gauges.iter_mut() {
            if let Some(change) = gauge.measure(now, self.settings.retry) {
                self.talk.remark(format_args!("{change}"));
                is_new = true;
            }
            pace = pace.max(gauge.pace());
        }
        if is_new && !self.state.is_busy() {
            self.invite();
        }
        if pace != Pace::Full || is_new {
            self.display.touch();
        }
        self.pace = pace;
    }

    /// Waits, and tells the watchdog if time went on.
    fn wait(&mut self, time: Duration) {
        let before = self.clock.now();
        self.delay.delay_us(time.as_micros().try_into().unwrap_or(u32::MAX));
        if self.clock.now() > before {
            self.feed_watchdog();
        }
    }

    fn feed_watchdog(&mut self) {
        if let Some(watchdog) = self.watchdog.as_deref_mut() {
            watchdog.feed();
        }
    }

    /// Lamps and display.
    fn show(&mut self) {
        let (now, retry) = (self.clock.now(), self.settings.retry);
        let pauses = self.state.is_busy() && self.pace == Pace::Pause;
        let shines = !pauses || (now.as_millis() / BLINK.as_millis()).is_multiple_of(2);
        let mut news = heapless::Vec::<(State, News), { State::ALL.len() }>::new();
        self.lights.show(shines.then_some(self.state), now, retry, &mut |state, what| {
            let _ = news.push((state, what));
        });
        let is_new = !news.is_empty();
        news.iter().for_each(|(state, news)| remark_lamp(&mut self.talk, *state, news));

        let note = self.note();
        let (fed, prompt) = (self.story.fed(), self.story.prompt_len());
        let progress = (self.state == State::Reading).then(|| (1000 * fed / prompt.max(1)) as u16);
        let show = Show { state: self.state, pace: self.pace, note: &note, progress };
        let after =
            if self.shown == Some((self.state, self.pace)) { self.settings.draw } else { Duration::ZERO };
        self.shown = Some((self.state, self.pace));
        let news = self.display.draw(&show, now, after, retry);
        match &news {
            Some(News::Failed(why)) => {
                self.talk.remark(format_args!("the display does not answer ({why}); going on without it"));
            }
            Some(News::Back) => self.talk.remark(format_args!("the display answers again")),
            None => {}
        }
        if (is_new || news.is_some()) && !self.state.is_busy() {
            self.invite();
        }
    }

    /// What the display says beside the state: what sensors see that slows it, or else how far or fast it is.
    fn note(&self) -> heapless::String<24> {
        let mut note = heapless::String::new();
        let slowest = self.gauges.iter().max_by_key(|gauge| gauge.pace());
        let [_, speaking] = self.spent;
        // What does not fit is cut.
        let _ = match (self.state, slowest) {
            (_, Some(gauge)) if gauge.pace() != Pace::Full => write!(note, "{}", gauge.reading()),
            (State::Idle | State::Error, _) if self.talk.is_broken() => write!(note, "no line"),
            (State::Idle | State::Error, _) => Ok(()),
            (State::Reading, _) => write!(note, "{}/{}", self.story.fed(), self.story.prompt_len()),
            (State::Thinking | State::Speaking, _) if speaking.is_zero() => Ok(()),
            (State::Thinking | State::Speaking, _) => {
                let tenths = 10_000 * self.story.fed().saturating_sub(self.story.prompt_len()) as u128
                    / speaking.as_millis().max(1);
                write!(note, "{}.{}/s", tenths / 10, tenths % 10)
            }
        };
        note
    }
}

/// Says what is new of a lamp.
fn remark_lamp(talk: &mut Talk<'_>, state: State, news: &News) {
    match news {
        News::Failed(why) => {
            talk.remark(format_args!("the lamp for {state} does not answer ({why}); going on without it"));
        }
        News::Back => talk.remark(format_args!("the lamp for {state} answers again")),
    }
}
