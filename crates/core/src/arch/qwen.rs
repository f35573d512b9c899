//! Qwen2 (arXiv:2407.10671): Llama with biases of q, k and v. Qwen3 (arXiv:2505.09388): norms of q and k in their place. Both
//! also with experts; Qwen2's have a shared one with a weight of its own.

use super::{PRE_AND_QK_NORMS, Routing, Shared, Spec};
use stonechat_kernels::elementwise::Rotation;

pub const QWEN2: Spec = Spec {
    name: "qwen2",
    biases: &["attn_q", "attn_k", "attn_v"],
    rotation: Rotation::Halves,
    ..Spec::LLAMA
};

pub const QWEN2_MOE: Spec = Spec {
    name: "qwen2moe",
    routing: Routing { normalize: false, shared: Shared::Weighted, ..Spec::LLAMA.routing },
    ..QWEN2
};

pub const QWEN3: Spec =
    Spec { name: "qwen3", norms: PRE_AND_QK_NORMS, rotation: Rotation::Halves, ..Spec::LLAMA };

pub const QWEN3_MOE: Spec = Spec { name: "qwen3moe", ..QWEN3 };
