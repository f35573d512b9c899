//! What can be wrong with a vocabulary, or with a question asked of it.

use core::fmt;

use stonechat_gguf::Name;

use super::{keys, limits};

/// Why a vocabulary was refused, or a text or token could not be converted.
#[derive(Clone, PartialEq, Debug)]
pub enum Error {
    /// A key is missing or its value is of the wrong type.
    Gguf(stonechat_gguf::Error),
    /// `tokenizer.ggml.model` is none that is known.
    UnknownModel {
        /// What the file says.
        name: Name,
    },
    /// `tokenizer.ggml.pre` is none that is known.
    UnknownPreTokenizer {
        /// What the file says.
        name: Name,
    },
    /// The model merges byte pairs, but the file does not say how to split text first.
    NoPreTokenizer,
    /// The vocabulary has no tokens.
    NoTokens,
    /// The model merges byte pairs, but the file has no merges.
    NoMerges,
    /// An array is longer than its limit.
    TooMany {
        /// The array's key.
        key: &'static str,
        /// Its elements.
        count: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// An array that says something of every token has another length than the tokens.
    CountMismatch {
        /// The array's key.
        key: &'static str,
        /// Its elements.
        count: usize,
        /// The number of tokens.
        tokens: usize,
    },
    /// A token's text is longer than [`limits::MAX_TOKEN_BYTES`].
    TokenTooLong {
        /// The token.
        id: u32,
        /// The bytes of its text.
        len: usize,
    },
    /// Two tokens have the same text.
    DuplicateToken {
        /// The first of them.
        first: u32,
        /// The second.
        second: u32,
    },
    /// A merge is not two texts with a space between them.
    BadMerge {
        /// Its place in the list of merges.
        rank: u32,
    },
    /// A merge joins texts that are not tokens, or gives one that is none.
    UnknownMerge {
        /// Its place in the list of merges.
        rank: u32,
    },
    /// The normalization map (`tokenizer.ggml.precompiled_charsmap`) contradicts itself.
    BadCharsmap,
    /// So many texts or merges share a hash that the file must have been made for it.
    Colliding {
        /// Which of the two.
        what: &'static str,
    },
    /// A special token's id is not in the vocabulary.
    SpecialOutOfRange {
        /// The key that states it.
        key: &'static str,
        /// The id.
        id: u32,
        /// The number of tokens.
        tokens: usize,
    },
    /// A flag asks for a special token that the file does not have.
    NoSpecial {
        /// The flag that is set.
        flag: &'static str,
        /// The key that should state the token.
        key: &'static str,
    },
    /// The memory for the index is too small, or does not begin at a multiple of four.
    Memory {
        /// The bytes needed.
        needed: usize,
        /// The aligned bytes given.
        given: usize,
    },
    /// The scratch for encoding is too small.
    Scratch {
        /// The words needed for this text.
        needed: usize,
        /// The words given.
        given: usize,
    },
    /// No token has this id.
    UnknownToken {
        /// The id.
        id: u32,
        /// The number of tokens.
        tokens: usize,
    },
    /// The buffer for a token's piece is too small.
    Buffer {
        /// The bytes that suffice.
        needed: usize,
        /// The bytes given.
        given: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gguf(error) => error.fmt(f),
            Self::UnknownModel { name } => write!(
                f,
                "the file's tokenizer (key `{}`) is {name}, which is not supported; `gpt2`, `llama`, `gemma4`, `bert` and \
                 `t5` are",
                keys::MODEL
            ),
            Self::UnknownPreTokenizer { name } => write!(
                f,
                "the file's pre-tokenizer (key `{}`) is {name}, which is not known, so that text cannot be split as the \
                 model expects; use a newer stonechat, or set the key to a known one that splits in the same way, such \
                 as `llama-bpe`, `qwen2` or `gpt-2`",
                keys::PRE
            ),
            Self::NoPreTokenizer => write!(
                f,
                "the file names no pre-tokenizer (key `{}`), without which text cannot be split as the model expects; \
                 convert the model again with a newer converter",
                keys::PRE
            ),
            Self::NoTokens => write!(f, "the vocabulary has no tokens (key `{}`)", keys::TOKENS),
            Self::NoMerges => write!(
                f,
                "the vocabulary has no merges (key `{}`), without which its tokenizer `gpt2` cannot work",
                keys::MERGES
            ),
            Self::TooMany { key, count, limit } => {
                write!(f, "the array of key `{key}` has {count} elements; the limit is {limit}")
            }
            Self::CountMismatch { key, count, tokens } => write!(
                f,
                "the array of key `{key}` has {count} elements, but the vocabulary has {tokens} tokens"
            ),
            Self::TokenTooLong { id, len } => {
                write!(f, "token {id} has a text of {len} bytes; the limit is {}", limits::MAX_TOKEN_BYTES)
            }
            Self::DuplicateToken { first, second } => {
                write!(f, "tokens {first} and {second} of the vocabulary have the same text")
            }
            Self::BadMerge { rank } => write!(
                f,
                "merge {rank} of the vocabulary (key `{}`) is not two texts with a space between them",
                keys::MERGES
            ),
            Self::UnknownMerge { rank } => write!(
                f,
                "merge {rank} of the vocabulary (key `{}`) joins or gives a text that is no token",
                keys::MERGES
            ),
            Self::BadCharsmap => write!(
                f,
                "the sizes within the vocabulary's normalization map (key `{}`) contradict one another",
                keys::CHARSMAP
            ),
            Self::Colliding { what } => write!(
                f,
                "more than {} {what} of the vocabulary share a place in its index, which only happens in a file made \
                 to do harm",
                limits::MAX_PROBES
            ),
            Self::SpecialOutOfRange { key, id, tokens } => {
                write!(f, "key `{key}` is {id}, but the vocabulary has {tokens} tokens")
            }
            Self::NoSpecial { flag, key } => {
                write!(f, "key `{flag}` is set, but the file does not say which token that is (key `{key}`)")
            }
            Self::Memory { needed, given } => write!(
                f,
                "the vocabulary's index needs {needed} bytes of aligned memory and was given {given}"
            ),
            Self::Scratch { needed, given } => {
                write!(f, "encoding this text needs {needed} words of scratch and was given {given}")
            }
            Self::UnknownToken { id, tokens } => {
                write!(f, "there is no token {id}: the vocabulary has {tokens}")
            }
            Self::Buffer { needed, given } => {
                write!(f, "a token's piece needs {needed} bytes of buffer and was given {given}")
            }
        }
    }
}

impl core::error::Error for Error {}

impl From<stonechat_gguf::Error> for Error {
    fn from(error: stonechat_gguf::Error) -> Self {
        Self::Gguf(error)
    }
}
