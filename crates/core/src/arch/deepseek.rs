//! DeepSeek-V2 (arXiv:2405.04434) and V3 (arXiv:2412.19437): latent attention; experts, of which some are shared by all
//! tokens, behind leading layers without. V3 scores experts by sigmoids, and chooses them, and groups of them first, with
//! a bias; GLM-4.7-Flash is like it.

use core::fmt::Write;

use super::{Presence, Routing, Score, Shared, Spec, always};
use crate::model::Norm;

pub const SPEC: Spec = Spec {
    name: "deepseek2",
    norms: &[
        always(Norm::Attention, "attn_norm"),
        always(Norm::FeedForward, "ffn_norm"),
        always(Norm::Query, "attn_q_a_norm"),
        always(Norm::Key, "attn_kv_a_norm"),
    ],
    latent: true,
    routing: Routing {
        normalize: false,
        selection_bias: Presence::Maybe,
        shared: Shared::Added,
        ..Spec::LLAMA.routing
    },
    adapt: |keys, spec| {
        // GLM-4.7-Flash, like V3 in all, does not say what V3 says.
        let first = keys.opt_u32("leading_dense_block_count")?.unwrap_or(0);
        let mut bias = heapless::String::<64>::new();
        let _ = write!(bias, "blk.{first}.exp_probs_b.bias");
        if keys.has_tensor(&bias) {
            spec.routing.score = Score::Sigmoid;
        }
        Ok(())
    },
    ..Spec::LLAMA
};
