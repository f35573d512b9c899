//! MiniCPM3 (OpenBMB 2024; its scales: arXiv:2404.06395): latent attention in a dense model, whose embedding, branches
//! and logits have scales that its files do not say.

use super::{EmbeddingScale, LogitScale, ResidualScale, Spec, deepseek};
use stonechat_kernels::elementwise::Rotation;

pub const SPEC: Spec = Spec {
    name: "minicpm3",
    norms: deepseek::SPEC.norms,
    rotation: Rotation::Halves,
    latent: true,
    embedding_scale: EmbeddingScale::Number(12.0),
    residual_scale: ResidualScale::OverRoot(1.4),
    logit_scale: LogitScale::Over(256.0),
    ..Spec::LLAMA
};
