//! Encoding: special tokens are found first, the text between them is cut into units, the units become tokens.

use core::ops::ControlFlow;

use super::error::Error;
use super::merge::{Merge, NO_TOKEN, Symbols, WORDS_PER_BYTE};
use super::pretokenize::Whole;
use super::spm::Unit;
use super::{Bpe, Model, Spm, TokenKind, Vocabulary, bpe, spm};

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
    Failed(Error),
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
        len.saturating_add(1).saturating_mul(WORDS_PER_BYTE)
    }

    /// Words of scratch that [`encode`](Self::encode) needs for this very text: as a rule far fewer, since no more
    /// than a word is in work at a time. Takes a fraction of the time that encoding does.
    pub fn scratch_for(&self, text: &[u8], options: Encode) -> usize {
        let mut longest = 0;
        let Ok(()) = self.units::<core::convert::Infallible>(text, options.special, &mut |fragment| {
            if let Fragment::Text(unit) = fragment {
                longest = longest.max(unit.len());
            }
            Ok(())
        });
        longest.saturating_mul(WORDS_PER_BYTE)
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
            Err(Stop::Failed(error)) => Err(error),
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
            let end = next.map_or(text.len(), |found| found.start);
            if at < end {
                let text = &text[at..end];
                match &self.model {
                    Model::Bpe(bpe) => {
                        bpe.pre
                            .split(text, &mut |text| each(Fragment::Text(Unit { prefix: false, text })))?;
                    }
                    Model::Spm(spm) => {
                        spm.split(Unit { prefix, text }, &mut |unit| each(Fragment::Text(unit)))?;
                    }
                }
            }
            let Some(found) = next else { return Ok(()) };
            each(Fragment::Special(found.id))?;
            at = found.end;
        }
    }

    fn encode_bpe(
        &self,
        bpe: &Bpe<'a>,
        piece: &[u8],
        scratch: &mut [u32],
        sink: &mut Sink<'_>,
    ) -> Result<(), Stop> {
        if bpe.pre.whole == Whole::All {
            let is_it = |id| bpe::is_written(self.tokens.text(id), piece);
            let whole = self.index.find(bpe::hash_written(piece), is_it);
            if let Some(id) = whole.filter(|&id| self.tokens.is_plain(id)) {
                return sink.put(id);
            }
        }
        let mut symbols = symbols(scratch, piece.len())?;
        bpe.merge(piece, &self.bytes, &mut symbols);
        for symbol in symbols.iter() {
            if symbol.id == NO_TOKEN {
                sink.encoded.dropped += 1;
            } else {
                sink.put(symbol.id)?;
            }
        }
        Ok(())
    }

    fn encode_spm(&self, unit: Unit<'_>, scratch: &mut [u32], sink: &mut Sink<'_>) -> Result<(), Stop> {
        let find = |part: Unit<'_>| {
            if part.len() > self.max_len {
                return None;
            }
            let id = self.index.find(part.hash(), |id| part.is(self.tokens.text(id)))?;
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
    let given = scratch.len();
    let needed = len.saturating_mul(WORDS_PER_BYTE);
    Symbols::new(scratch, len).ok_or(Stop::Failed(Error::Scratch { needed, given }))
}
