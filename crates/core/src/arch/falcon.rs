//! Falcon (Almazrouei et al. 2023, arXiv:2311.16867): LayerNorm, no biases of matrices, attention and feed-forward part side by
//! side: behind one norm (7B), or a norm for each (40B).

use super::{Gate, NormKind, ONE_NORM, Spec, always};
use crate::model::{Norm, NormTensors};
use stonechat_kernels::elementwise::{Activation, Rotation};

const TWO_NORMS: NormTensors =
    &[always(Norm::Attention, "attn_norm_2"), always(Norm::FeedForward, "attn_norm")];

pub const SPEC: Spec = Spec {
    name: "falcon",
    norm: NormKind::Layer,
    norms: ONE_NORM,
    biases: &["attn_norm"],
    rotation: Rotation::Halves,
    parallel: true,
    gate: Gate::None,
    activation: Activation::GeluErf,
    adapt: |keys, spec| {
        if keys.has_tensor("blk.0.attn_norm_2.weight") {
            spec.biases = &["attn_norm", "attn_norm_2"];
            spec.norms = TWO_NORMS;
        }
        Ok(())
    },
    ..Spec::LLAMA
};
