//! MPT (MosaicML 2023): LayerNorm without biases, ALiBi (Press et al. 2021, arXiv:2108.12409) in place of rotation, no gate.

use super::{Gate, NormKind, QkNorm, RopeLayers, Spec, always, maybe};
use crate::model::Norm;
use stonechat_kernels::elementwise::Activation;

pub const SPEC: Spec = Spec {
    name: "mpt",
    norm: NormKind::Layer,
    norms: &[
        always(Norm::Attention, "attn_norm"),
        always(Norm::FeedForward, "ffn_norm"),
        maybe(Norm::Query, "attn_q_norm"),
        maybe(Norm::Key, "attn_k_norm"),
    ],
    rope: RopeLayers::Nowhere,
    qk_norm: QkNorm::Row,
    gate: Gate::None,
    activation: Activation::GeluErf,
    adapt: |keys, spec| {
        spec.positions = keys.has_tensor("position_embd.weight");
        Ok(())
    },
    ..Spec::LLAMA
};
