//! StableLM 2 (arXiv:2402.17834): LayerNorm, a part of each head rotated. The 12B model has norms of q and k for each head, and
//! attention and feed-forward part side by side, behind one norm.

use super::{NormKind, QkNorm, Spec, always, maybe};
use crate::model::{Norm, NormTensors};
use stonechat_kernels::elementwise::Rotation;

const NORMS: NormTensors = &[
    always(Norm::Attention, "attn_norm"),
    always(Norm::FeedForward, "ffn_norm"),
    maybe(Norm::Query, "attn_q_norm"),
    maybe(Norm::Key, "attn_k_norm"),
];

const ONE_NORM: NormTensors = &[NORMS[0], always(Norm::FeedForward, "attn_norm"), NORMS[2], NORMS[3]];

pub const SPEC: Spec = Spec {
    name: "stablelm",
    norm: NormKind::Layer,
    norms: NORMS,
    biases: &["attn_norm"],
    rotation: Rotation::Halves,
    qk_norm: QkNorm::OwnHead,
    adapt: |keys, spec| {
        if !keys.has_tensor("blk.0.ffn_norm.weight") {
            spec.parallel = true;
            spec.norms = ONE_NORM;
        }
        Ok(())
    },
    ..Spec::LLAMA
};
