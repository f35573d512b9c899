//! ERNIE 4.5: Llama, and one with experts in some of its layers.

use super::{Presence, Routing, Shared, Spec};

pub const ERNIE: Spec = Spec { name: "ernie4_5", ..Spec::LLAMA };

pub const ERNIE_MOE: Spec = Spec {
    name: "ernie4_5-moe",
    routing: Routing { selection_bias: Presence::Maybe, shared: Shared::Added, ..Spec::LLAMA.routing },
    ..Spec::LLAMA
};
