//! LFM2 (arXiv:2511.23404): Qwen3 with short convolutions in place of attention in most layers. Also with experts.

use super::{Mixer, Mixers, PRE_AND_QK_NORMS, Presence, Routing, Score, Spec, Windows, always};
use crate::model::Norm;
use stonechat_kernels::elementwise::Rotation;

pub const LFM2: Spec = Spec {
    name: "lfm2",
    norms: &[
        PRE_AND_QK_NORMS[0],
        PRE_AND_QK_NORMS[1],
        PRE_AND_QK_NORMS[2],
        PRE_AND_QK_NORMS[3],
        always(Norm::Output, "token_embd_norm.weight"),
    ],
    mixers: Mixers::WithoutKvHeads(Mixer::ShortConvolution),
    windows: Windows::Layers { period: 0, default: 0 },
    rotation: Rotation::Halves,
    ..Spec::LLAMA
};

pub const LFM2_MOE: Spec = Spec {
    name: "lfm2moe",
    routing: Routing { score: Score::Sigmoid, selection_bias: Presence::Always, ..Spec::LLAMA.routing },
    ..LFM2
};
