//! SmolLM3: Llama in which every fourth layer does not rotate (Yang et al. 2025, arXiv:2501.18795).

use super::{RopeLayers, Spec};

pub const SPEC: Spec = Spec { name: "smollm3", rope: RopeLayers::ExceptEvery(4), ..Spec::LLAMA };
