//! Falcon-H1 (arXiv:2507.22448): Llama with a state space beside attention.

use super::{Mixer, Mixers, Presence, Spec};
use stonechat_kernels::elementwise::Rotation;

pub const SPEC: Spec = Spec {
    name: "falcon-h1",
    mixers: Mixers::All(Mixer::AttentionAndMamba2),
    state_norm: Presence::Maybe,
    rotation: Rotation::Halves,
    ..Spec::LLAMA
};
