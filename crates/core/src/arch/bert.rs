//! BERT (Devlin et al. 2018, arXiv:1810.04805) and what is built like it: tokens attend to those behind them, too, and norms
//! are taken of the residual stream itself, behind each sum.
//!
//! Nomic's (Nussbaum et al. 2024, arXiv:2402.01613) rotates and has a gate, or (arXiv:2502.07972) experts without; Jina's second version (Günther et al. 2023,
//! arXiv:2310.19923) has ALiBi on both sides and a gate, the third (Sturua et al. 2024, arXiv:2409.10173) rotates.

use super::{Gate, NormKind, Presence, QkNorm, RopeLayers, Routing, Spec, always, maybe};
use crate::model::{Norm, NormTensors};
use stonechat_kernels::elementwise::{Activation, Rotation};

const NORMS: NormTensors =
    &[always(Norm::AttentionSum, "attn_output_norm"), always(Norm::FeedForwardSum, "layer_output_norm")];

pub const BERT: Spec = Spec {
    name: "bert",
    norm: NormKind::Layer,
    norms: NORMS,
    biases: &["attn_qkv", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_up", "ffn_down"],
    rope: RopeLayers::Nowhere,
    causal: false,
    positions: true,
    token_types: Presence::Maybe,
    embedding_norm: Presence::Always,
    gate: Gate::None,
    activation: Activation::GeluErf,
    ..Spec::LLAMA
};

pub const NOMIC_BERT: Spec = Spec {
    name: "nomic-bert",
    biases: &[],
    rotation: Rotation::Halves,
    rope: RopeLayers::All,
    positions: false,
    gate: Gate::Separate,
    activation: Activation::Silu,
    ..BERT
};

pub const NOMIC_BERT_MOE: Spec = Spec {
    name: "nomic-bert-moe",
    gate: Gate::None,
    activation: Activation::GeluErf,
    routing: Routing { normalize: false, ..Spec::LLAMA.routing },
    ..NOMIC_BERT
};

pub const JINA_BERT_V2: Spec = Spec {
    name: "jina-bert-v2",
    norms: &[NORMS[0], NORMS[1], maybe(Norm::Query, "attn_q_norm"), maybe(Norm::Key, "attn_k_norm")],
    biases: &["attn_qkv", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_down"],
    qk_norm: QkNorm::Row,
    alibi: 8.0,
    positions: false,
    gate: Gate::Separate,
    adapt: |keys, spec| {
        if !keys.has_tensor("blk.0.ffn_gate.weight") {
            spec.gate = Gate::InUp;
        }
        // Of the model for code, whose residual stream is normalised a second time.
        keys.lacks("blk.0.attn_norm_2.weight")
    },
    ..BERT
};

pub const JINA_BERT_V3: Spec = Spec {
    name: "jina-bert-v3",
    rotation: Rotation::Halves,
    rope: RopeLayers::All,
    positions: false,
    ..BERT
};
