//! Reading a file into the kernel's page cache ahead of those who need it, in large pages.
//!
//! In goes a file and its map; a thread of its own then walks through the file. `MADV_WILLNEED` would read as well, but
//! into pages of 4 KiB, which stay scattered over memory as long as the file is cached.

use std::fs::File;
use std::sync::{Arc, Barrier, Weak};

use memmap2::{Advice, Mmap, MmapOptions};

use crate::threads;

/// How much is asked for at a time: what the walk adds to the process's memory while it goes on.
const WINDOW: usize = 8 << 20;

/// Begins to read; whether the kernel can do so. It ends early when `file` has no other holder.
pub fn start(map: &Mmap, file: &Arc<File>) -> bool {
    // Linux before 5.14 does not know how to populate. The first byte is needed anyway.
    if map.advise_range(Advice::PopulateRead, 0, 1).is_err() {
        return false;
    }
    // What cannot have large pages has small ones.
    let _ = map.advise(Advice::HugePage);
    let (file, len, begun) = (Arc::downgrade(file), map.len(), Arc::new(Barrier::new(2)));
    let here = Arc::clone(&begun);
    let work = move || {
        here.wait();
        read(&file, len);
    };
    let started = threads::start("stonechat-read".into(), work).is_ok();
    // A thread allocates as it starts, and nothing may do so once a session runs.
    if started {
        begun.wait();
    }
    started
}

/// Reads windows of the file, one after another.
fn read(file: &Weak<File>, len: usize) {
    for offset in (0..len).step_by(WINDOW) {
        let Some(file) = file.upgrade() else { return };
        // SAFETY: nobody reads through this map.
        #[allow(unsafe_code)]
        let window =
            unsafe { MmapOptions::new().offset(offset as u64).len(WINDOW.min(len - offset)).map(&*file) };
        // Whoever needs what could not be read will find out.
        let Ok(window) = window else { return };
        let _ = window.advise(Advice::HugePage);
        if window.advise(Advice::PopulateRead).is_err() {
            return;
        }
    }
}
