//! Qwen3-Next and Qwen3.5: the gated delta rule, and in every fourth layer gated attention.

use super::{Mixer, Mixers, Routing, Shared, Spec, always};
use crate::model::Norm;
use stonechat_kernels::elementwise::Rotation;

pub const QWEN3_NEXT: Spec = Spec {
    name: "qwen3next",
    norms: &[
        always(Norm::Attention, "attn_norm"),
        always(Norm::FeedForward, "post_attention_norm"),
        always(Norm::Query, "attn_q_norm"),
        always(Norm::Key, "attn_k_norm"),
    ],
    mixers: Mixers::Between(Mixer::DeltaNet),
    gated_attention: true,
    rotation: Rotation::Halves,
    routing: Routing { shared: Shared::Weighted, ..Spec::LLAMA.routing },
    ..Spec::LLAMA
};

pub const QWEN35: Spec = Spec { name: "qwen35", values_in_turn: true, ..QWEN3_NEXT };

pub const QWEN35_MOE: Spec = Spec { name: "qwen35moe", ..QWEN35 };
