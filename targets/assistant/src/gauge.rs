//! Sensors that are heeded: before the board throttles itself, the assistant slows down, pauses, and goes on.
//!
//! In: readings. Out: a [`Pace`]. Limits have hysteresis: what was slowed or paused goes on as before only once the reading
//! has come back to where all is well.

use core::fmt;
use core::time::Duration;

use crate::Failed;
use crate::health::{Health, News};

/// Something that measures.
pub trait Sensor {
    /// A reading, in thousandths of a unit: of °C, V or W.
    fn read(&mut self) -> Result<i32, Failed>;
}

impl<F: FnMut() -> Result<i32, Failed>> Sensor for F {
    fn read(&mut self) -> Result<i32, Failed> {
        self()
    }
}

/// Where a reading begins to matter, in thousandths of the sensor's unit. Where `pause` is above `well`, high readings are
/// bad (a temperature); where it is below, low ones (the voltage of a battery).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Back to here, all is well again.
    pub well: i32,
    /// From here on, tokens take twice their time.
    pub slow: i32,
    /// From here on, there are none.
    pub pause: i32,
}

/// Limits that are in no order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LimitsError(pub Limits);

impl fmt::Display for LimitsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [well, slow, pause] = [self.0.well, self.0.slow, self.0.pause].map(Thousandths);
        write!(
            f,
            "the limits well {well}, slow {slow} and pause {pause} of a sensor neither rise nor fall; put `slow` between \
             the other two"
        )
    }
}

impl core::error::Error for LimitsError {}

/// How fast the assistant may go.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Pace {
    /// As fast as it can.
    #[default]
    Full,
    /// Half as fast: after each batch or token it waits as long as that took.
    Slow,
    /// Not at all.
    Pause,
}

/// A sensor that is heeded.
pub struct Gauge<'h> {
    name: &'h str,
    unit: &'h str,
    sensor: &'h mut dyn Sensor,
    limits: Limits,
    reading: i32,
    pace: Pace,
    health: Health,
}

impl<'h> Gauge<'h> {
    /// A sensor, with what it measures in people's words ("the temperature"), in which unit ("°C"), and its limits. An error
    /// if these neither rise nor fall.
    pub fn new(
        name: &'h str,
        unit: &'h str,
        sensor: &'h mut dyn Sensor,
        limits: Limits,
    ) -> Result<Self, LimitsError> {
        let Limits { well, slow, pause } = limits;
        if !((well < slow && slow < pause) || (well > slow && slow > pause)) {
            return Err(LimitsError(limits));
        }
        Ok(Self { name, unit, sensor, limits, reading: 0, pace: Pace::Full, health: Health::default() })
    }

    /// How fast this sensor lets the assistant go.
    pub const fn pace(&self) -> Pace {
        self.pace
    }

    /// The last reading, for people.
    pub(crate) fn reading(&self) -> impl fmt::Display {
        Reading(self.reading, self.unit)
    }

    /// Measures. Returns what is new, if anything is.
    pub(crate) fn measure(&mut self, now: Duration, retry: Duration) -> Option<Change<'_, 'h>> {
        if !self.health.is_due(now) {
            return None;
        }
        let read = self.sensor.read();
        let before = self.pace;
        match &read {
            Ok(reading) => {
                self.reading = *reading;
                self.pace = self.pace_at(*reading);
            }
            // Nobody knows how it goes on, but for the board, which can throttle itself.
            Err(_) => self.pace = self.pace.min(Pace::Slow),
        }
        let news = self.health.note(read.map(|_| ()), now, retry);
        (news.is_some() || self.pace != before).then_some(Change { gauge: self, news, before })
    }

    /// The pace at a reading, coming from the pace before.
    fn pace_at(&self, reading: i32) -> Pace {
        let Limits { well, slow, pause } = self.limits;
        let reaches = |limit| if well < pause { reading >= limit } else { reading <= limit };
        match self.pace {
            _ if reaches(pause) => Pace::Pause,
            Pace::Full if reaches(slow) => Pace::Slow,
            before if reaches(well) && reading != well => before,
            _ => Pace::Full,
        }
    }
}

/// What is new of a sensor, as a sentence.
pub(crate) struct Change<'g, 'h> {
    gauge: &'g Gauge<'h>,
    news: Option<News>,
    before: Pace,
}

impl fmt::Display for Change<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Gauge { name, unit, limits, pace, .. } = self.gauge;
        match &self.news {
            Some(News::Failed(why)) => {
                write!(f, "the sensor for {name} does not answer ({why}); going on ")?;
                return f.write_str(if *pace == Pace::Full { "without it" } else { "slowly" });
            }
            Some(News::Back) => write!(f, "the sensor for {name} answers again")?,
            None => {}
        }
        if *pace == self.before {
            return Ok(());
        }
        f.write_str(if self.news.is_some() { "; " } else { "" })?;
        write!(f, "{name} is {}: ", self.gauge.reading())?;
        match pace {
            Pace::Full => f.write_str("full speed again"),
            Pace::Slow => write!(f, "half speed until it is {}", Reading(limits.well, unit)),
            Pace::Pause => write!(f, "pausing until it is {}", Reading(limits.well, unit)),
        }
    }
}

/// A reading with its unit.
struct Reading<'u>(i32, &'u str);

impl fmt::Display for Reading<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", Thousandths(self.0), self.1)
    }
}

/// A number of thousandths, with one digit behind the point.
struct Thousandths(i32);

impl fmt::Display for Thousandths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = (self.0.unsigned_abs() + 50) / 100;
        let sign = if self.0 < 0 && tenths > 0 { "-" } else { "" };
        write!(f, "{sign}{}.{}", tenths / 10, tenths % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::{String, ToString};
    use std::vec::Vec;

    const RETRY: Duration = Duration::from_secs(5);

    /// The paces that readings lead to, one each second; `None` is a sensor that does not answer. And what is said.
    fn paces(limits: Limits, readings: &[Option<i32>]) -> (Vec<Pace>, Vec<String>) {
        let mut next = readings.iter();
        let mut sensor =
            || next.next().copied().flatten().ok_or_else(|| Failed::because(&format_args!("no answer")));
        let mut gauge = Gauge::new("the temperature", "°C", &mut sensor, limits).unwrap();
        let mut said = Vec::new();
        let paces = (0..readings.len() as u64).map(|second| {
            said.extend(gauge.measure(Duration::from_secs(second), RETRY).map(|change| change.to_string()));
            gauge.pace()
        });
        (paces.collect(), said)
    }

    const WARM: Limits = Limits { well: 70_000, slow: 75_000, pause: 80_000 };

    #[test]
    fn what_was_slowed_or_paused_goes_on_only_when_all_is_well_again() {
        use Pace::{Full, Pause, Slow};
        let readings = [74_900, 75_000, 74_000, 80_000, 76_000, 70_001, 70_000, 74_000, 90_000, 20_000];
        let (paces, said) = paces(WARM, &readings.map(Some));
        assert_eq!(paces, [Full, Slow, Slow, Pause, Pause, Pause, Full, Full, Pause, Full]);
        assert_eq!(said[0], "the temperature is 75.0 °C: half speed until it is 70.0 °C");
        assert_eq!(said[1], "the temperature is 80.0 °C: pausing until it is 70.0 °C");
        assert_eq!(said[2], "the temperature is 70.0 °C: full speed again");
        assert_eq!(said.len(), 5);
    }

    #[test]
    fn a_battery_is_bad_when_it_is_low() {
        use Pace::{Full, Pause, Slow};
        let limits = Limits { well: 3_700, slow: 3_500, pause: 3_300 };
        let (paces, _) = paces(limits, &[3_600, 3_500, 3_600, 3_299, 3_699, 3_700, 4_200].map(Some));
        assert_eq!(paces, [Full, Slow, Slow, Pause, Pause, Full, Full]);
    }

    #[test]
    fn a_sensor_that_fails_slows_what_it_had_paused_and_is_asked_again_later() {
        use Pace::{Full, Pause, Slow};
        let (none, hot) = (None, Some(85_000));
        let (paces, said) = paces(WARM, &[none, none, none, none, none, hot, none, none, none, none, none]);
        // The first failure is asked after five seconds, the second one too: the readings in between are not taken.
        assert_eq!(paces, [Full, Full, Full, Full, Full, Full, Full, Full, Full, Full, Full]);
        assert_eq!(said, ["the sensor for the temperature does not answer (no answer); going on without it"]);
        let (paces, said) = self::paces(WARM, &[hot, none, hot]);
        assert_eq!(paces, [Pause, Slow, Slow]);
        assert_eq!(said[1], "the sensor for the temperature does not answer (no answer); going on slowly");
    }

    #[test]
    fn a_sensor_that_comes_back_is_heeded_again() {
        let mut answers = [Ok(20_000), Err(Failed::because(&"loose")), Ok(85_000)].into_iter();
        let mut sensor = || answers.next().unwrap();
        let mut gauge = Gauge::new("the temperature", "°C", &mut sensor, WARM).unwrap();
        let mut at = |second| {
            gauge
                .measure(Duration::from_secs(second), RETRY)
                .map(|change| change.to_string())
                .unwrap_or_default()
        };
        assert_eq!(at(0), "");
        assert_eq!(at(1), "the sensor for the temperature does not answer (\"loose\"); going on without it");
        assert_eq!(at(5), "", "not asked yet");
        let back = "the sensor for the temperature answers again; \
                    the temperature is 85.0 °C: pausing until it is 70.0 °C";
        assert_eq!(at(6), back);
    }

    #[test]
    fn limits_in_no_order_are_refused() {
        let mut sensor = || Ok(0);
        let limits = Limits { well: 70_000, slow: 90_000, pause: 80_000 };
        let error = Gauge::new("it", "", &mut sensor, limits).err().unwrap();
        assert!(error.to_string().starts_with("the limits well 70.0, slow 90.0 and pause 80.0"), "{error}");
    }

    #[test]
    fn readings_have_one_digit_behind_the_point() {
        let texts = [-40_000, -49, -50, 0, 49, 50, 3_299].map(|reading| Thousandths(reading).to_string());
        assert_eq!(texts, ["-40.0", "0.0", "-0.1", "0.0", "0.0", "0.1", "3.3"]);
    }
}
