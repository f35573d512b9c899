//! BPE by a list of merges: a pre-tokenizer cuts the text, and in each piece pairs merge to tokens in the order of the
//! list. Of bytes in GPT-2's tokenizer and nearly all since, of characters in Gemma 4's.

use super::alphabet;
use super::index::MergeIndex;
use super::merge::{Merge, NO_TOKEN, Symbols};
use super::pretokenize::{PreTokenizer, Spelling, Whole};
use super::spm::{Unit, word_end};
use super::text::{Hash, Key};
use super::unicode::{decode, len_at};

/// What BPE needs beyond the tokens.
pub(super) struct Bpe<'a> {
    pub(super) pre: &'static PreTokenizer,
    pub(super) merges: MergeIndex<'a>,
    /// Where characters merge: no token has a `▁` after another character, so that words never merge with one another.
    pub(super) words: bool,
}

impl Bpe<'_> {
    /// Cuts a text into pieces that never merge with one another, and hands them out until one is refused.
    pub(super) fn split<E>(
        &self,
        text: &[u8],
        each: &mut dyn FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.pre.split(text, &mut |piece| {
            if self.pre.spelling == Spelling::Bytes || !self.words {
                return each(piece);
            }
            let mut rest = piece;
            while let Some(end) = word_end(rest) {
                let (word, after) = rest.split_at(end);
                each(word)?;
                rest = after;
            }
            each(rest)
        })
    }

    /// Whether a piece becomes a token as a whole, if there is one.
    pub(super) fn takes_whole(&self, piece: &[u8]) -> bool {
        match self.pre.whole {
            Whole::None => false,
            Whole::All => true,
            Whole::LineEnds => piece.iter().all(|&byte| byte == b'\n'),
        }
    }

    /// Merges the bytes of a piece, which `bytes` makes tokens of first.
    pub(super) fn merge_bytes(&self, piece: &[u8], bytes: &[u32; 256], symbols: &mut Symbols<'_>) {
        for &byte in piece {
            symbols.push(bytes[usize::from(byte)], 1);
        }
        self.merge(symbols);
    }

    /// Merges the characters of a piece, which `find` makes tokens of first.
    pub(super) fn merge_characters(
        &self,
        piece: &[u8],
        find: impl Fn(Unit<'_>) -> Option<u32>,
        symbols: &mut Symbols<'_>,
    ) {
        let mut at = 0;
        while at < piece.len() {
            let len = len_at(piece, at);
            let character = Unit { prefix: false, text: &piece[at..at + len] };
            symbols.push(find(character).unwrap_or(NO_TOKEN), len);
            at += len;
        }
        self.merge(symbols);
    }

    fn merge(&self, symbols: &mut Symbols<'_>) {
        symbols.merge(|left, right| {
            if left.id == NO_TOKEN || right.id == NO_TOKEN {
                return None;
            }
            let (rank, id) = self.merges.find(left.id, right.id)?;
            Some(Merge { rank, id })
        });
    }
}

/// The key of `piece` as it is written in a vocabulary.
pub(super) fn key_written(piece: &[u8]) -> Key {
    piece.iter().fold(Hash::EMPTY, |hash, &byte| hash.with(alphabet::write(byte).as_bytes())).finish()
}

/// Whether a token's text is how `piece` is written.
pub(super) fn is_written(mut text: &[u8], piece: &[u8]) -> bool {
    piece.iter().all(|&byte| match text.strip_prefix(alphabet::write(byte).as_bytes()) {
        Some(rest) => {
            text = rest;
            true
        }
        None => false,
    }) && text.is_empty()
}

/// Reads a token's text: writes the bytes that its characters stand for to `out`, and gives their number. Characters
/// that stand for no byte are kept as they are. `out` must be as long as the text.
pub(super) fn read(text: &[u8], out: &mut [u8]) -> usize {
    let mut at = 0;
    let mut len = 0;
    while at < text.len() {
        let (byte, width) = match decode(&text[at..]) {
            Some((point, width)) => (alphabet::read(point), width),
            None => (None, 1),
        };
        if let Some(byte) = byte {
            out[len] = byte;
            len += 1;
        } else {
            out[len..len + width].copy_from_slice(&text[at..at + width]);
            len += width;
        }
        at += width;
    }
    len
}
