//! The limits that a vocabulary must keep.

/// Tokens. The largest known vocabularies have 262,144; ids take 24 bits in the index.
pub const MAX_TOKENS: usize = (1 << 24) - 1;

/// Merges. The longest known lists have half a million; ranks take 24 bits in the index.
pub const MAX_MERGES: usize = (1 << 24) - 1;

/// Bytes of a token's text. The longest known are runs of 512 bytes.
pub const MAX_TOKEN_BYTES: usize = 1 << 14;

/// Steps that finding a text or a merge may take. Honest vocabularies stay below 200; one whose texts were chosen to
/// collide is refused.
pub const MAX_PROBES: usize = 1024;

/// Bytes of a normalization map. Known ones have a quarter of a million.
pub const MAX_CHARSMAP_BYTES: usize = 1 << 24;
