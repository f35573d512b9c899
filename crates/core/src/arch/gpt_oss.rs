//! gpt-oss (OpenAI 2025, arXiv:2508.10925): experts with biases and a gate that is clamped, sinks that take their share of
//! attention, a window in every other layer.

use super::{Presence, Routing, Score, Spec, Windows, always};
use crate::model::Norm;
use stonechat_kernels::elementwise::{Activation, Rotation};

pub const SPEC: Spec = Spec {
    name: "gpt-oss",
    norms: &[always(Norm::Attention, "attn_norm"), always(Norm::FeedForward, "post_attention_norm")],
    biases: &[
        "attn_q",
        "attn_k",
        "attn_v",
        "attn_output",
        "ffn_gate_inp",
        "ffn_gate_exps",
        "ffn_up_exps",
        "ffn_down_exps",
    ],
    rotation: Rotation::Halves,
    windows: Windows::Layers { period: 2, default: 0 },
    sinks: Presence::Always,
    activation: Activation::ClampedSilu,
    routing: Routing { score: Score::SoftmaxOfChosen, normalize: false, ..Spec::LLAMA.routing },
    ..Spec::LLAMA
};
