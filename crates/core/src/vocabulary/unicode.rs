//! Characters of text that may be no valid UTF-8, and what tokenizers ask of them.

use super::unicode_table::{BASES, MANY_BASES, RUNS, WIDE_BASES};

/// The general categories of Unicode, as far as a tokenizer tells them apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Class {
    /// No character, and bytes that are not UTF-8.
    Unassigned,
    /// `\p{Lu}`.
    Upper,
    /// `\p{Ll}`.
    Lower,
    /// `\p{Lt}`.
    Title,
    /// `\p{Lm}`.
    Modifier,
    /// `\p{Lo}`: letters without case.
    Letter,
    /// `\p{Mn}`: accents.
    Accent,
    /// `\p{Mc}` and `\p{Me}`.
    Mark,
    /// `\p{Nd}`.
    Digit,
    /// `\p{Nl}` and `\p{No}`.
    Number,
    /// `\p{Pc}`.
    Connector,
    /// `\p{P}` but for [`Class::Connector`].
    Punctuation,
    /// `\p{S}`.
    Symbol,
    /// `\s`: the property `White_Space`.
    Space,
    /// `\p{C}`, but for spaces and what is unassigned.
    Control,
}

/// A set of classes, a bit for each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Classes(pub(super) u16);

impl Classes {
    pub(super) const NONE: Self = Self(0);
    pub(super) const ALL: Self = Self(u16::MAX);
    pub(super) const SPACE: Self = Self::of(&[Class::Space]);
    pub(super) const DIGIT: Self = Self::of(&[Class::Digit]);
    /// `\p{L}`.
    pub(super) const LETTERS: Self =
        Self::of(&[Class::Upper, Class::Lower, Class::Title, Class::Modifier, Class::Letter]);
    /// `\p{M}`.
    pub(super) const MARKS: Self = Self::of(&[Class::Accent, Class::Mark]);
    /// `\p{N}`.
    pub(super) const NUMBERS: Self = Self::of(&[Class::Digit, Class::Number]);
    /// `\p{P}`.
    pub(super) const PUNCTUATION: Self = Self::of(&[Class::Connector, Class::Punctuation]);

    pub(super) const fn of(classes: &[Class]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < classes.len() {
            bits |= 1 << classes[at] as u16;
            at += 1;
        }
        Self(bits)
    }

    pub(super) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    #[inline]
    pub(super) const fn contains(self, class: Class) -> bool {
        self.0 >> class as u16 & 1 != 0
    }
}

/// The number that marks runs in which upper and lower case alternate.
const ALTERNATING: u32 = 15;

impl Class {
    const ALL: [Self; 15] = [
        Self::Unassigned,
        Self::Upper,
        Self::Lower,
        Self::Title,
        Self::Modifier,
        Self::Letter,
        Self::Accent,
        Self::Mark,
        Self::Digit,
        Self::Number,
        Self::Connector,
        Self::Punctuation,
        Self::Symbol,
        Self::Space,
        Self::Control,
    ];

    /// The class of a code point that lies in this run of the table.
    const fn in_run(run: u32, point: u32) -> Self {
        match run & 15 {
            ALTERNATING if (point - (run >> 4)) & 1 == 0 => Self::Upper,
            ALTERNATING => Self::Lower,
            class => Self::ALL[class as usize],
        }
    }

    /// The class of a code point, by binary search among the runs of its page.
    pub(super) fn of(point: u32) -> Self {
        let page = (point >> PAGE_BITS) as usize;
        let (first, last) = (usize::from(PAGES[page]), usize::from(PAGES[page + 1]));
        let run = first + RUNS[first + 1..=last].partition_point(|&run| run >> 4 <= point);
        Self::in_run(RUNS[run], point)
    }
}

/// Code points of a page share all but so many bits.
const PAGE_BITS: u32 = 10;
const PAGE_COUNT: usize = 0x11_0000 >> PAGE_BITS;

/// The run in which each page begins, and the last run, once more for the page after the last.
static PAGES: [u16; PAGE_COUNT + 1] = pages();

const fn pages() -> [u16; PAGE_COUNT + 1] {
    let mut pages = [(RUNS.len() - 1) as u16; PAGE_COUNT + 1];
    let mut run = 0;
    let mut page = 0;
    while page < PAGE_COUNT {
        while run + 1 < RUNS.len() && RUNS[run + 1] >> 4 <= (page as u32) << PAGE_BITS {
            run += 1;
        }
        pages[page] = run as u16;
        page += 1;
    }
    pages
}

/// The classes of ASCII.
pub(super) static ASCII: [Class; 128] = ASCII_CLASSES;
pub(super) const ASCII_CLASSES: [Class; 128] = ascii();

const fn ascii() -> [Class; 128] {
    let mut classes = [Class::Unassigned; 128];
    let mut run = 0;
    let mut point = 0;
    while point < 128 {
        while RUNS[run + 1] >> 4 <= point {
            run += 1;
        }
        classes[point as usize] = Class::in_run(RUNS[run], point);
        point += 1;
    }
    classes
}

/// The class of the character that begins at `at`, and its length in bytes; nothing where the text ends.
///
/// A byte that does not begin a character counts as a character by itself.
#[inline]
pub(super) fn class_at(text: &[u8], at: usize) -> Option<(Class, usize)> {
    let &byte = text.get(at)?;
    if byte < 0x80 {
        return Some((ASCII[usize::from(byte)], 1));
    }
    Some(match decode(&text[at..]) {
        Some((point, len)) => (Class::of(point), len),
        None => (Class::Unassigned, 1),
    })
}

/// The length in bytes of the character that ends before `at`, where one does.
pub(super) fn len_before(text: &[u8], at: usize) -> usize {
    let len = (2..=at.min(4)).find(|len| decode(&text[at - len..at]).is_some_and(|(_, found)| found == *len));
    len.unwrap_or(1)
}

/// What is left of a character without its accents, in up to three parts; `None` where it has none.
///
/// That is its canonical decomposition (NFD) without characters of the category Mn.
pub(super) fn without_accents(point: u32) -> Option<[u32; 3]> {
    if (0xac00..0xd7a4).contains(&point) {
        // Syllables of Hangul: The Unicode Standard, section 3.12.
        let syllable = point - 0xac00;
        let (lead, vowel, tail) = (syllable / 588, syllable % 588 / 28, syllable % 28);
        return Some([0x1100 + lead, 0x1161 + vowel, if tail == 0 { 0 } else { 0x11a7 + tail }]);
    }
    if let Ok(narrow) = u16::try_from(point)
        && let Ok(at) = BASES.binary_search_by_key(&narrow, |entry| entry[0])
    {
        return Some([u32::from(BASES[at][1]), 0, 0]);
    }
    if let Ok(at) = WIDE_BASES.binary_search_by_key(&point, |entry| entry[0]) {
        return Some([WIDE_BASES[at][1], 0, 0]);
    }
    let at = MANY_BASES.binary_search_by_key(&point, |entry| entry[0]).ok()?;
    let [_, parts @ ..] = MANY_BASES[at];
    Some(parts)
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
        class_at(c.encode_utf8(&mut buffer).as_bytes(), 0).unwrap().0
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
            let (letter, number) = (Classes::LETTERS.contains(class), Classes::NUMBERS.contains(class));
            if letter || number {
                assert!(c.is_alphanumeric(), "{c:?}");
            }
            // What is upper or lower case to Rust beside letters are a few marks and signs in circles.
            assert!(class != Class::Upper || c.is_uppercase(), "{c:?}");
            // Newer versions of Unicode call one letter caseless that has had a case.
            assert!(class != Class::Lower || c.is_lowercase() || c == 'ʕ', "{c:?}");
            if c.is_ascii() {
                assert_eq!(letter, c.is_ascii_alphabetic(), "{c:?}");
                assert_eq!(number, c.is_ascii_digit(), "{c:?}");
                let sign = class == Class::Symbol || Classes::PUNCTUATION.contains(class);
                assert_eq!(sign, c.is_ascii_punctuation(), "{c:?}");
                assert_eq!(class == Class::Control, c.is_ascii_control() && !c.is_whitespace(), "{c:?}");
            }
        }
        // A mark is alphanumeric to Rust, but no letter: vowel signs split words in GPT-2's pattern.
        assert_eq!([class('\u{093e}'), class('\u{301}')], [Class::Mark, Class::Accent]);
        assert_eq!([class('½'), class('Ⅷ'), class('१')], [Class::Number, Class::Number, Class::Digit]);
        assert_eq!([class('É'), class('ß'), class('ǅ')], [Class::Upper, Class::Lower, Class::Title]);
        assert_eq!([class('ʰ'), class('中'), class('ก')], [Class::Modifier, Class::Letter, Class::Letter]);
        assert_eq!(
            [class('_'), class('…'), class('€')],
            [Class::Connector, Class::Punctuation, Class::Symbol]
        );
        assert_eq!([class('\u{ad}'), class('\u{378}')], [Class::Control, Class::Unassigned]);
    }

    #[test]
    fn characters_lose_their_accents_as_in_tokenizers() {
        for c in ('\0'..='\u{2fa1d}').filter(|&c| class(c) != Class::Unassigned) {
            let mut text = tokenizers::NormalizedString::from(std::string::String::from(c));
            text.nfd().filter(|c| class(c) != Class::Accent);
            let parts = without_accents(c as u32).unwrap_or([c as u32, 0, 0]);
            let found: std::string::String =
                parts.into_iter().filter(|&part| part != 0).filter_map(char::from_u32).collect();
            // One was new in Unicode 13, which the other side does not know yet.
            if c != '\0' && class(c) != Class::Accent && c != '\u{11938}' {
                assert_eq!(found, text.get(), "{c:?}");
            }
        }
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
            assert_eq!(class_at(text, 0), Some((Class::Unassigned, 1)));
        }
    }
}
