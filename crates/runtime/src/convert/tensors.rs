//! The weights: which tensor of the folder becomes which of the GGUF file, and what is done to it on the way.

use std::collections::HashMap;

use stonechat_gguf::TensorType;
use stonechat_kernels::Layout;

use super::family::{Family, Name};
use super::json::Json;
use super::parameters::{Rope, head_dim, heads, kv_heads};
use crate::Error;
use crate::quantize::{Data, Rows, SourceTensor, is_quantized};
use crate::safetensors::{SafeTensors, View};

/// The most layers that a model may have.
const MAX_LAYERS: u32 = 4096;

/// All tensors, layer by layer. `tokens` is how many tokens the vocabulary has.
pub(super) fn read<'a>(
    family: &Family,
    config: &Json,
    shards: &'a [SafeTensors],
    tokens: usize,
) -> Result<Vec<SourceTensor<'a>>, Error> {
    let mut theirs: HashMap<String, View<'a>> = HashMap::new();
    for view in shards.iter().flat_map(SafeTensors::tensors) {
        if let Some(name) = name_of(family, view.name)
            && theirs.insert(name, view).is_some()
        {
            return Err(config.damaged(&format!("two files have the tensor {}", view.name)));
        }
    }
    let layers = config.u32_or("num_hidden_layers", None)?;
    if layers > MAX_LAYERS {
        return Err(config.damaged(&format!("its num_hidden_layers is {layers}")));
    }
    let mut converter = Converter { family, config, theirs, tokens, tensors: Vec::new() };
    if let Some(factors) = rope_factors(family, config)? {
        converter.tensors.push(SourceTensor {
            name: "rope_freqs.weight".into(),
            dims: vec![factors.len() as u64],
            kept: TensorType::F32,
            data: Data::Made(factors),
        });
    }
    for name in family.tensors {
        converter.take("", "", name)?;
    }
    for layer in 0..layers {
        for name in family.layer {
            converter.take(&format!("{}{layer}.", family.layers), &format!("blk.{layer}."), name)?;
        }
    }
    match converter.theirs.into_values().min_by_key(|view| view.name) {
        Some(view) => Err(config.unsupported(format!(
            "the model has a tensor {}, which is no part of a {}; fetch a GGUF file of this model",
            view.name, family.architecture
        ))),
        None => Ok(converter.tensors),
    }
}

/// A name without what stands around a model; nothing for what is no part of it: parts that see or hear, heads for
/// training, tables that follow from the configuration.
fn name_of(family: &Family, name: &str) -> Option<String> {
    let name = name.replace("language_model.", "");
    if family.is_bert() {
        let name = name.strip_prefix("bert.").unwrap_or(&name);
        if name == "embeddings.position_ids" || name.starts_with("pooler.") || name.starts_with("cls.") {
            return None;
        }
        // So were they called before there was PyTorch.
        let renamed = name.strip_suffix(".gamma").map(|name| format!("{name}.weight"));
        let renamed = renamed.or_else(|| name.strip_suffix(".beta").map(|name| format!("{name}.bias")));
        return Some(renamed.unwrap_or_else(|| name.to_owned()));
    }
    let other = ["vision_tower.", "multi_modal_projector.", "vision_model."];
    if other.iter().any(|part| name.contains(part)) || name.ends_with(".rotary_emb.inv_freq") {
        return None;
    }
    Some(name.strip_prefix("model.").unwrap_or(&name).to_owned())
}

struct Converter<'a, 'c> {
    family: &'c Family,
    config: &'c Json,
    /// What is not yet taken.
    theirs: HashMap<String, View<'a>>,
    tokens: usize,
    tensors: Vec<SourceTensor<'a>>,
}

impl Converter<'_, '_> {
    /// Takes the weight of this name, and the bias where there is one.
    fn take(&mut self, before: &str, ours_before: &str, name: &Name) -> Result<(), Error> {
        for kind in [".weight", ".bias"] {
            let key = format!("{before}{}{kind}", name.theirs);
            match self.theirs.remove(&key) {
                Some(view) => {
                    let tensor = self.convert(name, format!("{ours_before}{}{kind}", name.ours), &view)?;
                    self.tensors.push(tensor);
                }
                None if name.is_required && kind == ".weight" => {
                    return Err(self.config.damaged(&format!("the model's files have no tensor {key}")));
                }
                None => {}
            }
        }
        Ok(())
    }

    fn convert<'a>(&self, name: &Name, ours: String, view: &View<'a>) -> Result<SourceTensor<'a>, Error> {
        let damaged = |reason: String| Error::Unconvertible {
            path: view.file.path().into(),
            reason: format!("the tensor {} {reason}", view.name),
        };
        let format = view.format().ok_or_else(|| {
            damaged(format!(
                "is of type {}, and only F32, F16 and BF16 can be converted; fetch another copy",
                view.dtype
            ))
        })?;
        if !matches!(view.shape.len(), 1 | 2) || view.shape.contains(&0) {
            return Err(damaged(format!("has the shape {:?}; fetch the file again", view.shape)));
        }
        let mut dims: Vec<u64> = view.shape.iter().rev().copied().collect();
        let row = if dims.len() == 1 { 1 } else { dims[0] as usize };
        let mut bytes = view.bytes;
        if name.ours == "token_embd" && self.family.is_gemma() && dims[1] > self.tokens as u64 {
            // Rows for tokens that do not exist.
            dims[1] = self.tokens as u64;
            bytes = &bytes[..self.tokens * row * format.block_bytes()];
        }
        let head = match name.ours {
            _ if !self.family.interleaves => None,
            "attn_q" => Some(heads(self.family, self.config)?),
            "attn_k" => Some(kv_heads(self.family, self.config)?),
            _ => None,
        };
        let interleaved_heads = match head {
            Some(heads) => {
                let rows = view.shape[0];
                let length = rows.checked_div(heads.into()).unwrap_or(0);
                if length == 0 || !length.is_multiple_of(2) || length * u64::from(heads) != rows {
                    return Err(damaged(format!("has {rows} rows for {heads} heads; fetch the files again")));
                }
                Some(length as usize)
            }
            None => None,
        };
        let is_norm = name.ours.ends_with("norm") && ours.ends_with(".weight");
        let rows = Rows {
            bytes,
            file: Some(view.file),
            format,
            layout: Layout::Rows,
            row,
            interleaved_heads,
            shift: if is_norm { self.family.norm_shift } else { 0.0 },
        };
        // What is not quantized is kept in full.
        debug_assert!(dims.len() == 2 || !is_quantized(&ours, &dims), "{ours}");
        Ok(SourceTensor { name: ours, dims, kept: TensorType::F32, data: Data::Rows(rows) })
    }
}

/// By how much the frequencies of each pair are slowed down, where they are as in Llama 3.1.
///
/// Source: `_compute_llama3_parameters` of transformers' `modeling_rope_utils.py`.
fn rope_factors(family: &Family, config: &Json) -> Result<Option<Vec<f32>>, Error> {
    let rope = Rope::of(config);
    if family.is_bert() || rope.kind() != Some("llama3") {
        return Ok(None);
    }
    if !family.interleaves {
        return Err(config.unsupported(format!(
            "positions scaled as in Llama 3 are no part of a {}; fetch a GGUF file of this model",
            family.architecture
        )));
    }
    let length = head_dim(family, config)?;
    let theta = rope.theta()?.or(family.defaults.theta).unwrap_or(10_000.0);
    let get = |key, default| Ok::<_, Error>(rope.f32(key)?.unwrap_or(default));
    let (factor, low, high) =
        (get("factor", 8.0)?, get("low_freq_factor", 1.0)?, get("high_freq_factor", 4.0)?);
    let original = get("original_max_position_embeddings", 8192.0)?;
    let factors = (0..length / 2).map(|pair| {
        let frequency = 1.0 / theta.powf((2 * pair) as f32 / length as f32);
        let wavelength = std::f32::consts::TAU / frequency;
        if wavelength < original / high {
            1.0
        } else if wavelength > original / low {
            factor
        } else {
            let smooth = (original / wavelength - low) / (high - low);
            1.0 / ((1.0 - smooth) / factor + smooth)
        }
    });
    Ok(Some(factors.collect()))
}
