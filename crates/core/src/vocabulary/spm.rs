//! The tokenizer of SentencePiece's BPE models, which files call `llama`: characters merge to tokens, those with the
//! best score first, and what is no token is spelled in bytes. Spaces are written as `▁`.

use super::merge::{Merge, NO_TOKEN, Symbol, Symbols};
use super::text::{Hash, Key};
use super::unicode::len_at;

/// How a space is written.
pub(super) const SPACE: &[u8] = "▁".as_bytes();

/// What the tokenizer needs beyond the tokens.
pub(super) struct Spm {
    /// Text that follows a special token, or nothing, gets a space before it.
    pub(super) add_space: bool,
    /// No token has a `▁` after another character, so that words never merge with one another.
    pub(super) words: bool,
}

/// A text with or without a space before it, which is not in the text itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unit<'t> {
    pub(super) prefix: bool,
    pub(super) text: &'t [u8],
}

impl<'t> Unit<'t> {
    /// Its bytes, the space before it included.
    pub(super) fn len(self) -> usize {
        self.text.len() + usize::from(self.prefix)
    }

    /// The unit that makes up the bytes from `start` to `end`.
    #[inline]
    pub(super) fn part(self, start: usize, end: usize) -> Self {
        let shift = usize::from(self.prefix);
        Self { prefix: self.prefix && start == 0, text: &self.text[start.saturating_sub(shift)..end - shift] }
    }

    /// The unit as it is written in a vocabulary, in parts that are not empty.
    #[inline]
    pub(super) fn written(self) -> impl Iterator<Item = &'t [u8]> + Clone {
        let prefix = if self.prefix { SPACE } else { &[] };
        let parts = self.text.split_inclusive(|&byte| byte == b' ').flat_map(|part| match part {
            [word @ .., b' '] => [word, SPACE],
            word => [word, &[][..]],
        });
        // Comparing no bytes at an address that is none takes some processors a hundred times as long as comparing a
        // few: an empty slice may have such an address.
        core::iter::once(prefix).chain(parts).filter(|part| !part.is_empty())
    }

    #[inline]
    pub(super) fn key(self) -> Key {
        self.written().fold(Hash::EMPTY, Hash::with).finish()
    }

    /// Whether a token's text is how the unit is written.
    #[inline]
    pub(super) fn is(self, mut token: &[u8]) -> bool {
        self.written().all(|part| match token.strip_prefix(part) {
            Some(rest) => {
                token = rest;
                true
            }
            None => false,
        }) && token.is_empty()
    }
}

impl Spm {
    /// Cuts a unit into those that never merge with one another, and hands them out until one is refused.
    pub(super) fn split<E>(
        &self,
        unit: Unit<'_>,
        each: &mut dyn FnMut(Unit<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Unit { mut prefix, mut text } = unit;
        while self.words
            && let Some(end) = word_end(text)
        {
            each(Unit { prefix, text: &text[..end] })?;
            (prefix, text) = (false, &text[end..]);
        }
        each(Unit { prefix, text })
    }

    /// Merges the characters of a unit. `find` looks a part of the unit up: its rank and its token.
    pub(super) fn merge(unit: Unit<'_>, symbols: &mut Symbols<'_>, find: impl Fn(Unit<'_>) -> Option<Merge>) {
        if unit.prefix {
            symbols.push(NO_TOKEN, 1);
        }
        let mut at = 0;
        while at < unit.text.len() {
            let len = len_at(unit.text, at);
            symbols.push(NO_TOKEN, len);
            at += len;
        }
        symbols.merge(|left: Symbol, right: Symbol| find(unit.part(left.start, right.end)));
    }
}

/// Where the first word of `text` ends, if another follows: words begin with their spaces.
pub(super) fn word_end(text: &[u8]) -> Option<usize> {
    let mut after_space = true;
    let mut at = 0;
    while at < text.len() {
        let len = match text[at] {
            b' ' => 1,
            0xe2 if text[at..].starts_with(SPACE) => SPACE.len(),
            _ => 0,
        };
        if len > 0 && !after_space {
            return Some(at);
        }
        after_space = len > 0;
        at += len.max(1);
    }
    None
}

/// Whether a token holds a `▁` after another character.
pub(super) fn joins_words(mut token: &[u8]) -> bool {
    while let Some(rest) = token.strip_prefix(SPACE) {
        token = rest;
    }
    token.windows(SPACE.len()).any(|window| window == SPACE)
}

/// The order of scores as a rank, the best first. Every number has its place, NaN too.
pub(super) fn rank(score: f32) -> u32 {
    // Both zeros are one score.
    let bits = (score + 0.0).to_bits();
    if bits >> 31 == 0 { 0x7fff_ffff - bits } else { bits }
}

/// Reads a token's text: writes it to `out` with spaces for `▁`, and gives the length.
pub(super) fn read(mut text: &[u8], out: &mut [u8]) -> usize {
    let mut len = 0;
    while let Some(&first) = text.first() {
        let (byte, rest) = match text.strip_prefix(SPACE) {
            Some(rest) => (b' ', rest),
            None => (first, &text[1..]),
        };
        out[len] = byte;
        len += 1;
        text = rest;
    }
    len
}

/// How a byte is spelled as a token: `<0x0A>`.
pub(super) fn spell(byte: u8) -> [u8; 6] {
    let digit = |value: u8| b"0123456789ABCDEF"[usize::from(value)];
    [b'<', b'0', b'x', digit(byte >> 4), digit(byte & 15), b'>']
}

/// The byte that a token spells.
pub(super) fn spelled(text: &[u8]) -> Option<u8> {
    let &[b'<', b'0', b'x', high, low, b'>'] = text else { return None };
    let digit = |character: u8| char::from(character).to_digit(16);
    Some((digit(high)? << 4 | digit(low)?) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;
    use std::vec::Vec;

    #[test]
    fn better_scores_have_lower_ranks() {
        let scores = [f32::INFINITY, 3.0, 1e-40, 0.0, -1e-40, -1.0, -31740.0, f32::NEG_INFINITY];
        assert!(scores.is_sorted_by(|&a, &b| rank(a) < rank(b)));
        assert_eq!(rank(0.0), rank(-0.0));
    }

    #[test]
    fn words_begin_with_their_spaces() {
        let spm = Spm { add_space: true, words: true };
        let mut words = Vec::new();
        let unit = Unit { prefix: true, text: "one two  three▁four \u{2582}".as_bytes() };
        let Ok(()) = spm.split::<core::convert::Infallible>(unit, &mut |unit| {
            words.push(unit.written().map(String::from_utf8_lossy).collect::<String>());
            Ok(())
        });
        assert_eq!(words, ["▁one", "▁two", "▁▁three", "▁four", "▁\u{2582}"]);
    }

    #[test]
    fn a_part_of_a_unit_counts_the_space_before_it() {
        let unit = Unit { prefix: true, text: b"a b" };
        assert!(unit.is("▁a▁b".as_bytes()));
        assert!(unit.part(0, 1).is("▁".as_bytes()));
        assert!(unit.part(0, 2).is("▁a".as_bytes()));
        assert!(unit.part(1, 4).is("a▁b".as_bytes()));
        assert!(!unit.part(1, 4).is("a▁".as_bytes()));
        assert!(!unit.part(1, 4).is("a▁bc".as_bytes()));
        assert_eq!(unit.len(), 4);
    }

    #[test]
    fn tokens_that_join_words_are_seen() {
        assert!(!joins_words("▁▁word".as_bytes()));
        assert!(!joins_words("▁▁".as_bytes()));
        assert!(joins_words("of▁the".as_bytes()));
        assert!(joins_words("▁of▁".as_bytes()));
    }

    #[test]
    fn bytes_are_spelled_in_hex() {
        assert_eq!(&spell(0x0a), b"<0x0A>");
        assert_eq!((0..=255).map(|byte| spelled(&spell(byte))).position(|byte| byte.is_none()), None);
        assert_eq!([spelled(b"<0xG0>"), spelled(b"<0x0>"), spelled(b"")], [None; 3]);
    }
}
