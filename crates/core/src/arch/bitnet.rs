//! BitNet b1.58 (Ma et al. 2024, arXiv:2402.17764): Llama with a norm also before each matrix that leads back to the residual
//! stream.

use super::{Spec, always};
use crate::model::Norm;
use stonechat_kernels::elementwise::Rotation;

pub const SPEC: Spec = Spec {
    name: "bitnet",
    norms: &[
        always(Norm::Attention, "attn_norm"),
        always(Norm::Heads, "attn_sub_norm"),
        always(Norm::FeedForward, "ffn_norm"),
        always(Norm::Hidden, "ffn_sub_norm"),
    ],
    rotation: Rotation::Halves,
    ..Spec::LLAMA
};
