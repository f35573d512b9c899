//! Everything that can go wrong between a file and its logits, each in one sentence.

use core::fmt;

use stonechat_gguf::Name;
use stonechat_kernels::KvFormat;

use crate::vocabulary;

/// Where in a layer a number was found that is not finite.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// What enters the attention of a layer.
    AttentionInput(usize),
    /// The queries, keys and values of a layer.
    Heads(usize),
    /// What the mixer of a layer that carries a state gives.
    Recurrent(usize),
    /// What attention gives in a layer.
    AttentionOutput(usize),
    /// What enters the feed-forward part of a layer.
    FeedForwardInput(usize),
    /// The gated activations of a layer.
    FeedForwardHidden(usize),
    /// What leaves the last layer.
    FinalNorm,
    /// The logits.
    Logits,
    /// The embedding of a text.
    Embedding,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AttentionInput(layer) => write!(f, "the input of attention in layer {layer}"),
            Self::Heads(layer) => write!(f, "the queries, keys and values of layer {layer}"),
            Self::Recurrent(layer) => write!(f, "the recurrent part of layer {layer}"),
            Self::AttentionOutput(layer) => write!(f, "the output of attention in layer {layer}"),
            Self::FeedForwardInput(layer) => write!(f, "the input of the feed-forward part of layer {layer}"),
            Self::FeedForwardHidden(layer) => write!(f, "the gated activations of layer {layer}"),
            Self::FinalNorm => write!(f, "the output of the last layer"),
            Self::Logits => write!(f, "the logits"),
            Self::Embedding => write!(f, "the embedding"),
        }
    }
}

/// What went wrong.
#[derive(Clone, PartialEq, Debug)]
pub enum Error {
    /// The file is no GGUF file, or lacks a key.
    Gguf(stonechat_gguf::Error),
    /// The file's vocabulary, or a use of it.
    Vocabulary(vocabulary::Error),
    /// There is no description of this architecture.
    UnknownArchitecture(Name),
    /// A value is out of what the architecture allows.
    BadValue {
        /// The key.
        key: Name,
        /// What it must be.
        expected: &'static str,
    },
    /// A rope scaling that is not known.
    UnknownRopeScaling(Name),
    /// The file lacks a tensor.
    MissingTensor(Name),
    /// The file has a tensor that would change what the model computes, and that nothing reads.
    StrayTensor(Name),
    /// A tensor has another shape than the architecture gives it.
    TensorShape {
        /// The tensor.
        tensor: Name,
        /// Outputs and inputs that it should have.
        expected: [usize; 2],
        /// Outputs and inputs that it has.
        found: [u64; 2],
    },
    /// A tensor's rows lie in groups, and do not fill the last.
    PartialGroup {
        /// The tensor.
        tensor: Name,
        /// Its rows.
        rows: usize,
        /// The rows of a group.
        group: usize,
    },
    /// There are no kernels for a tensor's format.
    UnsupportedFormat {
        /// The tensor.
        tensor: Name,
        /// The format, as ggml names it.
        format: &'static str,
    },
    /// The vocabulary and the embedding have different numbers of tokens.
    VocabularySize {
        /// Tokens of the vocabulary.
        vocabulary: usize,
        /// Rows of the embedding.
        embedding: usize,
    },
    /// More context than the model was made for.
    ContextTooLong {
        /// Tokens asked for.
        asked: usize,
        /// Tokens that the model can take.
        most: usize,
    },
    /// A quantized KV cache for heads that are no whole blocks.
    KvBlocks {
        /// The format.
        format: KvFormat,
        /// The length of a head.
        head_dim: usize,
    },
    /// A limit that must be at least one is zero.
    ZeroLimit(&'static str),
    /// The plan's bytes do not fit a number of this machine.
    TooLarge,
    /// No context and batch fit into the memory.
    MemoryTooSmall {
        /// The least that would do.
        needed: usize,
        /// What was given.
        given: usize,
    },
    /// The arena is smaller than planned, or not aligned.
    Arena {
        /// The plan's bytes.
        needed: usize,
        /// The arena's bytes.
        given: usize,
    },
    /// The tokens do not fit into what is left of the context.
    ContextFull {
        /// Tokens already there.
        position: usize,
        /// Tokens that should be added.
        tokens: usize,
        /// The length of the context.
        context: usize,
    },
    /// A text in a model with a recurrent state cannot be cut short.
    CannotRewind {
        /// Tokens there.
        from: usize,
        /// Tokens that should stay.
        to: usize,
    },
    /// A token that the model does not have.
    TokenOutOfRange {
        /// The token.
        token: u32,
        /// The number of tokens that there are.
        tokens: usize,
    },
    /// Tokens attend to those behind them, so that nothing can follow the last.
    LooksAhead,
    /// `pooling_type` is that of models which rank pairs of texts.
    RanksTexts,
    /// No token was given.
    NoTokens,
    /// A NaN or an infinity arose.
    NotFinite(Place),
    /// A sampling parameter is out of range.
    BadSampling {
        /// Its name.
        name: &'static str,
        /// What it must be.
        expected: &'static str,
    },
}

impl From<stonechat_gguf::Error> for Error {
    fn from(error: stonechat_gguf::Error) -> Self {
        Self::Gguf(error)
    }
}

impl From<vocabulary::Error> for Error {
    fn from(error: vocabulary::Error) -> Self {
        Self::Vocabulary(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gguf(error) => error.fmt(f),
            Self::Vocabulary(error) => error.fmt(f),
            Self::UnknownArchitecture(name) => {
                write!(f, "the architecture {name} is not supported; supported are:")?;
                crate::arch::ALL.iter().try_for_each(|spec| write!(f, " {}", spec.name))
            }
            Self::BadValue { key, expected } => write!(f, "the key {key} must be {expected}"),
            Self::UnknownRopeScaling(name) => {
                write!(
                    f,
                    "the rope scaling {name} is not supported; supported are: none linear yarn longrope"
                )
            }
            Self::MissingTensor(name) => {
                write!(f, "the tensor {name} is missing: the file is incomplete or of another architecture")
            }
            Self::StrayTensor(name) => {
                write!(
                    f,
                    "the tensor {name} changes what the model computes, and is not supported; convert the model without it"
                )
            }
            Self::TensorShape { tensor, expected: [rows, cols], found } => write!(
                f,
                "the tensor {tensor} has {} rows of {}, but the file's hyperparameters ask for {rows} rows of {cols}",
                found[0], found[1]
            ),
            Self::PartialGroup { tensor, rows, group } => write!(
                f,
                "tensor {tensor} has {rows} rows in groups of {group}, which they do not fill; pack the original file again"
            ),
            Self::UnsupportedFormat { tensor, format } => {
                write!(
                    f,
                    "the tensor {tensor} has the format {format}, which is not supported; supported are:"
                )?;
                stonechat_kernels::Format::ALL.iter().try_for_each(|format| write!(f, " {format}"))
            }
            Self::VocabularySize { vocabulary, embedding } => {
                write!(f, "the vocabulary has {vocabulary} tokens, but the embedding has {embedding} rows")
            }
            Self::ContextTooLong { asked, most } => {
                write!(
                    f,
                    "a context of {asked} tokens is longer than the model's {most}; ask for at most that"
                )
            }
            Self::KvBlocks { format, head_dim } => write!(
                f,
                "a KV cache of format {} keeps numbers in blocks of 32, but this model's heads have {head_dim}; \
                 use f16 (--kv f16)",
                format.as_str()
            ),
            Self::ZeroLimit(what) => write!(f, "{what} must be at least 1"),
            Self::TooLarge => f.write_str("the model needs more memory than this machine can address"),
            Self::MemoryTooSmall { needed, given } => {
                write!(
                    f,
                    "{given} bytes of memory are too few for this model; the least that would do is {needed}"
                )
            }
            Self::Arena { needed, given } => {
                write!(f, "the arena has {given} bytes, but the plan asks for {needed}, aligned to 64")
            }
            Self::ContextFull { position, tokens, context } => write!(
                f,
                "{tokens} more tokens do not fit into the context of {context}, of which {position} are used; \
                 shorten the prompt or ask for a longer context (-c)"
            ),
            Self::CannotRewind { from, to } => write!(
                f,
                "the recurrent state of this model after {from} tokens cannot be wound back to {to}; \
                 feed the text again from its beginning"
            ),
            Self::TokenOutOfRange { token, tokens } => {
                write!(f, "there is no token {token}: the model has tokens 0 to {}", tokens - 1)
            }
            Self::LooksAhead => f.write_str(
                "tokens of this model attend to those behind them, so that it cannot continue a text; \
                 it gives embeddings (stonechat embed)",
            ),
            Self::RanksTexts => f.write_str(
                "the model ranks pairs of texts, and names no way to make an embedding of one; choose a way (--pooling)",
            ),
            Self::NoTokens => f.write_str("there is no token to feed; give a prompt that is not empty"),
            Self::NotFinite(place) => {
                write!(f, "a number that is not finite arose in {place}: the weights are damaged or overflow")
            }
            Self::BadSampling { name, expected } => write!(f, "{name} must be {expected}"),
        }
    }
}

impl core::error::Error for Error {}
