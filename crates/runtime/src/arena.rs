//! The one block of memory in which a session lives.
//!
//! In goes the number of bytes that the core's plan states; out comes zeroed, page-aligned memory as
//! `&mut [u8]`. It comes straight from the operating system, so memory that is never touched is never used,
//! and too large a request is an error, not an abort. It never grows.

use std::fmt;
use std::ops::{Deref, DerefMut};

use memmap2::{MmapMut, MmapOptions};

use crate::Error;

/// Zeroed memory, aligned to a page (so to 64 bytes at least). It goes back when the arena is dropped.
pub struct Arena {
    memory: MmapMut,
    len: usize,
}

/// Below this size, two large pages, the arena is left to small pages.
#[cfg(target_os = "linux")]
const WORTH_LARGE_PAGES: usize = 4 << 20;

impl Arena {
    /// Asks the operating system for `bytes` bytes.
    ///
    /// Linux is asked for large pages: weights and KV caches read through anonymous 4 KiB pages come 25-30 %
    /// slower. A large page counts as used as soon as one byte in it is touched, but none reaches past the
    /// arena's end, so the arena's share of RAM never exceeds its size (rounded up to a page).
    pub fn new(bytes: usize) -> Result<Self, Error> {
        let out_of_memory = |_| Error::OutOfMemory { bytes };
        // A mapping of no bytes does not exist; an arena of none may.
        let memory = MmapOptions::new().len(bytes.max(1)).map_anon().map_err(out_of_memory)?;
        #[cfg(target_os = "linux")]
        if bytes >= WORTH_LARGE_PAGES {
            // Only speed depends on it: a kernel without large pages refuses, and that is fine.
            let _ = memory.advise(memmap2::Advice::HugePage);
        }
        Ok(Self { memory, len: bytes })
    }

    /// The whole arena.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        self
    }
}

impl Deref for Arena {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[..self.len]
    }
}

impl DerefMut for Arena {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[..self.len]
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena").field("bytes", &self.len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_zeroed_aligned_and_of_the_size_asked_for() {
        for bytes in [0, 1, 63, 4096, 5 << 20] {
            let mut arena = Arena::new(bytes).unwrap();
            assert_eq!(arena.len(), bytes);
            assert_eq!(arena.as_ptr().align_offset(64), 0);
            assert!(arena.iter().all(|&byte| byte == 0));
            arena.as_mut_slice().fill(0xa5);
            assert!(arena.iter().all(|&byte| byte == 0xa5));
        }
    }

    #[test]
    fn too_much_is_an_error_not_an_abort() {
        for bytes in [usize::MAX, usize::MAX / 2, isize::MAX as usize] {
            let error = Arena::new(bytes).unwrap_err();
            assert!(matches!(error, Error::OutOfMemory { bytes: asked } if asked == bytes));
            assert!(error.to_string().contains(&bytes.to_string()));
        }
    }

    /// Resident pages of this process's anonymous memory, from the kernel.
    #[cfg(target_os = "linux")]
    fn resident_anonymous_kib() -> Option<u64> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find(|line| line.starts_with("RssAnon:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn untouched_memory_is_not_used() {
        let before = resident_anonymous_kib().unwrap();
        let mut arena = Arena::new(512 << 20).unwrap();
        arena.as_mut_slice()[0] = 1;
        let after = resident_anonymous_kib().unwrap();
        // Other tests run beside this one: 64 MiB of slack is theirs, and still far below 512.
        assert!(after < before + (64 << 10), "{before} KiB before, {after} KiB after");
    }
}
