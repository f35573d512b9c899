//! What can befall a program that runs: Ctrl-C, a reader that has gone, a full disk, a model file cut short.
#![cfg(unix)]

mod common;

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

/// A golden model that says it can take a very long context, so that it can write for very long.
fn endless(folder: &Path) -> PathBuf {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/models/llama_k/llama_k-Q8_0.gguf");
    let mut bytes = fs::read(golden).expect("a golden");
    let key = b"llama.context_length";
    let place = bytes.windows(key.len()).position(|window| window == key).expect("the key");
    bytes[place + key.len() + 4..][..4].copy_from_slice(&1_000_000u32.to_le_bytes());
    let path = folder.join("endless.gguf");
    fs::write(&path, bytes).expect("a file");
    path
}

/// The program, writing for longer than this test will wait.
fn writing(model: &Path) -> Command {
    let mut command = common::stonechat();
    command
        .args(["run", "--raw", "-t", "1", "-c", "400000", "--ids", "1,489,488", "--print-ids", "-m"])
        .arg(model);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Starts it, and waits for its first words.
fn start(command: &mut Command) -> Child {
    let mut child = command.spawn().expect("the program starts");
    child.stdout.as_mut().expect("a pipe").read_exact(&mut [0; 16]).expect("some ids");
    child
}

fn interrupt(child: &Child) {
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(sent.expect("kill").success());
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

#[test]
fn ctrl_c_ends_an_answer_with_130_and_a_whole_line() {
    let folder = TempDir::new().expect("a folder");
    let child = start(&mut writing(&endless(folder.path())));
    interrupt(&child);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), said(&output).as_str()), (Some(130), ""));
    assert!(output.stdout.ends_with(b"\n"));
}

#[test]
fn a_reader_that_goes_away_ends_the_program_without_a_word() {
    let folder = TempDir::new().expect("a folder");
    let mut child = start(&mut writing(&endless(folder.path())));
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), said(&output).as_str()), (Some(0), ""));
}

#[cfg(target_os = "linux")]
#[test]
fn a_model_cut_short_under_the_run_is_said_so() {
    for len in [0, 20_000] {
        let folder = TempDir::new().expect("a folder");
        let model = endless(folder.path());
        let child = start(&mut writing(&model));
        File::options().write(true).open(&model).and_then(|file| file.set_len(len)).expect("a shorter file");
        let output = child.wait_with_output().expect("it ends");
        let expected = format!(
            "stonechat: the file {} was cut short, or its disk failed, while it was in use; fetch or copy it again\n",
            model.display()
        );
        assert_eq!((output.status.code(), said(&output)), (Some(1), expected));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_takes_nothing_is_said_so() {
    let folder = TempDir::new().expect("a folder");
    let model = endless(folder.path());
    for verb in ["inspect", "plan"] {
        let full = File::options().write(true).open("/dev/full").expect("the device that is always full");
        let output = common::stonechat().arg(verb).arg(&model).stdout(full).output().expect("it starts");
        let expected = "stonechat: cannot write the output: No space left on device; free some space, or write elsewhere\n";
        assert_eq!((output.status.code(), said(&output).as_str()), (Some(1), expected), "{verb}");
    }
}

/// A limit of the file's size stands for a disk without room: the system refuses a write in the middle.
#[cfg(all(target_os = "linux", feature = "quantize"))]
#[test]
fn a_file_that_cannot_be_written_whole_leaves_nothing_behind() {
    let folder = TempDir::new().expect("a folder");
    let model = endless(folder.path());
    let output = folder.path().join("out.gguf");
    let program = common::stonechat();
    let mut shell = Command::new("bash");
    shell.args(["-c", r#"trap '' XFSZ; ulimit -f 64; exec "$@""#, "sh"]);
    shell
        .arg(program.get_program())
        .args(program.get_args())
        .arg("quantize")
        .arg(&model)
        .arg(&output)
        .arg("F32");
    let ended = shell.output().expect("a shell");
    let expected = format!(
        "stonechat: cannot write {}: File too large; free some space, or write elsewhere\n",
        output.display()
    );
    assert_eq!((ended.status.code(), said(&ended)), (Some(1), expected));
    let left: Vec<_> =
        fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("a file").path()).collect();
    assert_eq!(left, [model]);
}

/// Nobody to read stdout, or to hear a complaint: no panic, and the exit code tells.
#[test]
fn closed_outputs_are_survived() {
    let folder = TempDir::new().expect("a folder");
    let model = endless(folder.path());
    let program = common::stonechat();
    for (script, code) in [
        (r#""$@" inspect "$MODEL" >&-"#, 0),
        (r#""$@" tokenize -m "$MODEL" <&- >/dev/null"#, 0),
        (r#""$@" inspect nothing.gguf 2>&-"#, 1),
        // stderr is a pipe whose reader has gone.
        (
            r#"{ sleep 0.2; "$@" inspect nothing.gguf 2>&1; echo $? >"$MODEL.code"; } | true; exit "$(cat "$MODEL.code")""#,
            1,
        ),
    ] {
        let mut shell = Command::new("bash");
        shell
            .args(["-o", "pipefail", "-c", script, "sh"])
            .arg(program.get_program())
            .args(program.get_args());
        let output = shell.env("MODEL", &model).output().expect("a shell");
        assert_eq!(output.status.code(), Some(code), "{script}: {}", said(&output));
    }
}

/// A server that takes the connection and never answers.
#[cfg(feature = "pull")]
#[test]
fn ctrl_c_stops_a_pull_and_says_that_it_can_go_on() {
    let server = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let proxy = format!("http://{}", server.local_addr().expect("an address"));
    let folder = TempDir::new().expect("a folder");
    let mut command = common::stonechat();
    command.args(["pull", "smollm2-135m"]).env("STONECHAT_HOME", folder.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        command.env(name, &proxy);
    }
    let child = command.spawn().expect("the program starts");
    let _connection = server.accept().expect("it connects");
    interrupt(&child);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(
        said(&output),
        "stonechat: pulling smollm2-135m was stopped; what has arrived is kept, and the next pull goes on from there\n"
    );
    assert!(output.stdout.is_empty());
}
