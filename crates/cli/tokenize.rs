//! `stonechat tokenize`: text to ids. Needs only the vocabulary of the file, or a `tokenizer.json`.

use std::io::{Read, Write, stdin, stdout};
#[cfg(feature = "tokenizer-json")]
use std::path::Path;

use serde_json::json;
use stonechat_core::Vocabulary;
use stonechat_core::vocabulary::Encode;
#[cfg(feature = "tokenizer-json")]
use stonechat_core::vocabulary::Error;
use stonechat_runtime::Arena;
#[cfg(feature = "tokenizer-json")]
use stonechat_runtime::TokenizerJson;
use stonechat_runtime::prompt::encode;

use crate::args::TokenizeArgs;
use crate::engine;
use crate::failure::Failure;

/// Runs the verb.
pub fn run(args: &TokenizeArgs) -> Result<(), Failure> {
    #[cfg(feature = "tokenizer-json")]
    if let Some(path) = args.model.model.as_deref().and_then(|model| TokenizerJson::locate(model.as_ref())) {
        return run_json(args, &path);
    }
    let file = engine::file(args.model.model.as_deref())?;
    let gguf = engine::open(&file)?;
    let at_file = |error| Failure::in_model(file.path(), error);
    let memory = match Vocabulary::memory(&gguf) {
        // What the core does not know, the file beside may tell.
        #[cfg(feature = "tokenizer-json")]
        Err(Error::UnknownModel { .. } | Error::UnknownPreTokenizer { .. } | Error::NoPreTokenizer)
            if let Some(path) = TokenizerJson::beside(file.path()) =>
        {
            return run_json(args, &path);
        }
        memory => memory.map_err(at_file)?,
    };
    let mut arena = Arena::new(memory)?;
    let vocabulary = Vocabulary::new(&gguf, arena.as_mut_slice()).map_err(at_file)?;
    let text = text(args)?;
    let tokens = encode(&vocabulary, &text, Encode { bos: args.bos, special: args.special })?;
    let mut buffer = vec![0; vocabulary.max_piece_len()];
    answer(args, &tokens, |token| {
        let piece = vocabulary.piece(token, true, &mut buffer)?;
        Ok(String::from_utf8_lossy(piece).into_owned())
    })
}

/// Runs the verb with a `tokenizer.json`.
#[cfg(feature = "tokenizer-json")]
fn run_json(args: &TokenizeArgs, path: &Path) -> Result<(), Failure> {
    let mut tokenizer = TokenizerJson::open(path)?;
    let text = String::from_utf8(text(args)?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::Failed(format!(
            "the text is no UTF-8 at byte {at}, which {} cannot encode; write it in UTF-8",
            path.display()
        ))
    })?;
    let tokens = tokenizer.encode(&text, args.bos, args.special)?;
    answer(args, &tokens, |token| Ok(tokenizer.piece(token).unwrap_or_default()))
}

/// The text that was given, or stdin.
fn text(args: &TokenizeArgs) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    match &args.text {
        Some(given) => text.extend_from_slice(given.as_bytes()),
        None => {
            stdin().read_to_end(&mut text).map_err(|error| Failure::at("stdin", error))?;
        }
    }
    Ok(text)
}

/// Writes the tokens, and with `--json` what `piece` tells of each.
fn answer(
    args: &TokenizeArgs,
    tokens: &[u32],
    mut piece: impl FnMut(u32) -> Result<String, Failure>,
) -> Result<(), Failure> {
    let mut out = stdout().lock();
    if args.json {
        let pieces = tokens.iter().map(|&token| piece(token)).collect::<Result<Vec<_>, _>>()?;
        writeln!(out, "{}", json!({ "ids": tokens, "pieces": pieces }))?;
    } else {
        writeln!(out, "{}", json!(tokens))?;
    }
    Ok(())
}
