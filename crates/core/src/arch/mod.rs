//! The architectures: data, not code.
//!
//! Each is a short file that describes what `forward` shall do. Adding one that is like Llama means adding a
//! file here and a line to [`ALL`].

mod llama;

use stonechat_kernels::elementwise::Rotation;

/// What tells one transformer from another.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Spec {
    /// `general.architecture`, which is also the prefix of its keys.
    pub name: &'static str,
    /// Which values of a head RoPE rotates together.
    pub rotation: Rotation,
}

/// Every architecture that runs.
pub const ALL: &[Spec] = &[llama::SPEC];

/// The architecture of this name.
pub fn find(name: &str) -> Option<&'static Spec> {
    ALL.iter().find(|spec| spec.name == name)
}
