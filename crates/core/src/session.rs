//! A session: the state of one text, or of several, in the caller's arena.
//!
//! In: a model, a plan and an arena. Then [`feed`](Session::feed) takes tokens, prefill and decode alike, and
//! [`logits`](Session::logits) are those of the last position. Nothing is allocated, ever.
//!
//! Each text is a sequence, with a number from 0 on. One of them is at hand, at first number 0: all methods are about that
//! one, until another is [chosen](Session::turn_to). Only [`feed_together`](Session::feed_together) is about several, of
//! which it computes the next tokens in one batch. What is computed of a sequence has the bits that it would have alone.

mod embed;
mod sequences;
mod shift;
mod state;
mod weights;

use core::ops::Range;

use stonechat_kernels::{Level, Line, Workers};

use crate::arena::Carver;
use crate::forward::{At, Batch, Buffers, ExpertBuffers, Input, KvBuffer, KvCache};
use crate::model::Weight;
use crate::sampler::{Candidate, Sampler};
use crate::{Error, Model, Place, Plan, Vocabulary};

pub use crate::forward::Stretch;
pub use sequences::Sequence;
pub use state::STATE_UNIT;
pub use weights::LayerRecord;
pub(crate) use weights::{NormWeights, Weights, vectors_len};

/// Texts in work. See the [module](self).
pub struct Session<'a> {
    model: &'a Model<'a>,
    level: Level,
    vocabulary: Vocabulary<'a>,
    weights: Weights<'a>,
    cache: KvCache<'a>,
    /// What mixers carry from position to position, sequence after sequence; empty in models that only attend.
    state: &'a mut [f32],
    buffers: Buffers<'a>,
    logits: &'a mut [f32],
    candidates: &'a mut [Candidate],
    sequences: &'a mut [Sequence],
    /// The sequence at hand.
    current: usize,
    context: usize,
}

/// A KV head of a layer that keeps keys and values of its own, and where these lie in the cache.
struct CachedHead {
    layer: usize,
    head: usize,
    keys: At,
    values: At,
}

/// A pass over a batch of some sequences. A macro, because it borrows all of a session but what is behind the batch.
macro_rules! pass {
    ($session:expr, $batch:expr, $workers:expr) => {
        $crate::forward::Pass {
            model: $session.model,
            level: $session.level,
            workers: $workers,
            weights: $session.weights,
            batch: $batch,
            cache: &mut $session.cache,
            state: $session.state,
            sequences: $session.sequences.len(),
            buffers: &mut $session.buffers,
        }
    };
}
use pass;

/// Refuses logits that are not finite.
fn check_logits(logits: &[f32]) -> Result<(), Error> {
    // Magnitudes compare like their bits; a maximum is quicker to find than the first that is too large.
    let most = logits.iter().fold(0, |most, logit| most.max(logit.to_bits() << 1));
    if most >= f32::INFINITY.to_bits() << 1 {
        return Err(Error::NotFinite(Place::Logits));
    }
    Ok(())
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
        let sequences: &'a mut [Sequence] = take!(lengths.sequences);
        sequences.fill(Sequence::default());
        let vectors: &'a mut [f32] = take!(lengths.vectors);
        let weights = Weights::fill(model, level, limits.context, layers, vectors)?;
        let cache = KvCache {
            keys: KvBuffer::new(limits.keys, limits, take!(lengths.keys)),
            values: KvBuffer::new(limits.values, limits, take!(lengths.values)),
        };
        let state = take!(lengths.state);
        let (residual, wide) = (take!(lengths.residual), take!(lengths.wide));
        let (delta, partials) = (take!(lengths.delta), take!(lengths.partials));
        let (cos, sin) = (take!(lengths.angles), take!(lengths.angles));
        let float_matrices = has_float_matrices(model)?;
        macro_rules! input {
            ($len:expr) => {
                Input {
                    f32: take!($len),
                    q: take!($len),
                    d: take!($len.div_ceil(32)),
                    sums: take!($len.div_ceil(16)),
                    activations: limits.activations,
                    float_matrices,
                }
            };
        }
        let input = input!(lengths.input);
        let layer_inputs = take!(lengths.layer_inputs);
        let experts = ExpertBuffers {
            scores: take!(lengths.expert_scores),
            ids: take!(lengths.choices),
            weights: take!(lengths.choices),
            rows: take!(lengths.choices),
            tokens: take!(lengths.choices),
            input: input!(lengths.expert_input),
            out: take!(lengths.expert_out),
        };
        let buffers = Buffers {
            residual,
            delta,
            input,
            wide,
            cos,
            sin,
            partials,
            layer_inputs,
            experts,
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
            state,
            buffers: Buffers { scratch, ..buffers },
            logits,
            candidates,
            sequences,
            current: 0,
            context: limits.context,
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
        self.sequences[self.current].position
    }

    /// The number of tokens that can be fed in all.
    pub const fn context(&self) -> usize {
        self.context
    }

    /// The most tokens that are computed at once.
    pub const fn batch(&self) -> usize {
        self.buffers.batch
    }

    /// Forgets all tokens from `position` on. A recurrent state cannot be wound back: models that have one go on from the
    /// beginning, or with [`restore`](Self::restore).
    pub fn rewind(&mut self, position: usize) -> Result<(), Error> {
        let from = self.position();
        if position > 0 && position < from && !self.state.is_empty() {
            return Err(Error::CannotRewind { from, to: position });
        }
        self.set_position(from.min(position));
        Ok(())
    }

    /// Forgets all tokens.
    pub fn forget(&mut self) {
        self.set_position(0);
    }

    /// The recurrent state after all tokens fed; empty in models that have none.
    pub fn state(&self) -> &[f32] {
        &self.state[self.state_of(self.current)]
    }

    /// Forgets all tokens from `position` on, `state` being what [`state`](Self::state) was there in this text.
    ///
    /// # Panics
    /// If the state is of another length.
    pub fn restore(&mut self, position: usize, state: &[f32]) {
        let at = self.state_of(self.current);
        self.state[at].copy_from_slice(state);
        self.set_position(self.position().min(position));
    }

    fn set_position(&mut self, position: usize) {
        self.sequences[self.current].position = position;
    }

    /// Where the recurrent state of a sequence lies.
    fn state_of(&self, sequence: usize) -> Range<usize> {
        let len = self.state.len() / self.sequences.len();
        sequence * len..(sequence + 1) * len
    }

    /// Feeds tokens: a prompt, or one that was just picked. Afterwards [`logits`](Self::logits) are those that follow
    /// the last. On an error nothing was fed; where a recurrent state had changed by then, all tokens are forgotten.
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
        self.check_use()?;
        self.check(self.current, tokens)?;
        self.begin(self.current);
        self.sequences.iter_mut().for_each(Sequence::lose_logits);
        let fed = self.feed_checked(tokens, from, workers, each);
        match fed {
            Ok(()) => self.set_position(self.position() + tokens.len()),
            // What the state was before is lost.
            Err(_) if !self.state.is_empty() => self.forget(),
            Err(_) => {}
        }
        fed
    }

    /// Feeds tokens that the model knows and the context has room for; the position stays.
    fn feed_checked(
        &mut self,
        tokens: &[u32],
        from: usize,
        workers: &dyn Workers,
        each: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), Error> {
        let (sequence, known) = (self.current, self.model.hyperparameters().vocabulary);
        // The last token's logits are always computed.
        let from = from.min(tokens.len() - 1);
        let (size, outputs) = (self.buffers.batch, self.buffers.outputs);
        let mut rows = 0..0;
        for (batch, tokens) in tokens.chunks(size).enumerate() {
            let first = batch * size;
            let not_wanted = from.saturating_sub(first).min(tokens.len());
            let wanted = tokens.len() - not_wanted;
            let stretches = [Stretch { sequence, tokens, outputs: wanted }];
            let batch = Batch::new(&stretches, self.sequences, first);
            let mut pass = pass!(self, batch, workers);
            pass.layers()?;
            let mut next = 0;
            while next < wanted {
                let end = wanted.min(next + outputs);
                pass.head(next..end, self.logits)?;
                for (row, logits) in self.logits.chunks_exact(known).take(end - next).enumerate() {
                    check_logits(logits)?;
                    each(first + not_wanted + next + row, logits);
                }
                rows = 0..end - next;
                next = end;
            }
        }
        self.sequences[sequence].find_logits(rows);
        Ok(())
    }

    /// All heads of a sequence in the cache, layer after layer.
    fn cached_heads(&self, sequence: usize) -> impl Iterator<Item = CachedHead> + use<'a> {
        let (weights, layers) = (self.weights, 0..self.model.hyperparameters().layers);
        let owners = layers.map(move |number| (number, weights.layer(number)));
        // A layer that attends to another one's keys and values has none.
        owners.filter(|(_, layer)| layer.source().is_none()).flat_map(move |(number, layer)| {
            let [keys, values] = At::of(&layer, weights.cache(number), sequence);
            (0..layer.kv_heads()).map(move |head| CachedHead { layer: number, head, keys, values })
        })
    }

    /// Refuses what can continue no text.
    fn check_use(&self) -> Result<(), Error> {
        if !self.model.hyperparameters().causal {
            return Err(Error::LooksAhead);
        }
        if self.buffers.outputs == 0 {
            return Err(Error::ZeroLimit("the number of outputs"));
        }
        Ok(())
    }

    /// Refuses tokens that a sequence cannot be fed.
    fn check(&self, sequence: usize, tokens: &[u32]) -> Result<(), Error> {
        let (context, known) = (self.context, self.model.hyperparameters().vocabulary);
        let position = self.sequences[sequence].position;
        if tokens.is_empty() {
            return Err(Error::NoTokens);
        }
        if tokens.len() > context - position {
            return Err(Error::ContextFull { position, tokens: tokens.len(), context });
        }
        match tokens.iter().find(|&&token| token as usize >= known) {
            Some(&token) => Err(Error::TokenOutOfRange { token, tokens: known }),
            None => Ok(()),
        }
    }

    /// A sequence that has no token yet begins with an empty state.
    fn begin(&mut self, sequence: usize) {
        if self.sequences[sequence].position == 0 {
            let state = self.state_of(sequence);
            self.state[state].fill(0.0);
        }
    }

    /// The logits that follow the last token fed: one for each token of the model.
    ///
    /// # Panics
    /// If they are not there: the last tokens that were fed are another sequence's, or the plan has no outputs.
    pub fn logits(&self) -> &[f32] {
        self.logits_back(0)
    }

    /// Those that follow the token `back` places before the last, of the tokens that were fed together.
    ///
    /// # Panics
    /// If they were not computed, or not together with the last ones.
    pub fn logits_back(&self, back: usize) -> &[f32] {
        let len = self.model.hyperparameters().vocabulary;
        &self.logits[self.sequences[self.current].row(back) * len..][..len]
    }

    /// Picks the token that follows, after `history` (for penalties).
    ///
    /// # Panics
    /// If there are no [`logits`](Self::logits).
    pub fn pick(&mut self, sampler: &Sampler, history: &[u32]) -> u32 {
        self.pick_back(0, sampler, history)
    }

    /// Picks the token that follows the one `back` places before the last, of the tokens that were fed together and whose
    /// logits were computed together: it is the token that [`pick`](Self::pick) would have picked there.
    ///
    /// # Panics
    /// If those logits were not computed, or not together with the last ones.
    pub fn pick_back(&mut self, back: usize, sampler: &Sampler, history: &[u32]) -> u32 {
        self.pick_back_among(back, None, sampler, history)
    }

    /// Picks like [`pick_back`](Self::pick_back), but only tokens that a bit of `allowed` permits: see
    /// [`Sampler::pick_among`].
    ///
    /// # Panics
    /// If those logits were not computed, or not together with the last ones.
    pub fn pick_back_among(
        &mut self,
        back: usize,
        allowed: Option<&[u32]>,
        sampler: &Sampler,
        history: &[u32],
    ) -> u32 {
        let (len, sequence) = (self.model.hyperparameters().vocabulary, &self.sequences[self.current]);
        let logits = &self.logits[sequence.row(back) * len..][..len];
        sampler.pick_among(logits, allowed, history, sequence.position - back, self.candidates)
    }
}

impl core::fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Session")
            .field("sequence", &self.current)
            .field("position", &self.position())
            .field("context", &self.context)
            .field("level", &self.level)
            .finish_non_exhaustive()
    }
}

/// Whether any matrix that activations meet is stored in floats.
fn has_float_matrices(model: &Model<'_>) -> Result<bool, Error> {
    let mut found = model.head().format().is_float();
    found |= model.dense().any(|matrix| matrix.format().is_float());
    found |= model.layer_inputs().is_some_and(|inputs| inputs.projection.format().is_float());
    for number in 0..model.hyperparameters().layers {
        let layer = model.view(number)?;
        for weight in Weight::ALL {
            found |= layer.weight(weight)?.is_some_and(|matrix| matrix.format().is_float());
        }
    }
    Ok(found)
}
