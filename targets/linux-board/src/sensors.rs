//! What is measured: the temperature that the kernel tells, and files with a number.

use std::path::PathBuf;

use stonechat_assistant::{Failed, Limits, Sensor};
use stonechat_runtime::Board;

use crate::config::Config;

/// The hottest of the sensors that are about the CPU.
pub struct Thermometer(pub Board);

impl Sensor for Thermometer {
    fn read(&mut self) -> Result<i32, Failed> {
        let celsius = self.0.temperature().ok_or_else(|| Failed::because(&"the kernel tells none"))?;
        Ok((celsius * 1000.0).round() as i32)
    }
}

/// A file with a number, such as the kernel's hwmon drivers make.
pub struct NumberFile(pub PathBuf);

impl Sensor for NumberFile {
    fn read(&mut self) -> Result<i32, Failed> {
        let text = std::fs::read_to_string(&self.0).map_err(|error| Failed::because(&error))?;
        text.trim().parse().map_err(|error| Failed::because(&error))
    }
}

/// Kelvins below the temperature from which on the board slows itself down, at which the assistant is well again, goes half as
/// fast, and waits.
const BELOW: [i32; 3] = [12, 6, 1];

/// The limits of the temperature: those of the configuration, or else below where the board would slow down by itself, so that
/// it stays as fast as it is for what little it does then.
pub fn limits(config: &Config, board: &Board) -> Option<Limits> {
    if let Some(limits) = &config.temperature_limits {
        return Some(limits.get_ref().in_thousandths());
    }
    let most = (board.slows_at()? * 1000.0) as i32;
    let [well, slow, pause] = BELOW.map(|kelvins| most - kelvins * 1000);
    Some(Limits { well, slow, pause })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_gives_its_number_or_says_why_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in0_input");
        let mut sensor = NumberFile(path.clone());
        assert!(sensor.read().unwrap_err().to_string().contains("NotFound"));
        std::fs::write(&path, "5012\n").unwrap();
        assert_eq!(sensor.read(), Ok(5012));
        std::fs::write(&path, "much\n").unwrap();
        assert!(sensor.read().unwrap_err().to_string().contains("InvalidDigit"));
    }

    #[test]
    fn the_assistant_gives_way_before_the_board_does() {
        let mut board = Board::in_copy(std::path::Path::new("/nonexistent"));
        let config: Config = toml::from_str("").unwrap();
        assert_eq!(limits(&config, &board), None, "nobody knows when it slows down");
        board.profile = stonechat_runtime::board::Profile::named("raspberry-pi-5");
        assert_eq!(limits(&config, &board), Some(Limits { well: 68_000, slow: 74_000, pause: 79_000 }));
        let config: Config =
            toml::from_str("temperature_limits = { well = 50, slow = 60.5, pause = 70 }").unwrap();
        assert_eq!(limits(&config, &board), Some(Limits { well: 50_000, slow: 60_500, pause: 70_000 }));
    }
}
