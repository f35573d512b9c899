//! What the process cannot do any more once it serves, whatever a request makes of it.
//!
//! In: the files that it was started with. Out: a [`Sandbox`], which says what holds. From then on the process opens files to read
//! alone, and only in the folders of those files and where the system tells of itself; it makes no connection, starts no program
//! and no process, and leaves alone what else the kernel offers (`calls` lists it). Serving needs none of this: the socket
//! listens already, certificates and keys have been read, and nothing is written. There is no way out of it but the end of the process.
//!
//! Two parts of Linux do it, each where the kernel has it: Landlock (`files`) and seccomp (`calls`). A part that is missing is
//! said, and no reason not to serve. Other systems have neither.

#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")
))]
mod calls;
#[cfg(target_os = "linux")]
mod files;

use std::fmt;
use std::path::{Path, PathBuf};

/// Seccomp's part elsewhere.
#[cfg(all(
    target_os = "linux",
    not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))
))]
mod calls {
    pub fn restrict() -> Result<(), String> {
        Err("there is no seccomp filter for this kind of CPU".into())
    }
}

/// Where Linux is not.
#[cfg(not(target_os = "linux"))]
mod calls {
    pub fn restrict() -> Result<(), String> {
        Err("seccomp is Linux' alone".into())
    }
}

/// Where Linux is not.
#[cfg(not(target_os = "linux"))]
mod files {
    use std::path::PathBuf;

    #[derive(Debug)]
    pub struct Held;

    impl Held {
        #[allow(clippy::unused_self, reason = "on Linux it knows")]
        pub const fn abi(&self) -> i32 {
            0
        }
    }

    pub fn restrict(_folders: &[PathBuf]) -> Result<Held, String> {
        Err("Landlock is Linux' alone".into())
    }
}

/// What holds. See the [module](self).
#[derive(Debug)]
pub struct Sandbox {
    /// Each part holds, or there is a reason why not.
    landlock: Result<files::Held, String>,
    seccomp: Result<(), String>,
    /// The folders that are read in.
    folders: Vec<PathBuf>,
}

impl Sandbox {
    /// None, for whoever wants none.
    pub fn off() -> Self {
        let why = || "it was switched off".to_owned();
        Self { landlock: Err(why()), seccomp: Err(why()), folders: Vec::new() }
    }

    /// Puts the process into it. `files` may be read again, and so may what takes their place: their folders are open, those that
    /// links lead to as well. To be called before threads are started: not every kernel can restrict those that run.
    pub fn enter<'p>(files: impl IntoIterator<Item = &'p Path>) -> Self {
        let mut folders: Vec<PathBuf> = files.into_iter().flat_map(folders_of).collect();
        folders.sort();
        folders.dedup();
        // In this order: what Landlock itself is set up with is nothing that the filter has to let through.
        let landlock = files::restrict(&folders);
        let seccomp = calls::restrict();
        Self { landlock, seccomp, folders }
    }

    /// Whether any part of it holds.
    pub const fn holds(&self) -> bool {
        self.landlock.is_ok() || self.seccomp.is_ok()
    }

    /// The folders that are read in, where no others are.
    pub fn folders(&self) -> Option<&[PathBuf]> {
        self.landlock.is_ok().then_some(&self.folders)
    }

    /// Whether a file can be read, as far as this is concerned.
    pub fn lets_read(&self, file: &Path) -> bool {
        let Some(folders) = self.folders() else { return true };
        // What is not there can be asked for: that it is not is what has to be said then.
        file.canonicalize().is_ok_and(|file| folders.iter().any(|folder| file.starts_with(folder)))
            || !file.exists()
    }

    /// The parts that hold: `landlock ABI 7, seccomp`.
    pub fn parts(&self) -> String {
        let landlock = self.landlock.as_ref().ok().map(|held| format!("landlock ABI {}", held.abi()));
        let seccomp = self.seccomp.as_ref().ok().map(|()| "seccomp".to_owned());
        let parts: Vec<String> = landlock.into_iter().chain(seccomp).collect();
        if parts.is_empty() { "none".into() } else { parts.join(", ") }
    }

    /// Why others do not.
    pub fn lacks(&self) -> Vec<&str> {
        let lacks = [self.landlock.as_ref().err(), self.seccomp.as_ref().err()];
        let mut lacks: Vec<&str> = lacks.into_iter().flatten().map(String::as_str).collect();
        lacks.dedup();
        lacks
    }

    /// Says in the log what holds.
    pub fn note(&self) {
        if self.lacks().is_empty() {
            tracing::info!("sandbox: {self}");
        } else {
            tracing::warn!("sandbox: {self}");
        }
    }
}

impl fmt::Display for Sandbox {
    /// `landlock ABI 7, seccomp; reads in /models`, or what is missing in place of what is there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.parts())?;
        for lack in self.lacks() {
            write!(f, "; {lack}")?;
        }
        match self.folders() {
            None | Some([]) => Ok(()),
            Some(folders) => write!(f, "; reads in {}", list(folders)),
        }
    }
}

/// Paths, one after the other.
pub fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// The folder of a file, and that of the file which a link of this name leads to.
fn folders_of(file: &Path) -> impl Iterator<Item = PathBuf> {
    let folder = file.parent().map(|folder| if folder == Path::new("") { Path::new(".") } else { folder });
    let named = folder.and_then(|folder| folder.canonicalize().ok());
    let real = file.canonicalize().ok().and_then(|file| Some(file.parent()?.to_path_buf()));
    named.into_iter().chain(real)
}
