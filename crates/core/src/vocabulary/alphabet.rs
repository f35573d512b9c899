//! The alphabet of byte-level vocabularies: each byte is written as a printable character, so that tokens are text.
//!
//! Printable Latin-1 bytes stand for themselves; the other 68 are written as the characters from U+0100 on, in order.
//! This is GPT-2's convention, and every byte-level tokenizer since has kept it.

/// The character that each byte is written as.
static CHARACTERS: [u16; 256] = characters();

/// The characters that a byte can be written as lie below this.
const END: usize = 0x144;

/// The byte that each character stands for; [`NO_BYTE`] for those that stand for none.
static BYTES: [u16; END] = bytes();

const NO_BYTE: u16 = u16::MAX;

const fn characters() -> [u16; 256] {
    let mut characters = [0; 256];
    let mut next = 0x100;
    let mut byte = 0;
    while byte < 256 {
        if matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) {
            characters[byte] = byte as u16;
        } else {
            characters[byte] = next;
            next += 1;
        }
        byte += 1;
    }
    characters
}

const fn bytes() -> [u16; END] {
    let mut bytes = [NO_BYTE; END];
    let mut byte = 0;
    while byte < 256 {
        bytes[characters()[byte] as usize] = byte as u16;
        byte += 1;
    }
    bytes
}

/// The character that a byte is written as, in UTF-8: one byte or two.
#[derive(Clone, Copy)]
pub(super) struct Written {
    utf8: [u8; 2],
    len: u8,
}

impl Written {
    #[inline]
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.utf8[..usize::from(self.len)]
    }
}

/// How `byte` is written.
#[inline]
pub(super) fn write(byte: u8) -> Written {
    let c = CHARACTERS[usize::from(byte)];
    if c < 0x80 {
        Written { utf8: [c as u8, 0], len: 1 }
    } else {
        Written { utf8: [0xc0 | (c >> 6) as u8, 0x80 | (c & 0x3f) as u8], len: 2 }
    }
}

/// The byte that a character stands for, if it is of the alphabet.
#[inline]
pub(super) fn read(point: u32) -> Option<u8> {
    let byte = *BYTES.get(point as usize)?;
    (byte != NO_BYTE).then_some(byte as u8)
}

#[cfg(test)]
mod tests {
    use super::super::unicode::decode;
    use super::*;

    #[test]
    fn each_byte_is_read_as_it_is_written() {
        for byte in 0..=255 {
            let written = write(byte);
            let (point, len) = decode(written.as_bytes()).unwrap();
            assert_eq!(len, written.as_bytes().len());
            assert_eq!(read(point), Some(byte));
        }
        assert_eq!(write(b' ').as_bytes(), "Ġ".as_bytes());
        assert_eq!(write(b'\n').as_bytes(), "Ċ".as_bytes());
        assert_eq!(write(b'a').as_bytes(), b"a");
    }

    #[test]
    fn other_characters_stand_for_no_byte() {
        for c in [' ', '\u{7f}', '\u{ad}', '\u{144}', '▁', '中'] {
            assert_eq!(read(c as u32), None, "{c:?}");
        }
    }
}
