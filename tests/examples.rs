//! The examples of the library do what they say.

mod common;

use std::path::PathBuf;
use std::process::Command;

/// An example, which cargo builds beside this test.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a path");
    let folder = test.parent().and_then(|deps| deps.parent()).expect("a folder").join("examples");
    let program = folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(program.is_file(), "{} is missing: cargo test --workspace builds it", program.display());
    program
}

#[test]
fn a_conversation_answers_is_cut_off_and_goes_on_elsewhere() {
    if common::is_emulated() {
        return;
    }
    let mut command = Command::new(example("conversation"));
    let output =
        command.arg(common::smollm2()).arg("Name the capital of France.").output().expect("it starts");
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).expect("UTF-8"));
    assert!(output.status.success(), "{err}");
    let answers: Vec<_> = out.lines().filter(|line| !line.is_empty()).collect();
    assert!(answers.len() >= 2 && answers[0].contains("Paris"), "{out}");
    assert!(err.contains("5 pieces of a story were enough"), "{err}");
    let line = err.lines().last().expect("a line");
    let numbers: Vec<usize> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert!(numbers[0] > 20 && numbers[1] - numbers[0] < 30, "{line}");
}
