//! What this process holds in memory, and what it had to fetch from the disk.

use std::fs;

use super::{Root, field, kibibytes, load};

/// Memory of this process, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Memory {
    /// The most that was resident at once, mapped files included.
    pub peak: Option<u64>,
    /// Resident now and its own: the arena, stacks, the heap.
    pub anonymous: Option<u64>,
    /// Resident now and a file's: the model, as far as it was read.
    pub file: Option<u64>,
}

impl Memory {
    /// Asks the system.
    pub fn now() -> Self {
        Self::read(&Root::default())
    }

    fn read(root: &Root) -> Self {
        let status = root.text("proc/self/status").unwrap_or_default();
        let bytes = |name| field(&status, name).and_then(kibibytes);
        Self { peak: bytes("VmHWM"), anonymous: bytes("RssAnon"), file: bytes("RssFile") }
    }
}

/// Lets [`Memory::peak`] begin anew, where the system can: whether it did.
pub fn reset_peak() -> bool {
    // Linux, Documentation/filesystems/proc.rst: "5" resets the peak resident set size.
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// Pages that had to come from the disk since the process began.
pub fn major_faults(root: &Root) -> Option<u64> {
    load::field(&root.text("proc/self/stat")?, 12)
}

#[cfg(test)]
mod tests {
    use super::super::tree::tree;
    use super::*;

    #[test]
    fn the_kinds_of_memory_are_told_apart() {
        let status = "Name:\tstonechat\nVmHWM:\t    2188 kB\nVmRSS:\t    2188 kB\nRssAnon:\t     144 kB\nRssFile:\t    2044 kB\n";
        let (_folder, root) = tree(&[("proc/self/status", status)]);
        assert_eq!(
            Memory::read(&root),
            Memory { peak: Some(2188 << 10), anonymous: Some(144 << 10), file: Some(2044 << 10) }
        );
    }

    #[test]
    fn faults_that_went_to_the_disk_are_counted() {
        let stat = "1 (stonechat) R 1 1 1 0 -1 4194304 100 0 9 0 250 50 0 0 20 0 1 0 87935 3133440 389";
        let (_folder, root) = tree(&[("proc/self/stat", stat)]);
        assert_eq!(major_faults(&root), Some(9));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_holds_something() {
        let now = Memory::now();
        assert!(now.peak.unwrap() > 0 && now.anonymous.unwrap() > 0 && now.file.unwrap() > 0);
    }
}
