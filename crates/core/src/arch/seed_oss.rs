//! Seed-OSS: Llama with biases of q, k and v; what others call `ffn_norm` is `post_attention_norm`.

use super::{Spec, always};
use crate::model::Norm;
use stonechat_kernels::elementwise::Rotation;

pub const SPEC: Spec = Spec {
    name: "seed_oss",
    norms: &[always(Norm::Attention, "attn_norm"), always(Norm::FeedForward, "post_attention_norm")],
    rotation: Rotation::Halves,
    ..Spec::LLAMA
};
