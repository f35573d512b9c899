//! The architectures: data, not code.
//!
//! Each is a short file that says in a [`Spec`] what `forward` shall do, on top of what [`Spec::LLAMA`] says. What differs
//! between files of one architecture is read from their keys, the same for all; the few cases in which a file changes
//! more than numbers are an `adapt`. Adding an architecture means adding a file here and a line to
//! [`ALL`].

mod apertus;
mod arcee;
mod bert;
mod bitnet;
mod cohere;
mod deepseek;
mod ernie;
mod eurobert;
mod exaone;
mod falcon;
mod falcon_h1;
mod gemma;
mod glm;
mod gpt2;
mod gpt_oss;
mod gptneox;
mod granite;
mod hunyuan;
mod lfm2;
mod llama;
mod mamba;
mod minicpm3;
mod mistral3;
mod modern_bert;
mod mpt;
mod nemotron;
mod olmo;
mod phi;
mod qwen;
mod qwen_next;
mod seed_oss;
mod smollm3;
mod stablelm;
mod starcoder2;

use stonechat_kernels::elementwise::{Activation, Rotation};

use crate::Error;
use crate::model::{Keys, Norm};

/// What tells one transformer from another.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each says one thing that a transformer does or does not")]
pub struct Spec {
    /// `general.architecture`, which is also the prefix of its keys.
    pub name: &'static str,
    /// What a norm does.
    pub norm: NormKind,
    /// Which norms a layer has.
    pub norms: &'static [NormTensor],
    /// Which vectors `blk.N.NAME.bias` must be there; others are used where they are.
    pub biases: &'static [&'static str],
    /// What mixes positions.
    pub mixers: Mixers,
    /// Whether value heads of the delta rule take key heads in turn, and not in groups that lie together.
    pub values_in_turn: bool,
    /// Whether what leaves a state space is normalised.
    pub state_norm: Presence,
    /// Whether layers have a feed-forward part.
    pub feed_forward: bool,
    /// Whether what leaves attention is multiplied by a sigmoid, whose argument lies behind each query.
    pub gated_attention: bool,
    /// Which values of a head RoPE rotates together.
    pub rotation: Rotation,
    /// Which layers rotate.
    pub rope: RopeLayers,
    /// How layers with a window rotate.
    pub local_rope: LocalRope,
    /// Which layers attend to a window of positions.
    pub windows: Windows,
    /// What q·k is multiplied by, where the key `attention.scale` does not say.
    pub scale: Scale,
    /// What the norms of q and k, where there are some, go over.
    pub qk_norm: QkNorm,
    /// Whether these norms come after the rotation.
    pub qk_norm_after_rope: bool,
    /// Whether layers without a matrix for values take the keys, before norm and rotation.
    pub values_may_be_keys: bool,
    /// Whether keys and values of all heads come from one latent vector (DeepSeek-AI 2024, arXiv:2405.04434), by
    /// `attn_kv_b`, or `attn_k_b` and `attn_v_b`.
    pub latent: bool,
    /// `attn_sinks`: a score of each head for no position at all.
    pub sinks: Presence,
    /// ALiBi's key `attention.max_alibi_bias`, where a file does not say.
    pub alibi: f32,
    /// Whether tokens attend only to those before them, where the key `attention.causal` does not say.
    pub causal: bool,
    /// Whether a learned vector for each position is added to the embedding.
    pub positions: bool,
    /// `token_types`: of its vectors, that of the first text is added to the embedding.
    pub token_types: Presence,
    /// `token_embd_norm`: a norm of the embedding.
    pub embedding_norm: Presence,
    /// Whether attention and feed-forward part read the same residual stream, and are added to it together.
    pub parallel: bool,
    /// Whether, and where, the feed-forward part has a gate.
    pub gate: Gate,
    /// The activation of the feed-forward part.
    pub activation: Activation,
    /// What the embedding is multiplied by, where the key `embedding_scale` does not say.
    pub embedding_scale: EmbeddingScale,
    /// What is multiplied by it before it is added to the residual stream, where the key `residual_scale` does not say.
    pub residual_scale: ResidualScale,
    /// What the key `logit_scale` means.
    pub logit_scale: LogitScale,
    /// Whether layers with experts also have a feed-forward part without, beside them, and each part norms of its own.
    pub dense_beside_experts: bool,
    /// How tokens choose experts, in files that have some.
    pub routing: Routing,
    /// What a file changes beyond numbers.
    pub(crate) adapt: fn(&Keys<'_, '_>, &mut Self) -> Result<(), Error>,
}

impl Spec {
    /// Llama, which the others are described beside.
    pub const LLAMA: Self = Self {
        name: "llama",
        norm: NormKind::Rms,
        norms: PRE_NORMS,
        biases: &[],
        mixers: Mixers::All(Mixer::Attention),
        values_in_turn: false,
        state_norm: Presence::Always,
        feed_forward: true,
        gated_attention: false,
        rotation: Rotation::Adjacent,
        rope: RopeLayers::All,
        local_rope: LocalRope::Shared,
        windows: Windows::None,
        scale: Scale::Head,
        qk_norm: QkNorm::Head,
        qk_norm_after_rope: false,
        values_may_be_keys: false,
        latent: false,
        sinks: Presence::Never,
        alibi: 0.0,
        causal: true,
        positions: false,
        token_types: Presence::Never,
        embedding_norm: Presence::Never,
        parallel: false,
        gate: Gate::Separate,
        activation: Activation::Silu,
        embedding_scale: EmbeddingScale::One,
        residual_scale: ResidualScale::One,
        logit_scale: LogitScale::Multiply,
        dense_beside_experts: false,
        routing: Routing {
            score: Score::Softmax,
            normalize: true,
            selection_bias: Presence::Never,
            shared: Shared::Never,
        },
        adapt: |_, _| Ok(()),
    };
}

/// A norm before attention and one before the feed-forward part.
pub const PRE_NORMS: &[NormTensor] =
    &[always(Norm::Attention, "attn_norm"), always(Norm::FeedForward, "ffn_norm")];

/// The same, with norms of q and k.
pub const PRE_AND_QK_NORMS: &[NormTensor] = &[
    always(Norm::Attention, "attn_norm"),
    always(Norm::FeedForward, "ffn_norm"),
    always(Norm::Query, "attn_q_norm"),
    always(Norm::Key, "attn_k_norm"),
];

/// A norm of what enters a layer that has one part alone.
pub const ONE_PRE_NORM: &[NormTensor] = &[always(Norm::Attention, "attn_norm")];

/// The same norm for both.
pub const ONE_NORM: &[NormTensor] =
    &[always(Norm::Attention, "attn_norm"), always(Norm::FeedForward, "attn_norm")];

/// What a norm does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NormKind {
    /// RMSNorm.
    Rms,
    /// LayerNorm, with a bias where the file has one.
    Layer,
}

/// A norm and where its weights are.
#[derive(Clone, Copy, Debug)]
pub struct NormTensor {
    /// Which norm.
    pub norm: Norm,
    /// `NAME` of `blk.N.NAME.weight`; empty for weights of 1, which are in no file.
    pub tensor: &'static str,
    /// Whether a file may go without.
    pub presence: Presence,
}

/// A norm of every file.
pub const fn always(norm: Norm, tensor: &'static str) -> NormTensor {
    NormTensor { norm, tensor, presence: Presence::Always }
}

/// A norm of some files.
pub const fn maybe(norm: Norm, tensor: &'static str) -> NormTensor {
    NormTensor { norm, tensor, presence: Presence::Maybe }
}

/// A norm without weights.
pub const fn plain(norm: Norm) -> NormTensor {
    always(norm, "")
}

/// Whether a file has a tensor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presence {
    /// It must not be used.
    Never,
    /// It is used where it is there.
    Maybe,
    /// It must be there.
    Always,
}

/// What mixes positions in a layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Mixer {
    /// Attention to the positions before.
    Attention,
    /// A gated convolution over a few positions.
    ShortConvolution,
    /// A state space with a time step for each channel.
    Mamba,
    /// A state space with a time step for each head.
    Mamba2,
    /// Attention and such a state space, added.
    AttentionAndMamba2,
    /// The gated delta rule.
    DeltaNet,
}

impl Mixer {
    /// All, in the order of their numbers.
    pub(crate) const ALL: [Self; 6] = [
        Self::Attention,
        Self::ShortConvolution,
        Self::Mamba,
        Self::Mamba2,
        Self::AttentionAndMamba2,
        Self::DeltaNet,
    ];

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Attention => "attention",
            Self::ShortConvolution => "short convolution",
            Self::Mamba => "Mamba",
            Self::Mamba2 => "Mamba 2",
            Self::AttentionAndMamba2 => "attention and Mamba 2",
            Self::DeltaNet => "gated delta net",
        }
    }

    /// Whether it has keys and values.
    pub const fn attends(self) -> bool {
        matches!(self, Self::Attention | Self::AttentionAndMamba2)
    }

    /// Whether it carries a state from position to position.
    pub const fn recurs(self) -> bool {
        !matches!(self, Self::Attention)
    }
}

/// Which layers have which mixer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mixers {
    /// All this one.
    All(Mixer),
    /// This one where `attention.head_count_kv` is 0, and attention elsewhere.
    WithoutKvHeads(Mixer),
    /// This one in the layers that `attention.recurrent_layers` names, or else in all but every
    /// `full_attention_interval`-th, which is 4 where the file does not say; attention elsewhere.
    Between(Mixer),
}

impl Mixers {
    /// The mixer that is not attention alone, if there is one.
    pub(crate) const fn recurrent(self) -> Mixer {
        match self {
            Self::All(mixer) | Self::WithoutKvHeads(mixer) | Self::Between(mixer) => mixer,
        }
    }
}

/// Which layers rotate queries and keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RopeLayers {
    /// All.
    All,
    /// None.
    Nowhere,
    /// All but every so many-th.
    ExceptEvery(usize),
    /// Those with a window, where the file has windows; else all.
    Windowed,
}

/// How layers with a window rotate.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum LocalRope {
    /// As all others.
    Shared,
    /// Without scaling, with the base of `rope.freq_base_swa`, or this one, or that of all others.
    Own(Option<f32>),
}

/// Which layers attend to a window of `attention.sliding_window` positions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Windows {
    /// None, whatever the file says.
    None,
    /// Where the file (or `default`, if that is not 0) says how long the window is: the layers that
    /// `attention.sliding_window_pattern` names, or all but every `period`-th, or all where that is 0.
    Layers {
        /// Every so many-th layer attends to everything.
        period: usize,
        /// The length of the window where the file does not say.
        default: usize,
    },
    /// Where the file says how long the window is: the layers that `attention.sliding_window_pattern` names, or all but
    /// the first of every `period`.
    AllButFirst {
        /// Of so many layers the first attends to everything.
        period: usize,
    },
}

/// What q·k is multiplied by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scale {
    /// `1 / sqrt(head length)`.
    Head,
    /// `1 / sqrt(embedding length / heads)`.
    Share,
    /// 1.
    One,
}

/// What the norms of q and k go over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QkNorm {
    /// Each head, all with the same weights.
    Head,
    /// Each head, with weights of its own.
    OwnHead,
    /// All heads together.
    Row,
}

/// The gate of the feed-forward part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gate {
    /// None: the activation is that of `ffn_up`.
    None,
    /// A matrix of its own, `ffn_gate`.
    Separate,
    /// The upper half of `ffn_up`.
    InUp,
}

/// What the embedding is multiplied by.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum EmbeddingScale {
    /// Nothing.
    One,
    /// This.
    Number(f32),
    /// The square root of its length.
    Root,
}

/// What enters the residual stream is multiplied by.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum ResidualScale {
    /// Nothing.
    One,
    /// This over the square root of the number of layers.
    OverRoot(f32),
}

/// What `logit_scale` means.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum LogitScale {
    /// Logits are multiplied by it.
    Multiply,
    /// Logits are divided by it.
    Divide,
    /// Nothing: logits are multiplied by this over the length of the embedding.
    Over(f32),
}

/// How tokens choose experts.
#[derive(Clone, Copy, Debug)]
pub struct Routing {
    /// What makes scores of the router's outputs, where the key `expert_gating_func` does not say.
    pub score: Score,
    /// Whether the weights of the chosen are divided by their sum, where the key `expert_weights_norm` does not say.
    pub normalize: bool,
    /// `exp_probs_b.bias`, which is added to scores while experts are chosen.
    pub selection_bias: Presence,
    /// Experts that every token takes.
    pub shared: Shared,
}

/// What makes scores of the router's outputs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Score {
    /// Softmax over all experts.
    Softmax,
    /// A sigmoid of each.
    Sigmoid,
    /// Softmax over the chosen ones.
    SoftmaxOfChosen,
}

/// Experts that every token takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shared {
    /// None, whatever the file says.
    Never,
    /// As wide as the file says.
    Added,
    /// Weighted by a sigmoid of `ffn_gate_inp_shexp`.
    Weighted,
}

/// Every architecture that runs.
pub const ALL: &[Spec] = &[
    apertus::SPEC,
    arcee::SPEC,
    bert::BERT,
    bert::NOMIC_BERT,
    bert::NOMIC_BERT_MOE,
    bert::JINA_BERT_V2,
    bert::JINA_BERT_V3,
    bitnet::SPEC,
    cohere::COMMAND_R,
    cohere::COHERE2,
    deepseek::SPEC,
    ernie::ERNIE,
    ernie::ERNIE_MOE,
    eurobert::SPEC,
    exaone::EXAONE4,
    falcon::SPEC,
    falcon_h1::SPEC,
    gemma::GEMMA,
    gemma::GEMMA2,
    gemma::GEMMA3,
    gemma::GEMMA4,
    gemma::GEMMA_EMBEDDING,
    glm::GLM4,
    glm::GLM4_MOE,
    gpt2::SPEC,
    gpt_oss::SPEC,
    gptneox::SPEC,
    granite::GRANITE,
    granite::GRANITE_HYBRID,
    granite::GRANITE_MOE,
    hunyuan::SPEC,
    lfm2::LFM2,
    lfm2::LFM2_MOE,
    llama::SPEC,
    llama::LLAMA_EMBED,
    mamba::MAMBA,
    mamba::MAMBA2,
    minicpm3::SPEC,
    mistral3::SPEC,
    modern_bert::SPEC,
    mpt::SPEC,
    nemotron::SPEC,
    olmo::OLMO,
    olmo::OLMO2,
    olmo::OLMOE,
    phi::PHI2,
    phi::PHI3,
    qwen::QWEN2,
    qwen::QWEN2_MOE,
    qwen::QWEN3,
    qwen::QWEN3_MOE,
    qwen_next::QWEN3_NEXT,
    qwen_next::QWEN35,
    qwen_next::QWEN35_MOE,
    seed_oss::SPEC,
    smollm3::SPEC,
    stablelm::SPEC,
    starcoder2::SPEC,
];

/// The architecture of this name.
pub fn find(name: &str) -> Option<&'static Spec> {
    ALL.iter().find(|spec| spec.name == name)
}
