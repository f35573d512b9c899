//! The tensors of a layer: their names and shapes.

use super::{Hyperparameters, Layer};
use crate::arch::{Mixer, NormTensor, QkNorm};

/// The norms of an architecture.
pub type NormTensors = &'static [NormTensor];

/// The matrices of a layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Weight {
    /// q, k and v in one.
    Qkv,
    Q,
    K,
    V,
    /// Of latent attention: what queries come from, and the queries.
    QueryDown,
    QueryUp,
    /// The latent vector and the part of keys that rotates.
    LatentDown,
    /// Keys and values of each head, one after the other.
    LatentUp,
    /// Of each head: the transpose of what makes keys, and what makes values.
    KeyUp,
    ValueUp,
    Output,
    Gate,
    Up,
    Down,
    Router,
    /// The matrices of all experts, one after another.
    ExpertGate,
    ExpertUp,
    /// Gate and up of each expert in one.
    ExpertGateUp,
    ExpertDown,
    /// Of the expert that all tokens share.
    SharedRouter,
    SharedGate,
    SharedUp,
    SharedDown,
    /// Of the layer's own input.
    InputGate,
    InputProjection,
    /// Of a short convolution.
    ConvolutionIn,
    ConvolutionOut,
    /// Of a state space, or of the delta rule.
    StateIn,
    StateSelect,
    StateStep,
    StateGate,
    StateBetaAlpha,
    StateBeta,
    StateAlpha,
    StateOut,
}

impl Weight {
    pub const COUNT: usize = Self::StateOut as usize + 1;

    pub const ALL: [Self; Self::COUNT] = [
        Self::Qkv,
        Self::Q,
        Self::K,
        Self::V,
        Self::QueryDown,
        Self::QueryUp,
        Self::LatentDown,
        Self::LatentUp,
        Self::KeyUp,
        Self::ValueUp,
        Self::Output,
        Self::Gate,
        Self::Up,
        Self::Down,
        Self::Router,
        Self::ExpertGate,
        Self::ExpertUp,
        Self::ExpertGateUp,
        Self::ExpertDown,
        Self::SharedRouter,
        Self::SharedGate,
        Self::SharedUp,
        Self::SharedDown,
        Self::InputGate,
        Self::InputProjection,
        Self::ConvolutionIn,
        Self::ConvolutionOut,
        Self::StateIn,
        Self::StateSelect,
        Self::StateStep,
        Self::StateGate,
        Self::StateBetaAlpha,
        Self::StateBeta,
        Self::StateAlpha,
        Self::StateOut,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Qkv => "attn_qkv",
            Self::Q => "attn_q",
            Self::K => "attn_k",
            Self::V => "attn_v",
            Self::QueryDown => "attn_q_a",
            Self::QueryUp => "attn_q_b",
            Self::LatentDown => "attn_kv_a_mqa",
            Self::LatentUp => "attn_kv_b",
            Self::KeyUp => "attn_k_b",
            Self::ValueUp => "attn_v_b",
            Self::Output => "attn_output",
            Self::Gate => "ffn_gate",
            Self::Up => "ffn_up",
            Self::Down => "ffn_down",
            Self::Router => "ffn_gate_inp",
            Self::ExpertGate => "ffn_gate_exps",
            Self::ExpertUp => "ffn_up_exps",
            Self::ExpertGateUp => "ffn_gate_up_exps",
            Self::ExpertDown => "ffn_down_exps",
            Self::SharedRouter => "ffn_gate_inp_shexp",
            Self::SharedGate => "ffn_gate_shexp",
            Self::SharedUp => "ffn_up_shexp",
            Self::SharedDown => "ffn_down_shexp",
            Self::InputGate => "inp_gate",
            Self::InputProjection => "proj",
            Self::ConvolutionIn => "shortconv.in_proj",
            Self::ConvolutionOut => "shortconv.out_proj",
            Self::StateIn => "ssm_in",
            Self::StateSelect => "ssm_x",
            Self::StateStep => "ssm_dt",
            Self::StateGate => "attn_gate",
            Self::StateBetaAlpha => "ssm_ba",
            Self::StateBeta => "ssm_beta",
            Self::StateAlpha => "ssm_alpha",
            Self::StateOut => "ssm_out",
        }
    }

    /// Outputs and inputs.
    pub fn shape(self, h: &Hyperparameters, layer: &Layer) -> [usize; 2] {
        let (e, x, r, heads) = (h.embedding, &h.experts, &h.recurrent, layer.heads());
        if let Some(latent) = layer.latent() {
            match self {
                Self::Q => return [heads * latent.query(), e],
                Self::QueryDown => return [latent.query_rank, e],
                Self::QueryUp => return [heads * latent.query(), latent.query_rank],
                Self::LatentDown => return [layer.head_dim(), e],
                Self::LatentUp => return [heads * (latent.key + latent.value), latent.rank],
                Self::KeyUp => return [heads * latent.rank, latent.key],
                Self::ValueUp => return [heads * latent.value, latent.rank],
                _ => {}
            }
        }
        match self {
            Self::Qkv if matches!(layer.mixer(), Mixer::DeltaNet) => [r.channels(), e],
            Self::Qkv => [layer.query_rows() + 2 * layer.kv_dim(), e],
            Self::Q => [layer.query_rows(), e],
            Self::K | Self::V => [layer.kv_dim(), e],
            Self::QueryDown
            | Self::QueryUp
            | Self::LatentDown
            | Self::LatentUp
            | Self::KeyUp
            | Self::ValueUp => [0, 0],
            Self::Output => [e, layer.out_dim()],
            Self::Gate => [layer.feed_forward(), e],
            Self::Up => {
                [layer.feed_forward() + if layer.gate_is_in_up() { layer.feed_forward() } else { 0 }, e]
            }
            Self::Down => [e, layer.feed_forward()],
            Self::Router => [x.count, e],
            Self::ExpertGate | Self::ExpertUp => [x.count * x.feed_forward, e],
            Self::ExpertGateUp => [x.count * 2 * x.feed_forward, e],
            Self::ExpertDown => [x.count * e, x.feed_forward],
            Self::SharedRouter => [1, e],
            Self::SharedGate | Self::SharedUp => [x.shared, e],
            Self::SharedDown => [e, x.shared],
            Self::InputGate => [h.layer_input, e],
            Self::InputProjection => [e, h.layer_input],
            // Of the delta rule: all but beta and alpha.
            Self::StateIn if matches!(layer.mixer(), Mixer::DeltaNet) => [r.channels() + r.inner, e],
            Self::ConvolutionIn | Self::StateIn => [r.projected(), e],
            Self::StateSelect => [r.selected(), r.inner],
            Self::StateStep => [r.inner, r.heads],
            Self::StateGate => [r.inner, e],
            Self::StateBetaAlpha => [2 * r.heads, e],
            Self::StateBeta | Self::StateAlpha => [r.heads, e],
            Self::ConvolutionOut | Self::StateOut => [e, r.inner],
        }
    }

    /// How many rows each part has of a matrix that is read in parts: two kinds of part may take turns.
    pub fn parts(self, h: &Hyperparameters, layer: &Layer) -> [usize; 2] {
        let rows = self.shape(h, layer)[0];
        match (self, layer.latent()) {
            (Self::LatentUp, Some(latent)) => [latent.key, latent.value],
            (Self::KeyUp | Self::ValueUp, _) => [rows / layer.heads(); 2],
            _ if self.is_of_experts() => [rows / h.experts.count.max(1); 2],
            _ => [rows; 2],
        }
    }

    /// Whether it is of what follows attention, and other mixers, in a layer: there a token meets no other one.
    pub const fn follows_mixers(self) -> bool {
        self.is_of_experts()
            || matches!(
                self,
                Self::Gate
                    | Self::Up
                    | Self::Down
                    | Self::Router
                    | Self::SharedRouter
                    | Self::SharedGate
                    | Self::SharedUp
                    | Self::SharedDown
                    | Self::InputGate
                    | Self::InputProjection
            )
    }

    /// Whether attention reads it, or what attention gives, when keys and values are in the cache.
    pub const fn follows_cache(self) -> bool {
        matches!(self, Self::Output | Self::QueryUp | Self::KeyUp | Self::ValueUp | Self::LatentUp)
    }

    /// Whether the matrix is one of each expert, and a token meets only some of them.
    pub const fn is_of_experts(self) -> bool {
        matches!(self, Self::ExpertGate | Self::ExpertUp | Self::ExpertGateUp | Self::ExpertDown)
    }
}

/// The norms of a layer, and the one after the last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Norm {
    /// Of what enters attention.
    Attention,
    /// Of each query; where attention is latent, of what all queries come from.
    Query,
    /// Of each key; likewise.
    Key,
    /// Of each value.
    Value,
    /// Of all heads, before the matrix that leads out of attention.
    Heads,
    /// Of what leaves attention.
    AttentionPost,
    /// Of the residual stream behind attention, which goes on normalised.
    AttentionSum,
    /// Of what enters the feed-forward part.
    FeedForward,
    /// Of what enters the matrix that leads out of the feed-forward part.
    Hidden,
    /// Of what leaves the feed-forward part.
    FeedForwardPost,
    /// Of the residual stream behind the feed-forward part, which goes on normalised.
    FeedForwardSum,
    /// Of what enters the router, where experts stand beside a part without.
    Router,
    /// Of what enters the experts there.
    Experts,
    /// Of what leaves the part without.
    DenseOutput,
    /// Of what leaves the experts.
    ExpertsOutput,
    /// Of what leaves the part in which the layer's own input is added.
    InputPost,
    /// Of what enters the output head.
    Output,
}

impl Norm {
    pub(crate) const COUNT: usize = Self::Output as usize;

    /// Whether only layers in which experts stand beside a part without have it.
    pub(crate) const fn is_beside_experts(self) -> bool {
        matches!(self, Self::Router | Self::Experts | Self::DenseOutput | Self::ExpertsOutput)
    }

    /// Whether it belongs to attention alone.
    pub(crate) const fn is_of_attention(self) -> bool {
        matches!(self, Self::Query | Self::Key | Self::Value | Self::Heads)
    }

    /// The number of weights.
    pub(crate) const fn len(self, h: &Hyperparameters, layer: &Layer, qk_norm: QkNorm) -> usize {
        match (self, qk_norm) {
            (Self::Query, _) if layer.is_latent() => layer.query_rank(),
            (Self::Key, _) if layer.is_latent() => layer.value_dim(),
            (Self::Query, QkNorm::OwnHead | QkNorm::Row) | (Self::Heads, _) => layer.q_dim(),
            (Self::Key, QkNorm::OwnHead | QkNorm::Row) => layer.kv_dim(),
            (Self::Query | Self::Key | Self::Value, _) => layer.head_dim(),
            (Self::Hidden, _) => layer.feed_forward(),
            _ => h.embedding,
        }
    }
}
