//! StarCoder2 (Lozhkov et al. 2024, arXiv:2402.19173): LayerNorm, biases everywhere, no gate.

use super::{Gate, NormKind, Spec, Windows};
use stonechat_kernels::elementwise::{Activation, Rotation};

pub const SPEC: Spec = Spec {
    name: "starcoder2",
    norm: NormKind::Layer,
    biases: &["attn_norm", "attn_output", "ffn_norm", "ffn_up", "ffn_down"],
    rotation: Rotation::Halves,
    windows: Windows::Layers { period: 0, default: 0 },
    gate: Gate::None,
    activation: Activation::Gelu,
    ..Spec::LLAMA
};
