//! A model file as bytes: mapped, read-only, never copied.
//!
//! In goes a path; out comes `&[u8]` over the kernel's own page cache, so a model costs no memory twice and a
//! second start reads nothing from the disk.
//!
//! A mapped file that somebody truncates (or whose disk fails) answers a read with SIGBUS, which would end the
//! process. On Linux a handler turns it into an error instead: from the page that is missing on, the map becomes
//! zeros, a flag rises, and whoever works on the bytes asks [`MappedFile::check`] before believing what came of
//! them. So a server outlives the loss of a model file. Elsewhere a file must stay whole while it is mapped.
//!
//! What it cannot notice: somebody who writes other bytes into the file in place. Nothing unsafe comes of that
//! here, since every consumer of the bytes treats them as hostile, but the answers would be wrong. Replace a
//! model by renaming a new file over it, as `pull` does; the map keeps the old one.

use std::fmt;
use std::fs::{File, Metadata};
use std::ops::Deref;
use std::path::{Path, PathBuf};
#[cfg(target_os = "linux")]
use std::sync::Arc;

use memmap2::Mmap;

use crate::Error;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod sigbus;

#[cfg(target_os = "linux")]
mod read_ahead;

/// Where no handler exists: nothing is watched, no fault is ever seen.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod sigbus {
    pub struct Watch;

    impl Watch {
        pub fn new(_bytes: &[u8]) -> std::io::Result<Self> {
            Ok(Self)
        }

        #[allow(clippy::unused_self)]
        pub fn faulted(&self) -> bool {
            false
        }
    }
}

/// A file in memory. Reading it is reading the file.
pub struct MappedFile {
    bytes: Bytes,
    path: PathBuf,
}

/// Where the bytes are.
enum Bytes {
    /// In a file.
    Map {
        // Dropped before `map`: an address is watched only while it is mapped.
        watch: sigbus::Watch,
        map: Mmap,
        /// Not for reading, but for those who read ahead.
        #[cfg(target_os = "linux")]
        file: Arc<File>,
    },
    /// In the program, where nothing can happen to them.
    #[cfg(feature = "built-in")]
    Program(&'static [u8]),
}

impl MappedFile {
    /// Maps the whole file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let failed = |action| move |source| Error::from_io(action, path, source);
        // Asked before opening, because opening a pipe would wait for a writer.
        let kind = std::fs::metadata(path).map_err(failed("read"))?;
        if !kind.is_file() {
            return Err(Error::NotAFile { path: path.to_path_buf(), kind: name_of(&kind) });
        }
        let file = File::open(path).map_err(failed("read"))?;
        if file.metadata().map_err(failed("read"))?.len() == 0 {
            return Err(Error::EmptyFile { path: path.to_path_buf() });
        }
        // SAFETY: the danger of a file map is that someone else changes the file. A truncation is survived (see
        // the module's head). Bytes that change in place are plain data, read by code that trusts none of them.
        #[allow(unsafe_code)]
        let map = unsafe { Mmap::map(&file) }.map_err(failed("map"))?;
        let watch = sigbus::Watch::new(&map).map_err(failed("watch"))?;
        let bytes = Bytes::Map {
            watch,
            map,
            #[cfg(target_os = "linux")]
            file: Arc::new(file),
        };
        Ok(Self { bytes, path: path.to_path_buf() })
    }

    /// The same file once more, for those who are to outlive this map of it.
    pub fn again(&self) -> Result<Self, Error> {
        match &self.bytes {
            Bytes::Map { .. } => Self::open(&self.path),
            #[cfg(feature = "built-in")]
            Bytes::Program(bytes) => Ok(Self::of_program(&self.path, bytes)),
        }
    }

    /// Bytes of the program as a file of this name.
    #[cfg(feature = "built-in")]
    pub(crate) fn of_program(name: &Path, bytes: &'static [u8]) -> Self {
        Self { bytes: Bytes::Program(bytes), path: name.to_path_buf() }
    }

    /// Whether it is in the program, so that its path is but a name.
    pub fn is_built_in(&self) -> bool {
        self.map().is_none()
    }

    /// The map, where there is one.
    #[cfg_attr(
        not(feature = "built-in"),
        allow(clippy::unnecessary_wraps, reason = "then there is one always")
    )]
    fn map(&self) -> Option<&Mmap> {
        match &self.bytes {
            Bytes::Map { map, .. } => Some(map),
            #[cfg(feature = "built-in")]
            Bytes::Program(_) => None,
        }
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a read has met a part of the file that is gone. Stays true: all that was computed since may rest
    /// on zeros.
    pub fn fault(&self) -> bool {
        match &self.bytes {
            Bytes::Map { watch, .. } => watch.faulted(),
            #[cfg(feature = "built-in")]
            Bytes::Program(_) => false,
        }
    }

    /// [`fault`](Self::fault) as an error. To be asked after each step and before its result is used; it costs
    /// one atomic load.
    pub fn check(&self) -> Result<(), Error> {
        if self.fault() { Err(Error::CutShort { path: self.path.clone() }) } else { Ok(()) }
    }

    /// Tells the kernel that all of the file will be read soon, so that the disk works at full depth while the
    /// prompt is still being prepared.
    ///
    /// For those who are going to run the model; `inspect` or `tokenize`, which read its first pages, must not
    /// fetch the rest. Nothing is asked for when the file takes more than half of the machine's memory, where
    /// reading ahead would throw out pages before they are used.
    ///
    /// Linux is asked for large pages, which file systems with large folios have (ext4 since 6.16, XFS, btrfs): weights
    /// read through scattered small ones come up to a fifth slower.
    ///
    /// Other advice was left out because it does not pay: `MADV_SEQUENTIAL` would drop pages that the next token needs
    /// again.
    pub fn prefetch(&self) {
        #[cfg(unix)]
        if let Some(map) = self.map().filter(|map| map.len() as u64 <= physical_memory() / 2) {
            #[cfg(target_os = "linux")]
            if let Bytes::Map { file, .. } = &self.bytes
                && read_ahead::start(map, file)
            {
                return;
            }
            // Advice: a kernel that cannot follow it still reads the file.
            let _ = map.advise(memmap2::Advice::WillNeed);
        }
    }
}

#[cfg(all(unix, feature = "quantize"))]
impl MappedFile {
    /// Says that `part` of the file will not be read again soon: its whole pages no longer count as this process's
    /// memory. Reading them again reads the file again.
    pub(crate) fn release(&self, part: &[u8]) {
        let page = page_size();
        let Some(map_of_file) = self.map() else { return };
        let map = map_of_file.as_ptr_range();
        if part.is_empty() || !map.contains(&part.as_ptr()) {
            return;
        }
        let start = part.as_ptr() as usize - map.start as usize;
        let (first, end) =
            (start.next_multiple_of(page), (start + part.len()).min(map_of_file.len()) / page * page);
        if first < end {
            // SAFETY: the map is of a file and is only read: pages that are dropped come back from the file, and those
            // that were lost with its end, and are zeros by now, as zeros.
            #[allow(unsafe_code)]
            // A kernel that does not follow costs memory and nothing else.
            let _ = unsafe {
                map_of_file.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, first, end - first)
            };
        }
    }
}

#[cfg(all(not(unix), feature = "quantize"))]
impl MappedFile {
    /// Nothing to be said here.
    #[allow(clippy::unused_self)]
    pub(crate) fn release(&self, _part: &[u8]) {}
}

/// What a path that is no file leads to, with its article.
fn name_of(kind: &Metadata) -> &'static str {
    if kind.is_dir() { "a folder" } else { "a device or pipe" }
}

/// Bytes of a page of memory.
#[cfg(all(unix, any(test, feature = "quantize")))]
fn page_size() -> usize {
    // SAFETY: no argument that could be wrong; an unknown name gives -1.
    #[allow(unsafe_code)]
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(page).unwrap_or(1 << 16).max(1)
}

/// Bytes of RAM in this machine; 0 where the system does not tell.
#[cfg(unix)]
fn physical_memory() -> u64 {
    // SAFETY: no argument that could be wrong; unknown names give -1.
    #[allow(unsafe_code)]
    let (pages, page) = unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    u64::try_from(pages).unwrap_or(0).saturating_mul(u64::try_from(page).unwrap_or(0))
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Map { map, .. } => map,
            #[cfg(feature = "built-in")]
            Bytes::Program(bytes) => bytes,
        }
    }
}

impl fmt::Debug for MappedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("MappedFile");
        out.field("path", &self.path).field("bytes", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
