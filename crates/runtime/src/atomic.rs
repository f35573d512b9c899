//! Files that appear whole or not at all.
//!
//! In: a path and what to write. The bytes go to a file beside it that has no reader, and take the name once they are all on
//! the disk: a full disk, a killed process or a power cut leaves what was there before.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use tempfile::{Builder, NamedTempFile};

use crate::Error;

/// What the names of unfinished files begin with.
pub const UNFINISHED: &str = ".unfinished-";

/// How sure it must be that the file outlives a power cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// What was written is on the disk when [`write`] returns.
    Synced,
    /// It may still be lost, whole or (as a reader must find out) in part: for what can be computed again.
    Cached,
}

/// A file being written.
pub type Out = BufWriter<NamedTempFile>;

/// Writes the file `path` by `write`, which gets the path's own failures as errors.
pub fn write<T>(
    path: &Path,
    durability: Durability,
    write: impl FnOnce(&mut Out, &dyn Fn(io::Error) -> Error) -> Result<T, Error>,
) -> Result<T, Error> {
    let failed = |source| Error::from_io("write", path, source);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let part = Builder::new().prefix(UNFINISHED).tempfile_in(folder).map_err(failed)?;
    let mut out = BufWriter::with_capacity(1 << 20, part);
    let result = write(&mut out, &failed)?;
    out.flush().map_err(failed)?;
    let part = out.into_inner().map_err(|error| failed(error.into_error()))?;
    if durability == Durability::Synced {
        part.as_file().sync_all().map_err(failed)?;
    }
    part.persist(path).map_err(|error| failed(error.error))?;
    #[cfg(unix)]
    if durability == Durability::Synced {
        // The name is on the disk once the folder is; where folders cannot be synced, the old or the new name stands.
        let _ = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_failure_leaves_the_old_file_and_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write(&path, Durability::Synced, |out, failed| out.write_all(b"old").map_err(failed)).unwrap();
        let error = write(&path, Durability::Synced, |out, failed| {
            out.write_all(b"new").map_err(failed)?;
            Err::<(), _>(failed(io::Error::from(io::ErrorKind::StorageFull)))
        })
        .unwrap_err();
        assert!(error.to_string().starts_with(&format!("cannot write {}: ", path.display())), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        write(&path, Durability::Cached, |out, failed| out.write_all(b"new").map_err(failed)).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = write(Path::new("/no/such/folder/file"), Durability::Synced, |_, _| Ok(())).unwrap_err();
        assert!(error.to_string().contains("/no/such/folder/file"), "{error}");
    }
}
