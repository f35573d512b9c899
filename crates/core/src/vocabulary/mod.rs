//! The vocabulary: text to tokens and back, read straight from the file.
//!
//! In goes a [`Gguf`] with its `tokenizer.ggml` keys and memory for an index, whose size [`Vocabulary::memory`] tells
//! beforehand. Out comes a [`Vocabulary`], which encodes text, gives the bytes of tokens, and knows the special ones.
//! Texts of tokens, their scores and kinds stay in the file; the index holds where each text begins and two hash
//! tables. Nothing here allocates: [`Vocabulary::encode`] works in scratch that the caller gives.
//!
//! Four tokenizers are known. `gpt2` is byte-level BPE: a pre-tokenizer cuts the text, bytes merge by a list; in `gemma4`,
//! and under some pre-tokenizers, characters do. `llama` is SentencePiece's BPE: characters merge by score. `t5` is
//! SentencePiece's unigram model: the tokens with the best sum of scores. `bert` is WordPiece: words become the longest
//! tokens that spell them. What they make of a text is what llama.cpp and `tokenizers` make of it, with these
//! differences:
//!
//! - Bytes that are not UTF-8 are encoded as they are, where others put U+FFFD in their place (`t5` and `bert`, which
//!   normalize, do as the others).
//! - Plain text never becomes a control, unknown or byte token, however its characters merge.
//! - Of special tokens that overlap, the leftmost is taken, and of several at one place the longest.
//! - Where llama.cpp only comes near to a model's own tokenizer, the model's own is followed.
//!
//! Byte-level BPE does not normalize text: files do not carry the rules. A vocabulary that writes spaces as `▁` (U+2581)
//! gives this character itself back as a space.

mod alphabet;
mod bpe;
mod charsmap;
mod encode;
mod error;
mod index;
mod keys;
pub mod limits;
mod load;
mod merge;
mod merge_list;
mod pattern;
mod pretokenize;
mod special;
mod spm;
mod stream;
mod text;
mod unicode;
mod unicode_table;
mod unigram;
mod wordpiece;

use core::fmt;

use stonechat_gguf::{Array, Gguf};

pub use encode::{Encode, Encoded};
pub use error::Error;
pub use stream::Utf8Stream;

use bpe::Bpe;
use index::TokenIndex;
use load::Layout;
use pretokenize::Spelling;
use special::{Named, SpecialTokens, Strips};
use spm::Spm;
use text::{Hash, Text};
use unigram::Unigram;
use wordpiece::WordPiece;

/// A vocabulary. See the [module](self).
pub struct Vocabulary<'a> {
    tokens: Tokens<'a>,
    index: TokenIndex<'a>,
    model: Model<'a>,
    /// The token of each byte, or [`merge::NO_TOKEN`].
    bytes: [u32; 256],
    special: SpecialTokens<'a>,
    named: Named,
    max_len: usize,
    strips: Strips,
    ids: SpecialIds,
    add_bos: bool,
    add_eos: bool,
    add_sep: bool,
}

/// What the file says of each token.
#[derive(Clone, Copy)]
struct Tokens<'a> {
    texts: Array<'a>,
    /// Where each text begins in the array.
    offsets: &'a [u32],
    kinds: Option<Array<'a>>,
    scores: Option<Array<'a>>,
}

/// How text becomes tokens.
enum Model<'a> {
    Bpe(Bpe<'a>),
    Spm(Spm),
    WordPiece(WordPiece),
    Unigram(Unigram<'a>),
}

/// The tokens to which keys or names give a role.
#[derive(Clone, Copy, Default)]
struct SpecialIds {
    bos: Option<u32>,
    eos: Option<u32>,
    eot: Option<u32>,
    eom: Option<u32>,
    sep: Option<u32>,
    unknown: Option<u32>,
    padding: Option<u32>,
}

/// What a token is there for; `tokenizer.ggml.token_type`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum TokenKind {
    /// The file does not say.
    Undefined,
    /// A piece of text.
    Normal,
    /// Stands for text that no token can spell.
    Unknown,
    /// Steers the model. It is not text: text that looks like it is not it, and as a piece it is empty, unless asked for.
    Control,
    /// Text that is always taken as one token, wherever it occurs.
    UserDefined,
    /// A place that no text leads to.
    Unused,
    /// A byte.
    Byte,
}

impl TokenKind {
    /// The kind with this number.
    const fn from_id(id: u32) -> Self {
        match id {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => Self::Undefined,
        }
    }

    /// Whether tokens of this kind are looked for before text is tokenized.
    const fn is_special(self) -> bool {
        matches!(self, Self::Control | Self::UserDefined | Self::Unknown)
    }
}

/// A token as the file has it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Token<'a> {
    /// How the vocabulary writes it: in the byte-level alphabet, or with `▁` for spaces. Need not be UTF-8.
    pub text: &'a [u8],
    /// What it is there for; well-known control tokens are such whatever the file says.
    pub kind: TokenKind,
    /// How early it merges; 0 where the file has no scores.
    pub score: f32,
}

impl<'a> Tokens<'a> {
    /// The text of a token that exists; no bytes for others.
    #[inline]
    fn text(&self, id: u32) -> &'a [u8] {
        let offset = self.offsets.get(id as usize).map(|&offset| offset as usize);
        offset.and_then(|offset| self.texts.string_at(offset)).unwrap_or_default()
    }

    /// The same as the index takes it.
    #[inline]
    fn indexed_text(&self, id: u32) -> Text<'a> {
        let offset = self.offsets.get(id as usize).map(|&offset| offset as usize);
        let string = offset.and_then(|offset| self.texts.string_and_rest_at(offset));
        string.map_or_else(Text::default, |(string, bytes)| Text::beginning(bytes, string.len()))
    }

    /// The kind that the file states.
    #[inline]
    fn kind(&self, id: u32) -> TokenKind {
        self.kinds.map_or(TokenKind::Normal, |kinds| TokenKind::from_id(word_at(&kinds, id)))
    }

    #[inline]
    fn score(&self, id: u32) -> f32 {
        self.scores.map_or(0.0, |scores| f32::from_bits(word_at(&scores, id)))
    }

    /// Whether plain text can lead to a token.
    #[inline]
    fn is_plain(&self, id: u32) -> bool {
        !matches!(self.kind(id), TokenKind::Control | TokenKind::Unknown | TokenKind::Byte)
    }
}

/// An element of an array of 32-bit values, which was checked when the vocabulary was made.
#[inline]
fn word_at(array: &Array<'_>, index: u32) -> u32 {
    let bytes = array.bytes().get(index as usize * 4..).and_then(|bytes| bytes.first_chunk());
    bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

impl<'a> Vocabulary<'a> {
    /// The bytes of memory that [`new`](Self::new) needs, to know before anything is given.
    pub fn memory(gguf: &Gguf<'_>) -> Result<usize, Error> {
        Ok(Layout::read(gguf)?.words() * size_of::<u32>())
    }

    /// Checks the file's vocabulary and builds its index in `memory`, which begins at a multiple of four and has at
    /// least the bytes that [`memory`](Self::memory) tells.
    pub fn new(gguf: &Gguf<'a>, memory: &'a mut [u8]) -> Result<Self, Error> {
        load::load(gguf, memory)
    }

    /// The number of tokens.
    pub fn len(&self) -> usize {
        self.tokens.offsets.len()
    }

    /// Whether there are no tokens; never so, since such a file is refused.
    pub fn is_empty(&self) -> bool {
        self.tokens.offsets.is_empty()
    }

    /// The token with which a text begins: BOS, or BERT's `[CLS]`.
    pub fn bos(&self) -> Option<u32> {
        self.ids.bos
    }

    /// The token with which a text ends.
    pub fn eos(&self) -> Option<u32> {
        self.ids.eos
    }

    /// The token with which a turn of a chat ends.
    pub fn eot(&self) -> Option<u32> {
        self.ids.eot
    }

    /// The token with which a message ends that awaits a tool's answer.
    pub fn eom(&self) -> Option<u32> {
        self.ids.eom
    }

    /// The token between two texts, and after each: BERT's `[SEP]`.
    pub fn sep(&self) -> Option<u32> {
        self.ids.sep
    }

    /// The token with which the file asks that texts end, if it does: [`sep`](Self::sep) or [`eos`](Self::eos).
    pub fn ending(&self) -> Option<u32> {
        self.sep().filter(|_| self.add_sep).or(self.eos().filter(|_| self.add_eos))
    }

    /// The token for text that no token can spell.
    pub fn unknown(&self) -> Option<u32> {
        self.ids.unknown
    }

    /// The token that fills up batches.
    pub fn padding(&self) -> Option<u32> {
        self.ids.padding
    }

    /// Whether the file asks that texts begin with [`bos`](Self::bos), which then exists.
    pub fn add_bos(&self) -> bool {
        self.add_bos
    }

    /// Whether the file asks that texts end with [`eos`](Self::eos), which then exists.
    pub fn add_eos(&self) -> bool {
        self.add_eos
    }

    /// Whether a space is put before text that begins an input or follows a special token.
    pub fn add_space_prefix(&self) -> bool {
        match &self.model {
            Model::Spm(spm) => spm.add_space,
            Model::Unigram(unigram) => unigram.add_space,
            Model::Bpe(_) | Model::WordPiece(_) => false,
        }
    }

    /// Whether a token ends an answer: EOS, the end of a turn or message, and others known by their names.
    pub fn is_end_of_generation(&self, id: u32) -> bool {
        self.named.is_end(id)
    }

    /// A token.
    pub fn token(&self, id: u32) -> Option<Token<'a>> {
        ((id as usize) < self.len()).then(|| Token {
            text: self.tokens.text(id),
            kind: self.kind(id),
            score: self.tokens.score(id),
        })
    }

    /// The token with this text, written as the vocabulary writes it.
    pub fn find(&self, text: &[u8]) -> Option<u32> {
        self.index.find(Hash::EMPTY.with(text).finish(), |id| self.tokens.text(id) == text)
    }

    /// The longest text of a token in bytes: with a buffer of this length [`piece`](Self::piece) always succeeds.
    pub fn max_piece_len(&self) -> usize {
        self.max_len
    }

    /// The bytes that a token stands for, written to `buffer`. They may be a part of a character: [`Utf8Stream`] joins
    /// them. Control and unknown tokens give nothing unless `special`, unused ones never do.
    pub fn piece<'b>(&self, id: u32, special: bool, buffer: &'b mut [u8]) -> Result<&'b [u8], Error> {
        let token = self.token(id).ok_or(Error::UnknownToken { id, tokens: self.len() })?;
        let text = token.text;
        let given = buffer.len();
        let out = buffer.get_mut(..text.len()).ok_or(Error::Buffer { needed: text.len(), given })?;
        let len = match (token.kind, &self.model) {
            (TokenKind::Control | TokenKind::Unknown, _) if !special => 0,
            (TokenKind::Unused | TokenKind::Undefined, _) => 0,
            (TokenKind::Byte, _) if let Some(byte) = spm::spelled(text) => {
                out[0] = byte;
                1
            }
            (TokenKind::Normal, Model::Bpe(bpe)) if bpe.pre.spelling == Spelling::Bytes => {
                bpe::read(text, out)
            }
            (TokenKind::Normal, _) => spm::read(text, out),
            _ => {
                out.copy_from_slice(text);
                text.len()
            }
        };
        Ok(&out[..len])
    }

    /// The kind of a token: what its name says, or else the file.
    fn kind(&self, id: u32) -> TokenKind {
        self.named.kind(id).unwrap_or_else(|| self.tokens.kind(id))
    }
}

impl fmt::Debug for Vocabulary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let model = match self.model {
            Model::Bpe(_) => "gpt2",
            Model::Spm(_) => "llama",
            Model::WordPiece(_) => "bert",
            Model::Unigram(_) => "t5",
        };
        f.debug_struct("Vocabulary").field("model", &model).field("len", &self.len()).finish_non_exhaustive()
    }
}
