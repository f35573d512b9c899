//! The program under test.

use std::process::Command;

/// The variable in which cargo finds what runs programs for an emulated CPU; `./test` sets it.
const RUNNER: &str = "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER";

/// `stonechat`, under the same emulator as this test.
pub fn stonechat() -> Command {
    let program = env!("CARGO_BIN_EXE_stonechat");
    match std::env::var(RUNNER) {
        Ok(runner) if cfg!(all(target_arch = "aarch64", target_os = "linux")) => {
            let mut words = runner.split_whitespace();
            let mut command = Command::new(words.next().expect("a runner has a name"));
            command.args(words).arg(program);
            command
        }
        _ => Command::new(program),
    }
}
