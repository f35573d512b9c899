//! `stonechat inspect`: what a model file says, and whether it runs here.

use std::collections::BTreeMap;
use std::io::{Write, stdout};

use serde_json::{Value as Json, json};
use stonechat_core::{Model, Vocabulary};
use stonechat_gguf::{Gguf, Value};
use stonechat_kernels::{Level, LevelName};
use stonechat_runtime::MappedFile;

use crate::args::InspectArgs;
use crate::engine;
use crate::failure::Failure;

/// Elements of an array that are shown.
const SHOWN: usize = 6;
/// Characters of a text that are shown.
const TEXT: usize = 72;

/// Runs the verb.
pub fn run(args: &InspectArgs, cpu: Option<LevelName>) -> Result<(), Failure> {
    let level = engine::level(cpu)?;
    let file = engine::file(Some(&args.file))?;
    let gguf = engine::open(&file)?;
    let out = &mut stdout().lock();
    if args.json {
        return write_json(out, &file, &gguf, level);
    }
    writeln!(out, "{}", file.path().display())?;
    for (name, text) in summary(&file, &gguf, level) {
        writeln!(out, "  {name:<13} {text}")?;
    }
    writeln!(out, "\nmetadata")?;
    for (key, value) in gguf.metadata() {
        writeln!(out, "  {:<44} {}", key.escape_debug().to_string(), short(&value))?;
    }
    if args.tensors {
        writeln!(out, "\ntensors")?;
        for tensor in gguf.tensors() {
            let dims: Vec<String> = tensor.dims.as_slice().iter().map(u64::to_string).collect();
            let (name, format) = (tensor.name.escape_debug().to_string(), tensor.ty.name());
            writeln!(
                out,
                "  {name:<44} {format:<8} {:<16} {:>12} bytes",
                dims.join(" x "),
                tensor.data.len()
            )?;
        }
    }
    Ok(file.check()?)
}

fn write_json(out: &mut dyn Write, file: &MappedFile, gguf: &Gguf<'_>, level: Level) -> Result<(), Failure> {
    let metadata: serde_json::Map<_, _> =
        gguf.metadata().map(|(key, value)| (key.to_owned(), to_json(&value))).collect();
    let tensors: Vec<_> = gguf
        .tensors()
        .map(|t| {
            json!({ "name": t.name, "dims": t.dims.as_slice(), "type": t.ty.name(), "offset": t.offset,
                    "bytes": t.data.len() })
        })
        .collect();
    let loaded = load(gguf);
    let report = json!({
        "file": file.path(), "bytes": file.len(), "version": gguf.version(), "alignment": gguf.alignment(),
        "parameters": parameters(gguf), "cannot_run": loaded.as_ref().err(),
        "recurrent_state_bytes": loaded.as_ref().ok().and_then(state_bytes),
        "metadata": metadata, "tensors": tensors, "cpu": level.name().as_str(), "levels": levels(),
    });
    file.check()?;
    Ok(writeln!(out, "{report}")?)
}

/// What a person wants to know first: what it is, how large, and whether it runs here.
fn summary(file: &MappedFile, gguf: &Gguf<'_>, level: Level) -> Vec<(&'static str, String)> {
    let text = |key| gguf.opt_str(key).ok().flatten().map(|text| text.escape_debug().to_string());
    let mut lines = Vec::new();
    if let Some(name) = text("general.name") {
        lines.push(("name", name));
    }
    let loaded = load(gguf);
    match &loaded {
        Ok(model) => {
            let h = model.hyperparameters();
            let shape = format!("{}, {} layers of {}", model.spec().name, h.layers, h.embedding);
            let heads = match h.heads {
                0 => String::new(),
                heads => format!(", {heads} heads of {} ({} for keys and values)", h.head_dim, h.kv_heads),
            };
            let feed_forward = match h.feed_forward {
                0 => String::new(),
                length => format!(", feed-forward {length}"),
            };
            let experts = match h.experts.count {
                0 => String::new(),
                count => {
                    format!(", {count} experts of {} ({} a token)", h.experts.feed_forward, h.experts.used)
                }
            };
            lines.push(("architecture", shape + &heads + &feed_forward + &experts));
            lines.extend(state(model).map(|text| ("state", text)));
            lines.push(("context", format!("{} tokens at most", h.context)));
        }
        Err(_) => {
            lines.extend(text("general.architecture").map(|name| ("architecture", name)));
        }
    }
    if let Ok(Some(tokens)) = gguf.opt_array("tokenizer.ggml.tokens") {
        let kind = text("tokenizer.ggml.model").unwrap_or_else(|| "unknown".to_owned());
        let pre = text("tokenizer.ggml.pre").map(|pre| format!(" ({pre})")).unwrap_or_default();
        let template = if gguf.get("tokenizer.chat_template").is_some() { "with a" } else { "no" };
        lines.push(("vocabulary", format!("{} tokens, {kind}{pre}, {template} chat template", tokens.len())));
    }
    let (elements, bytes) = (parameters(gguf), gguf.tensors().map(|tensor| tensor.data.len()).sum::<usize>());
    if elements > 0 {
        let bits = bytes as f64 * 8.0 / elements as f64;
        lines.push(("weights", format!("{:.1} M, {bits:.2} bits each", elements as f64 / 1e6)));
    }
    for (name, (count, bytes)) in formats(gguf) {
        lines.push(("", format!("{name:<6} {:>9.1} MiB in {count} tensors", mib(bytes))));
    }
    lines.push(("file", format!("{:.1} MiB, GGUF version {}", mib(file.len()), gguf.version())));
    lines.push((
        "runs here",
        match loaded {
            Ok(_) => format!("yes, at CPU level {} (of {})", level.name(), levels().join(", ")),
            Err(error) => format!("no: {error}"),
        },
    ));
    lines
}

/// What the layers carry from token to token in place of keys and values, or beside them.
fn state(model: &Model<'_>) -> Option<String> {
    let (layers, attending) = (model.recurrent_layers().ok()?, model.attending_layers().ok()?);
    let kib = state_bytes(model).filter(|bytes| *bytes > 0)? as f64 / 1024.0;
    let mixer = model.hyperparameters().recurrent.mixer.name();
    Some(format!("{kib:.1} KiB of {mixer} in {layers} of the layers; {attending} of them attend"))
}

/// The bytes of this.
fn state_bytes(model: &Model<'_>) -> Option<usize> {
    let floats =
        model.hyperparameters().recurrent.state_len()?.checked_mul(model.recurrent_layers().ok()?)?;
    floats.checked_mul(size_of::<f32>())
}

/// The model, or in one sentence why it cannot run.
fn load<'a>(gguf: &Gguf<'a>) -> Result<Model<'a>, String> {
    let model = Model::from_gguf(gguf).map_err(|error| error.to_string())?;
    Vocabulary::memory(gguf).map_err(|error| error.to_string())?;
    Ok(model)
}

/// The levels of this CPU, slowest first.
fn levels() -> Vec<&'static str> {
    Level::available().map(|level| level.name().as_str()).collect()
}

fn parameters(gguf: &Gguf<'_>) -> u64 {
    gguf.tensors().filter_map(|tensor| tensor.dims.elements()).fold(0, u64::saturating_add)
}

fn mib(bytes: usize) -> f64 {
    bytes as f64 / 1_048_576.0
}

fn formats<'a>(gguf: &Gguf<'a>) -> BTreeMap<&'a str, (usize, usize)> {
    let mut formats = BTreeMap::new();
    for tensor in gguf.tensors() {
        let entry: &mut (usize, usize) = formats.entry(tensor.ty.name()).or_default();
        *entry = (entry.0 + 1, entry.1 + tensor.data.len());
    }
    formats
}

fn short(value: &Value<'_>) -> String {
    match value {
        Value::String(bytes) => {
            let text = format!("{:?}", String::from_utf8_lossy(bytes));
            match text.char_indices().nth(TEXT) {
                Some((end, _)) => format!("{}... ({} bytes)", &text[..end], bytes.len()),
                None => text,
            }
        }
        Value::Array(array) => {
            let mut texts: Vec<String> = array.iter().take(SHOWN).map(|value| short(&value)).collect();
            if array.len() > SHOWN {
                texts.push("...".into());
            }
            format!("{} x {}: [{}]", array.len(), array.element_type().as_str(), texts.join(", "))
        }
        // As written: 1e-5, not the f64 next to the f32 next to it.
        Value::F32(value) => format!("{value:?}"),
        value => to_json(value).to_string(),
    }
}

fn to_json(value: &Value<'_>) -> Json {
    match value {
        Value::Array(array) => array.iter().map(|value| to_json(&value)).collect(),
        Value::String(bytes) => json!(String::from_utf8_lossy(bytes)),
        Value::Bool(value) => json!(value),
        Value::F32(value) => json!(value),
        Value::F64(value) => json!(value),
        value => value.as_u64().map_or_else(|| json!(value.as_i64()), |value| json!(value)),
    }
}
