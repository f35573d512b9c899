//! What the display shows, pixel by pixel: pictures of a simulated display are compared with those in `pictures/`, which
//! `docs/assistant-board.md` shows. `STONECHAT_PICTURES=1` draws them anew.

mod support;

use std::path::Path;
use std::time::Duration;

use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{Dimensions, Size};
use embedded_graphics::pixelcolor::{BinaryColor, Rgb888};
use embedded_graphics::primitives::Rectangle;
use embedded_graphics_simulator::{BinaryColorTheme, OutputSettingsBuilder, SimulatorDisplay};
use stonechat_assistant::{
    Assistant, Crew, Failed, Gauge, Latch, Limits, Panel, Parts, Settings, State, Surface, Tags,
};
use support::{Slowly, Terminal, Time, settings, with_session, with_session_of};

/// A simulated OLED display, which can be looked at while the assistant has it.
#[derive(Clone)]
struct Oled(std::rc::Rc<std::cell::RefCell<SimulatorDisplay<BinaryColor>>>);

impl Oled {
    fn new() -> Self {
        Self(std::rc::Rc::new(SimulatorDisplay::new(Size::new(128, 64)).into()))
    }

    /// Compares what is shown with a picture.
    fn check(&self, name: &str) {
        let look = OutputSettingsBuilder::new().scale(3).theme(BinaryColorTheme::OledBlue).build();
        let image = self.0.borrow().to_rgb_output_image(&look);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/pictures/{name}.png"));
        if std::env::var_os("STONECHAT_PICTURES").is_some() {
            image.save_png(&path).unwrap();
        }
        let expected = SimulatorDisplay::<Rgb888>::load_png(&path)
            .unwrap_or_else(|error| panic!("{}: {error}; STONECHAT_PICTURES=1 draws it", path.display()));
        assert!(
            image.as_image_buffer().as_raw() == &expected.to_be_bytes(),
            "the display does not show {}; STONECHAT_PICTURES=1 draws it anew, for you to look at",
            path.display()
        );
    }
}

impl Dimensions for Oled {
    fn bounding_box(&self) -> Rectangle {
        self.0.borrow().bounding_box()
    }
}

impl DrawTarget for Oled {
    type Color = BinaryColor;
    type Error = core::convert::Infallible;

    fn draw_iter<I: IntoIterator<Item = embedded_graphics::Pixel<BinaryColor>>>(
        &mut self,
        pixels: I,
    ) -> Result<(), Self::Error> {
        self.0.borrow_mut().draw_iter(pixels)
    }
}

impl Surface for Oled {}

const QUESTIONS: &[&str] = &["Once upon a time there was a little dog who", "The cat was sad, because"];

#[test]
fn a_question_is_asked_read_and_answered() {
    with_session(|session| {
        let (time, oled, latch) = (Time::default(), Oled::new(), Latch::new());
        let (mut delay, workers) = (time.clone(), Slowly::with(&time));
        let (mut panel, mut button) = (Panel::<_>::new(oled.clone()), &latch);
        let mut parts = Parts::new(&time, &mut delay);
        parts.button = Some(&mut button);
        parts.screen = Some(&mut panel);
        let settings = Settings { questions: QUESTIONS, most: 48, ..settings() };
        let settings = Settings { draw: Duration::ZERO, ..settings };
        let mut assistant =
            Assistant::<256, 512>::new(parts, session, Crew::both(&workers), settings).unwrap();
        let mut pass = |passes: usize| {
            (0..passes).for_each(|_| assert!(assistant.run_once().is_continue()));
            assistant.state()
        };
        assert_eq!(pass(2), State::Idle);
        oled.check("question");
        latch.press();
        assert_eq!(pass(3), State::Reading);
        oled.check("reading");
        assert_eq!(pass(12), State::Speaking);
        oled.check("speaking");
        assert_eq!(pass(60), State::Idle);
        oled.check("scrolled");
        latch.press();
        assert_eq!(pass(1), State::Idle);
        oled.check("next-question");
        // Whoever waits sees the other one.
        assert_eq!(pass(650), State::Idle);
        oled.check("question");
    });
}

#[test]
fn thoughts_are_not_shown() {
    with_session(|session| {
        let (time, oled) = (Time::default(), Oled::new());
        let (mut delay, workers) = (time.clone(), Slowly::with(&time));
        let (mut panel, mut serial) = (Panel::<_>::new(oled.clone()), Terminal::typing("Once upon a time\r"));
        let mut parts = Parts::new(&time, &mut delay);
        parts.serial = Some(&mut serial);
        parts.screen = Some(&mut panel);
        // The tiny model has no thoughts: words of its story serve as tags.
        let thoughts = Some(Tags { open: "little", close: "play" });
        let settings = Settings { thoughts, most: 40, draw: Duration::ZERO, ..settings() };
        let mut assistant =
            Assistant::<256, 512>::new(parts, session, Crew::both(&workers), settings).unwrap();
        while assistant.state() != State::Thinking {
            assert!(assistant.run_once().is_continue());
        }
        (0..3).for_each(|_| assert!(assistant.run_once().is_continue()));
        assert_eq!(assistant.state(), State::Thinking);
        oled.check("thinking");
    });
}

#[test]
fn heat_and_errors_are_shown_and_a_dark_display_is_dark() {
    with_session_of(16, |session| {
        let (time, oled, terminal) = (Time::default(), Oled::new(), Terminal::typing("The dog\r"));
        let (mut delay, workers) = (time.clone(), Slowly::with(&time));
        let (mut panel, mut serial) = (Panel::<_>::new(oled.clone()), terminal.clone());
        let celsius = std::cell::Cell::new(81_250);
        let mut sensor = || Ok::<i32, Failed>(celsius.get());
        let limits = Limits { well: 70_000, slow: 75_000, pause: 80_000 };
        let mut gauges = [Gauge::new("the temperature", "°C", &mut sensor, limits).unwrap()];
        let mut parts = Parts::new(&time, &mut delay);
        parts.serial = Some(&mut serial);
        parts.screen = Some(&mut panel);
        parts.gauges = &mut gauges;
        let mut assistant =
            Assistant::<256, 512>::new(parts, session, Crew::both(&workers), settings()).unwrap();
        (0..20).for_each(|_| assert!(assistant.run_once().is_continue()));
        oled.check("paused");
        celsius.set(60_000);
        terminal.type_("Once upon a time there was a dog and a cat and a bird and a fish\r");
        for passes in 0.. {
            assert!(assistant.run_once().is_continue());
            if assistant.state() == State::Error {
                break;
            }
            assert!(passes < 5000, "the prompt has no room: {}", terminal.shown());
        }
        (0..2).for_each(|_| assert!(assistant.run_once().is_continue()));
        oled.check("error");
        assistant.switch_off();
        let dark = SimulatorDisplay::new(Size::new(128, 64));
        assert!(oled.0.borrow().diff(&dark).is_none(), "nothing shines");
    });
}
