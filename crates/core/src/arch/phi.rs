//! Phi-2: LayerNorm, biases everywhere, a part of each head rotated, attention and feed-forward part side by side. Phi-3
//! (arXiv:2404.14219) and Phi-4: Llama with q, k and v in one matrix and gate and up in another, and LongRoPE (Ding et al.
//! 2024, arXiv:2402.13753) in files that carry its factors.

use super::{Gate, NormKind, ONE_NORM, Spec, Windows};
use stonechat_kernels::elementwise::{Activation, Rotation};

pub const PHI2: Spec = Spec {
    name: "phi2",
    norm: NormKind::Layer,
    norms: ONE_NORM,
    biases: &["attn_norm", "attn_output", "ffn_up", "ffn_down"],
    rotation: Rotation::Halves,
    parallel: true,
    gate: Gate::None,
    activation: Activation::Gelu,
    ..Spec::LLAMA
};

pub const PHI3: Spec = Spec {
    name: "phi3",
    rotation: Rotation::Halves,
    windows: Windows::Layers { period: 0, default: 0 },
    gate: Gate::InUp,
    ..Spec::LLAMA
};
