//! The program `stonechat`: one file per verb.
//!
//! A library, so that it can be optimised for size beside kernels that are optimised for speed. In: the command line. Out: the verb's text on stdout, and on stderr one sentence if something is wrong. This crate
//! computes nothing itself: it asks the runtime for files, memory and threads, and the core for tokens.

mod args;
mod bench;
#[cfg(feature = "board")]
mod board;
#[cfg(feature = "chat")]
mod chat;
#[cfg(feature = "embed")]
mod embed;
mod engine;
mod failure;
#[cfg(feature = "grammar")]
mod grammar;
mod inspect;
mod logits;
#[cfg(feature = "manual")]
mod manual;
mod output;
mod pack;
mod perplexity;
mod plan;
mod progress;
mod prompt;
mod pull;
#[cfg(feature = "quantize")]
mod quantize;
mod run;
mod sampling;
#[cfg(feature = "server")]
mod serve;
mod terminal;
mod tokenize;

use std::process::ExitCode;

use args::{Command, Program};
use clap::Parser;
use clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand as MissingVerb;
use failure::Failure;

/// Does what the command line says.
pub fn main() -> ExitCode {
    let program = match Program::try_parse() {
        Ok(program) => program,
        // Help and version, asked for or where nothing was asked, are clap's to print.
        Err(error) if !error.use_stderr() || error.kind() == MissingVerb => error.exit(),
        Err(error) => return Failure::from(error).report(),
    };
    let result = dispatch(&program);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn dispatch(program: &Program) -> Result<(), Failure> {
    let cpu = match program.levels[..] {
        [] => None,
        [level] => Some(level),
        // Only a benchmark has a use for several.
        _ if matches!(program.command, Command::Bench(_)) => None,
        _ => return Err(Failure::Usage("--cpu takes one level; only 'bench' takes several".into())),
    };
    match &program.command {
        Command::Run(args) => run::run(args, cpu),
        #[cfg(feature = "chat")]
        Command::Chat(args) => chat::run(args, cpu),
        Command::Logits(args) => logits::run(args, cpu),
        Command::Tokenize(args) => tokenize::run(args),
        #[cfg(feature = "embed")]
        Command::Embed(args) => embed::run(args, cpu),
        Command::Bench(args) => bench::run(args, &program.levels),
        Command::Perplexity(args) => perplexity::run(args, cpu),
        #[cfg(feature = "board")]
        Command::Board(args) => board::run(args, cpu),
        Command::Inspect(args) => inspect::run(args, cpu),
        Command::Plan(args) => plan::run(args, cpu),
        Command::Pull(args) => pull::run(args),
        Command::Pack(args) => pack::run(args),
        #[cfg(feature = "quantize")]
        Command::Quantize(args) => quantize::run(args),
        #[cfg(feature = "server")]
        Command::Serve(args) => serve::run(args, cpu),
        #[cfg(feature = "manual")]
        Command::Completions { shell } => manual::completions(*shell),
        #[cfg(feature = "manual")]
        Command::Man => manual::man(),
    }
}
