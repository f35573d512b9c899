//! Attention of one query head over a KV cache, in chunks of positions.
//!
//! In: a query, and keys and values of one KV head, position by position. Out: the weighted mean of the values.
//! Chunks of [`CHUNK`] absolute positions are computed alone and merged in ascending order, so that the result does
//! not depend on how positions were batched. Source: Vaswani et al. 2017 (arXiv:1706.03762); merging of
//! partial softmaxes: Milakov and Gimelshein 2018 (arXiv:1805.02867).

use crate::{Level, Line};
use core::ops::Range;

/// The number of positions that are computed together.
pub const CHUNK: usize = 256;

/// Keys or values of one KV head: positions x `head_dim`.
#[derive(Clone, Copy, Debug)]
pub enum Cache<'a> {
    /// In f32.
    F32(&'a [f32]),
    /// In half precision.
    F16(&'a [u16]),
}

impl Cache<'_> {
    /// The number of values.
    pub const fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F16(values) => values.len(),
        }
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One KV head as query heads see it.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The positions attended to.
    pub positions: &'a Range<usize>,
    /// The keys of positions from 0 on.
    pub keys: Cache<'a>,
    /// The values of positions from 0 on.
    pub values: Cache<'a>,
    /// What q·k is multiplied by, usually `1/sqrt(head_dim)`.
    pub scale: f32,
}

/// `out = softmax(scale q·k) v` for each query head in `queries` (heads x `head_dim`) that shares this KV head.
///
/// # Panics
/// If the shapes contradict each other, there is no position, or `scratch` is too small.
pub fn attend(
    level: Level,
    head: &Head<'_>,
    head_dim: usize,
    queries: &[f32],
    out: &mut [f32],
    scratch: &mut [Line],
) {
    assert!(
        head_dim > 0 && queries.len().is_multiple_of(head_dim) && queries.len() == out.len(),
        "whole heads"
    );
    assert!(!head.positions.is_empty(), "at least one position to attend to");
    let reach = head.positions.end * head_dim;
    assert!(head.keys.len() >= reach && head.values.len() >= reach, "keys and values of every position");
    crate::dispatch!(level, attend(head, head_dim, queries, out, scratch));
}
