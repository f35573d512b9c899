//! Gemma (arXiv:2403.08295), Gemma 2 (arXiv:2408.00118), Gemma 3 (arXiv:2503.19786), Gemma 4, EmbeddingGemma.
//!
//! GELU in the gate, embeddings multiplied by the root of their length (the 1 that Gemma adds to weights of norms is
//! already in the file). Gemma 2 has norms on both sides, a window in every other layer, caps on scores and logits;
//! Gemma 3 norms of q and k in place of the caps, five layers with a window to one without, which rotate on another base.
//! Gemma 4 adds an input of its own for each layer, layers that attend to the keys and values of earlier ones, heads of
//! two lengths, and a norm of values; with experts, these stand beside the feed-forward part, and their router reads the
//! residual stream itself. EmbeddingGemma (arXiv:2509.20354) is Gemma 3 whose tokens attend to both sides.

use super::{EmbeddingScale, LocalRope, Scale, Spec, Windows, always, plain};
use crate::model::{Norm, NormTensors};
use stonechat_kernels::elementwise::{Activation, Rotation};

pub const GEMMA: Spec = Spec {
    name: "gemma",
    rotation: Rotation::Halves,
    activation: Activation::Gelu,
    embedding_scale: EmbeddingScale::Root,
    ..Spec::LLAMA
};

const NORMS: NormTensors = &[
    always(Norm::Attention, "attn_norm"),
    always(Norm::AttentionPost, "post_attention_norm"),
    always(Norm::FeedForward, "ffn_norm"),
    always(Norm::FeedForwardPost, "post_ffw_norm"),
];

pub const GEMMA2: Spec = Spec {
    name: "gemma2",
    norms: NORMS,
    windows: Windows::Layers { period: 2, default: 4096 },
    adapt: |keys, spec| {
        // The 27B model, which no key tells.
        if keys.layers()? == 46 {
            spec.scale = Scale::Share;
        }
        Ok(())
    },
    ..GEMMA
};

pub const GEMMA3: Spec = Spec {
    name: "gemma3",
    norms: &[
        NORMS[0],
        NORMS[1],
        NORMS[2],
        NORMS[3],
        always(Norm::Query, "attn_q_norm"),
        always(Norm::Key, "attn_k_norm"),
    ],
    windows: Windows::Layers { period: 6, default: 0 },
    local_rope: LocalRope::Own(Some(10_000.0)),
    adapt: |keys, spec| {
        // The 27B model, which no key tells.
        if keys.layers()? == 62 {
            spec.scale = Scale::Share;
        }
        Ok(())
    },
    ..GEMMA
};

pub const GEMMA4: Spec = Spec {
    name: "gemma4",
    norms: &[
        NORMS[0],
        NORMS[1],
        NORMS[2],
        NORMS[3],
        always(Norm::Query, "attn_q_norm"),
        always(Norm::Key, "attn_k_norm"),
        plain(Norm::Value),
        always(Norm::InputPost, "post_norm"),
        always(Norm::DenseOutput, "post_ffw_norm_1"),
        always(Norm::Experts, "pre_ffw_norm_2"),
        always(Norm::ExpertsOutput, "post_ffw_norm_2"),
    ],
    scale: Scale::One,
    values_may_be_keys: true,
    dense_beside_experts: true,
    adapt: |_, _| Ok(()),
    ..GEMMA3
};

pub const GEMMA_EMBEDDING: Spec = Spec {
    name: "gemma-embedding",
    windows: Windows::Layers { period: 6, default: 512 },
    causal: false,
    adapt: |_, _| Ok(()),
    ..GEMMA3
};
