//! ModernBERT (Warner et al. 2024, arXiv:2412.13663): tokens attend to those behind them, too, in two layers of three within
//! a window that has them in its middle. Norms before attention (but for the first layer, as the embedding is normalised)
//! and feed-forward, one matrix for q, k and v, one for gate and up. Files may name SiLU in place of GELU.

use super::{Gate, LocalRope, NormKind, Presence, Spec, Windows, always, maybe};
use crate::model::Norm;
use stonechat_kernels::elementwise::{Activation, Rotation};

pub const SPEC: Spec = Spec {
    name: "modern-bert",
    norm: NormKind::Layer,
    norms: &[maybe(Norm::Attention, "attn_norm"), always(Norm::FeedForward, "ffn_norm")],
    rotation: Rotation::Halves,
    local_rope: LocalRope::Own(None),
    windows: Windows::AllButFirst { period: 3 },
    causal: false,
    embedding_norm: Presence::Always,
    gate: Gate::InUp,
    activation: Activation::GeluErf,
    adapt: |keys, spec| {
        match keys.opt_str("hidden_activation")? {
            None | Some("gelu") => {}
            Some("silu") => spec.activation = Activation::Silu,
            Some(_) => return Err(keys.bad("hidden_activation", "gelu or silu")),
        }
        Ok(())
    },
    ..Spec::LLAMA
};
