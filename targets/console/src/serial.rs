//! A serial port, from what a board's UART does with one byte.
//!
//! In: a [`Uart`]. Out: a [`Serial`] that reads and writes as `embedded-io` and [`core::fmt`] want it.

use core::convert::Infallible;
use core::fmt;
use core::marker::PhantomData;

use embedded_io::{ErrorType, Read, Write};

/// What a board's UART does. Its state is in the hardware.
pub trait Uart {
    /// Switches it on; again does no harm.
    fn switch_on();
    /// Waits for a byte.
    fn receive() -> u8;
    /// Waits until there is room, and sends a byte.
    fn send(byte: u8);
}

/// A UART as a stream of bytes. There may be several of one UART: a fault needs its own.
#[derive(Debug)]
pub struct Serial<U>(PhantomData<U>);

impl<U: Uart> Serial<U> {
    /// Switched on.
    #[allow(clippy::new_without_default, reason = "it switches hardware on")]
    pub fn new() -> Self {
        U::switch_on();
        Self(PhantomData)
    }
}

impl<U> ErrorType for Serial<U> {
    type Error = Infallible;
}

impl<U: Uart> Read for Serial<U> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let Some(first) = buffer.first_mut() else { return Ok(0) };
        *first = U::receive();
        Ok(1)
    }
}

impl<U: Uart> Write for Serial<U> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        bytes.iter().copied().for_each(U::send);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl<U: Uart> fmt::Write for Serial<U> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(U::send);
        Ok(())
    }
}
