//! The plan: every byte that running a model takes, before any is spent.
//!
//! In: a model's shape and the limits that the user gives. Out: the size of each region of the one arena. Arithmetic
//! only; [`Session::new`](crate::Session::new) carves exactly these regions.

pub use stonechat_kernels::KvFormat;
use stonechat_kernels::kv::GROUP;
use stonechat_kernels::{Line, ScratchSize};

use crate::arena::ALIGNMENT;
use crate::forward;
use crate::sampler::{self, Candidate};
use crate::session::{LayerRecord, Sequence, vectors_len};
use crate::{Error, Model, Vocabulary};

/// In what form activations meet quantized matrices.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum ActivationMode {
    /// In int8, the fast way.
    Q8,
    /// In f32, the weights dequantized: slow and exact, to compare with other implementations.
    F32,
}

/// What the user allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Texts at once.
    pub sequences: usize,
    /// Tokens of context, of each text.
    pub context: usize,
    /// Tokens that are computed together: when a prompt is read, or of several texts.
    pub batch: usize,
    /// Positions whose logits are computed together; 0 for a session that only embeds.
    pub outputs: usize,
    /// Workers.
    pub threads: usize,
    /// How keys are kept.
    pub keys: KvFormat,
    /// How values are kept.
    pub values: KvFormat,
    /// In what form activations meet quantized matrices.
    pub activations: ActivationMode,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sequences: 1,
            context: 2048,
            batch: 256,
            outputs: 1,
            threads: 1,
            keys: KvFormat::F16,
            values: KvFormat::F16,
            activations: ActivationMode::Q8,
        }
    }
}

impl Limits {
    /// Positions of all texts together.
    const fn all_positions(&self) -> usize {
        self.context.saturating_mul(self.sequences)
    }
}

/// A part of the arena.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Region {
    /// What it holds.
    pub name: &'static str,
    /// Its size in bytes, whole cache lines.
    pub bytes: usize,
}

/// Lengths of buffers, in elements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lengths {
    pub sequences: usize,
    pub vocabulary: usize,
    pub layers: usize,
    pub vectors: usize,
    /// In bytes.
    pub keys: usize,
    pub values: usize,
    pub state: usize,
    pub residual: usize,
    pub input: usize,
    pub wide: usize,
    pub delta: usize,
    pub layer_inputs: usize,
    pub expert_scores: usize,
    pub choices: usize,
    pub expert_input: usize,
    pub expert_out: usize,
    pub partials: usize,
    pub angles: usize,
    pub logits: usize,
    pub candidates: usize,
    pub scratch_size: ScratchSize,
    pub scratch: usize,
}

/// The sizes of everything. See the [module](self).
#[derive(Clone, Debug)]
pub struct Plan {
    limits: Limits,
    pub(crate) lengths: Lengths,
    regions: [Region; 13],
    bytes: usize,
}

impl Plan {
    /// The plan for `model` within `limits`.
    pub fn new(model: &Model<'_>, limits: Limits) -> Result<Self, Error> {
        let h = model.hyperparameters();
        if limits.context > h.context {
            return Err(Error::ContextTooLong { asked: limits.context, most: h.context });
        }
        for (value, what) in [
            (limits.sequences, "the number of sequences"),
            (limits.context, "the context"),
            (limits.batch, "the batch"),
            (limits.threads, "the number of threads"),
        ] {
            if value == 0 {
                return Err(Error::ZeroLimit(what));
            }
        }
        let caches = caches(model, &limits)?;
        // A batch longer than all texts would never be full. Where tokens attend to those behind them, it is the text.
        let batch = if h.causal { limits.batch.min(limits.all_positions()) } else { limits.context };
        let limits = Limits { batch, outputs: limits.outputs.min(batch), ..limits };
        let vocabulary = Vocabulary::memory(model.gguf())?;
        let vectors = vectors_len(model)?;
        let recurrent_layers = model.recurrent_layers()?;
        let state = h.recurrent.state_len().and_then(|len| len.checked_mul(recurrent_layers));
        let state = state.and_then(|len| len.checked_mul(limits.sequences));
        let state = state.ok_or(Error::TooLarge)?;
        let attention = forward::attention_size(model, limits.context)?;
        let attention = attention.of_tokens(limits.sequences.min(batch)).ok_or(Error::TooLarge)?;
        lengths(model, &limits, caches, [vocabulary, vectors, state], attention)
            .and_then(|lengths| Self::of(limits, lengths))
            .filter(|plan| isize::try_from(plan.bytes).is_ok())
            .ok_or(Error::TooLarge)
    }

    /// The plan with the longest context, and then the largest batch, that takes at most `memory` bytes.
    pub fn fit(model: &Model<'_>, limits: Limits, memory: usize) -> Result<Self, Error> {
        let fits = |context, batch| match Self::new(model, Limits { context, batch, ..limits }) {
            Ok(plan) => Ok((plan.bytes <= memory).then_some(plan)),
            Err(Error::TooLarge) => Ok(None),
            Err(error) => Err(error),
        };
        let small = limits.batch.min(SMALL_BATCH);
        // The smallest plan that is useful at all; below it there is nothing to choose.
        let least = Self::new(model, Limits { context: 1, batch: 1, ..limits })?;
        if least.bytes > memory {
            return Err(Error::MemoryTooSmall { needed: least.bytes, given: memory });
        }
        let most = limits.context.min(model.hyperparameters().context);
        let (mut good, mut bad) = (1, most + 1);
        while bad - good > 1 {
            let middle = good + (bad - good) / 2;
            match fits(middle, small)? {
                Some(_) => good = middle,
                None => bad = middle,
            }
        }
        Self::fit_batch(model, Limits { context: good, ..limits }, memory)
    }

    /// The plan with this context and the largest batch, halved as often as it takes, that takes at most `memory`
    /// bytes.
    pub fn fit_batch(model: &Model<'_>, limits: Limits, memory: usize) -> Result<Self, Error> {
        let mut batch = limits.batch.min(limits.all_positions());
        loop {
            match Self::new(model, Limits { batch, ..limits }) {
                Ok(plan) if plan.bytes <= memory => return Ok(plan),
                Ok(plan) if batch == 1 => {
                    return Err(Error::MemoryTooSmall { needed: plan.bytes, given: memory });
                }
                Err(error) if batch <= 1 || error != Error::TooLarge => return Err(error),
                Ok(_) | Err(_) => batch = batch.div_ceil(2),
            }
        }
    }

    /// The limits that the plan is for; a batch longer than all contexts is cut to them, and it is the context where tokens
    /// attend to those behind them.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The size of the arena.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// What the arena holds, in order.
    pub const fn regions(&self) -> &[Region] {
        &self.regions
    }

    fn of(limits: Limits, l: Lengths) -> Option<Self> {
        fn size<T>(len: usize) -> Option<usize> {
            len.checked_mul(size_of::<T>())?.checked_next_multiple_of(ALIGNMENT)
        }
        let sum = |parts: &[usize]| parts.iter().try_fold(0usize, |sum, part| sum.checked_add(*part));
        let int8 = |len: usize| {
            sum(&[size::<i8>(len)?, size::<f32>(len.div_ceil(32))?, size::<i16>(len.div_ceil(16))?])
        };
        let regions = [
            ("vocabulary index", size::<u8>(l.vocabulary)?),
            ("layer table", size::<LayerRecord>(l.layers)?),
            ("sequences", size::<Sequence>(l.sequences)?),
            ("norms and biases", size::<f32>(l.vectors)?),
            ("keys", size::<u8>(l.keys)?),
            ("values", size::<u8>(l.values)?),
            ("recurrent state", size::<f32>(l.state)?),
            (
                "activations",
                sum(&[
                    size::<f32>(l.residual)?,
                    size::<f32>(l.input)?,
                    size::<f32>(l.wide)?,
                    size::<f32>(l.delta)?,
                    size::<f32>(l.layer_inputs)?,
                    size::<f32>(l.partials)?,
                    size::<f32>(l.angles)?,
                    size::<f32>(l.angles)?,
                ])?,
            ),
            ("int8 activations", int8(l.input)?),
            (
                "experts",
                sum(&[
                    size::<f32>(l.expert_scores)?,
                    // The ids and weights of the chosen, and where their rows lie, back and forth.
                    size::<u32>(l.choices)?.checked_mul(4)?,
                    size::<f32>(l.expert_input)?,
                    int8(l.expert_input)?,
                    size::<f32>(l.expert_out)?,
                ])?,
            ),
            ("logits", size::<f32>(l.logits)?),
            ("sampler", size::<Candidate>(l.candidates)?),
            ("scratch of the workers", size::<Line>(l.scratch)?),
        ]
        .map(|(name, bytes)| Region { name, bytes });
        let bytes = regions.iter().try_fold(0usize, |sum, region| sum.checked_add(region.bytes))?;
        Some(Self { limits, lengths: l, regions, bytes })
    }
}

/// The batch with which [`Plan::fit`] looks for the longest context.
const SMALL_BATCH: usize = 32;

/// The bytes of all keys and of all values, of all sequences.
fn caches(model: &Model<'_>, limits: &Limits) -> Result<[Option<usize>; 2], Error> {
    let mut caches = [Some(0usize); 2];
    let positions = limits.context.checked_next_multiple_of(GROUP);
    for number in 0..model.hyperparameters().layers {
        let layer = model.layer(number)?;
        if !layer.mixer().attends() {
            continue;
        }
        let lengths = [(limits.keys, layer.head_dim()), (limits.values, layer.value_dim())];
        for (sum, (format, head_dim)) in caches.iter_mut().zip(lengths) {
            let row = format.row_bytes(head_dim).ok_or(Error::KvBlocks { format, head_dim })?;
            let heads = if layer.source().is_none() { layer.kv_heads() } else { 0 };
            let of_all = limits.sequences.checked_mul(heads).and_then(|heads| heads.checked_mul(row));
            let bytes = positions.zip(of_all).and_then(|(positions, bytes)| positions.checked_mul(bytes));
            *sum = sum.zip(bytes).and_then(|(sum, bytes)| sum.checked_add(bytes));
        }
    }
    Ok(caches)
}

fn lengths(
    model: &Model<'_>,
    limits: &Limits,
    caches: [Option<usize>; 2],
    [vocabulary, vectors, state]: [usize; 3],
    attention: forward::AttentionSize,
) -> Option<Lengths> {
    let (h, x) = (model.hyperparameters(), model.hyperparameters().experts);
    let times = |a: usize, b: usize| a.checked_mul(b);
    let batch = limits.batch;
    // An embedding of the text goes through matrices of its own, one row at a time.
    let widest_embedding = model.widest_embedding();
    let widest = h.widest_input().max(widest_embedding);
    let input = times(batch, h.widest_input())?.max(widest_embedding);
    let widest_expert = x.feed_forward.max(x.shared);
    // What comes before a state lies behind q, k and v; what comes after it takes its place.
    let behind = if h.recurrent.mixer.recurs() { h.recurrent.wide().max(h.embedding) } else { 0 };
    let mixer = attention.row + behind;
    let wide = mixer.max(2 * h.feed_forward).max(h.layer_input).max(2 * widest_expert);
    // One token meets its experts side by side.
    let hidden_of_one = times(x.used, x.feed_forward)?;
    // A matrix, a tile of attention, or two rows in f32.
    let row = (2 * 4 * widest).div_ceil(Line::BYTES) + 2;
    let scratch_size = ScratchSize::new(widest, batch).at_least(attention.scratch).at_least(row);
    let scratch_size = scratch_size.at_least(forward::recurrent_scratch(&h.recurrent)?);
    let has_experts = x.count > 0;
    let of_experts = |len: Option<usize>| if has_experts { len } else { Some(0) };
    Some(Lengths {
        sequences: limits.sequences,
        vocabulary,
        layers: h.layers,
        vectors,
        keys: caches[0]?,
        values: caches[1]?,
        state,
        residual: times(batch, h.embedding)?,
        input,
        wide: times(batch, wide)?.max(times(2, hidden_of_one)?),
        delta: times(batch, h.embedding)?,
        layer_inputs: times(batch, h.layers * h.layer_input)?,
        expert_scores: of_experts(times(batch, x.count + 1))?,
        choices: of_experts(times(batch, x.used))?,
        expert_input: of_experts(Some(times(batch, h.embedding.max(widest_expert))?.max(hidden_of_one)))?,
        expert_out: of_experts(times(times(batch, x.used + 1)?, h.embedding))?,
        partials: attention.partials,
        angles: times(batch + 1, h.pairs())?,
        // An embedding lies where logits would.
        logits: times(limits.outputs, h.vocabulary)?.max(widest_embedding),
        candidates: if limits.outputs > 0 { sampler::memory(h.vocabulary, limits.context)? } else { 0 },
        scratch_size,
        scratch: scratch_size.lines(limits.threads)?,
    })
}
