//! Granite 3 and 4: Llama with scales for embedding, residual, scores and logits, whose keys the file has. Also with experts.

use super::{LogitScale, Mixer, Mixers, RopeLayers, Routing, Shared, Spec};

pub const GRANITE: Spec = Spec {
    name: "granite",
    logit_scale: LogitScale::Divide,
    adapt: |keys, spec| {
        if keys.opt_bool("rope.scaling.finetuned")? == Some(false) {
            spec.rope = RopeLayers::Nowhere;
        }
        Ok(())
    },
    ..Spec::LLAMA
};

/// Granite 4: state spaces in place of attention in most layers.
pub const GRANITE_HYBRID: Spec =
    Spec { name: "granitehybrid", mixers: Mixers::WithoutKvHeads(Mixer::Mamba2), ..GRANITE_MOE };

pub const GRANITE_MOE: Spec =
    Spec { name: "granitemoe", routing: Routing { shared: Shared::Added, ..Spec::LLAMA.routing }, ..GRANITE };
