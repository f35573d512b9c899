//! The program `stonechat`: see the library beside it, which is optimised for size.

fn main() -> std::process::ExitCode {
    stonechat_cli::main()
}
