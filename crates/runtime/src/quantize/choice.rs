//! Which tensor gets which format: the mixes of llama.cpp.
//!
//! Most matrices get the format that the file is named for. Those that suffer most from few bits get more: the output
//! (and the embeddings where they are the output too), the values of attention, the way back from the feed-forward part, the
//! first and last layers before others. What is small, or added rather than multiplied, stays as it is.
//!
//! Source: `llama_tensor_get_type_impl` and `tensor_allows_quantization` of llama.cpp's src/llama-quant.cpp, whose choices these
//! are for the types listed in [`FileType`], without an importance matrix.

use stonechat_gguf::TensorType;
use stonechat_kernels::Format;

use super::FileType;

/// What the choice depends on beside the tensors.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shape {
    /// `general.architecture`.
    pub(crate) architecture: String,
    pub(crate) layers: u64,
    pub(crate) heads: u64,
    pub(crate) kv_heads: u64,
    pub(crate) experts: u64,
}

/// A tensor as far as the choice looks at it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate<'a> {
    pub(crate) name: &'a str,
    pub(crate) dims: &'a [u64],
    /// The type it keeps if it is not to be quantized.
    pub(crate) kept: TensorType,
}

/// What a matrix does in the model, as its name tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    Embedding,
    Query,
    Key,
    /// Also what holds values among others.
    Value,
    Attention,
    Up,
    Gate,
    Down,
    Output,
    Other,
}

fn role(name: &str) -> Role {
    let has = |part: &str| name.contains(part);
    match name {
        "output.weight" => Role::Output,
        "token_embd.weight" | "per_layer_token_embd.weight" => Role::Embedding,
        _ if has("attn_qkv.weight") || has("attn_kv_b.weight") || has("attn_v.weight") => Role::Value,
        _ if has("attn_k.weight") => Role::Key,
        _ if has("attn_q.weight") => Role::Query,
        _ if has("attn_output.weight") => Role::Attention,
        _ if has("ffn_up") => Role::Up,
        _ if has("ffn_gate") => Role::Gate,
        _ if has("ffn_down") => Role::Down,
        _ => Role::Other,
    }
}

/// Parts of names of matrices that stay as they are: small ones, and tables of what is added.
const KEPT: [&str; 31] = [
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_tid2eid.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",
    "time_mix_first.weight",
    "time_mix_w0.weight",
    "time_mix_w1.weight",
    "time_mix_w2.weight",
    "time_mix_v0.weight",
    "time_mix_v1.weight",
    "time_mix_v2.weight",
    "time_mix_a0.weight",
    "time_mix_a1.weight",
    "time_mix_a2.weight",
    "time_mix_g1.weight",
    "time_mix_g2.weight",
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
    "attn_rel_b.weight",
    ".position_embd",
    ".rel_pos",
    ".patch_embd",
    ".patch_merger",
    "a.rvq.codebook",
];

/// Whether a tensor is a matrix whose weights may be rounded.
pub(crate) fn is_quantized(name: &str, dims: &[u64]) -> bool {
    dims.iter().skip(1).any(|dim| *dim > 1)
        && name.ends_with("weight")
        && !matches!(name, "position_embd.weight" | "token_types.weight")
        && !KEPT.iter().any(|part| name.contains(part))
}

/// The type of each tensor in a file of type `ty`.
pub(crate) fn types(ty: FileType, shape: &Shape, tensors: &[Candidate<'_>]) -> Vec<TensorType> {
    let of_format = |format: Format| TensorType::from_id(format.ggml_id()).unwrap_or(TensorType::F32);
    let mut mix = Mix::new(ty, shape, tensors);
    let mut types: Vec<_> = tensors.iter().map(|tensor| tensor.kept).collect();
    // Counters run through the layers in order, and through the names of a layer in that of the alphabet.
    let mut order: Vec<_> = (0..tensors.len()).collect();
    order.sort_by_key(|i| (layer_of(tensors[*i].name), tensors[*i].name));
    for i in order {
        let tensor = &tensors[i];
        if is_quantized(tensor.name, tensor.dims) {
            let row = tensor.dims.first().copied().unwrap_or(1);
            let format = ty.format();
            let chosen =
                if format.is_float() { format } else { that_fits(mix.choose(tensor.name, row), row) };
            types[i] = of_format(chosen);
        }
    }
    types
}

/// The layer that a name speaks of; those of none come first.
fn layer_of(name: &str) -> Option<u64> {
    name.strip_prefix("blk.")?.split_once('.')?.0.parse().ok()
}

/// The format itself, or for rows that are not whole blocks of it one with smaller blocks and some more bits.
fn that_fits(format: Format, row: u64) -> Format {
    let fits = |format: Format| row.is_multiple_of(format.block_len() as u64);
    let other = match format {
        _ if fits(format) => return format,
        Format::IQ4_XS => Format::IQ4_NL,
        Format::Q2_K | Format::Q3_K => Format::Q4_0,
        Format::Q4_K => Format::Q5_0,
        Format::Q5_K => Format::Q5_1,
        Format::Q6_K => Format::Q8_0,
        format => format,
    };
    if fits(other) { other } else { Format::F16 }
}

/// The choice with its counters.
struct Mix<'a> {
    ty: FileType,
    shape: &'a Shape,
    is_tied: bool,
    value_tensors: usize,
    values: usize,
    downs: u64,
}

impl<'a> Mix<'a> {
    fn new(ty: FileType, shape: &'a Shape, tensors: &[Candidate<'_>]) -> Self {
        let count = |wanted| tensors.iter().filter(|tensor| role(tensor.name) == wanted).count();
        Self {
            ty,
            shape,
            is_tied: count(Role::Output) == 0,
            value_tensors: count(Role::Value),
            values: 0,
            downs: 0,
        }
    }

    fn is_falcon(&self) -> bool {
        self.shape.architecture == "falcon"
    }

    /// How many heads of queries share one of keys and values.
    fn sharing(&self) -> u64 {
        self.shape.heads.checked_div(self.shape.kv_heads).unwrap_or(0)
    }

    /// Whether this is a model of 80 layers whose heads of values are so few that more bits for them cost nothing.
    fn has_small_values(&self) -> bool {
        let shape = self.shape;
        shape.layers == 80
            && match &*shape.architecture {
                "llama" => shape.heads != shape.kv_heads,
                "qwen2" => true,
                _ => false,
            }
    }

    fn choose(&mut self, name: &str, row: u64) -> Format {
        let format = self.ty.format();
        match role(name) {
            Role::Output => self.output(row),
            Role::Embedding if self.is_tied => self.output(row),
            Role::Value => self.value(),
            Role::Key if self.shape.experts == 8 => Format::Q8_0,
            Role::Down => self.down(name),
            Role::Attention => self.attention(),
            _ => format,
        }
    }

    fn output(&self, row: u64) -> Format {
        let format = self.ty.format();
        if self.is_falcon() || !row.is_multiple_of(format.block_len() as u64) || format == Format::Q8_0 {
            Format::Q8_0
        } else {
            Format::Q6_K
        }
    }

    fn value(&mut self) -> Format {
        let (index, many) = (self.values, self.value_tensors);
        self.values += 1;
        let format = match self.ty {
            FileType::Q2_K if self.sharing() >= 4 => Format::Q4_K,
            FileType::Q2_K => Format::Q3_K,
            FileType::Q3_K_M if index < 2 => Format::Q5_K,
            FileType::Q3_K_M => Format::Q4_K,
            FileType::Q3_K_L => Format::Q5_K,
            FileType::IQ4_NL | FileType::IQ4_XS if self.sharing() >= 4 => Format::Q5_K,
            FileType::Q4_K_M | FileType::Q5_K_M if deserves_more(index as u64, many as u64) => Format::Q6_K,
            FileType::Q4_K_S if index < 4 => Format::Q5_K,
            ty => ty.format(),
        };
        match format {
            _ if self.shape.experts == 8 => Format::Q8_0,
            Format::Q3_K | Format::Q4_K if self.has_small_values() => Format::Q5_K,
            format => format,
        }
    }

    fn down(&mut self, name: &str) -> Format {
        // Experts' matrices do not come in the order of the layers in every file; their names tell.
        let by_name = layer_of(name).filter(|_| self.shape.experts > 1);
        let (layer, layers) = (by_name.unwrap_or(self.downs), self.shape.layers);
        self.downs += 1;
        let (more, falcon) = (deserves_more(layer, layers), self.is_falcon());
        match self.ty {
            FileType::Q2_K => Format::Q3_K,
            FileType::Q3_K_M if layer < layers / 16 => Format::Q5_K,
            FileType::Q3_K_M if !falcon || more => Format::Q4_K,
            FileType::Q3_K_L if falcon => Format::Q4_K,
            FileType::Q3_K_L => Format::Q5_K,
            FileType::Q4_K_M if falcon && layer < layers / 16 => Format::Q6_K,
            FileType::Q4_K_M if falcon && more => Format::Q5_K,
            FileType::Q4_K_M if !falcon && more => Format::Q6_K,
            FileType::IQ4_NL | FileType::IQ4_XS if layer < layers / 8 => Format::Q5_K,
            FileType::Q5_K_M if more => Format::Q6_K,
            FileType::Q4_K_S if !falcon && layer < layers / 8 => Format::Q5_K,
            ty => ty.format(),
        }
    }

    fn attention(&self) -> Format {
        use FileType::{IQ4_NL, IQ4_XS, Q2_K, Q3_K_L, Q3_K_M, Q3_K_S, Q4_K_M, Q4_K_S};

        match self.ty {
            Q3_K_L if self.is_falcon() => Format::Q4_K,
            ty if self.is_falcon() => ty.format(),
            Q2_K | Q3_K_S | Q3_K_M | IQ4_NL | IQ4_XS | Q4_K_S | Q4_K_M if self.shape.experts == 8 => {
                Format::Q5_K
            }
            ty if self.shape.experts == 8 => ty.format(),
            Q2_K => Format::Q3_K,
            Q3_K_M => Format::Q4_K,
            Q3_K_L => Format::Q5_K,
            ty => ty.format(),
        }
    }
}

/// Whether a layer is among those that get more bits: the first and the last eighth, and every third between.
fn deserves_more(layer: u64, layers: u64) -> bool {
    let eighth = layers / 8;
    layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2
}
