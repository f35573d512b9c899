//! Llama (Touvron et al. 2023, arXiv:2302.13971) and what is built like it: SmolLM, TinyLlama, Llama 2 and 3; Mistral (Jiang
//! et al. 2023, arXiv:2310.06825), whose window the file may name; Mixtral (Jiang et al. 2024, arXiv:2401.04088), with
//! experts.
//!
//! RMSNorm before attention and feed-forward, GQA, RoPE on adjacent pairs (the rows of q and k are stored in the
//! order that makes it so), SwiGLU. Biases where the file has them.

use super::{Spec, Windows};

/// Llama whose tokens attend to those behind them, too.
pub const LLAMA_EMBED: Spec = Spec { name: "llama-embed", causal: false, ..Spec::LLAMA };

pub const SPEC: Spec = Spec { windows: Windows::Layers { period: 0, default: 0 }, ..Spec::LLAMA };
