//! A conversation: pieces as they come, an answer that is cut off, and one that goes on after a restart.
//!
//! ```sh
//! cargo run --release --example conversation -- model.gguf "Name the capital of France."
//! ```
//!
//! The answer goes to stdout as it comes.

use std::io::{Write, stdout};

use stonechat_core::{Sampler, Sampling};
use stonechat_runtime::chat::{ChatOptions, Piece};
use stonechat_runtime::engine::Options;
use stonechat_runtime::{Chat, Engine, Generator};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(model), Some(question)) = (arguments.next(), arguments.next()) else {
        return Err("usage: conversation MODEL.gguf QUESTION".into());
    };
    let mut chat = begin(&model)?;

    // An answer is an iterator of pieces. `?` on a piece is all that error handling takes: where no word of an answer came,
    // nothing was said, and the conversation is what it was.
    for piece in chat.say(question) {
        if let Piece::Text(text) = piece? {
            print!("{text}");
            stdout().flush()?;
        }
    }
    println!();

    // Whoever drops it cancels it. What has been written stays in the conversation.
    let words = chat.say("Tell me a long story.").filter(|piece| matches!(piece, Ok(Piece::Text(_)))).take(5);
    eprintln!("{} pieces of a story were enough", words.count());
    chat.undo();

    // Kept with all that has been computed of it: going on elsewhere reads nothing again.
    let folder = tempfile::tempdir()?;
    let kept = folder.path().join("kept.chat");
    chat.save(&kept)?;
    let mut later = begin(&model)?;
    later.load(&kept)?;
    let mut answer = later.say("And of Italy?");
    for piece in &mut answer {
        if let Piece::Text(text) = piece? {
            print!("{text}");
        }
    }
    println!();
    let (prompt, known) = answer.prompt_tokens();
    eprintln!("{known} of {prompt} tokens were known");
    Ok(())
}

fn begin(model: &str) -> Result<Chat<'static>, Box<dyn std::error::Error>> {
    // All memory that the conversation will ever take is taken here: 1,024 tokens of context.
    let engine = Engine::load(model, &Options { context: Some(1024), ..Options::default() })?;
    let sampler = Sampler::new(Sampling { temperature: 0.2, seed: 7, ..Sampling::default() });
    let options = ChatOptions { predict: Some(48), ..ChatOptions::default() };
    Ok(Chat::new(engine, Generator::new(), sampler?, options)?)
}
