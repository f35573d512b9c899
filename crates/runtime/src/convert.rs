//! From Hugging Face's layout to GGUF: a folder with `config.json`, `tokenizer.json` and safetensors files, which is how models
//! are published, as a [`Source`] to be written.
//!
//! Metadata, tokens, names and order of tensors are those of llama.cpp's `convert_hf_to_gguf.py`, so that whatever reads
//! its files reads these. `family` is the table of the architectures that are known, `parameters` the numbers of
//! `config.json`, `tensors` the weights, `vocabulary` the tokens, with `special`, `pre_tokenizer` and `sentencepiece` for parts of it.
//! Nothing a file says is trusted; whatever is missing or unknown ends in one sentence that names it.

mod family;
mod json;
mod parameters;
mod pre_tokenizer;
mod sentencepiece;
mod special;
mod tensors;
mod vocabulary;

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::quantize::Source;
use crate::safetensors::SafeTensors;
use crate::{Error, MappedFile};
use family::Family;
use json::Json;

/// A folder in Hugging Face's layout, opened.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    family: &'static Family,
    config: Json,
    shards: Vec<SafeTensors>,
}

impl Folder {
    /// Opens a folder: reads its configuration, and maps all its weights.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = path.join("config.json");
        if !file.is_file() {
            return Err(Error::Unconvertible {
                path: path.into(),
                reason: "the folder has no config.json; name a folder with a model in Hugging Face's layout, or a GGUF \
                         file"
                    .into(),
            });
        }
        let config = Json::read(&file)?.with_text_config();
        let family = Family::of(&config)?;
        Ok(Self { path: path.into(), family, config, shards: shards(path)? })
    }

    /// The model as it is to be written.
    pub fn source(&self) -> Result<Source<'_>, Error> {
        let vocabulary = vocabulary::read(&self.path, self.family, &self.config)?;
        let tensors = tensors::read(self.family, &self.config, &self.shards, vocabulary.tokens())?;
        let weights = tensors.iter().map(|tensor| tensor.dims.iter().product::<u64>()).sum();
        let mut metadata = parameters::general(&self.path, self.family, weights);
        metadata.extend(parameters::of_model(&self.path, self.family, &self.config)?);
        metadata.extend(vocabulary.metadata());
        Ok(Source { metadata, tensors, files: self.shards.iter().map(SafeTensors::file).collect() })
    }
}

/// The files with the weights: one, or as many as an index names.
fn shards(folder: &Path) -> Result<Vec<SafeTensors>, Error> {
    let index = folder.join("model.safetensors.index.json");
    if !index.is_file() {
        let one = folder.join("model.safetensors");
        if !one.is_file() {
            return Err(Error::Unconvertible {
                path: folder.into(),
                reason: "the folder has no model.safetensors; fetch the model's safetensors files, other weights cannot \
                         be converted"
                    .into(),
            });
        }
        return Ok(vec![SafeTensors::open(&one)?]);
    }
    let index = Json::read(&index)?;
    let Some(map) = index.get("weight_map").and_then(Value::as_object) else {
        return Err(index.damaged("it has no weight_map"));
    };
    let mut names = Vec::new();
    for name in map.values() {
        // A name and nothing else: no way out of the folder.
        let Some(name) =
            name.as_str().filter(|name| Path::new(name).file_name().is_some_and(|file| file == *name))
        else {
            return Err(index.damaged(&format!("its weight_map names {name}, which is no file's name")));
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.sort_unstable();
    let mut shards = Vec::new();
    for name in names {
        let path = folder.join(name);
        if !path.is_file() {
            return Err(index.damaged(&format!("a part of the model, {name}, is missing")));
        }
        shards.push(SafeTensors::open(&path)?);
    }
    for (tensor, name) in map {
        let is_there = shards.iter().any(|shard| {
            shard.file().path().file_name().is_some_and(|file| Some(file) == name.as_str().map(AsRef::as_ref))
                && shard.tensors().any(|view| view.name == tensor)
        });
        if !is_there {
            return Err(index.damaged(&format!("the tensor {tensor} is not in {name}")));
        }
    }
    Ok(shards)
}

/// A JSON file that may be missing.
fn optional(path: &Path) -> Result<Option<Json>, Error> {
    if path.is_file() { Json::read(path).map(Some) } else { Ok(None) }
}

/// The text of a file.
fn text(path: &Path) -> Result<String, Error> {
    let file = MappedFile::open(path)?;
    let text = String::from_utf8(file.to_vec());
    file.check()?;
    text.map_err(|_| Error::Unconvertible {
        path: path.into(),
        reason: "it is no UTF-8 text; fetch the file again".into(),
    })
}
