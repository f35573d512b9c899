//! Command R and R+ (Cohere 2024): LayerNorm without biases, attention and feed-forward part side by side behind one norm; R+
//! has norms of q and k for each head. Cohere 2 (Command R7B, Command A): windows in three of four layers, and rotation
//! only there.

use super::{NormKind, ONE_NORM, QkNorm, RopeLayers, Spec, Windows, maybe};
use crate::model::Norm;

pub const COMMAND_R: Spec = Spec {
    name: "command-r",
    norm: NormKind::Layer,
    norms: &[ONE_NORM[0], ONE_NORM[1], maybe(Norm::Query, "attn_q_norm"), maybe(Norm::Key, "attn_k_norm")],
    qk_norm: QkNorm::OwnHead,
    parallel: true,
    ..Spec::LLAMA
};

pub const COHERE2: Spec = Spec {
    name: "cohere2",
    norms: ONE_NORM,
    rope: RopeLayers::Windowed,
    windows: Windows::Layers { period: 4, default: 0 },
    ..COMMAND_R
};
