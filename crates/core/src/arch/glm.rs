//! GLM-4 (0414): norms before and behind each part, a part of each head rotated, gate and up in one matrix. GLM-4.5
//! (arXiv:2508.06471): experts scored by sigmoids, the first layers without, and one that all tokens share.

use super::{Gate, Presence, Routing, Score, Shared, Spec, always, maybe};
use crate::model::Norm;
use stonechat_kernels::elementwise::Rotation;

pub const GLM4: Spec = Spec {
    name: "glm4",
    norms: &[
        always(Norm::Attention, "attn_norm"),
        always(Norm::AttentionPost, "post_attention_norm"),
        always(Norm::FeedForward, "ffn_norm"),
        always(Norm::FeedForwardPost, "post_ffw_norm"),
    ],
    gate: Gate::InUp,
    ..Spec::LLAMA
};

pub const GLM4_MOE: Spec = Spec {
    name: "glm4moe",
    norms: &[
        always(Norm::Attention, "attn_norm"),
        always(Norm::FeedForward, "post_attention_norm"),
        maybe(Norm::Query, "attn_q_norm"),
        maybe(Norm::Key, "attn_k_norm"),
    ],
    rotation: Rotation::Halves,
    routing: Routing {
        score: Score::Sigmoid,
        selection_bias: Presence::Always,
        shared: Shared::Added,
        normalize: true,
    },
    ..Spec::LLAMA
};
