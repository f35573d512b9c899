//! Lines out of a serial port, byte by byte, edited as a terminal would.
//!
//! In: bytes, of which any may be garbage. Out: lines without their end. What is typed is echoed, because a serial
//! terminal shows only what comes back.

/// No line is longer.
pub const MOST_BYTES: usize = 256;

const BACKSPACE: u8 = 0x08;
const DELETE: u8 = 0x7f;
const END_OF_TRANSMISSION: u8 = 0x04;

/// What a byte made of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Typed {
    /// The line goes on.
    More,
    /// A line, which [`Editor::text`] tells. It need not be UTF-8.
    Line,
    /// A line that is longer than [`MOST_BYTES`].
    TooLong,
    /// An end of transmission (Ctrl-D).
    End,
}

/// Edits lines.
pub struct Editor {
    bytes: [u8; MOST_BYTES],
    len: usize,
    too_long: bool,
    /// Whether the line is whole: the next byte begins another one.
    whole: bool,
    /// Whether the last line ended in CR: an LF that follows belongs to it.
    returned: bool,
}

impl Default for Editor {
    fn default() -> Self {
        Self::new()
    }
}

impl Editor {
    /// With an empty line.
    pub const fn new() -> Self {
        Self { bytes: [0; MOST_BYTES], len: 0, too_long: false, whole: false, returned: false }
    }

    /// The line so far.
    pub fn text(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Whether the line is whole, and the next byte begins another one.
    pub const fn is_whole(&self) -> bool {
        self.whole
    }

    /// Takes a byte. What a terminal is to show for it goes to `echo`, whose errors are passed on.
    pub fn push<E>(&mut self, byte: u8, echo: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<Typed, E> {
        if core::mem::take(&mut self.whole) {
            (self.len, self.too_long) = (0, false);
        }
        let after_return = core::mem::replace(&mut self.returned, byte == b'\r');
        match byte {
            b'\n' if after_return => {}
            b'\r' | b'\n' => {
                self.whole = true;
                echo(b"\r\n")?;
                return Ok(if self.too_long { Typed::TooLong } else { Typed::Line });
            }
            END_OF_TRANSMISSION => return Ok(Typed::End),
            BACKSPACE | DELETE => {
                if self.len > 0 {
                    // A character may have several bytes, of which all but the first begin with the bits 10.
                    while self.len > 1 && self.bytes[self.len - 1] & 0xc0 == 0x80 {
                        self.len -= 1;
                    }
                    self.len -= 1;
                    echo(b"\x08 \x08")?;
                }
            }
            // Noise on the line, and keys that a prompt has no use for.
            0..b' ' => {}
            _ => match self.bytes.get_mut(self.len) {
                Some(place) => {
                    *place = byte;
                    self.len += 1;
                    echo(&[byte])?;
                }
                None => self.too_long = true,
            },
        }
        Ok(Typed::More)
    }
}

/// Hands text to `write` as a terminal wants it: lines end with CR and LF.
pub fn write_lines<E>(text: &str, write: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    for line in text.split_inclusive('\n') {
        match line.strip_suffix('\n') {
            Some(line) => {
                write(line.as_bytes())?;
                write(b"\r\n")?;
            }
            None => write(line.as_bytes())?,
        }
    }
    Ok(())
}
