//! Lines out of a serial port, byte by byte, edited as a terminal would.
//!
//! In: bytes, of which any may be garbage. Out: lines without their end. What is typed is echoed, because a serial
//! terminal shows only what comes back.

use embedded_io::{Read, Write};

/// No line is longer.
pub const MOST_BYTES: usize = 256;

const BACKSPACE: u8 = 0x08;
const DELETE: u8 = 0x7f;
const END_OF_TRANSMISSION: u8 = 0x04;

/// What came.
#[derive(PartialEq, Eq, Debug)]
pub enum Line<'l> {
    /// A line. It need not be UTF-8.
    Text(&'l [u8]),
    /// A line that is longer than [`MOST_BYTES`], of which nothing was kept.
    TooLong,
    /// The end: nothing more will come.
    End,
}

/// Reads lines.
pub struct Reader {
    bytes: [u8; MOST_BYTES],
    /// Whether the last line ended in CR: an LF that follows belongs to it.
    returned: bool,
}

impl Reader {
    pub const fn new() -> Self {
        Self { bytes: [0; MOST_BYTES], returned: false }
    }

    /// The next line.
    pub fn line<P: Read + Write>(&mut self, port: &mut P) -> Result<Line<'_>, P::Error> {
        let (mut len, mut too_long) = (0, false);
        loop {
            let mut byte = [0];
            if port.read(&mut byte)? == 0 {
                return Ok(Line::End);
            }
            let [byte] = byte;
            let after_return = core::mem::replace(&mut self.returned, byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\r' | b'\n' => {
                    port.write_all(b"\r\n")?;
                    port.flush()?;
                    return Ok(if too_long { Line::TooLong } else { Line::Text(&self.bytes[..len]) });
                }
                END_OF_TRANSMISSION => return Ok(Line::End),
                BACKSPACE | DELETE => {
                    if len > 0 {
                        // A character may have several bytes, of which all but the first begin with the bits 10.
                        while len > 1 && self.bytes[len - 1] & 0xc0 == 0x80 {
                            len -= 1;
                        }
                        len -= 1;
                        port.write_all(b"\x08 \x08")?;
                    }
                }
                // Noise on the line, and keys that a prompt has no use for.
                0..b' ' => {}
                _ => match self.bytes.get_mut(len) {
                    Some(place) => {
                        *place = byte;
                        len += 1;
                        port.write_all(&[byte])?;
                    }
                    None => too_long = true,
                },
            }
            port.flush()?;
        }
    }
}
