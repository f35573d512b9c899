//! SentencePiece's unigram model, which files call `t5`: of all ways to spell a word in tokens, the one whose scores
//! have the largest sum. Spaces are written as `▁`.
//!
//! A text is normalized as it is read, by the map that the file carries, and cut into words; each is written to the
//! caller's scratch and decided by itself, which no token can tell where none spans two words.

use super::charsmap::Charsmap;
use super::index::Prefixes;
use super::merge::NO_TOKEN;
use super::spm::SPACE;
use super::text::{Hash, Key};
use super::unicode::{decode, len_at};

/// What the tokenizer needs beyond the tokens.
pub(super) struct Unigram<'a> {
    /// Text that follows a special token, or nothing, gets a space before it.
    pub(super) add_space: bool,
    /// Of several spaces one is left, and none at the end.
    pub(super) merge_spaces: bool,
    pub(super) charsmap: Option<Charsmap<'a>>,
    /// Every beginning of a token.
    pub(super) prefixes: Prefixes<'a>,
    /// The score of a character that no token spells.
    pub(super) unknown: f64,
    /// No token has a `▁` after another character, so that words never share one.
    pub(super) words: bool,
    /// The most bytes that a byte of text can become.
    pub(super) growth: usize,
}

/// What stands for bytes that are no character.
const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

/// A character that no token spells costs so much more than the worst token.
pub(super) const UNKNOWN_PENALTY: f64 = 10.0;

/// The best way to reach a place in a word.
///
/// Words of scratch per byte: the sum's two halves, the token, and where it begins.
const PLACE_WORDS: usize = 4;

/// Words of scratch for a word of `len` bytes: its text, and a place before and after each byte.
pub(super) const fn scratch_words(len: usize) -> usize {
    if len == 0 {
        return 0;
    }
    len.div_ceil(4).saturating_add(len.saturating_add(1).saturating_mul(PLACE_WORDS))
}

/// The longest word for which there is room in `words` words of scratch.
const fn room(words: usize) -> usize {
    let mut len = words.saturating_sub(PLACE_WORDS) * 4 / (4 * PLACE_WORDS + 1);
    while scratch_words(len + 1) <= words {
        len += 1;
    }
    while scratch_words(len) > words {
        len -= 1;
    }
    len
}

/// Takes a sequence of bytes, and whether a word begins with it.
type Receiver<'r, E> = dyn FnMut(&[u8], bool) -> Result<(), E> + 'r;

impl Unigram<'_> {
    /// Normalizes a text and hands it out, byte sequence by byte sequence, until one is refused. With each comes
    /// whether a word begins with it.
    pub(super) fn normalize<E>(&self, text: &[u8], each: &mut Receiver<'_, E>) -> Result<(), E> {
        let mut after_space = true;
        let mut hand_out = |part: &[u8]| {
            let space = part == SPACE;
            let begins = self.words && space && !after_space;
            after_space = space;
            each(part, begins)
        };
        // Where spaces are merged, none ends the text, even if it was written as `▁` already.
        let mut held = 0usize;
        let mut put = |part: &[u8]| {
            if self.merge_spaces && part == SPACE {
                held += 1;
                return Ok(());
            }
            for _ in 0..core::mem::take(&mut held) {
                hand_out(SPACE)?;
            }
            hand_out(part)
        };
        if self.add_space && !self.merge_spaces && !text.is_empty() {
            put(SPACE)?;
        }
        let mut first = true;
        let mut in_word = false;
        let mut at = 0;
        while at < text.len() {
            let (mut part, len) = match self.charsmap.and_then(|map| map.replace(&text[at..])) {
                Some(found) => found,
                None => match decode(&text[at..]) {
                    Some((_, len)) => (&text[at..at + len], len),
                    None => (REPLACEMENT, 1),
                },
            };
            at += len;
            while !part.is_empty() {
                let (c, rest) = part.split_at(len_at(part, 0));
                part = rest;
                if c == b" " {
                    in_word = false;
                    if !self.merge_spaces {
                        put(SPACE)?;
                    }
                    continue;
                }
                if !in_word && self.merge_spaces && (self.add_space || !first) {
                    put(SPACE)?;
                }
                (first, in_word) = (false, true);
                put(c)?;
            }
        }
        Ok(())
    }

    /// The bytes of the longest word of a text.
    pub(super) fn longest_word(&self, text: &[u8]) -> usize {
        let (mut longest, mut len) = (0, 0);
        let Ok(()) = self.normalize::<core::convert::Infallible>(text, &mut |part, begins| {
            len = part.len() + if begins { 0 } else { len };
            longest = longest.max(len);
            Ok(())
        });
        longest
    }
}

/// A word that is being written, and the scratch in which it is decided.
pub(super) struct Lattice<'s> {
    text: &'s mut [u8],
    len: usize,
    places: Places<'s>,
}

struct Places<'s>(&'s mut [[u32; PLACE_WORDS]]);

/// Marks a place that is not reached yet.
const UNREACHED: u32 = u32::MAX;

impl Places<'_> {
    fn sum(&self, at: usize) -> f64 {
        let [low, high, ..] = self.0[at];
        f64::from_bits(u64::from(high) << 32 | u64::from(low))
    }

    /// Reaches `to` by a token from `from`, if that is better than what there is.
    fn reach(&mut self, from: usize, to: usize, id: u32, sum: f64) {
        if self.0[to][3] == UNREACHED || sum > self.sum(to) {
            let bits = sum.to_bits();
            self.0[to] = [bits as u32, (bits >> 32) as u32, id, from as u32];
        }
    }
}

impl<'s> Lattice<'s> {
    /// Room for as long a word as the scratch allows.
    pub(super) fn new(scratch: &'s mut [u32]) -> Self {
        let room = room(scratch.len());
        let (text, places) = scratch.split_at_mut(room.div_ceil(4));
        let (places, _) = places.as_chunks_mut();
        Self { text: &mut bytemuck::cast_slice_mut(text)[..room], len: 0, places: Places(places) }
    }

    /// Appends to the word, or says that there is no room.
    pub(super) fn push(&mut self, part: &[u8]) -> bool {
        let end = self.len + part.len();
        let Some(room) = self.text.get_mut(self.len..end) else { return false };
        room.copy_from_slice(part);
        self.len = end;
        true
    }

    /// Ends the word: hands out its tokens, [`NO_TOKEN`] for each run of characters that none spells, until one is
    /// refused. `find` looks a text with its key up, and gives the token and its score.
    pub(super) fn end<E>(
        &mut self,
        unigram: &Unigram<'_>,
        max_len: usize,
        find: impl Fn(Key, &[u8]) -> Option<(u32, f64)>,
        each: &mut dyn FnMut(u32) -> Result<(), E>,
    ) -> Result<(), E> {
        let len = core::mem::take(&mut self.len);
        if len == 0 {
            return Ok(());
        }
        let word = &self.text[..len];
        let places = &mut self.places;
        places.0[..=len].fill([0, 0, NO_TOKEN, UNREACHED]);
        let mut start = 0;
        while start < len {
            let sum = places.sum(start);
            let next = start + len_at(word, start);
            let mut single = false;
            let mut hash = Hash::EMPTY;
            let mut end = start;
            while end < len && end - start < max_len {
                let character = len_at(word, end);
                hash = hash.with(&word[end..end + character]);
                end += character;
                let key = hash.finish();
                if !unigram.prefixes.contains(key) {
                    break;
                }
                if let Some((id, score)) = find(key, &word[start..end]) {
                    single |= end == next;
                    places.reach(start, end, id, sum + score);
                }
            }
            if !single {
                places.reach(start, next, NO_TOKEN, sum + unigram.unknown);
            }
            start = next;
        }
        // The way back is turned around: each place learns where the next token ends.
        let mut at = len;
        while at > 0 {
            let from = places.0[at][3] as usize;
            places.0[from][0] = at as u32;
            at = from;
        }
        let mut unknown = false;
        while at < len {
            at = places.0[at][0] as usize;
            let id = places.0[at][2];
            if id != NO_TOKEN || !unknown {
                each(id)?;
            }
            unknown = id == NO_TOKEN;
        }
        Ok(())
    }
}
