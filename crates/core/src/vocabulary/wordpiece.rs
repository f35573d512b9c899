//! WordPiece, the tokenizer of BERT, which files call `bert`: text loses its accents and capital letters, is cut into
//! words and signs, and each word becomes the longest tokens that spell it.
//!
//! Files write the beginning of a word as `▁`, where BERT's own vocabularies mark what continues one. A word that no
//! tokens spell, or of more than [`MAX_CHARACTERS`], is unknown as a whole.

use super::spm::SPACE;
use super::text::{Hash, Key};
use super::unicode::{Class, Classes, decode, len_at, without_accents};

/// Characters of a word; what `tokenizers` allows.
const MAX_CHARACTERS: usize = 100;

/// What the tokenizer needs beyond the tokens.
#[derive(Clone, Copy)]
pub(super) struct WordPiece {
    /// Letters become small ones.
    pub(super) lowercase: bool,
    /// Accents are left out.
    pub(super) strip_accents: bool,
}

/// A word as it is looked up, with the sign of its beginning.
pub(super) struct Word {
    text: [u8; SPACE.len() + 4 * MAX_CHARACTERS],
    len: usize,
    characters: usize,
}

impl Word {
    fn new() -> Self {
        let mut text = [0; _];
        text[..SPACE.len()].copy_from_slice(SPACE);
        Self { text, len: SPACE.len(), characters: 0 }
    }

    fn push(&mut self, c: char) {
        if self.characters < MAX_CHARACTERS {
            self.len += c.encode_utf8(&mut self.text[self.len..]).len();
        }
        self.characters += 1;
    }

    /// Its bytes, as far as they are known.
    pub(super) fn len(&self) -> usize {
        self.len - SPACE.len()
    }

    fn is_empty(&self) -> bool {
        self.characters == 0
    }

    /// The longest tokens of which the word consists, or nothing. `find` looks a text with its key up.
    pub(super) fn tokens(
        &self,
        max_len: usize,
        find: impl Fn(Key, &[u8]) -> Option<u32>,
    ) -> Option<heapless::Vec<u32, { MAX_CHARACTERS + 1 }>> {
        if self.characters > MAX_CHARACTERS {
            return None;
        }
        let word = &self.text[..self.len];
        let mut ids = heapless::Vec::new();
        let mut start = 0;
        while start < word.len() {
            // The sign of a beginning within a word is a character of it; what goes on from it as a token does not.
            let sign = start > 0 && word[start..].starts_with(SPACE);
            let max_len = if sign { SPACE.len() } else { max_len };
            let mut best = None;
            let mut hash = Hash::EMPTY;
            let mut end = start;
            while end < word.len() && end - start < max_len {
                let len = len_at(word, end);
                hash = hash.with(&word[end..end + len]);
                end += len;
                // The sign alone is a token that goes on; nothing can begin a word and be empty.
                if end > SPACE.len()
                    && let Some(id) = find(hash.finish(), &word[start..end])
                {
                    best = Some((id, end));
                }
            }
            let (id, end) = best?;
            ids.push(id).ok()?;
            start = end;
        }
        Some(ids)
    }
}

impl WordPiece {
    /// Hands out the words of a text, until one is refused.
    pub(super) fn split<E>(self, text: &[u8], each: &mut dyn FnMut(&Word) -> Result<(), E>) -> Result<(), E> {
        let mut word = Word::new();
        let mut at = 0;
        while at < text.len() {
            let (point, len) = decode(&text[at..]).unwrap_or((REPLACEMENT, 1));
            at += len;
            match Class::of(point) {
                // Control characters, though some of them are white space.
                Class::Control | Class::Space if matches!(point, 0x0b | 0x0c | 0x85) => continue,
                Class::Control => continue,
                _ if point == REPLACEMENT => continue,
                Class::Space => {
                    end_word(&mut word, each)?;
                    continue;
                }
                _ => {}
            }
            let alone = is_chinese(point);
            if alone {
                end_word(&mut word, each)?;
            }
            if self.strip_accents {
                if let Some(parts) = without_accents(point) {
                    for part in parts.into_iter().filter(|&part| part != 0) {
                        self.add(part, &mut word, each)?;
                    }
                } else if Class::of(point) != Class::Accent {
                    self.add(point, &mut word, each)?;
                }
            } else {
                self.add(point, &mut word, each)?;
            }
            if alone {
                end_word(&mut word, each)?;
            }
        }
        end_word(&mut word, each)
    }

    /// Adds a character to a word; a sign is one by itself.
    fn add<E>(
        self,
        point: u32,
        word: &mut Word,
        each: &mut dyn FnMut(&Word) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(c) = char::from_u32(point) else { return Ok(()) };
        if c.is_ascii_punctuation() || Classes::PUNCTUATION.contains(Class::of(point)) {
            end_word(word, each)?;
            word.push(c);
            return end_word(word, each);
        }
        if self.lowercase {
            c.to_lowercase().for_each(|c| word.push(c));
        } else {
            word.push(c);
        }
        Ok(())
    }
}

fn end_word<E>(word: &mut Word, each: &mut dyn FnMut(&Word) -> Result<(), E>) -> Result<(), E> {
    if !word.is_empty() {
        each(word)?;
        *word = Word::new();
    }
    Ok(())
}

/// U+FFFD, which is left out, as is what it would stand for.
const REPLACEMENT: u32 = 0xfffd;

/// Characters that are words by themselves: the blocks that BERT's tokenizer lists, as `tokenizers` has them.
fn is_chinese(point: u32) -> bool {
    matches!(
        point,
        0x4e00..=0x9fff
            | 0x3400..=0x4dbf
            | 0x2_0000..=0x2_a6df
            | 0x2_a700..=0x2_b73f
            | 0x2_b740..=0x2_b81f
            | 0x2_b920..=0x2_ceaf
            | 0xf900..=0xfaff
            | 0x2_f800..=0x2_fa1f
    )
}
