//! Mamba (arXiv:2312.00752, arXiv:2405.21060): layers of a state space alone.

use super::{Mixer, Mixers, ONE_PRE_NORM, RopeLayers, Spec};

pub const MAMBA: Spec = Spec {
    name: "mamba",
    norms: ONE_PRE_NORM,
    biases: &["ssm_dt"],
    mixers: Mixers::All(Mixer::Mamba),
    feed_forward: false,
    rope: RopeLayers::Nowhere,
    ..Spec::LLAMA
};

pub const MAMBA2: Spec = Spec { name: "mamba2", mixers: Mixers::All(Mixer::Mamba2), biases: &[], ..MAMBA };
