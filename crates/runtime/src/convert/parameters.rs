//! The keys of a GGUF file that say what the model is and which numbers shape it, from `config.json`.

use std::path::Path;

use serde_json::Value as JsonValue;
use stonechat_gguf::Value;

use super::family::Family;
use super::json::{Json, float};
use super::optional;
use crate::Error;
use crate::quantize::Entry;

/// Keys and values.
pub(super) type Metadata<'a> = Vec<(String, Entry<'a>)>;

/// What a file says of itself.
pub(super) fn general<'a>(folder: &Path, family: &Family, weights: u64) -> Metadata<'a> {
    // `.` and the like have a name, too.
    let whole = folder.canonicalize();
    let name = whole.as_deref().unwrap_or(folder).file_name().map(|name| name.to_string_lossy().into_owned());
    vec![
        text("general.architecture", family.architecture),
        text("general.type", "model"),
        text("general.name", name.as_deref().unwrap_or("model")),
        text("general.size_label", &size_label(weights)),
    ]
}

fn text<'a>(key: &str, text: &str) -> (String, Entry<'a>) {
    (key.into(), Entry::Text(text.into()))
}

/// A number of weights with a unit and at least two digits: `1.2B`, `135M`.
fn size_label(weights: u64) -> String {
    let (unit, suffix) = match weights {
        ..=1_000_000 => (1e3, "K"),
        1_000_001..=1_000_000_000 => (1e6, "M"),
        1_000_000_001..=1_000_000_000_000 => (1e9, "B"),
        _ => (1e12, "T"),
    };
    let scaled = weights as f64 / unit;
    // Zero has no digit that counts.
    let digits = match format!("{scaled:.0}").as_str() {
        "0" => 0,
        digits => digits.len(),
    };
    format!("{scaled:.*}{suffix}", 2_usize.saturating_sub(digits))
}

/// The keys of the architecture.
pub(super) fn of_model<'a>(folder: &Path, family: &Family, config: &Json) -> Result<Metadata<'a>, Error> {
    let mut keys = Keys { architecture: family.architecture, metadata: Vec::new() };
    let number = |key: &str, default: Option<u32>| config.u32_or(key, default);
    let (hidden, heads) = (number("hidden_size", None)?, heads(family, config)?);
    keys.u32("block_count", number("num_hidden_layers", None)?);
    keys.u32("context_length", number("max_position_embeddings", Some(family.defaults.context))?);
    keys.u32("embedding_length", hidden);
    keys.u32("feed_forward_length", number("intermediate_size", None)?);
    keys.u32("attention.head_count", heads);
    if family.is_bert() {
        let epsilon = config.f32("layer_norm_eps")?.unwrap_or(family.defaults.epsilon);
        keys.f32("attention.layer_norm_epsilon", epsilon);
        keys.value("attention.causal", Value::Bool(false));
    } else {
        keys.u32("attention.head_count_kv", kv_heads(family, config)?);
        let epsilon = config.f32("rms_norm_eps")?.unwrap_or(family.defaults.epsilon);
        keys.f32("attention.layer_norm_rms_epsilon", epsilon);
        rotation(&mut keys, family, config)?;
        let head_dim = head_dim(family, config)?;
        let is_stated = config.get("head_dim").is_some() || family.defaults.head_dim.is_some();
        // A model of the qwen2 family has no such number of its own.
        if is_stated || family.interleaves {
            keys.u32("attention.key_length", head_dim);
            keys.u32("attention.value_length", head_dim);
        }
        if family.interleaves {
            keys.u32("vocab_size", number("vocab_size", None)?);
            keys.u32("rope.dimension_count", head_dim);
        }
    }
    if family.is_gemma() {
        if let Some(cap) = config.f32("final_logit_softcapping")?.filter(|cap| *cap != 0.0) {
            keys.f32("final_logit_softcapping", cap);
        }
        if config.get("attn_logit_softcapping").is_some() {
            return Err(config.unsupported(
                "its attn_logit_softcapping is not part of gemma3; fetch a GGUF file of this model".into(),
            ));
        }
        // A GGUF file has no place for it: whoever reads one takes every sixth.
        let layers = config.get("layer_types").and_then(JsonValue::as_array).into_iter().flatten();
        let is_sixth = |(i, kind): (usize, &JsonValue)| {
            kind.as_str() == Some(if i % 6 == 5 { "full_attention" } else { "sliding_attention" })
        };
        if !layers.enumerate().all(is_sixth) {
            return Err(config.unsupported(
                "its layer_types are other than every sixth with full attention, which no GGUF file of gemma3 can say".into(),
            ));
        }
        if config.u32("sliding_window_pattern")? != Some(1) {
            keys.u32("attention.sliding_window", number("sliding_window", Some(4096))?);
        }
    }
    if let Some(pooling) = pooling(folder)? {
        keys.u32("pooling_type", pooling);
    }
    Ok(keys.metadata)
}

pub(super) fn heads(family: &Family, config: &Json) -> Result<u32, Error> {
    let heads = config.u32_or("num_attention_heads", family.defaults.heads)?;
    if heads == 0 { Err(config.damaged("its num_attention_heads is 0")) } else { Ok(heads) }
}

pub(super) fn kv_heads(family: &Family, config: &Json) -> Result<u32, Error> {
    let heads = heads(family, config)?;
    config.u32_or("num_key_value_heads", family.defaults.kv_heads.or(Some(heads)))
}

/// The length of a head.
pub(super) fn head_dim(family: &Family, config: &Json) -> Result<u32, Error> {
    match config.u32("head_dim")?.or(family.defaults.head_dim) {
        Some(length) => Ok(length),
        None => Ok(config.u32_or("hidden_size", None)? / heads(family, config)?),
    }
}

/// How positions turn queries and keys. Transformers 5 keeps all of it in `rope_parameters`, earlier ones in `rope_theta` and
/// `rope_scaling`.
pub(super) struct Rope<'j> {
    config: &'j Json,
    parameters: Option<&'j JsonValue>,
}

impl<'j> Rope<'j> {
    pub(super) fn of(config: &'j Json) -> Self {
        let all = config.get("rope_parameters").or_else(|| config.get("rope_scaling"));
        let parameters = all.map(|all| all.get("full_attention").unwrap_or(all));
        Self { config, parameters }
    }

    pub(super) fn kind(&self) -> Option<&'j str> {
        let parameters = self.parameters?;
        parameters.get("rope_type").or_else(|| parameters.get("type"))?.as_str()
    }

    pub(super) fn f32(&self, key: &str) -> Result<Option<f32>, Error> {
        let value = self.parameters.and_then(|all| all.get(key)).filter(|value| !value.is_null());
        float(value).map_err(|value| self.config.wrong(key, value))
    }

    pub(super) fn theta(&self) -> Result<Option<f32>, Error> {
        Ok(self.f32("rope_theta")?.or(self.config.f32("rope_theta")?))
    }

    fn required(&self, key: &str) -> Result<f32, Error> {
        self.f32(key)?.ok_or_else(|| self.config.damaged(&format!("its scaling of positions has no {key}")))
    }
}

fn rotation(keys: &mut Keys<'_>, family: &Family, config: &Json) -> Result<(), Error> {
    let rope = Rope::of(config);
    match rope.kind() {
        // The factors of llama3 are a tensor.
        None | Some("default" | "llama3") => {}
        Some("linear") => {
            keys.text("rope.scaling.type", "linear");
            keys.f32("rope.scaling.factor", rope.required("factor")?);
        }
        Some("yarn") => {
            keys.text("rope.scaling.type", "yarn");
            keys.f32("rope.scaling.factor", rope.required("factor")?);
            let original = rope.f32("original_max_position_embeddings")?;
            let original = original.map(|original| original as u32);
            let original = original.or(config.u32("original_max_position_embeddings")?);
            let original = original.or(config.u32("max_position_embeddings")?);
            keys.u32("rope.scaling.original_context_length", original.unwrap_or(family.defaults.context));
            for (theirs, ours) in [
                ("extrapolation_factor", "rope.scaling.yarn_ext_factor"),
                ("attention_factor", "rope.scaling.yarn_attn_factor"),
                ("beta_fast", "rope.scaling.yarn_beta_fast"),
                ("beta_slow", "rope.scaling.yarn_beta_slow"),
            ] {
                if let Some(value) = rope.f32(theirs)? {
                    keys.f32(ours, value);
                }
            }
        }
        Some(kind) => {
            return Err(config.unsupported(format!(
                "positions scaled by '{kind}' cannot be converted, only by linear, yarn and llama3; fetch a GGUF file of \
                 this model"
            )));
        }
    }
    if let Some(theta) = rope.theta()?.or(family.defaults.theta) {
        keys.f32("rope.freq_base", theta);
    }
    if family.is_gemma() {
        let sliding = config.get("rope_parameters").and_then(|all| all.get("sliding_attention"));
        let sliding = sliding.and_then(|sliding| sliding.get("rope_theta"));
        let theta = float(sliding).map_err(|value| config.wrong("rope_theta", value))?;
        keys.f32("rope.freq_base_swa", theta.or(config.f32("rope_local_base_freq")?).unwrap_or(10_000.0));
    }
    Ok(())
}

/// How a sentence's embedding is made of its tokens', as `modules.json` of sentence-transformers says.
fn pooling(folder: &Path) -> Result<Option<u32>, Error> {
    let Some(modules) = optional(&folder.join("modules.json"))? else { return Ok(None) };
    let of_pooling = |module: &&JsonValue| {
        module.get("type").and_then(JsonValue::as_str).is_some_and(|ty| ty.ends_with("Pooling"))
    };
    let Some(module) = modules.value().as_array().and_then(|all| all.iter().find(of_pooling)) else {
        return Ok(None);
    };
    let path = module.get("path").and_then(JsonValue::as_str).unwrap_or_default();
    if path.contains(['/', '\\']) || path.contains("..") {
        return Err(modules.damaged(&format!("its pooling is in '{path}', which is no folder's name")));
    }
    let config = Json::read(&folder.join(path).join("config.json"))?;
    let is = |mode: &str, old: &str| {
        config.get("pooling_mode").and_then(JsonValue::as_str) == Some(mode)
            || config.get(old).and_then(JsonValue::as_bool) == Some(true)
    };
    // `enum llama_pooling_type` of llama.h.
    let kinds = [
        (1, "mean", "pooling_mode_mean_tokens"),
        (2, "cls", "pooling_mode_cls_token"),
        (3, "lasttoken", "pooling_mode_lasttoken"),
    ];
    kinds.iter().find(|(_, mode, old)| is(mode, old)).map(|(id, ..)| Some(*id)).ok_or_else(|| {
        config.unsupported(
            "only the mean of all tokens, the first or the last can be taken for a text; fetch a GGUF file of this model"
                .into(),
        )
    })
}

/// Keys that begin with the architecture's name.
struct Keys<'a> {
    architecture: &'static str,
    metadata: Metadata<'a>,
}

impl Keys<'_> {
    fn value(&mut self, key: &str, value: Value<'static>) {
        self.metadata.push((format!("{}.{key}", self.architecture), Entry::Value(value)));
    }

    fn u32(&mut self, key: &str, number: u32) {
        self.value(key, Value::U32(number));
    }

    fn f32(&mut self, key: &str, number: f32) {
        self.value(key, Value::F32(number));
    }

    fn text(&mut self, key: &str, text: &str) {
        self.metadata.push((format!("{}.{key}", self.architecture), Entry::Text(text.into())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_two_digits_or_as_many_as_there_are() {
        for (weights, label) in [
            (22_713_216, "23M"),
            (1_235_814_400, "1.2B"),
            (134_515_008, "135M"),
            (36_416, "36K"),
            (6_500, "6.5K"),
            (300, "0.30K"),
            (70_553_706_496, "71B"),
            (1_500_000_000_000, "1.5T"),
        ] {
            assert_eq!(size_label(weights), label, "{weights}");
        }
    }
}
