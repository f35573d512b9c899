//! What a server cannot do any more: `stonechat serve` on this kernel, and as on one without Landlock.
#![cfg(all(feature = "server", feature = "built-in", target_os = "linux"))]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::server::{Server, story};
use serde_json::json;
use tempfile::TempDir;

/// Whether a server says that a part of the sandbox holds. What it says is tried in each test: whoever claims too much or too
/// little fails there.
fn claims(server: &Server, part: &str) -> bool {
    let log = server.log();
    let line =
        log.lines().find(|line| line.contains("sandbox: ")).unwrap_or_else(|| panic!("no word: {log}"));
    assert_eq!(line.contains("; "), line.contains("WARN") || line.contains("; reads in"), "{line}");
    let said = line.split("sandbox: ").nth(1).expect("what holds").split(';').next().expect("parts");
    let (_, metrics) = server.get("/metrics");
    assert!(metrics.contains(&format!("stonechat_sandbox_info{{parts=\"{said}\"}} 1")), "{said}: {metrics}");
    said.contains(part)
}

/// Folders with a model and a config, and a model elsewhere.
struct Files {
    _folder: TempDir,
    model: PathBuf,
    config: PathBuf,
    elsewhere: PathBuf,
}

impl Files {
    fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let [model, config, elsewhere] = ["models/model.gguf", "etc/serve.toml", "elsewhere/model.gguf"]
            .map(|name| folder.path().canonicalize().expect("a folder").join(name));
        for file in [&model, &config, &elsewhere] {
            fs::create_dir(file.parent().expect("a folder")).expect("a new folder");
        }
        fs::copy(tiny(), &model).expect("a copy");
        fs::copy(tiny(), &elsewhere).expect("a copy");
        let files = Self { _folder: folder, model, config, elsewhere };
        files.serve(&files.model, "first");
        files
    }

    /// What the config says from now on. It is written as editors do it.
    fn serve(&self, model: &Path, alias: &str) {
        let text = format!("model = '{}'\nalias = [\"{alias}\"]\nport = 0\nthreads = 1\n", model.display());
        let new = self.config.with_extension("new");
        fs::write(&new, text).and_then(|()| fs::rename(&new, &self.config)).expect("a file");
    }

    fn config(&self) -> &str {
        self.config.to_str().expect("UTF-8")
    }
}

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny/tiny-Q8_0.gguf")
}

/// Answers, by this name.
fn answers(server: &Server, name: &str) {
    let (status, answer) = server.post("/v1/chat/completions", &story(&json!({ "model": name })));
    assert_eq!(status, 200, "{answer}");
}

#[test]
fn a_model_elsewhere_is_refused_and_one_that_takes_its_place_is_loaded() {
    let files = Files::new();
    let server = Server::start_bare(&["--config", files.config()]);
    answers(&server, "first");
    let log = server.log();

    files.serve(&files.elsewhere, "second");
    server.signal("-HUP");
    if claims(&server, "landlock") {
        let log = server.logs(&log, "could not be loaded anew");
        let [etc, models] =
            [&files.config, &files.model].map(|file| file.parent().expect("a folder").display());
        let said = format!(
            "{}: the sandbox lets the server read in {etc}, {models} alone; put the file there, or start the server again",
            files.elsewhere.display()
        );
        assert!(log.contains(&said), "{said}: {log}");
        answers(&server, "first");
    } else {
        server.logs(&log, "another model is served");
        answers(&server, "second");
    }

    // Another model under the old one's name.
    let log = server.log();
    let other = common::golden("models/llama_k/llama_k-Q8_0.gguf");
    let new = files.model.with_extension("new");
    fs::copy(&other, &new).and_then(|_| fs::rename(&new, &files.model)).expect("a file");
    files.serve(&files.model, "third");
    server.signal("-HUP");
    server.logs(&log, "another model is served");
    let bytes = fs::metadata(&other).expect("a file").len();
    let (_, metrics) = server.get("/metrics");
    assert!(metrics.contains(&format!("stonechat_model_file_bytes {bytes}\n")), "{metrics}");
    assert!(server.get("/v1/models").1.contains("\"id\":\"third\""));
}

#[test]
fn what_a_config_has_wrong_at_a_reload_is_said_and_the_old_model_goes_on() {
    let files = Files::new();
    let server = Server::start_bare(&["--config", files.config()]);
    let log = server.log();
    fs::write(&files.config, "model = \"tiny\"\nportt = 1\n").expect("a file");
    server.signal("-HUP");
    let log = server.logs(&log, "could not be loaded anew");
    assert!(log.contains("line 2: there is no key 'portt'"), "{log}");
    // One that would have to be pulled: a name of a manifest whose model cannot be here.
    let home = TempDir::new().expect("a folder");
    let mut command = common::stonechat();
    command.args(["serve", "--config", files.config()]).env("STONECHAT_HOME", home.path());
    files.serve(&files.model, "first");
    let other = Server::spawn(&mut command);
    if other.log().contains("sandbox: none") {
        return println!("not tried here: this system has no sandbox");
    }
    let before = other.log();
    files.serve(Path::new("smollm2-135m"), "second");
    other.signal("-HUP");
    let log = other.logs(&before, "could not be loaded anew");
    assert!(
        log.contains("the sandbox lets the server fetch nothing; run 'stonechat pull smollm2-135m'"),
        "{log}"
    );
    answers(&other, "first");
    answers(&server, "first");
}

#[test]
fn every_thread_of_a_server_is_held() {
    let server = Server::start(&["--parallel", "2"]);
    answers(&server, "tiny");
    let (seccomp, landlock) = (claims(&server, "seccomp"), claims(&server, "landlock"));
    let tasks = fs::read_dir(format!("/proc/{}/task", server.child.id())).expect("a process");
    let statuses: Vec<String> = tasks
        .map(|task| fs::read_to_string(task.expect("a thread").path().join("status")).expect("a file"))
        .collect();
    assert!(statuses.len() >= 4, "HTTP, signals and the scheduler have threads: {}", statuses.len());
    for status in statuses {
        assert_eq!(status.contains("Seccomp:\t2"), seccomp, "{status}");
        assert_eq!(status.contains("NoNewPrivs:\t1"), seccomp || landlock, "{status}");
    }
}

#[test]
fn a_server_without_a_sandbox_says_so_and_reads_everywhere() {
    let files = Files::new();
    let server = Server::start_bare(&["--config", files.config(), "--no-sandbox"]);
    assert!(server.log().contains("sandbox: none; it was switched off"), "{}", server.log());
    assert!(claims(&server, "none"));
    let status = fs::read_to_string(format!("/proc/{}/status", server.child.id())).expect("a process");
    assert!(
        !status.contains("Seccomp:\t2")
            || fs::read_to_string("/proc/self/status").expect("a file").contains("Seccomp:\t2")
    );
    let log = server.log();
    files.serve(&files.elsewhere, "second");
    server.signal("-HUP");
    server.logs(&log, "another model is served");
    answers(&server, "second");
}

#[test]
fn a_check_says_which_parts_would_hold() {
    let said = common::stdout(["serve", "-m", "tiny", "--check"]);
    let server = Server::start(&[]);
    let log = server.log();
    let line = log.lines().find_map(|line| line.split("sandbox: ").nth(1)).expect("what holds");
    assert_eq!(said, format!("tiny would be served at 127.0.0.1:8080\nsandbox: {line}"));
}

/// A kernel without Landlock, as it answers: the system call is not there.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod without_landlock {
    use std::os::unix::process::CommandExt;

    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

    use super::*;

    /// Where the file for this is named, becomes a server.
    const CONFIG: &str = "STONECHAT_TEST_CONFIG";

    #[test]
    #[ignore = "becomes a server: the test below has it do so"]
    fn becomes_a_server() {
        let config = std::env::var_os(CONFIG).expect("whoever runs this says with what");
        let filter = SeccompFilter::new(
            [(libc::SYS_landlock_create_ruleset, Vec::new())].into(),
            SeccompAction::Allow,
            SeccompAction::Errno(libc::ENOSYS as u32),
            std::env::consts::ARCH.try_into().expect("a known CPU"),
        );
        let program: BpfProgram = filter.and_then(TryInto::try_into).expect("a filter");
        apply_filter(&program).expect("a kernel with seccomp");
        panic!("{}", common::stonechat().args(["serve", "--config"]).arg(config).exec());
    }

    #[test]
    fn a_server_on_a_kernel_without_landlock_says_so_and_serves() {
        if common::is_emulated() {
            return println!("not tried here: the emulator has no seccomp");
        }
        let files = Files::new();
        let mut command = Command::new(std::env::current_exe().expect("a program"));
        command.args(["--ignored", "--exact", "without_landlock::becomes_a_server", "--nocapture", "-q"]);
        let server = Server::spawn(command.env(CONFIG, files.config()));
        let log = server.log();
        assert!(
            log.contains("WARN") && log.contains("sandbox: seccomp; the kernel has no Landlock"),
            "{log}"
        );
        assert!(claims(&server, "seccomp") && !claims(&server, "landlock"));
        answers(&server, "first");
        files.serve(&files.elsewhere, "second");
        server.signal("-HUP");
        server.logs(&log, "another model is served");
        answers(&server, "second");
    }
}
