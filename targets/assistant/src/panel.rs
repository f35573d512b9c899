//! A screen on any surface that `embedded-graphics` draws on: a line that says what goes on, and below it the text.
//!
//! ```text
//! +-------------------------+
//! |Reading             37/52|  what the assistant does, and a note
//! |===============----------|  how far it is
//! |> Why is the sea salt?   |  the text, which scrolls
//! ```
//!
//! In: what [`Screen`] is told. Out: pixels. A picture is always drawn as a whole; drivers with a buffer send what changed.

use core::fmt;

use embedded_graphics::Drawable;
use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{Point, Size};
use embedded_graphics::mono_font::iso_8859_1::FONT_5X8;
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::primitives::{Line, Primitive, PrimitiveStyle, Rectangle};
use embedded_graphics::text::{Baseline, Text};

use crate::gauge::Pace;
use crate::lines::Lines;
use crate::screen::{Screen, Show};
use crate::{Failed, State};

/// A display with two colours, and what its driver does beside drawing. A display with more colours is one through
/// `embedded-graphics`' `color_converted`.
pub trait Surface: DrawTarget<Color = BinaryColor> {
    /// Switches it on; again does no harm.
    fn begin(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }

    /// Shows what was drawn, if it is not to be seen at once.
    fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

#[cfg(feature = "ssd1306")]
impl<I, S> Surface for ssd1306::Ssd1306<I, S, ssd1306::mode::BufferedGraphicsMode<S>>
where
    I: display_interface::WriteOnlyDataCommand,
    S: ssd1306::size::DisplaySize,
{
    fn begin(&mut self) -> Result<(), Self::Error> {
        use ssd1306::mode::DisplayConfig as _;
        self.init()
    }

    fn flush(&mut self) -> Result<(), Self::Error> {
        Self::flush(self)
    }
}

/// Pixels between what goes on and the text: a bar of three, and space above and below.
const BAR: i32 = 3;
const GAP: i32 = 1;

/// A screen on a surface, which shows `COLUMNS` of text and `ROWS` at most, or what its font leaves.
pub struct Panel<S, const COLUMNS: usize = 32, const ROWS: usize = 16> {
    surface: S,
    font: &'static MonoFont<'static>,
    lines: Lines<COLUMNS, ROWS>,
}

impl<S: Surface, const COLUMNS: usize, const ROWS: usize> Panel<S, COLUMNS, ROWS> {
    /// With a font of five by eight pixels: 25 columns and 6 rows, where there are 128 by 64 pixels.
    pub fn new(surface: S) -> Self {
        Self::with_font(surface, &FONT_5X8)
    }

    /// With another font. Those that have ISO 8859-1 show most.
    pub fn with_font(surface: S, font: &'static MonoFont<'static>) -> Self {
        let (size, cell) = (surface.bounding_box().size, cell(font));
        let columns = (size.width + font.character_spacing) / cell.width.max(1);
        let rows = (size.height as i32 - top(font)).max(0) as u32 / cell.height.max(1);
        Self { surface, font, lines: Lines::new(columns as usize, rows as usize) }
    }

    /// The surface.
    pub const fn surface(&self) -> &S {
        &self.surface
    }

    fn draw_all(&mut self, show: &Show<'_>) -> Result<(), S::Error> {
        let Self { surface, font, lines } = self;
        let area = surface.bounding_box();
        let (origin, width) = (area.top_left, area.size.width);
        surface.clear(BinaryColor::Off)?;
        let style = MonoTextStyle::new(font, BinaryColor::On);

        let name = name(show);
        write(name.chars(), origin, style, surface)?;
        let room = (width / cell(font).width.max(1)) as usize;
        // A note that has no room beside the name is cut.
        let note = || show.note.chars().take(room.saturating_sub(name.len() + 1));
        let left = (cell(font).width as usize * note().count()) as i32;
        write(note(), origin + Point::new(width as i32 - left, 0), style, surface)?;

        let bar = origin + Point::new(0, cell(font).height as i32 + GAP);
        let middle = bar + Point::new(0, BAR / 2);
        Line::new(middle, middle + Point::new(width as i32 - 1, 0))
            .into_styled(PrimitiveStyle::with_stroke(BinaryColor::On, 1))
            .draw(surface)?;
        if let Some(progress) = show.progress {
            let done = (width * u32::from(progress.min(1000))).div_ceil(1000);
            Rectangle::new(bar, Size::new(done, BAR as u32))
                .into_styled(PrimitiveStyle::with_fill(BinaryColor::On))
                .draw(surface)?;
        }

        let mut at = origin + Point::new(0, top(font));
        for line in lines.iter() {
            write(line.iter().copied().map(char::from), at, style, surface)?;
            at.y += cell(font).height as i32;
        }
        surface.flush()
    }
}

impl<S: Surface, const COLUMNS: usize, const ROWS: usize> Screen for Panel<S, COLUMNS, ROWS>
where
    S::Error: fmt::Debug,
{
    fn begin(&mut self) -> Result<(), Failed> {
        self.surface.begin().map_err(|error| Failed::because(&error))
    }

    fn clear(&mut self) {
        self.lines.clear();
    }

    fn add(&mut self, text: &str) {
        self.lines.add(text);
    }

    fn draw(&mut self, show: &Show<'_>) -> Result<(), Failed> {
        self.draw_all(show).map_err(|error| Failed::because(&error))
    }

    fn blank(&mut self) -> Result<(), Failed> {
        let blank = self.surface.clear(BinaryColor::Off).and_then(|()| self.surface.flush());
        blank.map_err(|error| Failed::because(&error))
    }
}

/// What the assistant does, in a word.
const fn name(show: &Show<'_>) -> &'static str {
    match (show.state, show.pace) {
        (State::Idle, _) => "Ready",
        (State::Error, _) => "Sorry",
        (_, Pace::Pause) => "Paused",
        (State::Reading, _) => "Reading",
        (State::Thinking, _) => "Thinking",
        (State::Speaking, _) => "Speaking",
    }
}

/// The size of a character and the space around it.
const fn cell(font: &MonoFont<'_>) -> Size {
    Size::new(font.character_size.width + font.character_spacing, font.character_size.height)
}

/// Where text begins.
const fn top(font: &MonoFont<'_>) -> i32 {
    cell(font).height as i32 + GAP + BAR + GAP
}

/// Writes characters in one line.
fn write<S: Surface>(
    mut characters: impl Iterator<Item = char>,
    mut at: Point,
    style: MonoTextStyle<'_, BinaryColor>,
    surface: &mut S,
) -> Result<(), S::Error> {
    loop {
        // Fonts are given text, of which there is one part after the other.
        let mut text = heapless::String::<32>::new();
        for character in characters.by_ref() {
            // There is always room for one more character of four bytes.
            let _ = text.push(character);
            if text.len() + 4 > text.capacity() {
                break;
            }
        }
        if text.is_empty() {
            return Ok(());
        }
        at = Text::with_baseline(&text, at, style, Baseline::Top).draw(surface)?;
    }
}
