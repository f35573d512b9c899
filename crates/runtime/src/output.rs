//! A file that appears under its name once it is whole, and not at all otherwise: a full disk, a killed process or a power cut
//! leave what was there before.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use tempfile::{Builder, NamedTempFile};

use crate::Error;

/// What the names of unfinished files begin with. The name that a file shall have follows, and something random.
pub(crate) const UNFINISHED: &str = ".unfinished-";
/// Of a name, so many characters: with what stands around them they are still a name.
const MOST_NAME: usize = 50;

/// How sure it must be that a file outlives a power cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// Once it has its name it is on the disk.
    Synced,
    /// It may still be lost, whole or (as a reader must find out) in part: for what can be computed again.
    Cached,
}

/// A file in the making. Dropping it before [`finish`](Self::finish) leaves nothing behind.
pub(crate) struct Output<'p> {
    out: BufWriter<NamedTempFile>,
    path: &'p Path,
    written: u64,
}

impl<'p> Output<'p> {
    /// Begins a file in the folder of `path`, so that it can take that name in one step.
    pub(crate) fn create(path: &'p Path) -> Result<Self, Error> {
        // As any other file: who may read it is the user's to say (umask), not that of temporary files.
        Self::with_mode(path, 0o666)
    }

    /// The same for what concerns nobody but the user: conversations.
    pub(crate) fn create_private(path: &'p Path) -> Result<Self, Error> {
        Self::with_mode(path, 0o600)
    }

    #[cfg_attr(not(unix), allow(unused_variables, reason = "modes are Unix's"))]
    fn with_mode(path: &'p Path, mode: u32) -> Result<Self, Error> {
        let folder = folder(path);
        let mut builder = Builder::new();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let prefix = format!("{UNFINISHED}{}-", name.chars().take(MOST_NAME).collect::<String>());
        remove_abandoned(folder, &prefix);
        builder.prefix(&prefix);
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
        let part = builder.tempfile_in(folder).map_err(|source| match source.kind() {
            // It is the folder that is missing.
            io::ErrorKind::NotFound => Error::Io { action: "create a file in", path: folder.into(), source },
            _ => Error::from_io("create a file in", folder, source),
        })?;
        // Held until the file has its name: what nobody holds has no writer. Where files cannot be locked, nothing is removed.
        let _ = part.as_file().try_lock();
        Ok(Self { out: BufWriter::with_capacity(1 << 20, part), path, written: 0 })
    }

    /// Appends bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes).map_err(|source| Error::from_io("write", self.path, source))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Appends `count` zeros.
    pub(crate) fn pad(&mut self, count: u64) -> Result<(), Error> {
        io::copy(&mut io::repeat(0).take(count), &mut self.out)
            .map_err(|source| Error::from_io("write", self.path, source))?;
        self.written += count;
        Ok(())
    }

    /// Gives the file its name, in place of another that had it. Returns its length.
    pub(crate) fn finish(self, durability: Durability) -> Result<u64, Error> {
        let failed = |source| Error::from_io("write", self.path, source);
        let part = self.out.into_inner().map_err(|error| failed(error.into_error()))?;
        if durability == Durability::Synced {
            part.as_file().sync_all().map_err(failed)?;
        }
        part.persist(self.path).map_err(|error| failed(error.error))?;
        #[cfg(unix)]
        if durability == Durability::Synced {
            // The name is on the disk once the folder is; where folders cannot be synced, the old or the new name stands.
            let _ = File::open(folder(self.path)).and_then(|folder| folder.sync_all());
        }
        Ok(self.written)
    }
}

/// Removes what killed writers left of a file: unfinished ones of its name whose lock nobody holds.
fn remove_abandoned(folder: &Path, prefix: &str) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.filter_map(Result::ok) {
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            let path = entry.path();
            if File::open(&path).is_ok_and(|file| file.try_lock().is_ok()) {
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

/// The folder of a path.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_not_finished_leaves_the_old_file_and_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut out = Output::create(&path).unwrap();
        out.write(b"old").unwrap();
        assert_eq!(out.finish(Durability::Synced).unwrap(), 3);
        let mut out = Output::create(&path).unwrap();
        out.write(b"new").unwrap();
        drop(out);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let mut out = Output::create(&path).unwrap();
        out.write(b"new").unwrap();
        out.pad(2).unwrap();
        assert_eq!(out.finish(Durability::Cached).unwrap(), 5);
        assert_eq!(fs::read(&path).unwrap(), b"new\0\0");
    }

    #[test]
    fn what_a_killed_writer_left_goes_and_what_a_living_one_writes_stays() {
        let folder = tempfile::tempdir().unwrap();
        let left = folder.path().join(".unfinished-a.chat-xyz");
        let other = folder.path().join(".unfinished-b.chat-xyz");
        fs::write(&left, b"half").unwrap();
        fs::write(&other, b"half").unwrap();
        let path = folder.path().join("a.chat");
        let (mut first, second) = (Output::create(&path).unwrap(), Output::create(&path).unwrap());
        assert!(!left.exists() && other.exists());
        drop(second);
        first.write(b"whole").unwrap();
        first.finish(Durability::Synced).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        // A name of which only a part finds room.
        let path = folder.path().join("é".repeat(120));
        Output::create(&path).unwrap().finish(Durability::Cached).unwrap();
        assert!(path.exists());
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = Output::create(Path::new("/no/such/folder/file")).err().unwrap();
        assert!(error.to_string().contains("/no/such/folder"), "{error}");
    }
}
