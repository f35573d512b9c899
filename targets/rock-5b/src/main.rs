//! The assistant on a Radxa ROCK 5B. All of it is in `stonechat-linux-board`; here are the board's profile and its configuration.

use std::process::ExitCode;

fn main() -> ExitCode {
    stonechat_linux_board::main("rock-5b", include_str!("../assistant.toml"))
}
