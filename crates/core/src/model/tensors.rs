//! The tensors of a layer: their names and shapes.

use super::{Hyperparameters, Layer};
use crate::arch::{NormTensor, QkNorm};

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
}

impl Weight {
    pub const COUNT: usize = Self::InputProjection as usize + 1;

    pub const ALL: [Self; Self::COUNT] = [
        Self::Qkv,
        Self::Q,
        Self::K,
        Self::V,
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
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Qkv => "attn_qkv",
            Self::Q => "attn_q",
            Self::K => "attn_k",
            Self::V => "attn_v",
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
        }
    }

    /// Outputs and inputs.
    pub const fn shape(self, h: &Hyperparameters, layer: &Layer) -> [usize; 2] {
        let (e, x) = (h.embedding, &h.experts);
        match self {
            Self::Qkv => [layer.q_dim() + 2 * layer.kv_dim(), e],
            Self::Q => [layer.q_dim(), e],
            Self::K | Self::V => [layer.kv_dim(), e],
            Self::Output => [e, layer.q_dim()],
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
        }
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
    /// Of each query.
    Query,
    /// Of each key.
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
    /// Of what leaves the part in which the layer's own input is added.
    InputPost,
    /// Of what enters the output head.
    Output,
}

impl Norm {
    pub(crate) const COUNT: usize = Self::Output as usize;

    /// The number of weights.
    pub(crate) const fn len(self, h: &Hyperparameters, layer: &Layer, qk_norm: QkNorm) -> usize {
        match (self, qk_norm) {
            (Self::Query, QkNorm::OwnHead | QkNorm::Row) | (Self::Heads, _) => layer.q_dim(),
            (Self::Key, QkNorm::OwnHead | QkNorm::Row) => layer.kv_dim(),
            (Self::Query | Self::Key | Self::Value, _) => layer.head_dim(),
            (Self::Hidden, _) => layer.feed_forward(),
            _ => h.embedding,
        }
    }
}
