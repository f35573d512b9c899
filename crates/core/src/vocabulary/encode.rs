//! Encoding: special tokens are found first, the text between them is cut into units, the units become tokens.

use core::ops::ControlFlow;

use super::error::Error;
use super::merge::{Merge, NO_TOKEN, Symbols, WORDS_PER_BYTE};
use super::pretokenize::Spelling;
use super::spm::Unit;
use super::text::Key;
use super::unigram::{Lattice, Unigram};
use super::{Bpe, Model, Spm, TokenKind, Vocabulary, WordPiece, bpe, spm, unigram};

/// How to encode a text. The default adds nothing and takes text that looks like a control token as text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Encode {
    /// Begin with BOS, if the vocabulary has one. [`Vocabulary::add_bos`] says whether the model expects it.
    pub bos: bool,
    /// Let control tokens in the text count as such.
    pub special: bool,
}

/// What became of a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Encoded {
    /// Tokens handed out.
    pub tokens: usize,
    /// Bytes that the vocabulary can spell in no way and that were left out. Some lack bytes that valid UTF-8 never
    /// has, or rare control characters.
    pub dropped: usize,
}

/// Why encoding ends early.
enum Stop {
    /// The receiver wants no more.
    Enough,
    /// The scratch is too small.
    NoRoom,
}

/// Where tokens go.
struct Sink<'o> {
    out: &'o mut dyn FnMut(u32) -> ControlFlow<()>,
    encoded: Encoded,
}

impl Sink<'_> {
    #[inline]
    fn put(&mut self, id: u32) -> Result<(), Stop> {
        self.encoded.tokens += 1;
        match (self.out)(id) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Stop::Enough),
        }
    }
}

/// A stretch of a text.
enum Fragment<'t> {
    Special(u32),
    /// Text, with or without a space to be put before it.
    Text(Unit<'t>),
}

impl<'a> Vocabulary<'a> {
    /// Words of scratch with which [`encode`](Self::encode) can do any text of `len` bytes.
    pub fn scratch_len(&self, len: usize) -> usize {
        match &self.model {
            Model::Bpe(_) | Model::Spm(_) => len.saturating_add(1).saturating_mul(WORDS_PER_BYTE),
            Model::WordPiece(_) => 0,
            // The space before the text, and what normalization makes of it.
            Model::Unigram(unigram) => {
                unigram::scratch_words(len.saturating_add(1).saturating_mul(unigram.growth))
            }
        }
    }

    /// Words of scratch that [`encode`](Self::encode) needs for this very text: as a rule far fewer, since no more
    /// than a word is in work at a time. Takes a fraction of the time that encoding does.
    pub fn scratch_for(&self, text: &[u8], options: Encode) -> usize {
        let mut most = 0;
        let Ok(()) = self.units::<core::convert::Infallible>(text, options.special, &mut |fragment| {
            if let Fragment::Text(unit) = fragment {
                most = most.max(match &self.model {
                    Model::Bpe(_) | Model::Spm(_) => unit.len().saturating_mul(WORDS_PER_BYTE),
                    Model::WordPiece(_) => 0,
                    Model::Unigram(unigram) => unigram::scratch_words(unigram.longest_word(unit.text)),
                });
            }
            Ok(())
        });
        most
    }

    /// Hands the tokens of `text` to `out` one by one, until it breaks off. `text` need not be UTF-8.
    ///
    /// Takes time in proportion to the text, but for a logarithm of the length of its longest word.
    pub fn encode(
        &self,
        text: &[u8],
        options: Encode,
        scratch: &mut [u32],
        out: &mut dyn FnMut(u32) -> ControlFlow<()>,
    ) -> Result<Encoded, Error> {
        let mut sink = Sink { out, encoded: Encoded::default() };
        match self.encode_all(text, options, scratch, &mut sink) {
            Ok(()) | Err(Stop::Enough) => Ok(sink.encoded),
            Err(Stop::NoRoom) => {
                Err(Error::Scratch { needed: self.scratch_for(text, options), given: scratch.len() })
            }
        }
    }

    fn encode_all(
        &self,
        text: &[u8],
        options: Encode,
        scratch: &mut [u32],
        sink: &mut Sink<'_>,
    ) -> Result<(), Stop> {
        if let Some(bos) = self.bos().filter(|_| options.bos) {
            sink.put(bos)?;
        }
        self.units(text, options.special, &mut |fragment| match (fragment, &self.model) {
            (Fragment::Special(id), _) => sink.put(id),
            (Fragment::Text(unit), Model::Bpe(bpe)) => self.encode_bpe(bpe, unit.text, scratch, sink),
            (Fragment::Text(unit), Model::Spm(_)) => self.encode_spm(unit, scratch, sink),
            (Fragment::Text(unit), Model::WordPiece(wordpiece)) => {
                self.encode_wordpiece(*wordpiece, unit.text, sink)
            }
            (Fragment::Text(unit), Model::Unigram(unigram)) => {
                self.encode_unigram(unigram, unit.text, scratch, sink)
            }
        })
    }

    /// Cuts a text into special tokens and units of text that are tokenized one by one.
    fn units<E>(
        &self,
        text: &[u8],
        special: bool,
        each: &mut dyn FnMut(Fragment<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let always = |id| self.kind(id) == TokenKind::UserDefined;
        // All text that is left between special tokens follows one of them or nothing.
        let prefix = self.add_space_prefix();
        let mut at = 0;
        loop {
            let next = self.special.next(text, at, special, |id| self.tokens.text(id), always);
            let mut end = next.map_or(text.len(), |found| found.start);
            if next.is_some_and(|found| self.strips.before(found.id)) {
                end = at + text[at..end].trim_ascii_end().len();
            }
            if at < end {
                let text = &text[at..end];
                match &self.model {
                    Model::Bpe(bpe) => {
                        bpe.split(text, &mut |text| each(Fragment::Text(Unit { prefix: false, text })))?;
                    }
                    Model::Spm(spm) => {
                        spm.split(Unit { prefix, text }, &mut |unit| each(Fragment::Text(unit)))?;
                    }
                    Model::WordPiece(_) | Model::Unigram(_) => {
                        each(Fragment::Text(Unit { prefix: false, text }))?;
                    }
                }
            }
            let Some(found) = next else { return Ok(()) };
            each(Fragment::Special(found.id))?;
            at = found.end;
            if self.strips.after(found.id) {
                at = text.len() - text[at..].trim_ascii_start().len();
            }
        }
    }

    fn encode_bpe(
        &self,
        bpe: &Bpe<'a>,
        piece: &[u8],
        scratch: &mut [u32],
        sink: &mut Sink<'_>,
    ) -> Result<(), Stop> {
        let characters = bpe.pre.spelling == Spelling::Characters;
        if bpe.takes_whole(piece) {
            let written = |id| bpe::is_written(self.tokens.text(id), piece);
            let whole = if characters {
                self.find_unit(Unit { prefix: false, text: piece })
            } else {
                self.index.find(bpe::key_written(piece), written)
            };
            if let Some(id) = whole.filter(|&id| self.tokens.is_plain(id)) {
                return sink.put(id);
            }
        }
        let mut symbols = symbols(scratch, piece.len())?;
        if characters {
            let find = |unit: Unit<'_>| self.find_unit(unit).filter(|&id| self.tokens.is_plain(id));
            bpe.merge_characters(piece, find, &mut symbols);
        } else {
            bpe.merge_bytes(piece, &self.bytes, &mut symbols);
        }
        for symbol in symbols.iter() {
            if symbol.id != NO_TOKEN {
                sink.put(symbol.id)?;
            } else if characters {
                self.spell(Unit { prefix: false, text: &piece[symbol.start..symbol.end] }, sink)?;
            } else {
                sink.encoded.dropped += 1;
            }
        }
        Ok(())
    }

    fn encode_wordpiece(&self, wordpiece: WordPiece, text: &[u8], sink: &mut Sink<'_>) -> Result<(), Stop> {
        let find = |key, text: &[u8]| self.find_plain(key, text);
        wordpiece.split(text, &mut |word| {
            if let Some(ids) = word.tokens(self.max_len, find) {
                return ids.into_iter().try_for_each(|id| sink.put(id));
            }
            if let Some(unknown) = self.unknown() {
                return sink.put(unknown);
            }
            sink.encoded.dropped += word.len();
            Ok(())
        })
    }

    fn encode_unigram(
        &self,
        unigram: &Unigram<'_>,
        text: &[u8],
        scratch: &mut [u32],
        sink: &mut Sink<'_>,
    ) -> Result<(), Stop> {
        let find = |key, text: &[u8]| {
            let id = self.find_plain(key, text)?;
            match self.tokens.kind(id) {
                TokenKind::UserDefined => Some((id, 0.0)),
                TokenKind::Unused => None,
                _ => Some((id, f64::from(self.tokens.score(id)))),
            }
        };
        let mut put = |id| match (id, self.unknown()) {
            (NO_TOKEN, Some(unknown)) => sink.put(unknown),
            (NO_TOKEN, None) => {
                sink.encoded.dropped += 1;
                Ok(())
            }
            (id, _) => sink.put(id),
        };
        let mut lattice = Lattice::new(scratch);
        unigram.normalize(text, &mut |part, begins| {
            if begins {
                lattice.end(unigram, self.max_len, find, &mut put)?;
            }
            if lattice.push(part) { Ok(()) } else { Err(Stop::NoRoom) }
        })?;
        lattice.end(unigram, self.max_len, find, &mut put)
    }

    /// The token that plain text may become, by its text and the key of that.
    fn find_plain(&self, key: Key, text: &[u8]) -> Option<u32> {
        self.index.find(key, |id| self.tokens.text(id) == text).filter(|&id| self.tokens.is_plain(id))
    }

    /// The token whose text is how a unit is written.
    fn find_unit(&self, unit: Unit<'_>) -> Option<u32> {
        self.index.find(unit.key(), |id| unit.is(self.tokens.text(id)))
    }

    fn encode_spm(&self, unit: Unit<'_>, scratch: &mut [u32], sink: &mut Sink<'_>) -> Result<(), Stop> {
        let find = |part: Unit<'_>| {
            if part.len() > self.max_len {
                return None;
            }
            let id = self.find_unit(part)?;
            self.tokens.is_plain(id).then(|| Merge { rank: spm::rank(self.tokens.score(id)), id })
        };
        let mut symbols = symbols(scratch, unit.len())?;
        Spm::merge(unit, &mut symbols, find);
        for symbol in symbols.iter() {
            let part = unit.part(symbol.start, symbol.end);
            if symbol.id != NO_TOKEN {
                sink.put(symbol.id)?;
            } else if let Some(merge) = find(part) {
                sink.put(merge.id)?;
            } else {
                self.spell(part, sink)?;
            }
        }
        Ok(())
    }

    /// Spells a character that is no token in bytes.
    fn spell(&self, character: Unit<'_>, sink: &mut Sink<'_>) -> Result<(), Stop> {
        let mut bytes = character.written().flatten().map(|&byte| self.bytes[usize::from(byte)]);
        if bytes.clone().all(|id| id != NO_TOKEN) {
            return bytes.try_for_each(|id| sink.put(id));
        }
        let Some(unknown) = self.unknown() else {
            sink.encoded.dropped += character.len();
            return Ok(());
        };
        sink.put(unknown)
    }
}

fn symbols(scratch: &mut [u32], len: usize) -> Result<Symbols<'_>, Stop> {
    Symbols::new(scratch, len).ok_or(Stop::NoRoom)
}
