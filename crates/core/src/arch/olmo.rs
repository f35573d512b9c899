//! OLMo (Groeneveld et al. 2024, arXiv:2402.00838): Llama with a LayerNorm that has no weights. OLMo 2 and 3
//! (arXiv:2501.00656): RMSNorm behind each part in place of before it, norms of q and k over all heads; in OLMo 3 three
//! layers with a window to one without. OLMoE (Muennighoff et al. 2024, arXiv:2409.02060): experts behind norms before each
//! part.

use super::{LocalRope, NormKind, PRE_AND_QK_NORMS, QkNorm, Routing, Spec, Windows, always, plain};
use crate::model::Norm;
use stonechat_kernels::elementwise::Rotation;

pub const OLMO: Spec = Spec {
    name: "olmo",
    norm: NormKind::Layer,
    norms: &[plain(Norm::Attention), plain(Norm::FeedForward), plain(Norm::Output)],
    ..Spec::LLAMA
};

pub const OLMO2: Spec = Spec {
    name: "olmo2",
    norms: &[
        always(Norm::Query, "attn_q_norm"),
        always(Norm::Key, "attn_k_norm"),
        always(Norm::AttentionPost, "post_attention_norm"),
        always(Norm::FeedForwardPost, "post_ffw_norm"),
    ],
    rotation: Rotation::Halves,
    qk_norm: QkNorm::Row,
    windows: Windows::Layers { period: 4, default: 0 },
    local_rope: LocalRope::Own(None),
    ..Spec::LLAMA
};

pub const OLMOE: Spec = Spec {
    name: "olmoe",
    norms: PRE_AND_QK_NORMS,
    rotation: Rotation::Halves,
    qk_norm: QkNorm::Row,
    routing: Routing { normalize: false, ..Spec::LLAMA.routing },
    ..Spec::LLAMA
};
