//! The tiny model inside the program: by its name, and where no other can be had.
#![cfg(feature = "built-in")]

mod common;

use std::path::Path;
use std::process::{Command, Output, Stdio};

const PROMPT: &str = "Once upon a time";

/// The program where no model is, and whose network leads nowhere.
fn alone(folder: &Path, arguments: &[&str]) -> Output {
    let mut command: Command = common::stonechat();
    command.args(arguments).stdin(Stdio::null());
    command.env("STONECHAT_HOME", folder).env("PATH", folder);
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        command.env(name, "http://127.0.0.1:9");
    }
    command.output().expect("the program starts")
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("UTF-8")
}

#[cfg(feature = "grammar")]
#[test]
fn it_answers_by_a_grammar_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = alone(folder.path(), &["run", "-m", "tiny", "--raw", "--regex", "yes|no", PROMPT]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(["yes\n", "no\n"].contains(&text(&output.stdout)), "{}", text(&output.stdout));
}

#[test]
fn tiny_is_the_file_in_models() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny/tiny-Q8_0.gguf");
    let hash = |model: &str| {
        let output = alone(folder.path(), &["logits", "-m", model, "-p", PROMPT, "--hash"]);
        assert!(output.status.success() && output.stderr.is_empty(), "{model}: {}", text(&output.stderr));
        text(&output.stdout).to_owned()
    };
    assert_eq!(hash("tiny"), hash("TINY"));
    assert_eq!(hash("tiny"), hash(file.to_str().expect("UTF-8")));
    assert_eq!(folder.path().read_dir().expect("a folder").count(), 0, "it is not written anywhere");
}

#[test]
fn where_no_model_can_be_fetched_it_answers_and_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = alone(folder.path(), &["run", "--raw", "-n", "8", PROMPT]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stderr);
    assert_eq!(said.lines().count(), 1, "one sentence, not\n{said}");
    assert!(said.contains("the built-in model 'tiny' answers instead"), "{said}");
    let asked = alone(folder.path(), &["run", "-m", "tiny", "--raw", "-n", "8", PROMPT]);
    assert_eq!(text(&output.stdout), text(&asked.stdout));
    assert!(output.stdout.len() > 8, "it says something");
}

/// A number that was measured with another model than was meant would be worse than none.
#[test]
fn what_measures_is_not_answered_by_another_model() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = alone(folder.path(), &["logits", "-p", PROMPT, "--hash"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty() && !text(&output.stderr).contains("tiny"), "{}", text(&output.stderr));
}
