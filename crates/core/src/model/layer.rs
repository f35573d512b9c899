//! The shape of one layer, read from a file's keys: some files have layers of different shapes.

use bytemuck::{Pod, Zeroable};
use stonechat_kernels::attention;

use super::Hyperparameters;
use super::keys::{Keys, MOST_LAYERS, MOST_WIDTH};
use crate::Error;
use crate::arch::{Gate, LocalRope, Mixer, Mixers, RopeLayers, Spec, Windows};

/// Stands for what a layer does not have.
const NONE: u32 = u32::MAX;

/// The shape of one layer, as the arena keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Layer {
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    feed_forward: u32,
    window: u32,
    rope: u32,
    source: u32,
    has_experts: u32,
    gate_is_in_up: u32,
    latent_rank: u32,
    latent_query_rank: u32,
    latent_key: u32,
    latent_value: u32,
    mixer: u32,
    gated: u32,
}

/// What latent attention (DeepSeek-AI 2024, arXiv:2405.04434) makes heads of: a vector for each position, from which all
/// heads have their keys and values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Latent {
    /// The length of that vector.
    pub rank: usize,
    /// The length of the vector that queries come from; 0 where they come from the embedding.
    pub query_rank: usize,
    /// The length of the part of a head's query and key that does not rotate.
    pub key: usize,
    /// The length of the part that rotates, which all heads have in common in keys.
    pub rotated: usize,
    /// The length of a head's value.
    pub value: usize,
}

impl Latent {
    /// The length of a head's query.
    pub const fn query(&self) -> usize {
        self.key + self.rotated
    }

    /// The length of a token's row when it holds queries: beside them stands what they were made together with.
    pub(crate) const fn query_row(&self, layer: &Layer) -> usize {
        layer.heads() * self.query() + if self.query_rank == 0 { layer.head_dim() } else { 0 }
    }
}

/// How many query heads of a layer with latent attention go over the cache together: as many as the kernels take at a
/// time.
const LATENT_GROUP: usize = attention::TILE;

impl Layer {
    /// The number of query heads.
    pub const fn heads(&self) -> usize {
        self.heads as usize
    }

    /// What heads are made of, where attention is latent. Queries and keys are then as long as vector and rotated part
    /// together, values as long as the vector, and there is one KV head: matrices that would make keys and values of
    /// it are applied to queries before and to what attention gives behind.
    pub fn latent(&self) -> Option<Latent> {
        self.is_latent().then_some(Latent {
            rank: self.latent_rank as usize,
            query_rank: self.latent_query_rank as usize,
            key: self.latent_key as usize,
            rotated: (self.head_dim - self.latent_rank) as usize,
            value: self.latent_value as usize,
        })
    }

    /// Whether attention is latent.
    pub const fn is_latent(&self) -> bool {
        self.latent_rank > 0
    }

    /// The length of the vector that queries of latent attention come from; 0 where there is none.
    pub const fn query_rank(&self) -> usize {
        self.latent_query_rank as usize
    }

    /// The number of key and value heads.
    pub const fn kv_heads(&self) -> usize {
        self.kv_heads as usize
    }

    /// The length of a head: of its queries and keys.
    pub const fn head_dim(&self) -> usize {
        self.head_dim as usize
    }

    /// The length of a value of a head.
    pub const fn value_dim(&self) -> usize {
        if self.is_latent() { self.latent_rank as usize } else { self.head_dim() }
    }

    /// The length of what enters the matrix that leads out of attention.
    pub const fn out_dim(&self) -> usize {
        if self.is_latent() { self.heads() * self.latent_value as usize } else { self.q_dim() }
    }

    /// The length of all query heads together.
    pub const fn q_dim(&self) -> usize {
        self.heads() * self.head_dim()
    }

    /// What mixes positions.
    pub fn mixer(&self) -> Mixer {
        Mixer::ALL[self.mixer as usize]
    }

    /// Whether what leaves attention is multiplied by a sigmoid, whose argument lies behind each query.
    pub const fn is_gated(&self) -> bool {
        self.gated != 0
    }

    /// The length of all query heads with their gates.
    pub const fn query_rows(&self) -> usize {
        if self.is_gated() { 2 * self.q_dim() } else { self.q_dim() }
    }

    /// The length of all key heads together.
    pub const fn kv_dim(&self) -> usize {
        self.kv_heads() * self.head_dim()
    }

    /// How many query heads go over a KV head together, for so many tokens: all that share it. Where attention is latent
    /// that would be all there are: then some for one token, and one for several.
    pub const fn group(&self, tokens: usize) -> usize {
        if !self.is_latent() {
            return self.heads() / self.kv_heads();
        }
        let mut group = if tokens > 1 { 1 } else { LATENT_GROUP };
        while !self.heads().is_multiple_of(group) {
            group -= 1;
        }
        group
    }

    /// The length of the hidden vector; 0 where there are only experts.
    pub const fn feed_forward(&self) -> usize {
        self.feed_forward as usize
    }

    /// Whether there is a feed-forward part.
    pub const fn has_feed_forward(&self) -> bool {
        self.has_experts() || self.feed_forward > 0
    }

    /// Whether the feed-forward part is one of experts.
    pub const fn has_experts(&self) -> bool {
        self.has_experts != 0
    }

    /// Whether there are experts and, beside them, a part without.
    pub const fn has_dense_beside_experts(&self) -> bool {
        self.has_experts() && self.feed_forward > 0
    }

    /// Whether the upper half of `ffn_up` is the gate's.
    pub const fn gate_is_in_up(&self) -> bool {
        self.gate_is_in_up != 0
    }

    /// The longest vector that attention hands to a matrix: all heads of a token together.
    pub(super) fn attention_input(&self) -> usize {
        self.latent().map_or(self.q_dim(), |latent| {
            let head = latent.rank.max(latent.key).max(latent.value);
            (self.heads() * head).max(latent.query_rank)
        })
    }

    /// How many positions a token attends to at most up to its own.
    pub const fn window(&self) -> usize {
        if self.window == NONE { usize::MAX } else { self.window as usize }
    }

    /// Which of the model's ropes rotates.
    pub fn rope(&self) -> Option<usize> {
        (self.rope != NONE).then_some(self.rope as usize)
    }

    /// The earlier layer to whose keys and values this one attends, having none of its own.
    pub fn source(&self) -> Option<usize> {
        (self.source != NONE).then_some(self.source as usize)
    }
}

impl Layer {
    /// Reads the shape of layer `number`.
    #[inline(never)]
    pub(super) fn read(
        keys: &Keys<'_, '_>,
        spec: &Spec,
        h: &Hyperparameters,
        number: usize,
    ) -> Result<Self, Error> {
        let mixer = mixer(keys, spec, number)?;
        let (heads, kv_heads) = if mixer.attends() { heads(keys, spec, number)? } else { (0, 0) };
        let window = window(keys, spec, number)?;
        // A token that attends to both sides stands in the middle of its window.
        let window = if h.causal { window } else { window.map(|length| length / 2 + 1) };
        let latent = if spec.latent { Some(latent(keys, h.embedding, heads)?) } else { None };
        let head_dim = match latent {
            Some(latent) => latent.rank + latent.rotated,
            None if mixer.attends() => head_dim(keys, h.embedding, heads, window.is_some())?,
            None => 0,
        };
        if heads.checked_mul(head_dim).is_none_or(|dim| dim > MOST_WIDTH) {
            return Err(keys.bad("attention.head_count", "such that all heads together stay below 2^24"));
        }
        let has_windows = keys.opt_nonzero("attention.sliding_window", u32::MAX as usize)?.is_some();
        let rotates = match spec.rope {
            RopeLayers::All => true,
            RopeLayers::Nowhere => false,
            RopeLayers::ExceptEvery(period) => !(number + 1).is_multiple_of(period),
            RopeLayers::Windowed => window.is_some() || !has_windows,
        };
        let local = window.is_some() && spec.local_rope != LocalRope::Shared;
        let has_experts = has_experts(keys, h, number)?;
        let feed_forward = if has_experts && !spec.dense_beside_experts || !spec.feed_forward {
            0
        } else {
            keys.opt_size_in("feed_forward_length", number, MOST_WIDTH)?
                .ok_or(keys.missing("feed_forward_length"))?
        };
        Ok(Self {
            heads: heads as u32,
            kv_heads: kv_heads as u32,
            head_dim: head_dim as u32,
            feed_forward: feed_forward as u32,
            window: window.map_or(NONE, |window| window as u32),
            rope: if rotates && mixer.attends() { u32::from(local) } else { NONE },
            source: source(keys, spec, h.layers, number)?.map_or(NONE, |source| source as u32),
            has_experts: u32::from(has_experts),
            gate_is_in_up: u32::from(spec.gate == Gate::InUp),
            latent_rank: latent.map_or(0, |latent| latent.rank as u32),
            latent_query_rank: latent.map_or(0, |latent| latent.query_rank as u32),
            latent_key: latent.map_or(0, |latent| latent.key as u32),
            latent_value: latent.map_or(0, |latent| latent.value as u32),
            mixer: mixer as u32,
            gated: u32::from(spec.gated_attention),
        })
    }
}

/// What mixes positions in a layer.
#[inline(never)]
fn mixer(keys: &Keys<'_, '_>, spec: &Spec, number: usize) -> Result<Mixer, Error> {
    let (mixer, recurs) = match spec.mixers {
        Mixers::All(mixer) => return Ok(mixer),
        Mixers::WithoutKvHeads(mixer) => (mixer, keys.is_0_in("attention.head_count_kv", number)?),
        Mixers::Between(mixer) => {
            let interval = keys.opt_size("full_attention_interval", MOST_LAYERS)?.unwrap_or(4);
            let named = keys.opt_flag_in("attention.recurrent_layers", number)?;
            (mixer, named.unwrap_or(!(number + 1).is_multiple_of(interval)))
        }
    };
    Ok(if recurs { mixer } else { Mixer::Attention })
}

/// The query heads and the KV heads of a layer.
#[inline(never)]
fn heads(keys: &Keys<'_, '_>, spec: &Spec, number: usize) -> Result<(usize, usize), Error> {
    let heads = keys
        .opt_size_in("attention.head_count", number, MOST_WIDTH)?
        .ok_or(keys.missing("attention.head_count"))?;
    let kv_heads = if spec.latent {
        1
    } else {
        keys.opt_size_in("attention.head_count_kv", number, MOST_WIDTH)?.unwrap_or(heads)
    };
    if !heads.is_multiple_of(kv_heads) {
        return Err(keys.bad("attention.head_count", "a multiple of attention.head_count_kv"));
    }
    Ok((heads, kv_heads))
}

/// The window of a layer, if it has one.
#[inline(never)]
fn window(keys: &Keys<'_, '_>, spec: &Spec, number: usize) -> Result<Option<usize>, Error> {
    const PATTERN: &str = "attention.sliding_window_pattern";
    let (period, default, first) = match spec.windows {
        Windows::None => return Ok(None),
        Windows::Layers { period, default } => (period, default, false),
        Windows::AllButFirst { period } => (period, 0, true),
    };
    let length = match keys.opt_u32("attention.sliding_window")? {
        None => default,
        Some(length) => length as usize,
    };
    let has_window = if keys.is_array(PATTERN) {
        keys.opt_flag_in(PATTERN, number)? == Some(true)
    } else {
        let period = keys.opt_u32(PATTERN)?.map_or(period, |period| period as usize);
        period == 0 || number % period != if first { 0 } else { period - 1 }
    };
    Ok((has_window && length > 0).then_some(length))
}

/// The length of a head, of keys and values alike.
#[inline(never)]
fn head_dim(keys: &Keys<'_, '_>, embedding: usize, heads: usize, local: bool) -> Result<usize, Error> {
    let read =
        |local_key, key| match local.then(|| keys.opt_size(local_key, MOST_WIDTH)).transpose()?.flatten() {
            Some(length) => Ok(Some(length)),
            None => keys.opt_size(key, MOST_WIDTH),
        };
    let length = match read("attention.key_length_swa", "attention.key_length")? {
        Some(length) => length,
        None if embedding.is_multiple_of(heads) => embedding / heads,
        None => return Err(keys.bad("embedding_length", "a multiple of attention.head_count")),
    };
    match read("attention.value_length_swa", "attention.value_length")? {
        Some(other) if other != length => {
            Err(keys.bad("attention.value_length", "equal to attention.key_length"))
        }
        _ => Ok(length),
    }
}

/// What latent attention makes heads of. Files say the lengths of keys and values as heads have them, or, beside those of
/// the vector, under names of their own.
#[inline(never)]
fn latent(keys: &Keys<'_, '_>, embedding: usize, heads: usize) -> Result<Latent, Error> {
    const ROTATED: &str = "rope.dimension_count";
    let size = |key| keys.opt_size(key, MOST_WIDTH);
    let [query, value] = ["attention.key_length", "attention.value_length"];
    let [query_mla, value_mla] = ["attention.key_length_mla", "attention.value_length_mla"];
    let (rank, rotated) = (keys.size("attention.kv_lora_rank", MOST_WIDTH)?, keys.size(ROTATED, MOST_WIDTH)?);
    let length = size(query_mla)?.or(size(query)?).ok_or(keys.missing(query))?;
    if rotated >= length || !rotated.is_multiple_of(2) {
        return Err(keys.bad(ROTATED, "an even number, less than attention.key_length"));
    }
    let value = match size(value_mla)?.or(size(value)?) {
        Some(length) => length,
        None if embedding.is_multiple_of(heads) => embedding / heads,
        None => return Err(keys.missing(value)),
    };
    let query_rank = keys.opt_nonzero("attention.q_lora_rank", MOST_WIDTH)?.unwrap_or(0);
    let longest = rank.max(length).max(value);
    if heads.checked_mul(longest).is_none_or(|all| all > MOST_WIDTH) {
        return Err(keys.bad("attention.head_count", "such that all heads together stay below 2^24"));
    }
    Ok(Latent { rank, query_rank, key: length - rotated, rotated, value })
}

/// The layer whose keys and values a layer shares: the last that has its own, and a window likewise.
#[inline(never)]
fn source(keys: &Keys<'_, '_>, spec: &Spec, layers: usize, number: usize) -> Result<Option<usize>, Error> {
    const KEY: &str = "attention.shared_kv_layers";
    let Some(shared) = keys.opt_nonzero(KEY, MOST_LAYERS)? else { return Ok(None) };
    let bad = keys.bad(KEY, "such that earlier layers have keys and values to share");
    let first = layers.checked_sub(shared).ok_or(bad.clone())?;
    if number < first {
        return Ok(None);
    }
    let local = window(keys, spec, number)?.is_some();
    for source in (0..first).rev() {
        if window(keys, spec, source)?.is_some() == local {
            return Ok(Some(source));
        }
    }
    Err(bad)
}

/// Whether a layer's feed-forward part is one of experts.
#[inline(never)]
fn has_experts(keys: &Keys<'_, '_>, h: &Hyperparameters, number: usize) -> Result<bool, Error> {
    let dense = keys.opt_u32("leading_dense_block_count")?.unwrap_or(0) as usize;
    let step = keys.opt_size("interleave_moe_layer_step", MOST_LAYERS)?.unwrap_or(1);
    // Nomic's way to say it: the second of every so many.
    let every = keys.opt_nonzero("moe_every_n_layers", MOST_LAYERS)?;
    let is_one_of = (number + 1).is_multiple_of(step) && every.is_none_or(|every| number % every == 1);
    Ok(h.experts.count > 0 && number >= dense && is_one_of)
}
