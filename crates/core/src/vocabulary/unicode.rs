//! Characters of text that may be no valid UTF-8, and the classes into which pre-tokenizers sort them.

use super::unicode_table::RUNS;

/// What a pre-tokenizer can ask about the place where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Class {
    /// Everything else: punctuation, marks, symbols, unassigned characters, and bytes that are not UTF-8.
    Other,
    /// `\p{L}`.
    Letter,
    /// `\p{N}`.
    Number,
    /// `\s`: the property `White_Space`.
    Space,
    /// The text ends here.
    End,
}

impl Class {
    /// The class with this number in the table.
    const fn from_bits(bits: u32) -> Self {
        match bits & 3 {
            0 => Self::Other,
            1 => Self::Letter,
            2 => Self::Number,
            _ => Self::Space,
        }
    }

    /// The class of a code point, by binary search.
    fn of(point: u32) -> Self {
        let runs = RUNS.partition_point(|&run| run >> 2 <= point);
        Self::from_bits(RUNS[runs.saturating_sub(1)])
    }
}

static ASCII: [Class; 128] = ascii();

const fn ascii() -> [Class; 128] {
    let mut classes = [Class::Other; 128];
    let mut run = 0;
    let mut point = 0;
    while point < 128 {
        while RUNS[run + 1] >> 2 <= point {
            run += 1;
        }
        classes[point as usize] = Class::from_bits(RUNS[run]);
        point += 1;
    }
    classes
}

/// The class of the character that begins at `at`, and its length in bytes; `End` and 0 where none does.
///
/// A byte that does not begin a character counts as a character by itself.
#[inline]
pub(super) fn class_at(text: &[u8], at: usize) -> (Class, usize) {
    match text.get(at) {
        None => (Class::End, 0),
        Some(&byte) if byte < 0x80 => (ASCII[usize::from(byte)], 1),
        Some(_) => match decode(&text[at..]) {
            Some((point, len)) => (Class::of(point), len),
            None => (Class::Other, 1),
        },
    }
}

/// The length in bytes of the character that begins at `at`, which is in the text; 1 if the bytes are not UTF-8.
#[inline]
pub(super) fn len_at(text: &[u8], at: usize) -> usize {
    decode(&text[at..]).map_or(1, |(_, len)| len)
}

/// The first character and its length, if the text begins with valid UTF-8.
pub(super) fn decode(text: &[u8]) -> Option<(u32, usize)> {
    let tail = |index: usize| match text.get(index) {
        Some(&byte) if byte & 0xc0 == 0x80 => Some(u32::from(byte & 0x3f)),
        _ => None,
    };
    let first = u32::from(*text.first()?);
    // Each length's least code point rules out longer spellings of shorter characters.
    let (point, len, least) = match first {
        0..0x80 => (first, 1, 0),
        0xc2..0xe0 => ((first & 0x1f) << 6 | tail(1)?, 2, 0x80),
        0xe0..0xf0 => ((first & 0x0f) << 12 | tail(1)? << 6 | tail(2)?, 3, 0x800),
        0xf0..0xf5 => ((first & 0x07) << 18 | tail(1)? << 12 | tail(2)? << 6 | tail(3)?, 4, 0x1_0000),
        _ => return None,
    };
    let surrogate = (0xd800..0xe000).contains(&point);
    (point >= least && point < 0x11_0000 && !surrogate).then_some((point, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(c: char) -> Class {
        let mut buffer = [0; 4];
        class_at(c.encode_utf8(&mut buffer).as_bytes(), 0).0
    }

    #[test]
    fn whitespace_is_what_rust_calls_whitespace() {
        for c in '\0'..=char::MAX {
            assert_eq!(class(c) == Class::Space, c.is_whitespace(), "{c:?}");
        }
    }

    #[test]
    fn letters_and_numbers_are_alphanumeric_and_ascii_agrees_with_rust() {
        for c in '\0'..=char::MAX {
            let class = class(c);
            if matches!(class, Class::Letter | Class::Number) {
                assert!(c.is_alphanumeric(), "{c:?}");
            }
            if c.is_ascii() {
                assert_eq!(class == Class::Letter, c.is_ascii_alphabetic(), "{c:?}");
                assert_eq!(class == Class::Number, c.is_ascii_digit(), "{c:?}");
            }
        }
        // A mark is alphanumeric to Rust, but no letter: vowel signs split words in GPT-2's pattern.
        assert_eq!(class('\u{093e}'), Class::Other);
        assert_eq!([class('½'), class('Ⅷ'), class('१')], [Class::Number; 3]);
        assert_eq!([class('é'), class('ß'), class('中'), class('ก')], [Class::Letter; 4]);
    }

    #[test]
    fn decoding_agrees_with_rust_on_every_character_and_on_damaged_ones() {
        let mut buffer = [0; 4];
        for c in '\0'..=char::MAX {
            let text = c.encode_utf8(&mut buffer).as_bytes();
            assert_eq!(decode(text), Some((c as u32, text.len())));
            assert!(text.len() == 1 || decode(&text[..text.len() - 1]).is_none());
        }
        // A stray tail, a long spelling of '/', a surrogate, a point past the last, a head without its tail.
        for text in
            [&b"\x80"[..], b"\xc0\xaf", b"\xe0\x80\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2a"]
        {
            assert!(core::str::from_utf8(text).is_err());
            assert_eq!(decode(text), None, "{text:?}");
            assert_eq!(class_at(text, 0), (Class::Other, 1));
        }
    }
}
