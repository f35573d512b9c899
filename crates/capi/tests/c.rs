//! A program in C holds a conversation through the header and the shared library.
#![cfg(all(target_os = "linux", not(target_arch = "arm")))]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use stonechat_runtime::{Home, manifest};

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The header as it is to be. `STONECHAT_HEADER=write` writes it.
#[test]
fn the_header_says_what_the_library_has() {
    let mut made = Vec::new();
    cbindgen::generate(here("")).expect("the source can be read").write(&mut made);
    let (made, path) = (String::from_utf8(made).expect("UTF-8"), here("include/stonechat.h"));
    if std::env::var_os("STONECHAT_HEADER").is_some_and(|what| what == "write") {
        fs::write(&path, &made).expect("a file");
    }
    let there = fs::read_to_string(&path).expect("a header");
    assert_eq!(there, made, "STONECHAT_HEADER=write cargo test -p stonechat-capi writes it anew");
}

/// The folder in which cargo has put the shared library: that of this test.
fn libraries() -> PathBuf {
    std::env::current_exe().expect("a path").parent().expect("a folder").to_path_buf()
}

/// The example, compiled into `folder`.
fn example(folder: &Path) -> PathBuf {
    let program = folder.join("chat");
    let target = env!("STONECHAT_TARGET");
    let compiler = cc::Build::new()
        .cargo_metadata(false)
        .opt_level(1)
        .target(target)
        .host(target)
        .out_dir(folder)
        .get_compiler();
    let mut command = compiler.to_command();
    command.args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]);
    command.arg(here("examples/chat.c")).arg("-I").arg(here("include"));
    command.arg("-L").arg(libraries()).arg("-lstonechat_capi").arg("-o").arg(&program);
    let output = command.output().expect("a C compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program
}

/// What the example makes of these lines: stdout, stderr, success.
fn said(program: &Path, arguments: &[&Path], lines: &str) -> (String, String, bool) {
    let mut command = Command::new(program);
    command.args(arguments).env("LD_LIBRARY_PATH", libraries());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    // One that refuses its arguments reads nothing.
    let _ = child.stdin.take().expect("a pipe").write_all(lines.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (text(output.stdout), text(output.stderr), output.status.success())
}

#[test]
fn a_program_in_c_talks_remembers_and_is_told_what_went_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = example(folder.path());
    let model = model();
    let kept = folder.path().join("kept.chat");

    let (whole, _, done) = said(&program, &[&model], "Name the capital of France.\nAnd of Italy?\n");
    assert!(done && whole.contains("Paris"), "{whole}");

    // What is cut off and taken back leaves nothing behind; what is forgotten neither.
    let (same, _, done) = said(
        &program,
        &[&model],
        "Name the capital of France.\n/again\nAnd of Italy?\n/forget\nName the capital of France.\n",
    );
    let first = whole.lines().next().expect("an answer");
    assert!(done && same == format!("{whole}{first}\n"), "{same}");

    // In two programs it is the same conversation.
    let (first, _, done) = said(&program, &[&model, &kept], "Name the capital of France.\n");
    assert!(done);
    let (second, used, done) = said(&program, &[&model, &kept], "And of Italy?\n");
    assert!(done && used.ends_with("of 1024 tokens used\n"), "{used}");
    assert_eq!(first + &second, whole);

    let (_, error, done) = said(&program, &[Path::new("/nowhere/model.gguf")], "");
    assert!(!done && error.lines().count() == 1 && error.contains("/nowhere/model.gguf"), "{error}");
    fs::write(&kept, "a shopping list").expect("a file");
    let (_, error, done) = said(&program, &[&model, &kept], "");
    assert!(!done && error.contains("is no session"), "{error}");
}

/// The default model, where the tests of this workspace keep it.
fn model() -> PathBuf {
    let named = std::env::var_os("STONECHAT_HOME").filter(|folder| !folder.is_empty());
    let folder = named.map_or_else(|| here("../../target/stonechat-home"), PathBuf::from);
    let file = Home::at(folder).model(manifest::default_model());
    assert!(file.is_file(), "{} is missing: ./test model pulls it", file.display());
    file
}
