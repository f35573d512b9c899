//! A file that appears under its name once it is whole and on the disk, and not at all otherwise.

use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::Error;

/// A file in the making. Dropping it before [`finish`](Self::finish) leaves nothing behind.
pub(crate) struct Output<'p> {
    out: BufWriter<NamedTempFile>,
    path: &'p Path,
    written: u64,
}

impl<'p> Output<'p> {
    /// Begins a file in the folder of `path`, so that it can take that name in one step.
    pub(crate) fn create(path: &'p Path) -> Result<Self, Error> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        // As any other file: who may read it is the user's to say (umask), not that of temporary files.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let part = builder.tempfile_in(folder).map_err(|source| match source.kind() {
            // It is the folder that is missing.
            io::ErrorKind::NotFound => Error::Io { action: "create a file in", path: folder.into(), source },
            _ => Error::from_io("create a file in", folder, source),
        })?;
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
    pub(crate) fn finish(self) -> Result<u64, Error> {
        let failed = |source| Error::from_io("write", self.path, source);
        let part = self.out.into_inner().map_err(|error| failed(error.into_error()))?;
        part.as_file().sync_all().map_err(failed)?;
        part.persist(self.path).map_err(|error| failed(error.error))?;
        Ok(self.written)
    }
}
