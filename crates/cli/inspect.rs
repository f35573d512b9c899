//! `stonechat inspect`: what a model file says.

use std::collections::BTreeMap;
use std::io::{Write, stdout};

use serde_json::{Value as Json, json};
use stonechat_gguf::{Gguf, Value};
use stonechat_kernels::LevelName;
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
    let file = MappedFile::open(engine::locate(Some(&args.file))?)?;
    let gguf = engine::open(&file)?;
    let mut out = stdout().lock();
    if args.json {
        let metadata: serde_json::Map<_, _> =
            gguf.metadata().map(|(key, value)| (key.to_owned(), to_json(&value))).collect();
        let tensors: Vec<_> = gguf
            .tensors()
            .map(|t| {
                json!({ "name": t.name, "dims": t.dims.as_slice(), "type": t.ty.name(), "offset": t.offset,
                        "bytes": t.data.len() })
            })
            .collect();
        let report = json!({
            "file": file.path(), "bytes": file.len(), "version": gguf.version(), "alignment": gguf.alignment(),
            "metadata": metadata, "tensors": tensors, "cpu": level.name().as_str(),
        });
        writeln!(out, "{report}")?;
        return Ok(());
    }
    writeln!(out, "{}: GGUF version {}, {} bytes", file.path().display(), gguf.version(), file.len())?;
    writeln!(out, "CPU level: {}", level.name())?;
    writeln!(out, "\nmetadata")?;
    for (key, value) in gguf.metadata() {
        writeln!(out, "  {key:<44} {}", short(&value))?;
    }
    writeln!(out, "\ntensors")?;
    for (name, (count, bytes)) in formats(&gguf) {
        writeln!(out, "  {name:<8} {count:>5} tensors {bytes:>14} bytes")?;
    }
    for tensor in gguf.tensors() {
        let dims: Vec<String> = tensor.dims.as_slice().iter().map(u64::to_string).collect();
        writeln!(out, "  {:<44} {:<8} {}", tensor.name, tensor.ty.name(), dims.join(" x "))?;
    }
    Ok(())
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
