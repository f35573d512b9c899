use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::thread;

use tempfile::TempDir;

use super::{MappedFile, page_size};
use crate::Error;

/// A folder with a file of `len` bytes in it, none of them zero.
fn file(len: usize) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    fs::write(&path, bytes(len)).unwrap();
    (folder, path)
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8 + 1).collect()
}

fn truncate(path: &Path, len: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
}

#[test]
fn the_bytes_are_the_files() {
    for len in [1, 4095, 4096, 4097, 300_000] {
        let (_folder, path) = file(len);
        let map = MappedFile::open(&path).unwrap();
        map.prefetch();
        assert_eq!(*map, *bytes(len));
        assert_eq!(map.path(), path);
        map.check().unwrap();
    }
}

#[test]
fn a_file_replaced_by_renaming_keeps_its_old_bytes() {
    let (folder, path) = file(10_000);
    let map = MappedFile::open(&path).unwrap();
    let new = folder.path().join("new");
    fs::write(&new, b"other").unwrap();
    fs::rename(&new, &path).unwrap();
    assert_eq!(*map, *bytes(10_000));
    map.check().unwrap();
}

#[test]
fn what_is_no_file_is_said_in_one_sentence() {
    let (folder, path) = file(0);
    let said = |path: &Path| MappedFile::open(path).unwrap_err().to_string();
    let missing = folder.path().join("missing.gguf");
    assert_eq!(said(&missing), format!("there is no file {}; check the path", missing.display()));
    assert_eq!(
        said(folder.path()),
        format!("{} is a folder, not a file; give the path of a file", folder.path().display())
    );
    assert_eq!(said(&path), format!("the file {} is empty; fetch or copy it again", path.display()));
    assert!(said(Path::new("/dev/null")).contains("is a device or pipe"));
    assert!(said(&path.join("below")).starts_with("cannot read"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_is_read_ahead_to_its_end() {
    use std::os::fd::AsRawFd;
    use std::time::{Duration, Instant};

    /// How many of the map's pages are in memory.
    fn cached(map: &MappedFile) -> usize {
        let mut pages = vec![0; map.len().div_ceil(4096)];
        // SAFETY: the addresses are mapped, and there is a byte for each page, of which none is smaller.
        #[allow(unsafe_code)]
        let done = unsafe { libc::mincore(map.as_ptr().cast_mut().cast(), map.len(), pages.as_mut_ptr()) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
        pages.iter().filter(|&page| page & 1 == 1).count()
    }

    let (_folder, path) = file((17 << 20) + 5);
    let written = File::open(&path).unwrap();
    written.sync_all().unwrap();
    // SAFETY: no memory is touched. Where files live in memory alone it does nothing, and nothing is tested.
    #[allow(unsafe_code)]
    let _ = unsafe { libc::posix_fadvise(written.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    let map = MappedFile::open(&path).unwrap();
    // An emulator of programs takes advice and does nothing: only a kernel can be tested.
    let taken = map.map().unwrap().advise_range(memmap2::Advice::PopulateRead, 0, 1).is_ok();
    if taken && cached(&map) == 0 {
        return;
    }
    map.prefetch();
    let (start, all) = (Instant::now(), map.len().div_ceil(page_size()));
    while cached(&map) < all {
        assert!(start.elapsed() < Duration::from_secs(30), "{} of {all} pages", cached(&map));
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(*map, *bytes(map.len()));
}

#[cfg(unix)]
#[test]
fn a_file_without_permission_is_said_so() {
    use std::os::unix::fs::PermissionsExt;
    let (_folder, path) = file(10);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o0)).unwrap();
    if File::open(&path).is_ok() {
        // The superuser may read everything; the sentence is still checked.
        let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let error = Error::from_io("read", &path, denied);
        assert!(error.to_string().starts_with("no permission to read "));
    } else {
        assert!(matches!(MappedFile::open(&path), Err(Error::Denied { .. })));
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod cut_short {
    use super::*;

    /// The largest page there is: what lies two of these beyond the cut is gone whatever the size here.
    const PAGE: usize = 64 << 10;

    #[test]
    fn a_file_cut_short_reads_as_zeros_and_raises_the_flag() {
        let (_folder, path) = file(8 * PAGE);
        let map = MappedFile::open(&path).unwrap();
        truncate(&path, 2 * PAGE as u64);
        assert_eq!(map[2 * PAGE - 1], bytes(2 * PAGE)[2 * PAGE - 1]);
        map.check().unwrap();

        assert_eq!(map[5 * PAGE + 17], 0, "a page that is gone reads as zeros");
        assert!(map.fault());
        assert!(map[3 * PAGE..].iter().all(|&byte| byte == 0), "so do those before and after it");
        assert_eq!(map[..2 * PAGE], bytes(2 * PAGE), "what is left of the file is still read from it");
        let error = map.check().unwrap_err();
        assert!(error.to_string().starts_with(&format!("the file {} was cut short", path.display())));
    }

    #[test]
    fn a_file_cut_to_nothing_is_survived_too() {
        let (_folder, path) = file(3 * PAGE + 5);
        let map = MappedFile::open(&path).unwrap();
        truncate(&path, 0);
        assert!(map.iter().all(|&byte| byte == 0));
        assert!(map.fault());
    }

    #[test]
    fn many_threads_may_meet_the_hole_at_once() {
        let (_folder, path) = file(64 * PAGE);
        let map = MappedFile::open(&path).unwrap();
        truncate(&path, 0);
        thread::scope(|scope| {
            for first in 0..4 {
                let map = &map;
                // Backwards, so that every page is a fault of its own.
                scope.spawn(move || {
                    (first..64).rev().step_by(4).for_each(|page| assert_eq!(map[page * PAGE], 0));
                });
            }
        });
        assert!(map.fault());
    }

    #[test]
    fn the_flag_is_the_faulty_files_alone_and_does_not_outlive_it() {
        let (_folder, cut) = file(4 * PAGE);
        let (_other, whole) = file(4 * PAGE);
        let cut_map = MappedFile::open(&cut).unwrap();
        let whole_map = MappedFile::open(&whole).unwrap();
        truncate(&cut, 0);
        assert_eq!(cut_map[PAGE], 0);
        assert!(cut_map.fault() && !whole_map.fault());
        drop(cut_map);
        // The list's entry is used again.
        for _ in 0..3 {
            let again = MappedFile::open(&whole).unwrap();
            assert_eq!(*again, *bytes(4 * PAGE));
            again.check().unwrap();
        }
    }

    #[test]
    fn files_open_and_close_while_another_is_read_and_cut() {
        let (_folder, path) = file(4 * PAGE);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        assert_eq!(MappedFile::open(&path).unwrap()[PAGE], bytes(PAGE + 1)[PAGE]);
                    }
                });
            }
            for _ in 0..100 {
                let (_folder, cut) = file(2 * PAGE);
                let map = MappedFile::open(&cut).unwrap();
                truncate(&cut, 0);
                assert_eq!(map[PAGE], 0);
                assert!(map.fault());
            }
        });
    }

    #[test]
    fn a_fault_outside_our_maps_still_ends_the_process() {
        let (_folder, ours) = file(PAGE);
        let _watched = MappedFile::open(&ours).unwrap();
        let (_folder, theirs) = file(PAGE);
        let file = File::open(&theirs).unwrap();
        // SAFETY: only the child reads it after the cut, and is meant to die of that.
        #[allow(unsafe_code)]
        let unwatched = unsafe { memmap2::Mmap::map(&file) }.unwrap();
        truncate(&theirs, 0);

        // SAFETY: the child does nothing but read a byte and end: no lock, no allocation.
        #[allow(unsafe_code)]
        let child = unsafe { libc::fork() };
        if child == 0 {
            let byte = std::hint::black_box(unwatched[0]);
            // SAFETY: always is.
            #[allow(unsafe_code)]
            unsafe {
                libc::_exit(i32::from(byte))
            }
        }
        assert!(child > 0, "{}", std::io::Error::last_os_error());
        let mut status = 0;
        // SAFETY: `status` is an integer of the kind it writes.
        #[allow(unsafe_code)]
        let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!(waited, child);
        assert!(libc::WIFSIGNALED(status), "the child lived: {status:#x}");
        assert_eq!(libc::WTERMSIG(status), libc::SIGBUS);
    }
}
