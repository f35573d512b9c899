//! The assistant on a Raspberry Pi 5. All of it is in `stonechat-linux-board`; here are the board's profile and its configuration.

use std::process::ExitCode;

fn main() -> ExitCode {
    stonechat_linux_board::main("raspberry-pi-5", include_str!("../assistant.toml"))
}
