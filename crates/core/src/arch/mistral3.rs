//! Ministral 3: Llama with YaRN, and queries that grow with the logarithm of their position
//! (`attention.temperature_scale`).

use super::{Spec, Windows};

pub const SPEC: Spec =
    Spec { name: "mistral3", windows: Windows::Layers { period: 0, default: 0 }, ..Spec::LLAMA };
