//! EXAONE 4.0 (arXiv:2507.11407): norms behind each part in place of before it, norms of q and k; in the 32B model three layers
//! with a window to one without, and rotation only there.

use super::{RopeLayers, Spec, Windows, always};
use crate::model::Norm;
use stonechat_kernels::elementwise::Rotation;

pub const EXAONE4: Spec = Spec {
    name: "exaone4",
    norms: &[
        always(Norm::Query, "attn_q_norm"),
        always(Norm::Key, "attn_k_norm"),
        always(Norm::AttentionPost, "post_attention_norm"),
        always(Norm::FeedForwardPost, "post_ffw_norm"),
    ],
    rotation: Rotation::Halves,
    rope: RopeLayers::Windowed,
    windows: Windows::Layers { period: 4, default: 0 },
    ..Spec::LLAMA
};
