//! The architectures that can be converted, as data: what transformers calls their tensors, and what GGUF does.

use serde_json::Value;

use super::json::Json;
use crate::Error;

/// An architecture of transformers.
#[derive(Debug)]
pub(super) struct Family {
    /// `model_type` in `config.json`.
    pub(super) model_types: &'static [&'static str],
    /// `general.architecture`.
    pub(super) architecture: &'static str,
    /// Tensors outside the layers, and parts of layers: what stands before `.weight` and `.bias`.
    pub(super) tensors: &'static [Name],
    /// What stands before the number of a layer.
    pub(super) layers: &'static str,
    pub(super) layer: &'static [Name],
    /// Whether pairs that RoPE rotates lie half a head apart in the one and side by side in the other.
    pub(super) interleaves: bool,
    /// What a weight of a norm lacks.
    pub(super) norm_shift: f32,
    pub(super) defaults: Defaults,
}

/// The name of a tensor in both worlds.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) theirs: &'static str,
    pub(super) ours: &'static str,
    /// Whether every model has its weight.
    pub(super) is_required: bool,
}

/// What transformers takes where `config.json` is silent.
#[derive(Debug)]
pub(super) struct Defaults {
    pub(super) context: u32,
    pub(super) head_dim: Option<u32>,
    pub(super) heads: Option<u32>,
    pub(super) kv_heads: Option<u32>,
    pub(super) epsilon: f32,
    pub(super) theta: Option<f32>,
}

const fn name(theirs: &'static str, ours: &'static str) -> Name {
    Name { theirs, ours, is_required: true }
}

const fn maybe(theirs: &'static str, ours: &'static str) -> Name {
    Name { theirs, ours, is_required: false }
}

const DECODER: &[Name] =
    &[name("embed_tokens", "token_embd"), name("norm", "output_norm"), maybe("lm_head", "output")];

const LLAMA_LAYER: &[Name] = &[
    name("input_layernorm", "attn_norm"),
    name("self_attn.q_proj", "attn_q"),
    name("self_attn.k_proj", "attn_k"),
    name("self_attn.v_proj", "attn_v"),
    name("self_attn.o_proj", "attn_output"),
    name("post_attention_layernorm", "ffn_norm"),
    name("mlp.gate_proj", "ffn_gate"),
    name("mlp.up_proj", "ffn_up"),
    name("mlp.down_proj", "ffn_down"),
];

const LLAMA: Family = Family {
    model_types: &["llama"],
    architecture: "llama",
    tensors: DECODER,
    layers: "layers.",
    layer: LLAMA_LAYER,
    interleaves: true,
    norm_shift: 0.0,
    defaults: Defaults {
        context: 2048,
        head_dim: None,
        heads: None,
        kv_heads: None,
        epsilon: 1e-6,
        theta: Some(10_000.0),
    },
};

static FAMILIES: &[Family] = &[
    LLAMA,
    Family {
        model_types: &["mistral"],
        defaults: Defaults { context: 131_072, kv_heads: Some(8), ..LLAMA.defaults },
        ..LLAMA
    },
    Family {
        model_types: &["qwen2"],
        architecture: "qwen2",
        interleaves: false,
        defaults: Defaults { context: 32_768, ..LLAMA.defaults },
        ..LLAMA
    },
    Family {
        model_types: &["qwen3"],
        architecture: "qwen3",
        layer: &[
            name("input_layernorm", "attn_norm"),
            name("self_attn.q_proj", "attn_q"),
            name("self_attn.q_norm", "attn_q_norm"),
            name("self_attn.k_proj", "attn_k"),
            name("self_attn.k_norm", "attn_k_norm"),
            name("self_attn.v_proj", "attn_v"),
            name("self_attn.o_proj", "attn_output"),
            name("post_attention_layernorm", "ffn_norm"),
            name("mlp.gate_proj", "ffn_gate"),
            name("mlp.up_proj", "ffn_up"),
            name("mlp.down_proj", "ffn_down"),
        ],
        interleaves: false,
        defaults: Defaults { context: 32_768, head_dim: Some(128), ..LLAMA.defaults },
        ..LLAMA
    },
    Family {
        model_types: &["gemma3_text", "gemma3"],
        architecture: "gemma3",
        layer: &[
            name("input_layernorm", "attn_norm"),
            name("self_attn.q_proj", "attn_q"),
            name("self_attn.q_norm", "attn_q_norm"),
            name("self_attn.k_proj", "attn_k"),
            name("self_attn.k_norm", "attn_k_norm"),
            name("self_attn.v_proj", "attn_v"),
            name("self_attn.o_proj", "attn_output"),
            name("post_attention_layernorm", "post_attention_norm"),
            name("pre_feedforward_layernorm", "ffn_norm"),
            name("mlp.gate_proj", "ffn_gate"),
            name("mlp.up_proj", "ffn_up"),
            name("mlp.down_proj", "ffn_down"),
            name("post_feedforward_layernorm", "post_ffw_norm"),
        ],
        interleaves: false,
        norm_shift: 1.0,
        defaults: Defaults {
            context: 131_072,
            head_dim: Some(256),
            heads: Some(8),
            kv_heads: Some(4),
            epsilon: 1e-6,
            theta: Some(1_000_000.0),
        },
        ..LLAMA
    },
    Family {
        model_types: &["bert"],
        architecture: "bert",
        tensors: &[
            name("embeddings.word_embeddings", "token_embd"),
            name("embeddings.position_embeddings", "position_embd"),
            name("embeddings.token_type_embeddings", "token_types"),
            name("embeddings.LayerNorm", "token_embd_norm"),
        ],
        layers: "encoder.layer.",
        layer: &[
            name("attention.self.query", "attn_q"),
            name("attention.self.key", "attn_k"),
            name("attention.self.value", "attn_v"),
            name("attention.output.dense", "attn_output"),
            name("attention.output.LayerNorm", "attn_output_norm"),
            name("intermediate.dense", "ffn_up"),
            name("output.dense", "ffn_down"),
            name("output.LayerNorm", "layer_output_norm"),
        ],
        interleaves: false,
        norm_shift: 0.0,
        defaults: Defaults {
            context: 512,
            head_dim: None,
            heads: Some(12),
            kv_heads: None,
            epsilon: 1e-12,
            theta: None,
        },
    },
];

impl Family {
    /// The family of a model with this `config.json`.
    pub(super) fn of(config: &Json) -> Result<&'static Self, Error> {
        let known = || {
            let names = FAMILIES.iter().flat_map(|family| family.model_types);
            names.copied().collect::<Vec<_>>().join(", ")
        };
        let Some(model_type) = config.get("model_type").and_then(Value::as_str) else {
            return Err(config.damaged("it has no model_type"));
        };
        let Some(family) = FAMILIES.iter().find(|family| family.model_types.contains(&model_type)) else {
            return Err(config.unsupported(format!(
                "models of the type '{model_type}' cannot be converted, only {}; fetch a GGUF file of it",
                known()
            )));
        };
        if let Some(how) = config.get("quantization_config") {
            let method = how.get("quant_method").and_then(Value::as_str).unwrap_or("some other method");
            return Err(config.unsupported(format!(
                "the model is quantized already, by {method}; fetch the original, whose weights are floats"
            )));
        }
        if config.get("use_bidirectional_attention").and_then(Value::as_bool) == Some(true) {
            return Err(config.unsupported(format!(
                "a {model_type} that attends in both directions cannot be converted; fetch a GGUF file of it"
            )));
        }
        Ok(family)
    }

    pub(super) fn is_bert(&self) -> bool {
        self.architecture == "bert"
    }

    pub(super) fn is_gemma(&self) -> bool {
        self.architecture == "gemma3"
    }
}
