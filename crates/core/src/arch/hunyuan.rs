//! Hunyuan, dense: Llama with norms of q and k, after the rotation.

use super::{PRE_AND_QK_NORMS, Spec};
use stonechat_kernels::elementwise::Rotation;

pub const SPEC: Spec = Spec {
    name: "hunyuan-dense",
    norms: PRE_AND_QK_NORMS,
    rotation: Rotation::Halves,
    qk_norm_after_rope: true,
    ..Spec::LLAMA
};
