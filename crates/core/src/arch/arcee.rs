//! Arcee's AFM: Llama without a gate, and with squares of ReLU.

use super::{Gate, Spec};
use stonechat_kernels::elementwise::Activation;

pub const SPEC: Spec =
    Spec { name: "arcee", gate: Gate::None, activation: Activation::ReluSquared, ..Spec::LLAMA };
