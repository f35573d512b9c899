//! The tests, and who runs them.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use stonechat_runtime::system::{self, Memory, Watch};
use stonechat_runtime::{Board, default_threads};
use stonechat_server::Sandbox;

/// A test by its name, and what its process finds in the environment.
type Test = (&'static str, fn(), Option<(&'static str, &'static str)>);

const TESTS: &[Test] = &[
    ("files_are_read_in_the_folders_alone", files_are_read_in_the_folders_alone, None),
    ("a_model_that_is_swapped_by_rename_can_be_read", a_model_that_is_swapped_by_rename_can_be_read, None),
    ("what_the_system_tells_is_told_within_too", what_the_system_tells_is_told_within_too, None),
    ("no_program_process_or_socket_is_made", no_program_process_or_socket_is_made, None),
    (
        "the_supervisor_alone_can_be_told_something",
        no_program_process_or_socket_is_made,
        Some(("NOTIFY_SOCKET", "/run/systemd/notify")),
    ),
    ("landlock_alone_makes_no_connection", landlock_alone_makes_no_connection, None),
    ("a_kernel_without_landlock_is_said", a_kernel_without_landlock_is_said, None),
    ("a_kernel_with_landlock_switched_off_is_said", a_kernel_with_landlock_switched_off_is_said, None),
    ("a_kernel_without_either_is_said", a_kernel_without_either_is_said, None),
    ("threads_that_are_not_held_are_said", threads_that_are_not_held_are_said, None),
    ("whoever_wants_none_has_none", whoever_wants_none_has_none, None),
];

/// Runs the tests whose names have one of the arguments in them, each in a process; in such a process, the one.
pub fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, name] = &arguments[..]
        && flag == "--alone"
    {
        let (_, test, _) = TESTS.iter().find(|(known, ..)| known == name).expect("a test of this name");
        return test();
    }
    let mut wanted = arguments.iter().filter(|argument| !argument.starts_with('-')).peekable();
    let all = wanted.peek().is_none();
    let wanted: Vec<_> = wanted.collect();
    let mut failed = 0;
    for (name, _, variable) in TESTS {
        if !all && !wanted.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--alone", name]).env_remove("NOTIFY_SOCKET").envs(*variable);
        let output = command.output().expect("this program starts");
        let said = String::from_utf8_lossy(&output.stdout);
        let passed = output.status.success();
        println!("test {name} ... {}{}", if passed { "ok" } else { "FAILED" }, said.trim_end());
        if !passed {
            println!("{}", String::from_utf8_lossy(&output.stderr));
            failed += 1;
        }
    }
    assert_eq!(failed, 0, "tests failed");
}

/// Says what this kernel is not there for.
fn not_tried(why: &str) {
    println!(" (not tried here: {why})");
}

/// From here on the kernel answers a call with an error, as one does that lacks what it is for. Whether that could be had.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
fn refuse(call: libc::c_long, error: i32) -> bool {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

    let filter = SeccompFilter::new(
        [(call, Vec::new())].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(error as u32),
        std::env::consts::ARCH.try_into().expect("a known CPU"),
    );
    let program: BpfProgram = filter.expect("a filter").try_into().expect("a program");
    let applied = apply_filter(&program);
    if let Err(error) = &applied {
        not_tried(&error.to_string());
    }
    applied.is_ok()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
fn refuse(_call: libc::c_long, _error: i32) -> bool {
    not_tried("seccomp");
    false
}

/// The version of Landlock that holds. Where the kernel has none, that this is what is said of it.
fn landlock(sandbox: &Sandbox) -> Option<u32> {
    let parts = sandbox.parts();
    let version = parts.split(", ").find_map(|part| part.strip_prefix("landlock ABI ")?.parse().ok());
    if version.is_none() {
        let listed = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
        assert!(!listed.split(',').any(|name| name == "landlock"), "{sandbox}, but the kernel has {listed}");
        assert!(
            sandbox.lacks().iter().any(|why| *why == "the kernel has no Landlock"
                || why.starts_with("the kernel's Landlock is switched off")),
            "{sandbox}"
        );
        not_tried(&sandbox.to_string());
    }
    version
}

fn has_seccomp(sandbox: &Sandbox) -> bool {
    let holds = sandbox.parts().split(", ").any(|part| part == "seccomp");
    if !holds {
        let expected =
            ["there is no seccomp filter for this kind of CPU", "the kernel takes no seccomp filter"];
        let said = |why: &&str| expected.iter().any(|expected| why.starts_with(expected));
        assert!(sandbox.lacks().iter().any(said), "{sandbox}");
        not_tried(&sandbox.to_string());
    }
    holds
}

fn denied<T>(what: &str, result: io::Result<T>) {
    match result {
        Ok(_) => panic!("{what} is not denied"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{what}: {error}"),
    }
}

fn files_are_read_in_the_folders_alone() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let [model, other] = [&folder, &elsewhere].map(|folder| folder.path().join("model.gguf"));
    fs::write(&model, "model").unwrap();
    fs::write(&other, "other").unwrap();
    symlink(&other, folder.path().join("link.gguf")).unwrap();
    let sandbox = Sandbox::enter([model.as_path()]);
    if landlock(&sandbox).is_none() {
        assert_eq!(fs::read(&other).unwrap(), b"other");
        return;
    }
    // Threads inherit it.
    let tried = thread::spawn(move || {
        assert_eq!(fs::read(&model).unwrap(), b"model");
        let link = folder.path().join("link.gguf");
        for path in [&other, &link, Path::new("/etc/passwd"), Path::new("/proc/1/status")] {
            denied(&path.display().to_string(), File::open(path));
        }
        denied("a list of files", fs::read_dir(folder.path()));
        denied("to change a file", fs::write(&model, "changed"));
        denied("a new file", fs::write(folder.path().join("new"), ""));
        denied("to remove a file", fs::remove_file(&model));
        denied("to rename a file", fs::rename(&model, folder.path().join("new")));
    });
    tried.join().unwrap();
}

fn a_model_that_is_swapped_by_rename_can_be_read() {
    let (folder, real) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let [model, link] = ["model.gguf", "link.gguf"].map(|name| folder.path().join(name));
    fs::write(real.path().join("blob"), "old").unwrap();
    fs::write(&model, "old").unwrap();
    symlink(real.path().join("blob"), &link).unwrap();
    // Somebody who copies a new model beside the old one, and gives it its name.
    let mut other = Command::new("sh");
    other.args(["-c", "read _; printf new >model.new; mv model.new model.gguf; echo"]).current_dir(&folder);
    let mut other = other.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let sandbox = Sandbox::enter([model.as_path(), link.as_path()]);
    assert_eq!(fs::read(&link).unwrap(), b"old");
    drop(other.stdin.take());
    other.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
    assert!(other.wait().unwrap().success());
    assert_eq!(fs::read(&model).unwrap(), b"new");
    assert!(sandbox.lets_read(&model) && sandbox.lets_read(&link));
    assert_eq!(sandbox.lets_read(Path::new("/etc/passwd")), landlock(&sandbox).is_none());
    // A file that is nowhere is not the sandbox's business.
    assert!(sandbox.lets_read(Path::new("/nowhere/model.gguf")));
}

/// What is there to be known, without the numbers that change.
fn known() -> String {
    let memory = Memory::now();
    let watch = Watch::start().stop();
    let hour = jiff::Timestamp::UNIX_EPOCH.to_zoned_datetime(jiff::tz::TimeZone::system()).hour();
    let board = Board::detect();
    let known = (
        (memory.anonymous.is_some(), memory.file.is_some(), memory.peak.is_some()),
        (watch.other_cpus.is_some(), watch.major_faults.is_some(), watch.frequency_mhz.is_some()),
        (watch.temperature_c.is_some(), watch.throttled.is_some()),
        (system::available_memory().is_some(), system::last_level_cache(), system::governor()),
        (board.memory(), board.page(), board.cores(), board.megahertz(), board.slows_at(), board.cpu()),
        (&board, default_threads(), hour),
        system::READS.map(|path| {
            if Path::new(path).is_dir() { fs::read_dir(path).is_ok() } else { File::open(path).is_ok() }
        }),
    );
    format!("{known:?}")
}

fn what_the_system_tells_is_told_within_too() {
    let before = known();
    assert!(before.contains("(true, true, true)"), "memory is told: {before}");
    let sandbox = Sandbox::enter([]);
    assert_eq!(known(), before, "{sandbox}");
}

fn no_program_process_or_socket_is_made() {
    let (go, wait) = mpsc::channel::<()>();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // Without Landlock, which refuses some of it as well, and says so otherwise.
    if !refuse(libc::SYS_landlock_create_ruleset, libc::ENOSYS) {
        return;
    }
    // A thread that was there before.
    let before = thread::spawn(move || {
        let _ = wait.recv();
        UdpSocket::bind("127.0.0.1:0").map(drop)
    });
    if !has_seccomp(&Sandbox::enter([])) {
        return;
    }
    drop(go);
    denied("a socket of an older thread", before.join().unwrap());
    let tried = thread::spawn(move || {
        denied("a socket for datagrams", UdpSocket::bind("127.0.0.1:0"));
        denied("a connection", TcpStream::connect(listener.local_addr().unwrap()));
        denied("another program", Command::new("/bin/true").spawn());
        match std::env::var_os("NOTIFY_SOCKET") {
            Some(_) => assert!(UnixDatagram::unbound().is_ok()),
            None => denied("a socket for another process", UnixDatagram::unbound()),
        }
        // What a server does do: clients, files, threads, signals by a pair of sockets.
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(fs::read("/proc/self/status").is_ok());
        assert!(UnixStream::pair().is_ok());
        thread::spawn(|| ()).join().unwrap();
    });
    tried.join().unwrap();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    assert!(status.contains("Seccomp:\t2") && status.contains("NoNewPrivs:\t1"), "{status}");
}

fn landlock_alone_makes_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    if !refuse(libc::SYS_seccomp, libc::ENOSYS) {
        return;
    }
    let sandbox = Sandbox::enter([]);
    let said = sandbox.to_string();
    assert!(said.ends_with("; the kernel takes no seccomp filter (Function not implemented)"), "{said}");
    let version = landlock(&sandbox);
    let (connected, bound) =
        (TcpStream::connect(listener.local_addr().unwrap()), TcpListener::bind("127.0.0.1:0"));
    if version >= Some(4) {
        denied("a connection", connected);
        denied("a port", bound);
    } else {
        assert!(connected.is_ok() && bound.is_ok());
    }
    let program = Command::new("/bin/true").spawn().map(|mut program| program.wait());
    if version.is_some() {
        denied("another program", program);
    } else {
        assert!(program.is_ok());
    }
}

fn a_kernel_without_landlock_is_said() {
    if refuse(libc::SYS_landlock_create_ruleset, libc::ENOSYS) {
        let sandbox = Sandbox::enter([]);
        assert_eq!(sandbox.to_string(), "seccomp; the kernel has no Landlock");
        assert!(File::open("/etc/passwd").is_ok() && sandbox.lets_read(Path::new("/etc/passwd")));
        assert!(sandbox.holds() && sandbox.folders().is_none());
        assert!(UdpSocket::bind("127.0.0.1:0").is_err());
    }
}

fn a_kernel_with_landlock_switched_off_is_said() {
    if refuse(libc::SYS_landlock_create_ruleset, libc::EOPNOTSUPP) {
        let said = Sandbox::enter([]).to_string();
        let expected = "seccomp; the kernel's Landlock is switched off; add landlock to its parameter lsm=";
        assert_eq!(said, expected);
        assert!(File::open("/etc/passwd").is_ok());
    }
}

fn a_kernel_without_either_is_said() {
    // In this order: behind the second there is no third.
    if refuse(libc::SYS_landlock_create_ruleset, libc::ENOSYS) && refuse(libc::SYS_seccomp, libc::EINVAL) {
        let sandbox = Sandbox::enter([]);
        let expected =
            "none; the kernel has no Landlock; the kernel takes no seccomp filter (Invalid argument)";
        assert_eq!(sandbox.to_string(), expected);
        assert!(
            !sandbox.holds() && File::open("/etc/passwd").is_ok() && UdpSocket::bind("127.0.0.1:0").is_ok()
        );
    }
}

fn threads_that_are_not_held_are_said() {
    let (go, wait) = mpsc::channel::<()>();
    let before = thread::spawn(move || wait.recv().is_err() && File::open("/etc/passwd").is_ok());
    let sandbox = Sandbox::enter([]);
    drop(go);
    // Kernels from version 8 on restrict threads that run already.
    let reads = before.join().unwrap();
    assert_eq!(reads, sandbox.folders().is_none(), "{sandbox}");
    let lacks = sandbox.lacks();
    let said = ["does not hold for 1 threads that ran before", "no Landlock", "switched off"];
    assert!(!reads || lacks.iter().any(|why| said.iter().any(|said| why.contains(said))), "{sandbox}");
}

fn whoever_wants_none_has_none() {
    let sandbox = Sandbox::off();
    assert_eq!(sandbox.to_string(), "none; it was switched off");
    assert!(!sandbox.holds() && sandbox.lets_read(Path::new("/etc/passwd")) && sandbox.folders().is_none());
}
