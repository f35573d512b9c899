//! The KV cache: the keys and values of all layers, KV heads and positions in the arena.

use core::ops::Range;

use stonechat_kernels::KvFormat;
use stonechat_kernels::kv::{Cache, GROUP};
use stonechat_kernels::split::Stretches;

use crate::Limits;
use crate::model::Layer;

/// Keys or values: sequences x layers x KV heads x positions, these rounded up to whole groups.
pub(crate) struct KvBuffer<'a> {
    pub format: KvFormat,
    positions: usize,
    /// The bytes of a sequence.
    of_sequence: usize,
    bytes: &'a mut [u8],
}

/// The keys or values of one sequence and layer among them.
#[derive(Clone, Copy)]
pub(crate) struct At {
    sequence: usize,
    /// How many numbers a position has before them.
    before: usize,
    heads: usize,
    head_dim: usize,
}

impl At {
    /// Those of a layer, of which the caches have so many numbers of each position before, and of a sequence.
    pub fn of(layer: &Layer, [keys, values]: [usize; 2], sequence: usize) -> [Self; 2] {
        let at = |before, head_dim| Self { sequence, before, heads: layer.kv_heads(), head_dim };
        [at(keys, layer.head_dim()), at(values, layer.value_dim())]
    }
}

impl<'a> KvBuffer<'a> {
    /// A cache over `bytes` for so many sequences and positions.
    pub fn new(format: KvFormat, limits: &Limits, bytes: &'a mut [u8]) -> Self {
        let (positions, of_sequence) =
            (limits.context.next_multiple_of(GROUP), bytes.len() / limits.sequences);
        Self { format, positions, of_sequence, bytes }
    }

    /// The bytes of so many numbers of every position.
    fn bytes_of(&self, numbers: usize) -> usize {
        self.format.row_bytes(numbers).expect("the plan took whole blocks") * self.positions
    }

    /// Where those of a layer begin, and the bytes of a head.
    fn layer(&self, at: At) -> (usize, usize) {
        (at.sequence * self.of_sequence + self.bytes_of(at.before), self.bytes_of(at.head_dim))
    }

    /// The keys or values of a head.
    pub fn head(&self, at: At, head: usize) -> Cache<'_> {
        let (from, len) = self.layer(at);
        let bytes = &self.bytes[from + head * len..][..len];
        Cache::new(self.format, at.head_dim, bytes).expect("the plan took whole blocks and groups")
    }

    /// The bytes that hold `positions` (from a whole group on) of a head.
    pub fn stretch(&self, at: At, head: usize, positions: Range<usize>) -> &[u8] {
        &self.bytes[self.place(at, head, positions)]
    }

    /// The same, to be written.
    pub fn stretch_mut(&mut self, at: At, head: usize, positions: Range<usize>) -> &mut [u8] {
        let place = self.place(at, head, positions);
        &mut self.bytes[place]
    }

    /// Where `positions` of a head lie, rounded out to whole groups.
    fn place(&self, at: At, head: usize, positions: Range<usize>) -> Range<usize> {
        let (from, len) = self.layer(at);
        let group = len / self.positions * GROUP;
        let start = from + head * len;
        start + positions.start / GROUP * group..start + positions.end.div_ceil(GROUP) * group
    }

    /// Copies the first positions of a head from one sequence to another.
    pub fn copy(&mut self, [from, to]: [At; 2], head: usize, positions: usize) {
        let (from, to) = (self.place(from, head, 0..positions), self.place(to, head, 0..positions));
        self.bytes.copy_within(from, to.start);
    }

    /// Groups of positions of a layer, head after head, to be written.
    pub fn groups_mut(&mut self, at: At, groups: Range<usize>) -> Stretches<'_, u8> {
        let (from, len) = self.layer(at);
        let group = len / self.positions * GROUP;
        let bytes = &mut self.bytes[from..][..at.heads * len];
        Stretches::new(bytes, len, groups.start * group..groups.end * group, group)
    }
}

pub(crate) struct KvCache<'a> {
    pub keys: KvBuffer<'a>,
    pub values: KvBuffer<'a>,
}
