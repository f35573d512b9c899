//! The numbers that shape a transformer, read from a file's keys; `layer.rs` has those of each layer.

use stonechat_gguf::Name;

use super::keys::{Keys, MOST_EXPERTS, MOST_WIDTH};
use super::{Layer, Recurrent};
use crate::Error;
use crate::arch::{
    EmbeddingScale, LocalRope, LogitScale, ResidualScale, RopeLayers, Scale, Score, Shared, Spec,
};
use crate::rope::{Rope, Scaling};

/// The numbers that shape a transformer. Where layers differ, the largest of any.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Hyperparameters {
    /// The longest context that the model was made for, in tokens.
    pub context: usize,
    /// The length of a token's vector.
    pub embedding: usize,
    /// The number of layers.
    pub layers: usize,
    /// The number of query heads of a layer.
    pub heads: usize,
    /// The number of key and value heads of a layer; each serves `heads / kv_heads` query heads.
    pub kv_heads: usize,
    /// The length of a head: of its queries and keys.
    pub head_dim: usize,
    /// The longest vector that attention hands to a matrix.
    pub attention_input: usize,
    /// The length of the hidden vector of the feed-forward part; that of an expert where all layers have experts.
    pub feed_forward: usize,
    /// The number of tokens.
    pub vocabulary: usize,
    /// What norms add below the root.
    pub norm_eps: f32,
    /// How positions are encoded: in all layers, and in those with a window where they have a way of their own.
    pub ropes: [Rope; 2],
    /// The experts; none where their count is 0.
    pub experts: Experts,
    /// The mixer with a state.
    pub recurrent: Recurrent,
    /// The length of a layer's own input; 0 where there is none.
    pub layer_input: usize,
    /// What the embedding is multiplied by.
    pub embedding_scale: f32,
    /// What is multiplied by it before it is added to the residual stream.
    pub residual_scale: f32,
    /// What the logits are multiplied by.
    pub logit_scale: f32,
    /// Below which logits are kept; 0 for not at all.
    pub logit_cap: f32,
    /// What q·k is multiplied by; 0 for `1 / sqrt(head length)`.
    pub score_scale: f32,
    /// Below which scores are kept; 0 for not at all.
    pub score_cap: f32,
    /// The magnitude to which q, k and v are clamped; 0 for not at all.
    pub qkv_clamp: f32,
    /// The largest slope of ALiBi is `2^(-alibi / heads)`; 0 for no ALiBi.
    pub alibi: f32,
    /// Whether tokens attend only to those before them.
    pub causal: bool,
    /// How much queries grow with the logarithm of the number of original contexts before them; 0 for not at all.
    pub temperature: f32,
}

/// The experts of a model and how tokens choose them.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Experts {
    /// How many a layer has.
    pub count: usize,
    /// How many a token meets.
    pub used: usize,
    /// The length of an expert's hidden vector.
    pub feed_forward: usize,
    /// That of the expert which all tokens share; 0 where there is none.
    pub shared: usize,
    /// The groups that experts are in, of which a token first chooses some.
    pub groups: usize,
    /// How many groups it chooses.
    pub groups_used: usize,
    /// What makes scores of the router's outputs.
    pub score: Score,
    /// Whether the weights of the chosen are divided by their sum.
    pub normalize: bool,
    /// What the weights are multiplied by.
    pub scale: f32,
}

impl Experts {
    const NONE: Self = Self {
        count: 0,
        used: 0,
        feed_forward: 0,
        shared: 0,
        groups: 1,
        groups_used: 1,
        score: Score::Softmax,
        normalize: false,
        scale: 1.0,
    };
}

impl Hyperparameters {
    /// Reads everything that does not differ between layers, and the largest of what does.
    pub(super) fn read(keys: &Keys<'_, '_>, spec: &Spec, vocabulary: usize) -> Result<Self, Error> {
        let embedding = keys.size("embedding_length", MOST_WIDTH)?;
        let eps_key = match spec.norm {
            crate::arch::NormKind::Rms => "attention.layer_norm_rms_epsilon",
            crate::arch::NormKind::Layer => "attention.layer_norm_epsilon",
        };
        let eps = keys.gguf_f32(eps_key)?;
        if !(eps.is_finite() && eps > 0.0) {
            return Err(keys.bad(eps_key, "a positive number"));
        }
        let context = keys.size("context_length", u32::MAX as usize)?;
        let experts = read_experts(keys, spec)?;
        let factor = keys.positive("logit_scale")?.unwrap_or(1.0);
        let layers = keys.layers()?;
        let default_scale = match spec.embedding_scale {
            EmbeddingScale::One => 1.0,
            EmbeddingScale::Number(scale) => scale,
            EmbeddingScale::Root => libm::sqrtf(embedding as f32),
        };
        let mut all = Self {
            context,
            embedding,
            layers,
            heads: 0,
            kv_heads: 0,
            head_dim: 0,
            attention_input: 0,
            feed_forward: 0,
            vocabulary,
            norm_eps: eps,
            ropes: [Rope::NONE; 2],
            experts,
            recurrent: Recurrent::read(keys, spec, embedding)?,
            layer_input: keys.opt_nonzero("embedding_length_per_layer_input", MOST_WIDTH)?.unwrap_or(0),
            embedding_scale: keys.positive("embedding_scale")?.unwrap_or(default_scale),
            residual_scale: keys.positive("residual_scale")?.unwrap_or(match spec.residual_scale {
                ResidualScale::One => 1.0,
                ResidualScale::OverRoot(depth) => depth / libm::sqrtf(layers as f32),
            }),
            logit_scale: match spec.logit_scale {
                LogitScale::Multiply => factor,
                LogitScale::Divide => 1.0 / factor,
                LogitScale::Over(base) => base / embedding as f32,
            },
            logit_cap: keys.at_least_0("final_logit_softcapping")?,
            score_scale: 0.0,
            score_cap: keys.at_least_0("attn_logit_softcapping")?,
            qkv_clamp: keys.at_least_0("attention.clamp_kqv")?,
            alibi: match keys.at_least_0("attention.max_alibi_bias")? {
                0.0 => spec.alibi,
                alibi => alibi,
            },
            causal: keys.opt_bool("attention.causal")?.unwrap_or(spec.causal),
            temperature: keys.at_least_0("attention.temperature_scale")?,
        };
        for number in 0..all.layers {
            let layer = Layer::read(keys, spec, &all, number)?;
            all.heads = all.heads.max(layer.heads());
            all.kv_heads = all.kv_heads.max(layer.kv_heads());
            all.head_dim = all.head_dim.max(layer.head_dim());
            all.attention_input = all.attention_input.max(layer.attention_input());
            all.feed_forward = all.feed_forward.max(layer.feed_forward());
        }
        if all.feed_forward == 0 {
            all.feed_forward = experts.feed_forward;
        }
        // Gemma's 27B models scale by the head length that their embedding would give.
        all.score_scale = match (keys.at_least_0("attention.scale")?, spec.scale) {
            (0.0, Scale::Head) => 0.0,
            (0.0, Scale::Share) => 1.0 / libm::sqrtf((embedding / all.heads) as f32),
            (0.0, Scale::One) => 1.0,
            (scale, _) => scale,
        };
        if all.layer_input.checked_mul(all.layers).is_none_or(|all| all > MOST_WIDTH) {
            return Err(keys.bad("embedding_length_per_layer_input", "of a size that a model can have"));
        }
        all.ropes = read_ropes(keys, spec, &all)?;
        if let Some(latent) = Layer::read(keys, spec, &all, 0)?.latent() {
            if all.qkv_clamp > 0.0 {
                return Err(keys.bad("attention.clamp_kqv", "0 where attention is latent"));
            }
            if all.score_scale == 0.0 {
                let longer = all.ropes[0].log_magnitude(latent_log_multiplier(keys)?);
                all.score_scale = longer * longer / libm::sqrtf(latent.query() as f32);
            }
        }
        Ok(all)
    }

    /// The longest vector that enters a matrix.
    pub fn widest_input(&self) -> usize {
        let experts = self.experts.feed_forward.max(self.experts.shared);
        self.embedding
            .max(self.heads * self.head_dim)
            .max(self.attention_input)
            .max(self.feed_forward)
            .max(experts)
            .max(self.layer_input)
            .max(self.recurrent.inner)
            .max(self.recurrent.heads)
    }

    /// What q·k is multiplied by in a layer.
    pub fn score_scale(&self, layer: &Layer) -> f32 {
        if self.score_scale == 0.0 { 1.0 / libm::sqrtf(layer.head_dim() as f32) } else { self.score_scale }
    }

    /// The pairs that all ropes turn together.
    pub(crate) const fn pairs(&self) -> usize {
        self.ropes[0].dims / 2 + self.ropes[1].dims / 2
    }
}

/// With what at the logarithm of YaRN's factor the scores of latent attention grow (their square does); 0 for not at all.
/// Files hold a tenth of it.
fn latent_log_multiplier(keys: &Keys<'_, '_>) -> Result<f32, Error> {
    Ok(keys.at_least_0("rope.scaling.yarn_log_multiplier")? / 0.1)
}

#[inline(never)]
fn read_experts(keys: &Keys<'_, '_>, spec: &Spec) -> Result<Experts, Error> {
    let Some(count) = keys.opt_nonzero("expert_count", MOST_EXPERTS)? else { return Ok(Experts::NONE) };
    let used = keys.size("expert_used_count", MOST_EXPERTS)?;
    if used > count {
        return Err(keys.bad("expert_used_count", "at most expert_count"));
    }
    let feed_forward = match keys.opt_size("expert_feed_forward_length", MOST_WIDTH)? {
        Some(length) => length,
        None => keys.size("feed_forward_length", MOST_WIDTH)?,
    };
    let widest = (2 * feed_forward).max(keys.size("embedding_length", MOST_WIDTH)?);
    if count.checked_mul(widest).is_none_or(|rows| u32::try_from(rows).is_err()) {
        return Err(keys.bad("expert_count", "of a size that a model can have"));
    }
    let shared_length = keys.opt_nonzero("expert_shared_feed_forward_length", MOST_WIDTH)?;
    let shared_count = keys.opt_nonzero("expert_shared_count", MOST_EXPERTS)?;
    let shared = match (spec.routing.shared, shared_length, shared_count) {
        (Shared::Never, ..) => 0,
        (_, Some(length), _) => length,
        (Shared::Weighted, None, _) => keys.size("feed_forward_length", MOST_WIDTH)?,
        (Shared::Added, None, count) => feed_forward
            .checked_mul(count.unwrap_or(0))
            .filter(|length| *length <= MOST_WIDTH)
            .ok_or(keys.bad("expert_shared_count", "of a size that a model can have"))?,
    };
    let groups = keys.opt_nonzero("expert_group_count", count)?.unwrap_or(1);
    let groups_used = keys.opt_nonzero("expert_group_used_count", groups)?.unwrap_or(groups);
    if !count.is_multiple_of(groups) {
        return Err(keys.bad("expert_group_count", "a divisor of expert_count"));
    }
    if count / groups * groups_used < used {
        return Err(keys.bad("expert_group_used_count", "such that the groups hold expert_used_count"));
    }
    Ok(Experts {
        count,
        used,
        feed_forward,
        shared,
        groups,
        groups_used,
        score: match keys.opt_u32("expert_gating_func")? {
            None | Some(0) => spec.routing.score,
            Some(1) => Score::Softmax,
            Some(2) => Score::Sigmoid,
            Some(3) => Score::SoftmaxOfChosen,
            Some(_) => return Err(keys.bad("expert_gating_func", "1 (softmax), 2 (sigmoid) or 3")),
        },
        normalize: keys.opt_bool("expert_weights_norm")?.unwrap_or(spec.routing.normalize),
        scale: match keys.at_least_0("expert_weights_scale")? {
            0.0 => 1.0,
            scale => scale,
        },
    })
}

/// The rope of all layers, and that of layers with a window.
#[inline(never)]
fn read_ropes(keys: &Keys<'_, '_>, spec: &Spec, h: &Hyperparameters) -> Result<[Rope; 2], Error> {
    if spec.rope == RopeLayers::Nowhere {
        return Ok([Rope::NONE; 2]);
    }
    let (mut head_dims, mut local_dims, mut local) = (usize::MAX, usize::MAX, false);
    for number in 0..h.layers {
        let layer = Layer::read(keys, spec, h, number)?;
        match layer.rope() {
            Some(0) => head_dims = head_dims.min(layer.head_dim()),
            Some(_) => (local_dims, local) = (local_dims.min(layer.head_dim()), true),
            None => {}
        }
    }
    let dims = |key, head_dim| match keys.opt_size(key, MOST_WIDTH)? {
        None if head_dim == usize::MAX => Ok(0),
        dims => match dims.unwrap_or(head_dim) {
            dims if dims <= head_dim && dims.is_multiple_of(2) => Ok(dims),
            _ => Err(keys.bad(key, "an even number, at most a head's length")),
        },
    };
    let base = keys.positive("rope.freq_base")?.unwrap_or(10_000.0);
    let full = Rope {
        dims: dims("rope.dimension_count", head_dims)?,
        base,
        scaling: read_scaling(keys, spec)?,
        original_context: original_context(keys, h.context)?,
        magnitude: keys.positive("rope.scaling.attn_factor")?.unwrap_or(1.0),
    };
    if !local {
        return Ok([full, Rope::NONE]);
    }
    let LocalRope::Own(default) = spec.local_rope else { return Ok([full, Rope::NONE]) };
    let local = Rope {
        dims: match keys.opt_size("rope.dimension_count_swa", MOST_WIDTH)? {
            Some(_) => dims("rope.dimension_count_swa", local_dims)?,
            None => dims("rope.dimension_count", local_dims)?,
        },
        base: keys.positive("rope.freq_base_swa")?.or(default).unwrap_or(base),
        scaling: Scaling::None,
        ..Rope::NONE
    };
    Ok([full, local])
}

/// The context that the model was trained on before it was stretched.
#[inline(never)]
fn original_context(keys: &Keys<'_, '_>, context: usize) -> Result<usize, Error> {
    const KEY: &str = "rope.scaling.original_context_length";
    Ok(keys.opt_size(KEY, u32::MAX as usize)?.unwrap_or(context))
}

#[inline(never)]
fn read_scaling(keys: &Keys<'_, '_>, spec: &Spec) -> Result<Scaling, Error> {
    let factor = match keys.at_least_0("rope.scaling.factor")? {
        0.0 => keys.positive("rope.scale_linear")?.unwrap_or(1.0),
        factor => factor,
    };
    Ok(match keys.opt_str("rope.scaling.type")? {
        // What LongRoPE divides by are tensors.
        Some("none" | "longrope") => Scaling::None,
        None | Some("linear") => Scaling::Linear { factor },
        Some("yarn") => Scaling::Yarn {
            factor,
            beta_fast: keys.positive("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
            beta_slow: keys.positive("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
            log_multiplier: match keys.at_least_0("rope.scaling.yarn_log_multiplier")? {
                // Then it is scores that grow, and cosines and sines are as they are.
                multiplier if multiplier > 0.0 && spec.latent => 1.0,
                multiplier => multiplier,
            },
        },
        Some(other) => return Err(Error::UnknownRopeScaling(Name::new(other))),
    })
}
