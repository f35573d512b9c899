//! Llama (Touvron et al. 2023, arXiv:2302.13971) and what is built like it: SmolLM, TinyLlama, Llama 2 and 3.
//!
//! RMSNorm before attention and feed-forward, GQA, RoPE on adjacent pairs (the rows of q and k are stored in the
//! order that makes it so), SwiGLU. Biases where the file has them.

use super::Spec;
use stonechat_kernels::elementwise::Rotation;

pub const SPEC: Spec = Spec { name: "llama", rotation: Rotation::Adjacent };
