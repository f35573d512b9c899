//! The assistant on a Raspberry Pi Zero 2 W. All of it is in `stonechat-linux-board`; here are the board's profile and its configuration.

use std::process::ExitCode;

fn main() -> ExitCode {
    stonechat_linux_board::main("raspberry-pi-zero-2w", include_str!("../assistant.toml"))
}
