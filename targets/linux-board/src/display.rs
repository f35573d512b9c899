//! A small OLED display on an I2C bus.
//!
//! In: a bus and an address. Out: an [`Oled`], a screen of an assistant. That a device answers there shows when it is first
//! drawn to; the assistant tells if none does, and tries again.

use std::fmt;
use std::path::Path;

use linux_embedded_hal::I2cdev;
use ssd1306::mode::BufferedGraphicsMode;
use ssd1306::prelude::{DisplayRotation, DisplaySize128x64, I2CInterface};
use ssd1306::{I2CDisplayInterface, Ssd1306};
use stonechat_assistant::Panel;

/// A display of 128 by 64 pixels, with an SSD1306 or what behaves as one.
pub type Oled =
    Panel<Ssd1306<I2CInterface<I2cdev>, DisplaySize128x64, BufferedGraphicsMode<DisplaySize128x64>>>;

/// The one on the bus of this device file.
pub fn open(bus: &Path, address: u8, upside_down: bool) -> Result<Oled, impl fmt::Display + use<>> {
    I2cdev::new(bus).map(|bus| {
        let rotation = if upside_down { DisplayRotation::Rotate180 } else { DisplayRotation::Rotate0 };
        let interface = I2CDisplayInterface::new_custom_address(bus, address);
        Panel::new(Ssd1306::new(interface, DisplaySize128x64, rotation).into_buffered_graphics_mode())
    })
}
