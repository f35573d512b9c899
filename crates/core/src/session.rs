//! A session: the state of one text in the caller's arena.
//!
//! In: a model, a plan and an arena. Then [`feed`](Session::feed) takes tokens, prefill and decode alike, and
//! [`logits`](Session::logits) are those of the last position. Nothing is allocated, ever.

use bytemuck::{Pod, Zeroable};
use stonechat_gguf::Gguf;
use stonechat_kernels::elementwise::dequantize;
use stonechat_kernels::{Layout, Level, Line, Matrix, Workers};

use crate::arena::Carver;
use crate::forward::{self, Buffers, Input, KvBuffer, KvCache};
use crate::model::{Norm, Vector, Weight};
use crate::sampler::{Candidate, Sampler};
use crate::{Error, Model, Place, Plan, Vocabulary};

/// Where a matrix of a layer lies in the file.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct TensorRecord {
    offset: u64,
    len: u64,
    /// The id of format and layout.
    ty: u32,
    rows: u32,
    cols: u32,
    /// Where the bias begins among the vectors; [`NO_BIAS`] where there is none.
    bias: u32,
}

/// A layer of the table: where its matrices lie, and where its norms begin among the vectors.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct LayerRecord {
    weights: [TensorRecord; Weight::ALL.len()],
    norms: [u32; Norm::ALL.len()],
}

const NO_BIAS: u32 = u32::MAX;

/// The weights as the forward pass asks for them.
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a> {
    file: &'a [u8],
    layers: &'a [LayerRecord],
    vectors: &'a [f32],
    final_norm: usize,
    frequencies: usize,
}

impl<'a> Weights<'a> {
    /// A matrix of a layer.
    ///
    /// # Panics
    /// If there is no such layer.
    pub fn matrix(&self, layer: usize, weight: Weight) -> Matrix<'a> {
        let record = &self.layers[layer].weights[weight as usize];
        let bytes = &self.file[record.offset as usize..][..record.len as usize];
        Layout::of_id(record.ty)
            .and_then(|(format, layout)| {
                Matrix::with_layout(format, layout, record.rows as usize, record.cols as usize, bytes)
            })
            .expect("the table was made from checked matrices")
    }

    pub fn bias(&self, layer: usize, weight: Weight) -> Option<&'a [f32]> {
        let record = &self.layers[layer].weights[weight as usize];
        (record.bias != NO_BIAS).then(|| &self.vectors[record.bias as usize..][..record.rows as usize])
    }

    pub fn norm(&self, layer: usize, norm: Norm, len: usize) -> &'a [f32] {
        &self.vectors[self.layers[layer].norms[norm as usize] as usize..][..len]
    }

    pub fn final_norm(&self, len: usize) -> &'a [f32] {
        &self.vectors[self.final_norm..][..len]
    }

    pub fn frequencies(&self, len: usize) -> &'a [f32] {
        &self.vectors[self.frequencies..][..len]
    }
}

/// A text in work. See the [module](self).
pub struct Session<'a> {
    model: &'a Model<'a>,
    level: Level,
    vocabulary: Vocabulary<'a>,
    weights: Weights<'a>,
    cache: KvCache<'a>,
    buffers: Buffers<'a>,
    logits: &'a mut [f32],
    candidates: &'a mut [Candidate],
    position: usize,
    context: usize,
    /// Which row of the logits is that of the last position.
    last: usize,
}

impl<'a> Session<'a> {
    /// Carves the plan's regions out of `arena`, which must begin at a multiple of 64 and hold [`Plan::bytes`], and
    /// fills those that the model determines.
    pub fn new(model: &'a Model<'a>, plan: &Plan, arena: &'a mut [u8], level: Level) -> Result<Self, Error> {
        let bad = Error::Arena { needed: plan.bytes(), given: arena.len() };
        if arena.len() < plan.bytes() {
            return Err(bad);
        }
        let mut carver = Carver::new(arena).ok_or(bad.clone())?;
        let session = Self::carve(model, plan, &mut carver, level)?.ok_or(bad)?;
        let (vocabulary, embedding) = (session.vocabulary.len(), model.hyperparameters().vocabulary);
        if vocabulary > embedding {
            return Err(Error::VocabularySize { vocabulary, embedding });
        }
        Ok(session)
    }

    fn carve(
        model: &'a Model<'a>,
        plan: &Plan,
        carver: &mut Carver<'a>,
        level: Level,
    ) -> Result<Option<Self>, Error> {
        let (lengths, limits) = (&plan.lengths, plan.limits());
        macro_rules! take {
            ($len:expr) => {
                match carver.take($len) {
                    Some(region) => region,
                    None => return Ok(None),
                }
            };
        }
        let index: &'a mut [u8] = take!(lengths.vocabulary);
        let layers: &'a mut [LayerRecord] = take!(lengths.layers);
        let vectors: &'a mut [f32] = take!(lengths.vectors);
        let weights = fill(model, level, layers, vectors)?;
        let h = model.hyperparameters();
        macro_rules! kv {
            ($format:expr, $bytes:expr) => {
                match KvBuffer::new($format, h.head_dim, h.kv_heads, limits.context, take!($bytes)) {
                    Some(buffer) => buffer,
                    None => return Err(Error::KvBlocks { format: $format, head_dim: h.head_dim }),
                }
            };
        }
        let cache =
            KvCache { keys: kv!(limits.keys, lengths.keys), values: kv!(limits.values, lengths.values) };
        let (residual, f32, wide) = (take!(lengths.residual), take!(lengths.input), take!(lengths.wide));
        let (delta, partials) = (take!(lengths.delta), take!(lengths.partials));
        let (cos, sin) = (take!(lengths.angles), take!(lengths.angles));
        let input = Input {
            f32,
            q: take!(lengths.input),
            d: take!(lengths.blocks),
            sums: take!(lengths.halves),
            activations: limits.activations,
            float_matrices: has_float_matrices(model)?,
        };
        let buffers = Buffers {
            residual,
            delta,
            input,
            wide,
            cos,
            sin,
            partials,
            scratch_size: lengths.scratch_size,
            batch: limits.batch,
            outputs: limits.outputs,
            scratch: &mut [],
        };
        let logits = take!(lengths.logits);
        let candidates = take!(lengths.candidates);
        let scratch: &'a mut [Line] = take!(lengths.scratch);
        let vocabulary = Vocabulary::new(model.gguf(), index)?;
        Ok(Some(Self {
            model,
            level,
            vocabulary,
            weights,
            cache,
            buffers: Buffers { scratch, ..buffers },
            logits,
            candidates,
            position: 0,
            context: limits.context,
            last: 0,
        }))
    }

    /// The model.
    pub const fn model(&self) -> &'a Model<'a> {
        self.model
    }

    /// The vocabulary, whose index is in the arena.
    pub const fn vocabulary(&self) -> &Vocabulary<'a> {
        &self.vocabulary
    }

    /// The number of tokens fed.
    pub const fn position(&self) -> usize {
        self.position
    }

    /// The number of tokens that can be fed in all.
    pub const fn context(&self) -> usize {
        self.context
    }

    /// Forgets all tokens from `position` on.
    pub fn rewind(&mut self, position: usize) {
        self.position = self.position.min(position);
    }

    /// Feeds tokens: a prompt, or one that was just picked. Afterwards [`logits`](Self::logits) are those that follow
    /// the last. On an error nothing was fed.
    pub fn feed(&mut self, tokens: &[u32], workers: &dyn Workers) -> Result<(), Error> {
        self.feed_each(tokens, tokens.len().saturating_sub(1), workers, &mut |_, _| ())
    }

    /// Feeds tokens like [`feed`](Self::feed), and hands the logits of each token from the `from`-th on to `each`.
    pub fn feed_each(
        &mut self,
        tokens: &[u32],
        from: usize,
        workers: &dyn Workers,
        each: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), Error> {
        if tokens.is_empty() {
            return Err(Error::NoTokens);
        }
        let (position, context) = (self.position, self.context);
        if tokens.len() > context - position {
            return Err(Error::ContextFull { position, tokens: tokens.len(), context });
        }
        let known = self.model.hyperparameters().vocabulary;
        if let Some(&token) = tokens.iter().find(|&&token| token as usize >= known) {
            return Err(Error::TokenOutOfRange { token, tokens: known });
        }
        // The last token's logits are always computed.
        let from = from.min(tokens.len() - 1);
        let mut pass = forward::Pass {
            model: self.model,
            level: self.level,
            workers,
            weights: self.weights,
            cache: &mut self.cache,
            buffers: &mut self.buffers,
        };
        for (batch, tokens) in tokens.chunks(pass.buffers.batch).enumerate() {
            let first = batch * pass.buffers.batch;
            pass.layers(tokens, position + first)?;
            let mut next = from.saturating_sub(first);
            while next < tokens.len() {
                let end = tokens.len().min(next + pass.buffers.outputs);
                pass.head(next..end, self.logits)?;
                for (row, logits) in self.logits.chunks_exact(known).take(end - next).enumerate() {
                    // Magnitudes compare like their bits; a maximum is quicker to find than the first that is too large.
                    let most = logits.iter().fold(0, |most, logit| most.max(logit.to_bits() << 1));
                    if most >= f32::INFINITY.to_bits() << 1 {
                        return Err(Error::NotFinite(Place::Logits));
                    }
                    each(first + next + row, logits);
                }
                self.last = end - next - 1;
                next = end;
            }
        }
        self.position += tokens.len();
        Ok(())
    }

    /// The logits that follow the last token fed: one for each token of the model.
    pub fn logits(&self) -> &[f32] {
        let len = self.model.hyperparameters().vocabulary;
        &self.logits[self.last * len..][..len]
    }

    /// Picks the token that follows, after `history` (for the repeat penalty, which changes the logits).
    pub fn pick(&mut self, sampler: &Sampler, history: &[u32]) -> u32 {
        let len = self.model.hyperparameters().vocabulary;
        let logits = &mut self.logits[self.last * len..][..len];
        sampler.pick(logits, history, self.position, self.candidates)
    }
}

impl core::fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Session")
            .field("position", &self.position)
            .field("context", &self.context)
            .field("level", &self.level)
            .finish_non_exhaustive()
    }
}

/// Fills the layer table and dequantizes norms and biases.
fn fill<'a>(
    model: &Model<'a>,
    level: Level,
    layers: &'a mut [LayerRecord],
    vectors: &'a mut [f32],
) -> Result<Weights<'a>, Error> {
    let h = model.hyperparameters();
    let mut at = 0;
    let mut put = |vector: Vector<'_>, len: usize, vectors: &mut [f32]| {
        dequantize(level, vector.format, vector.bytes, &mut vectors[at..at + len]);
        at += len;
        at - len
    };
    let final_norm = put(model.final_norm()?, h.embedding, vectors);
    for (layer, record) in layers.iter_mut().enumerate() {
        for norm in Norm::ALL {
            record.norms[norm as usize] = put(model.norm(layer, norm)?, h.embedding, vectors) as u32;
        }
        for weight in Weight::ALL {
            let matrix = model.weight(layer, weight)?;
            let bias = match model.bias(layer, weight)? {
                Some(bias) => put(bias, matrix.rows(), vectors) as u32,
                None => NO_BIAS,
            };
            record.weights[weight as usize] = TensorRecord {
                offset: offset_in(model.gguf(), matrix.bytes()),
                len: matrix.bytes().len() as u64,
                ty: matrix.layout().id(matrix.format()),
                rows: matrix.rows() as u32,
                cols: matrix.cols() as u32,
                bias,
            };
        }
    }
    let pairs = h.rope.dims / 2;
    let frequencies = at;
    let out = &mut vectors[frequencies..][..pairs];
    // What they are divided by comes first, and is replaced in place.
    match model.rope_factors()? {
        Some(factors) => dequantize(level, factors.format, factors.bytes, out),
        None => out.fill(1.0),
    }
    h.rope.frequencies(out);
    Ok(Weights { file: model.gguf().bytes(), layers, vectors, final_norm, frequencies })
}

/// Whether any matrix that activations meet is stored in floats.
fn has_float_matrices(model: &Model<'_>) -> Result<bool, Error> {
    let mut found = model.head().format().is_float();
    for layer in 0..model.hyperparameters().layers {
        for weight in Weight::ALL {
            found |= model.weight(layer, weight)?.format().is_float();
        }
    }
    Ok(found)
}

/// Where `part`, a slice of the file, begins in it.
fn offset_in(gguf: &Gguf<'_>, part: &[u8]) -> u64 {
    (part.as_ptr().addr() - gguf.bytes().as_ptr().addr()) as u64
}
