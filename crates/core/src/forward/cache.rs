//! The KV cache: the keys and values of all layers, KV heads and positions in the arena.

use core::ops::Range;

use stonechat_kernels::KvFormat;
use stonechat_kernels::kv::{Cache, GROUP};
use stonechat_kernels::split::Stretches;

/// Keys or values: layers x KV heads x positions, these rounded up to whole groups.
pub(crate) struct KvBuffer<'a> {
    pub format: KvFormat,
    pub head_dim: usize,
    /// The bytes of a layer and of a head in it.
    pub layer_bytes: usize,
    pub head_bytes: usize,
    pub bytes: &'a mut [u8],
}

impl<'a> KvBuffer<'a> {
    /// A cache over `bytes` for heads of `head_dim` numbers, of which a layer has `kv_heads`; nothing where these are
    /// no whole blocks.
    pub fn new(
        format: KvFormat,
        head_dim: usize,
        kv_heads: usize,
        context: usize,
        bytes: &'a mut [u8],
    ) -> Option<Self> {
        let head_bytes = format.row_bytes(head_dim)? * context.next_multiple_of(GROUP);
        Some(Self { format, head_dim, layer_bytes: kv_heads * head_bytes, head_bytes, bytes })
    }

    /// The keys or values of a head.
    pub fn head(&self, layer: usize, head: usize) -> Cache<'_> {
        let bytes = &self.bytes[layer * self.layer_bytes + head * self.head_bytes..][..self.head_bytes];
        Cache::new(self.format, self.head_dim, bytes).expect("the plan took whole blocks and groups")
    }

    /// Groups of positions of a layer, head after head, to be written.
    pub fn groups_mut(&mut self, layer: usize, groups: Range<usize>) -> Stretches<'_, u8> {
        let bytes = &mut self.bytes[layer * self.layer_bytes..][..self.layer_bytes];
        let row_bytes = self.format.row_bytes(self.head_dim).expect("the plan took whole blocks");
        let group = row_bytes * GROUP;
        Stretches::new(bytes, self.head_bytes, groups.start * group..groups.end * group, group)
    }
}

pub(crate) struct KvCache<'a> {
    pub keys: KvBuffer<'a>,
    pub values: KvBuffer<'a>,
}
