//! The tokens of a model: `tokenizer.json`, or `tokenizer.model` where there is one, as the keys of a GGUF file.
//!
//! Three kinds: BPE of bytes (`gpt2`), SentencePiece's BPE of characters (`llama`), and WordPiece (`bert`).

use std::path::Path;

use serde_json::Value as JsonValue;
use stonechat_gguf::Value;
use stonechat_gguf::writer::ArrayBuffer;

use super::family::Family;
use super::json::Json;
use super::parameters::Metadata;
use super::sentencepiece::{self, Piece};
use super::{optional, pre_tokenizer, special};
use crate::quantize::Entry;
use crate::{Error, MappedFile};

/// Kinds of tokens (`enum llama_token_type` of llama.h).
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;
/// What stands for a space in SentencePiece, and before a word in BERT's vocabulary as GGUF files have it.
const SPACE: char = '\u{2581}';
/// What SentencePiece's scores do not reach: tokens that were added later, and those that do not exist.
const ADDED_SCORE: f32 = -1000.0;
const UNUSED_SCORE: f32 = -10_000.0;
/// The most tokens that a file may state.
const MAX_TOKENS: usize = 1 << 22;

/// A vocabulary, and all keys that come with it.
#[derive(Debug)]
pub(super) struct Vocabulary {
    model: &'static str,
    pre: &'static str,
    tokens: Vec<Token>,
    has_scores: bool,
    merges: Vec<String>,
    more: Metadata<'static>,
}

#[derive(Clone, Debug)]
struct Token {
    text: String,
    kind: i32,
    score: f32,
}

impl Vocabulary {
    /// How many tokens there are.
    pub(super) fn tokens(&self) -> usize {
        self.tokens.len()
    }

    /// All keys.
    pub(super) fn metadata<'a>(self) -> Metadata<'a> {
        let text = |text: &str| Entry::Text(text.into());
        let mut metadata: Metadata<'a> = vec![
            ("tokenizer.ggml.model".into(), text(self.model)),
            ("tokenizer.ggml.pre".into(), text(self.pre)),
            (
                "tokenizer.ggml.tokens".into(),
                Entry::Array(ArrayBuffer::new(self.tokens.iter().map(|token| &*token.text))),
            ),
        ];
        if self.has_scores {
            let scores = ArrayBuffer::new(self.tokens.iter().map(|token| token.score));
            metadata.push(("tokenizer.ggml.scores".into(), Entry::Array(scores)));
        }
        let kinds = ArrayBuffer::new(self.tokens.iter().map(|token| token.kind));
        metadata.push(("tokenizer.ggml.token_type".into(), Entry::Array(kinds)));
        if !self.merges.is_empty() {
            let merges = ArrayBuffer::new(self.merges.iter().map(|merge| &**merge));
            metadata.push(("tokenizer.ggml.merges".into(), Entry::Array(merges)));
        }
        metadata.extend(self.more);
        metadata
    }
}

/// Reads a folder's vocabulary.
pub(super) fn read(folder: &Path, family: &Family, config: &Json) -> Result<Vocabulary, Error> {
    let path = folder.join("tokenizer.json");
    let tokenizer = optional(&path)?;
    let settings = optional(&folder.join("tokenizer_config.json"))?;
    let pieces = folder.join("tokenizer.model");
    let mut vocabulary = match &tokenizer {
        _ if !family.is_bert() && pieces.is_file() => of_pieces(&pieces, config, settings.as_ref())?,
        Some(tokenizer) => of_json(tokenizer, family, config)?,
        None => {
            return Err(Error::Unconvertible {
                path: folder.into(),
                reason: "the folder has no tokenizer.json; fetch the whole model".into(),
            });
        }
    };
    if family.is_bert() {
        let kinds = config.u32_or("type_vocab_size", Some(2))?;
        vocabulary.more.push(("tokenizer.ggml.token_type_count".into(), Entry::Value(Value::U32(kinds))));
    }
    // What gemma's vocabulary does not have, and llama's may not.
    let prefix = if family.is_gemma() && vocabulary.model == "llama" {
        Some(false)
    } else if family.interleaves {
        settings.as_ref().and_then(|settings| settings.get("add_prefix_space")).and_then(JsonValue::as_bool)
    } else {
        None
    };
    if let Some(prefix) = prefix {
        vocabulary.more.push(("tokenizer.ggml.add_space_prefix".into(), Entry::Value(Value::Bool(prefix))));
    }
    // A folder with pieces alone has nothing more to say.
    if let Some(tokenizer) = &tokenizer {
        vocabulary.more.extend(special::read(folder, config, tokenizer, vocabulary.tokens.len())?);
    }
    // The vocabulary of StarCoder, whose BOS ends texts and must not begin them.
    if family.interleaves && vocabulary.tokens.len() == 49_152 {
        let key = "tokenizer.ggml.add_bos_token";
        vocabulary.more.retain(|(name, _)| name != key);
        vocabulary.more.push((key.into(), Entry::Value(Value::Bool(false))));
    }
    Ok(vocabulary)
}

/// The tokens of `tokenizer.json`.
fn of_json(tokenizer: &Json, family: &Family, config: &Json) -> Result<Vocabulary, Error> {
    let model = tokenizer.get("model").ok_or_else(|| tokenizer.damaged("it has no model"))?;
    let kind = model["type"].as_str().unwrap_or("BPE");
    let Some(map) = model["vocab"].as_object().filter(|map| !map.is_empty()) else {
        return Err(match kind {
            "BPE" | "WordPiece" => tokenizer.damaged("it has no vocab"),
            _ => unknown_kind(tokenizer, kind),
        });
    };
    let mut known: Vec<(u64, &str)> = Vec::new();
    for (text, id) in map {
        known.push((id.as_u64().ok_or_else(|| tokenizer.wrong(text, id))?, text));
    }
    let none = Vec::new();
    let added = tokenizer.get("added_tokens").and_then(JsonValue::as_array).unwrap_or(&none);
    let mut special = Vec::new();
    for token in added {
        let (Some(id), Some(text)) = (token["id"].as_u64(), token["content"].as_str()) else {
            return Err(tokenizer.damaged("one of its added_tokens has no id or no content"));
        };
        known.push((id, text));
        special.push((id, text, token["special"].as_bool().unwrap_or(false)));
    }
    let last = known.iter().map(|(id, _)| *id).max().unwrap_or(0);
    let count = match config.u32("vocab_size")? {
        Some(count) => count as usize,
        None => (last as usize).saturating_add(1),
    };
    if last as usize >= count || count > MAX_TOKENS {
        return Err(
            tokenizer.damaged(&format!("it has a token number {last}, and the model has {count} tokens"))
        );
    }
    let mut tokens: Vec<Token> = (0..count)
        .map(|id| Token { text: format!("[PAD{id}]"), kind: UNUSED, score: UNUSED_SCORE })
        .collect();
    for (id, text) in known {
        tokens[id as usize] = Token { text: text.into(), kind: NORMAL, score: ADDED_SCORE };
    }
    let is_byte_level = mentions(&tokenizer.value()["decoder"], "ByteLevel")
        || mentions(&tokenizer.value()["pre_tokenizer"], "ByteLevel");
    let (model_name, pre) = match kind {
        "BPE" if is_byte_level => {
            let pre = pre_tokenizer::name(tokenizer.value()).map_err(|what| {
                tokenizer.unsupported(format!(
                    "its pre-tokenizer is not known: {what}; fetch a GGUF file of this model"
                ))
            })?;
            ("gpt2", pre)
        }
        "BPE" if model["byte_fallback"].as_bool() == Some(true) => ("llama", "default"),
        "WordPiece" if family.is_bert() => {
            if model["continuing_subword_prefix"].as_str().is_some_and(|prefix| prefix != "##") {
                return Err(tokenizer.unsupported(
                    "its parts of words do not begin with ##; fetch a GGUF file of this model".into(),
                ));
            }
            // One of the names that all WordPiece vocabularies have in llama.cpp; nobody reads it.
            ("bert", "jina-v2-en")
        }
        kind => return Err(unknown_kind(tokenizer, kind)),
    };
    let is_bytes = |text: &str| {
        text.strip_prefix("<0x")
            .and_then(|text| text.strip_suffix('>'))
            .is_some_and(|digits| digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
    };
    for (id, text, is_special) in special {
        let token = &mut tokens[id as usize];
        token.kind = if is_special || looks_special(text) { CONTROL } else { USER_DEFINED };
        if token.kind == USER_DEFINED {
            token.text = text.replace(SPACE, " ");
        }
    }
    let mut merges = Vec::new();
    match model_name {
        "bert" => tokens.iter_mut().filter(|token| token.kind != CONTROL).for_each(|token| {
            token.text = match token.text.strip_prefix("##") {
                Some(rest) => rest.into(),
                None => format!("{SPACE}{}", token.text),
            };
        }),
        "llama" => {
            tokens.iter_mut().filter(|token| is_bytes(&token.text)).for_each(|token| token.kind = BYTE);
            score_by_merges(&mut tokens, map, &pairs(tokenizer, model)?);
        }
        _ => merges = pairs(tokenizer, model)?.into_iter().map(|(a, b)| joined(&a, &b)).collect(),
    }
    Ok(Vocabulary {
        model: model_name,
        pre,
        tokens,
        has_scores: model_name == "llama",
        merges,
        more: Metadata::new(),
    })
}

fn unknown_kind(tokenizer: &Json, kind: &str) -> Error {
    tokenizer.unsupported(format!(
        "a vocabulary of the kind {kind} cannot be converted; fetch a GGUF file of this model"
    ))
}

/// Whether a step, or a step of a sequence, is of this type.
fn mentions(step: &JsonValue, ty: &str) -> bool {
    let parts = ["decoders", "pretokenizers"].into_iter().filter_map(|key| step[key].as_array()).flatten();
    step["type"].as_str() == Some(ty) || parts.into_iter().any(|part| mentions(part, ty))
}

/// Tokens that are for control although their file does not say so.
fn looks_special(text: &str) -> bool {
    matches!(text, "<pad>" | "<mask>" | "<2mass>" | "[@BOS@]")
        || text.starts_with("<|") && text.ends_with("|>")
        || text.starts_with("<｜") && text.ends_with("｜>")
        || text.starts_with("<unused") && text.ends_with('>')
}

/// The pairs that merge, in their order. Older files join them by a space.
fn pairs(tokenizer: &Json, model: &JsonValue) -> Result<Vec<(String, String)>, Error> {
    let Some(merges) = model["merges"].as_array() else {
        return Err(tokenizer.damaged("its model has no merges"));
    };
    let pair = |merge: &JsonValue| match merge {
        JsonValue::String(both) => both.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())),
        JsonValue::Array(both) => match &both[..] {
            [JsonValue::String(a), JsonValue::String(b)] => Some((a.clone(), b.clone())),
            _ => None,
        },
        _ => None,
    };
    merges.iter().map(|merge| pair(merge).ok_or_else(|| tokenizer.wrong("merge", merge))).collect()
}

/// A pair as GGUF files write it: a space within is written as that of BPE's alphabet.
fn joined(a: &str, b: &str) -> String {
    format!("{} {}", a.replace(' ', "Ġ"), b.replace(' ', "Ġ"))
}

/// SentencePiece merges what has the best score, `tokenizers` what comes first: the score of a token that merges lead to
/// is the place of the first of them, from 0 down. Others are never the result of a merge.
fn score_by_merges(
    tokens: &mut [Token],
    ids: &serde_json::Map<String, JsonValue>,
    pairs: &[(String, String)],
) {
    for (place, (a, b)) in pairs.iter().enumerate().rev() {
        let id = ids.get(&format!("{a}{b}")).and_then(JsonValue::as_u64);
        if let Some(token) = id.and_then(|id| tokens.get_mut(id as usize)) {
            token.score = -(place as f32);
        }
    }
    for token in tokens.iter_mut().filter(|token| token.score == ADDED_SCORE && token.kind != USER_DEFINED) {
        token.score = if matches!(token.kind, CONTROL | BYTE) { 0.0 } else { -(pairs.len() as f32) };
    }
}

/// The tokens of `tokenizer.model`, with what was added later.
fn of_pieces(path: &Path, config: &Json, settings: Option<&Json>) -> Result<Vocabulary, Error> {
    let file = MappedFile::open(path)?;
    let pieces = sentencepiece::pieces(&file);
    file.check()?;
    let damaged = |reason: String| Error::Unconvertible { path: path.into(), reason };
    let Some(pieces) = pieces else {
        return Err(damaged("it is no model of SentencePiece; fetch the file again".into()));
    };
    let count = config.u32("vocab_size")?.map_or(pieces.len(), |count| count as usize);
    if count > MAX_TOKENS {
        return Err(config.damaged(&format!("its vocab_size is {count}")));
    }
    let mut tokens: Vec<Token> = (0..count)
        .map(|id| Token { text: format!("[PAD{id}]"), kind: UNUSED, score: UNUSED_SCORE })
        .collect();
    for (token, Piece { text, score, kind }) in tokens.iter_mut().zip(pieces) {
        *token = Token { text, kind, score };
    }
    let added =
        settings.and_then(|settings| settings.get("added_tokens_decoder")).and_then(JsonValue::as_object);
    for (id, entry) in added.into_iter().flatten() {
        let (Ok(id), Some(text)) = (id.parse::<usize>(), entry["content"].as_str()) else {
            return Err(damaged(
                "one of the added_tokens_decoder has no number or no content; fetch it again".into(),
            ));
        };
        let Some(token) = tokens.get_mut(id) else { continue };
        let is_control = entry["special"].as_bool().unwrap_or(false) || looks_special(text);
        *token = Token {
            text: if is_control { text.into() } else { text.replace(SPACE, " ") },
            kind: if is_control { CONTROL } else { USER_DEFINED },
            score: ADDED_SCORE,
        };
    }
    Ok(Vocabulary {
        model: "llama",
        pre: "default",
        tokens,
        has_scores: true,
        merges: Vec::new(),
        more: Metadata::new(),
    })
}
