//! Tokens with a task (begin, end, unknown, ...), what is put around a text, and the chat template.
//!
//! Which of three files counts where they disagree is as in llama.cpp's `gguf.SpecialVocab`: `tokenizer_config.json` names tokens,
//! `config.json` has numbers where that names none, and what `tokenizer.json` does after encoding goes before what the
//! configuration says of adding tokens.

use std::path::Path;

use serde_json::Value as JsonValue;
use stonechat_gguf::Value;

use super::json::Json;
use super::parameters::Metadata;
use super::{optional, text};
use crate::Error;
use crate::quantize::Entry;

/// A token's task: in `tokenizer_config.json`, and in a key of GGUF.
const TASKS: [(&str, &str); 6] = [
    ("bos", "tokenizer.ggml.bos_token_id"),
    ("eos", "tokenizer.ggml.eos_token_id"),
    ("unk", "tokenizer.ggml.unknown_token_id"),
    // Sic.
    ("sep", "tokenizer.ggml.seperator_token_id"),
    ("pad", "tokenizer.ggml.padding_token_id"),
    ("mask", "tokenizer.ggml.mask_token_id"),
];
/// Whether a task's token is put around a text.
const ADDED: [(&str, &str); 3] = [
    ("bos", "tokenizer.ggml.add_bos_token"),
    ("eos", "tokenizer.ggml.add_eos_token"),
    ("sep", "tokenizer.ggml.add_sep_token"),
];
/// Tokens that end an answer and have a key of their own where the usual end is another one.
const END_OF_TURN: &str = "tokenizer.ggml.eot_token_id";

/// The tokens' texts by their tasks, as they are found.
#[derive(Default)]
struct Tokens(Vec<(&'static str, String)>);

impl Tokens {
    fn get(&self, task: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| *name == task).map(|(_, text)| &**text)
    }

    fn set(&mut self, task: &'static str, text: Option<&str>) {
        self.0.retain(|(name, _)| *name != task);
        self.0.extend(text.map(|text| (task, text.to_owned())));
    }
}

/// The keys of all that. `count` is how many tokens there are.
pub(super) fn read<'a>(
    folder: &Path,
    config: &Json,
    tokenizer: &Json,
    count: usize,
) -> Result<Metadata<'a>, Error> {
    let settings = optional(&folder.join("tokenizer_config.json"))?;
    let mut tokens = Tokens::default();
    for task in ["bos", "eos", "unk", "sep", "pad", "mask", "cls"] {
        let named = settings.as_ref().and_then(|settings| settings.get(&format!("{task}_token")));
        tokens.set(task, named.and_then(|token| token.as_str().or_else(|| token["content"].as_str())));
    }
    // BERT's begin and end have names of their own.
    for (task, other) in [("bos", "cls"), ("eos", "sep")] {
        if tokens.get(task).is_none_or(str::is_empty) {
            let other = tokens.get(other).map(str::to_owned);
            tokens.set(task, other.as_deref());
        }
    }
    let mut added = [None; ADDED.len()];
    let mut end_of_turn = None;
    if let Some(after) = tokenizer.get("post_processor") {
        let steps = after["processors"].as_array();
        for step in steps.map_or(std::slice::from_ref(after), |steps| steps) {
            match step["type"].as_str() {
                Some("ByteLevel") => added[..2].iter_mut().for_each(|added| *added = added.or(Some(false))),
                Some("TemplateProcessing") => {
                    end_of_turn = template(step, &mut tokens, &mut added).or(end_of_turn);
                }
                _ => {}
            }
        }
    }

    let mut metadata = Metadata::new();
    let id_of = |text: &str| {
        let all = tokenizer.get("added_tokens").and_then(JsonValue::as_array);
        let named = all.into_iter().flatten().find(|token| token["content"].as_str() == Some(text))?;
        named["id"].as_u64()
    };
    let generation = optional(&folder.join("generation_config.json"))?;
    for (task, key) in TASKS {
        let by_number = |json: &Json| {
            let number = json.get(&format!("{task}_token_id"))?;
            number.as_u64().or_else(|| number.as_array()?.first()?.as_u64())
        };
        let id =
            tokens.get(task).and_then(id_of).or_else(|| config.get(&format!("{task}_token_id"))?.as_u64());
        let id = id.or_else(|| generation.as_ref().and_then(by_number));
        if let Some(id) = id.filter(|id| *id < count as u64) {
            metadata.push((key.into(), Entry::Value(Value::U32(id as u32))));
        }
    }
    if let Some(id) = end_of_turn.as_deref().and_then(id_of).filter(|id| *id < count as u64) {
        metadata.push((END_OF_TURN.into(), Entry::Value(Value::U32(id as u32))));
    }
    for ((task, key), added) in ADDED.into_iter().zip(added) {
        let asked = settings.as_ref().and_then(|settings| settings.get(&format!("add_{task}_token")));
        if let Some(added) = added.or_else(|| asked.and_then(JsonValue::as_bool)) {
            metadata.push((key.into(), Entry::Value(Value::Bool(added))));
        }
    }
    if let Some(template) = chat_template(folder, settings.as_ref())? {
        metadata.push(("tokenizer.chat_template".into(), Entry::Text(template)));
    }
    if let Some(normalizer) = tokenizer.get("normalizer") {
        let (mut lowercase, mut strip_accents) = (None, None);
        normalization(normalizer, &mut lowercase, &mut strip_accents);
        for (key, value) in [("lowercase", lowercase), ("strip_accents", strip_accents)] {
            if let Some(value) = value {
                metadata.push((format!("tokenizer.ggml.normalizer.{key}"), Entry::Value(Value::Bool(value))));
            }
        }
    }
    Ok(metadata)
}

/// What a template puts around one text, and between two. Returns the end that a text has according to the settings, where
/// the template puts another.
fn template(step: &JsonValue, tokens: &mut Tokens, added: &mut [Option<bool>; 3]) -> Option<String> {
    let none = Vec::new();
    let single = step["single"].as_array().unwrap_or(&none);
    let (mut first, mut last, mut replaced) = (None, None, None);
    if single.len() > 1 {
        first = special(single.first()).filter(|token| !token.is_empty());
        if let Some(first) = first {
            let is_known = |tokens: &Tokens| [tokens.get("bos"), tokens.get("cls")].contains(&Some(first));
            if !is_known(tokens) {
                for task in ["bos", "cls"] {
                    if tokens.get(task).is_none_or(str::is_empty) {
                        tokens.set(task, Some(first));
                    }
                }
            }
            added[0] = Some(is_known(tokens));
        }
        last = special(single.last()).filter(|token| !token.is_empty());
        if let Some(last) = last {
            if tokens.get("eos") != Some(last) {
                replaced = tokens.get("eos").map(str::to_owned);
                tokens.set("eos", Some(last));
            }
            added[1] = Some(true);
        }
    }
    // Between the first text and the second.
    let mut pair = step["pair"].as_array().map_or(&none[..], |pair| pair);
    if first.is_some() && special(pair.first()) == first {
        pair = &pair[1..];
    }
    if last.is_some() && special(pair.last()) == last {
        pair = &pair[..pair.len() - 1];
    }
    let text = |item: &JsonValue| item["Sequence"]["id"].as_str().map(str::to_owned);
    if let [before, between @ .., after] = pair
        && !between.is_empty()
        && text(before).as_deref() == Some("A")
        && text(after).as_deref() == Some("B")
    {
        let separates = |item: &JsonValue| {
            let token = item["SpecialToken"]["id"].as_str();
            token.is_some() && [tokens.get("sep"), tokens.get("eos")].contains(&token)
        };
        let is_added =
            separates(&between[0]) && last.is_none() || between.len() == 2 && separates(&between[1]);
        added[2] = Some(is_added);
        if is_added && tokens.get("sep").is_none() {
            let end = tokens.get("eos").map(str::to_owned);
            tokens.set("sep", end.as_deref());
        }
    }
    replaced
}

/// The special token that a part of a template is.
fn special(part: Option<&JsonValue>) -> Option<&str> {
    part?["SpecialToken"]["id"].as_str()
}

/// What happens to a text before it is cut, as far as a GGUF file can say it.
fn normalization(step: &JsonValue, lowercase: &mut Option<bool>, strip_accents: &mut Option<bool>) {
    match step["type"].as_str() {
        Some("Lowercase") => *lowercase = Some(true),
        Some("StripAccents") => *strip_accents = Some(true),
        Some("BertNormalizer") => {
            *lowercase = step["lowercase"].as_bool().or(*lowercase);
            *strip_accents = step["strip_accents"].as_bool().or(*strip_accents);
        }
        Some("Sequence") => {
            for step in step["normalizers"].as_array().into_iter().flatten() {
                normalization(step, lowercase, strip_accents);
            }
        }
        _ => {}
    }
}

/// The template for conversations; of several, the one that is named `default`.
fn chat_template(folder: &Path, settings: Option<&Json>) -> Result<Option<String>, Error> {
    match settings.and_then(|settings| settings.get("chat_template")) {
        Some(JsonValue::String(template)) => return Ok(Some(template.clone())),
        Some(JsonValue::Array(all)) => {
            let default = all.iter().find(|template| template["name"].as_str() == Some("default"));
            return Ok(default.and_then(|template| template["template"].as_str()).map(str::to_owned));
        }
        _ => {}
    }
    let jinja = folder.join("chat_template.jinja");
    if jinja.is_file() {
        return text(&jinja).map(Some);
    }
    let json = optional(&folder.join("chat_template.json"))?;
    Ok(json.and_then(|json| Some(json.get("chat_template")?.as_str()?.to_owned())))
}
