//! Apertus (2025, arXiv:2509.14233): no gate, xIELU with parameters for each layer, norms of q and k.

use super::{Gate, PRE_AND_QK_NORMS, Spec};
use stonechat_kernels::elementwise::{Activation, Rotation, Xielu};

pub const SPEC: Spec = Spec {
    name: "apertus",
    norms: PRE_AND_QK_NORMS,
    rotation: Rotation::Halves,
    gate: Gate::None,
    // The numbers are those of the file's `xielu` keys.
    activation: Activation::Xielu(Xielu { positive: 0.0, negative: 0.0, beta: 0.0, eps: 0.0 }),
    ..Spec::LLAMA
};
