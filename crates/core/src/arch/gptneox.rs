//! GPT-NeoX (Black et al. 2022, arXiv:2204.06745), Pythia: LayerNorm, biases everywhere, a part of each head rotated, and
//! attention and feed-forward part side by side where the file says so.

use super::{Gate, NormKind, Spec};
use stonechat_kernels::elementwise::{Activation, Rotation};

pub const SPEC: Spec = Spec {
    name: "gptneox",
    norm: NormKind::Layer,
    biases: &["attn_norm", "attn_qkv", "attn_output", "ffn_norm", "ffn_up", "ffn_down"],
    rotation: Rotation::Halves,
    gate: Gate::None,
    activation: Activation::GeluErf,
    adapt: |keys, spec| {
        spec.parallel = keys.bool("use_parallel_residual")?;
        Ok(())
    },
    ..Spec::LLAMA
};
