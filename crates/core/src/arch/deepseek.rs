//! DeepSeek-V2 (arXiv:2405.04434) and V3 (arXiv:2412.19437): latent attention; experts, of which some are shared by all
//! tokens, behind leading layers without. V3 scores experts by sigmoids, and chooses them, and groups of them first, with
//! a bias.

use super::{Presence, Routing, Shared, Spec, always};
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
    ..Spec::LLAMA
};
