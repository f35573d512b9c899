//! `stonechat tokenize`: text to ids. Needs only the vocabulary of the file.

use std::io::{Read, Write, stdin, stdout};

use serde_json::json;
use stonechat_core::Vocabulary;
use stonechat_core::vocabulary::Encode;
use stonechat_runtime::{Arena, MappedFile};

use crate::args::TokenizeArgs;
use crate::failure::Failure;
use crate::{engine, prompt};

/// Runs the verb.
pub fn run(args: &TokenizeArgs) -> Result<(), Failure> {
    let file = MappedFile::open(engine::locate(args.model.model.as_deref())?)?;
    let gguf = engine::open(&file)?;
    let at_file = |error| Failure::in_model(file.path(), error);
    let mut arena = Arena::new(Vocabulary::memory(&gguf).map_err(at_file)?)?;
    let vocabulary = Vocabulary::new(&gguf, arena.as_mut_slice()).map_err(at_file)?;
    let mut text = Vec::new();
    match &args.text {
        Some(given) => text.extend_from_slice(given.as_bytes()),
        None => {
            stdin().read_to_end(&mut text).map_err(|error| Failure::at("stdin", error))?;
        }
    }
    let tokens = prompt::encode(&vocabulary, &text, Encode { bos: args.bos, special: args.special })?;
    let mut out = stdout().lock();
    if args.json {
        let mut buffer = vec![0; vocabulary.max_piece_len()];
        let mut pieces = Vec::new();
        for token in &tokens {
            let piece = vocabulary.piece(*token, true, &mut buffer)?;
            pieces.push(String::from_utf8_lossy(piece).into_owned());
        }
        writeln!(out, "{}", json!({ "ids": tokens, "pieces": pieces }))?;
    } else {
        writeln!(out, "{}", json!(tokens))?;
    }
    Ok(())
}
