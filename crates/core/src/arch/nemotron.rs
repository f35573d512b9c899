//! Nemotron-4 (Parmar et al. 2024, arXiv:2402.16819), Minitron: LayerNorm, a part of each head rotated, squares of ReLU (the 1
//! that Nemotron adds to weights of norms is already in the file).

use super::{Gate, NormKind, Spec};
use stonechat_kernels::elementwise::{Activation, Rotation};

pub const SPEC: Spec = Spec {
    name: "nemotron",
    norm: NormKind::Layer,
    biases: &["attn_norm", "ffn_norm"],
    rotation: Rotation::Halves,
    gate: Gate::None,
    activation: Activation::ReluSquared,
    ..Spec::LLAMA
};
