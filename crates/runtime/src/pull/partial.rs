//! The file that a pull collects its bytes in, hashed as they come.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::Pull;
use crate::Error;
use crate::manifest::Manifest;

/// `NAME.part`: the beginning of a model's file, and the hash of it.
pub struct Partial {
    file: File,
    path: PathBuf,
    len: u64,
    /// The bytes of the whole file.
    size: u64,
    hash: Sha256,
}

impl Partial {
    /// Opens what an earlier pull left, or a new one.
    pub fn open(pull: &mut Pull<'_>) -> Result<Self, Error> {
        let path = pull.beside("part");
        let failed = |source| Error::from_io("write", &path, source);
        let file = File::options().create(true).append(true).read(true).open(&path).map_err(failed)?;
        let size = pull.manifest.size;
        let mut partial = Self { file, path, len: 0, size, hash: Sha256::new() };
        partial.hash_what_is_there(pull)?;
        if partial.len > size {
            partial.restart()?;
        }
        Ok(partial)
    }

    fn hash_what_is_there(&mut self, pull: &mut Pull<'_>) -> Result<(), Error> {
        let mut buffer = vec![0; 1 << 20];
        loop {
            pull.check_stop()?;
            let read = self.file.read(&mut buffer).map_err(|e| Error::from_io("read", &self.path, e))?;
            // A byte too many is enough to know.
            if read == 0 || self.len > self.size {
                return Ok(());
            }
            self.hash.update(&buffer[..read]);
            self.len += read as u64;
        }
    }

    /// The bytes that have arrived.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The bytes that are missing.
    pub fn missing(&self) -> u64 {
        self.size.saturating_sub(self.len)
    }

    /// Throws away what has arrived.
    pub fn restart(&mut self) -> Result<(), Error> {
        if self.len > 0 {
            self.file.set_len(0).map_err(|e| Error::from_io("write", &self.path, e))?;
            self.len = 0;
            self.hash.reset();
        }
        Ok(())
    }

    /// Removes the file, if there is nothing in it to go on from.
    pub fn discard_if_empty(self) {
        if self.len == 0 {
            let _ = fs::remove_file(&self.path);
        }
    }

    /// Adds bytes; those of `source`, should there be too many.
    pub fn append(&mut self, source: &str, bytes: &[u8]) -> Result<(), Error> {
        let missing = self.missing();
        if bytes.len() as u64 > missing {
            let (expected, got) = (self.size, self.len + bytes.len() as u64);
            self.restart()?;
            return Err(Error::WrongSize { source: source.to_owned(), expected, got });
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(written) => {
                    // Counted piece by piece, so that what a full disk still took stays in step with the hash.
                    self.hash.update(&rest[..written]);
                    self.len += written as u64;
                    rest = &rest[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        Ok(())
    }

    fn failed(&self, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                let folder = self.path.parent().unwrap_or(&self.path).to_path_buf();
                Error::DiskFull { folder, needed: self.missing() }
            }
            _ => Error::from_io("write", &self.path, error),
        }
    }

    /// Checks the whole file, brings it safely to the disk and gives it its name. A file that is not the model's is
    /// removed, so that the next source begins anew.
    pub fn finish(&mut self, source: &str, manifest: &Manifest, path: &Path) -> Result<(), Error> {
        if self.len != self.size {
            let (expected, got) = (self.size, self.len);
            self.restart()?;
            return Err(Error::WrongSize { source: source.to_owned(), expected, got });
        }
        let got = hexadecimal(&self.hash.clone().finalize());
        if got != manifest.sha256 {
            self.restart()?;
            let expected = manifest.sha256.clone();
            return Err(Error::WrongChecksum { source: source.to_owned(), expected, got });
        }
        // The bytes before the name: after a power failure the name must not stand for half a file.
        self.file.sync_all().map_err(|error| self.failed(error))?;
        fs::rename(&self.path, path).map_err(|error| Error::from_io("rename", &self.path, error))?;
        // The name is there for everyone already; that it outlives a power failure is not worth failing for.
        if let Some(folder) = path.parent() {
            let _ = File::open(folder).and_then(|folder| folder.sync_all());
        }
        Ok(())
    }
}

/// Lower-case hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_disk_that_fills_up_is_named_with_what_it_lacks() {
        // The device that is always full.
        let path = PathBuf::from("/dev/full");
        let file = File::options().append(true).open(&path).unwrap();
        let mut partial = Partial { file, path, len: 0, size: 10, hash: Sha256::new() };
        let error = partial.append("a test", &[1; 10]).unwrap_err();
        assert!(matches!(&error, Error::DiskFull { needed: 10, .. }), "{error:?}");
        assert!(error.to_string().starts_with("the disk of /dev is too full: 10 more bytes are needed"));
    }

    #[test]
    fn hexadecimal_is_two_lower_case_digits_a_byte() {
        assert_eq!(hexadecimal(&[0, 0x0f, 0xa5, 0xff]), "000fa5ff");
    }
}
