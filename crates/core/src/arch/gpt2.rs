//! GPT-2 (Radford et al. 2019): LayerNorm, biases everywhere, a learned vector for each position, no gate.

use super::{Gate, NormKind, RopeLayers, Spec};
use stonechat_kernels::elementwise::Activation;

pub const SPEC: Spec = Spec {
    name: "gpt2",
    norm: NormKind::Layer,
    biases: &["attn_norm", "attn_qkv", "attn_output", "ffn_norm", "ffn_up", "ffn_down"],
    rope: RopeLayers::Nowhere,
    positions: true,
    gate: Gate::None,
    activation: Activation::Gelu,
    ..Spec::LLAMA
};
