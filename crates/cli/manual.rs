//! `stonechat completions` and `stonechat man`: what shells and `man` want to know.

use std::io::stdout;

use clap::CommandFactory;

use crate::args::Program;
use crate::failure::Failure;

/// Prints a completion script.
pub fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Program::command(), "stonechat", &mut script);
    Ok(std::io::Write::write_all(&mut stdout(), &script)?)
}

/// Prints the manual page.
pub fn man() -> Result<(), Failure> {
    Ok(clap_mangen::Man::new(Program::command()).render(&mut stdout())?)
}
