//! EuroBERT (Boizard et al. 2025, arXiv:2503.05500): Llama whose tokens attend to those behind them, too.

use super::Spec;
use stonechat_kernels::elementwise::Rotation;

pub const SPEC: Spec = Spec { name: "eurobert", rotation: Rotation::Halves, causal: false, ..Spec::LLAMA };
