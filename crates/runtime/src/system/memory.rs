//! How much memory there is to take, and how large the largest cache is.

use super::{Root, field, kibibytes};

/// Bytes that this process could use without pushing others out: free memory and caches that can be dropped, or
/// less where its control group allows less.
pub fn available_memory() -> Option<u64> {
    available(&Root::default())
}

/// See [`available_memory`].
pub fn available(root: &Root) -> Option<u64> {
    let info = root.text("proc/meminfo")?;
    let machine = field(&info, "MemAvailable").and_then(kibibytes)?;
    Some(group_left(root).map_or(machine, |group| group.min(machine)))
}

/// Bytes of memory that the kernel has to give: less than what is soldered on, because firmware, graphics and the kernel
/// itself take their part first.
pub fn total(root: &Root) -> Option<u64> {
    field(&root.text("proc/meminfo")?, "MemTotal").and_then(kibibytes)
}

/// Bytes of a page of this process's maps.
pub fn page(root: &Root) -> Option<u64> {
    field(&root.text("proc/self/smaps")?, "KernelPageSize").and_then(kibibytes)
}

/// What the control groups of version 2 that this process is in leave it: no group says "max" all the way up.
pub fn group_left(root: &Root) -> Option<u64> {
    let groups = root.text("proc/self/cgroup")?;
    let mut path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?.to_owned();
    let mut least = None;
    loop {
        let folder = format!("sys/fs/cgroup/{path}");
        if let Some(most) = root.number::<u64>(format!("{folder}/memory.max")) {
            // What the group holds of files can be dropped.
            let used = root.number::<u64>(format!("{folder}/memory.current")).unwrap_or(0);
            let stat = root.text(format!("{folder}/memory.stat")).unwrap_or_default();
            let files = stat.lines().find_map(|line| line.strip_prefix("file ")?.parse().ok()).unwrap_or(0);
            let left = most.saturating_sub(used.saturating_sub(files));
            least = Some(least.map_or(left, |least: u64| least.min(left)));
        }
        if path.is_empty() {
            return least;
        }
        path.truncate(path.rfind('/').unwrap_or(0));
    }
}

/// Bytes of the largest cache that a CPU can reach.
pub fn last_level_cache() -> Option<u64> {
    largest_cache(&Root::default())
}

fn largest_cache(root: &Root) -> Option<u64> {
    let caches = root.cpus().into_iter().flat_map(|cpu| root.entries(&format!("{cpu}/cache"), "index"));
    caches
        .filter_map(|cache| {
            let size = root.text(format!("{cache}/size"))?;
            size.strip_suffix('K')?.parse::<u64>().ok()?.checked_mul(1024)
        })
        .max()
}

#[cfg(test)]
mod tests {
    use super::super::tree::{put, tree};
    use super::*;

    const INFO: (&str, &str) =
        ("proc/meminfo", "MemTotal:       24000000 kB\nMemAvailable:    1000000 kB\nSwapFree: 0 kB\n");

    #[test]
    fn what_can_be_dropped_is_available() {
        let (_folder, root) = tree(&[INFO]);
        assert_eq!((available(&root), total(&root)), (Some(1_024_000_000), Some(24_576_000_000)));
    }

    #[test]
    fn a_page_has_the_size_that_the_kernel_maps_with() {
        let smaps = "400000-420000 r-xp 00000000 b3:02 1 /usr/bin/stonechat\nSize:  128 kB\nKernelPageSize:       16 kB\n";
        let (_folder, root) = tree(&[("proc/self/smaps", smaps)]);
        assert_eq!(page(&root), Some(16 << 10));
        #[cfg(target_os = "linux")]
        assert!(page(&Root::default()).is_some_and(|bytes| bytes >= 4096));
    }

    #[test]
    fn the_tightest_control_group_limits_it() {
        let (folder, root) = tree(&[
            INFO,
            ("proc/self/cgroup", "1:cpu:/\n0::/outer/inner\n"),
            ("sys/fs/cgroup/outer/inner/memory.max", "max\n"),
            ("sys/fs/cgroup/outer/memory.max", "500000000\n"),
            ("sys/fs/cgroup/outer/memory.current", "300000000\n"),
            ("sys/fs/cgroup/outer/memory.stat", "anon 200000000\nfile 100000000\n"),
        ]);
        assert_eq!(available(&root), Some(300_000_000));
        put(&folder, &[("sys/fs/cgroup/outer/inner/memory.max", "1000\n")]);
        assert_eq!(available(&root), Some(1000));
    }

    #[test]
    fn the_largest_cache_is_the_last() {
        let cache = "sys/devices/system/cpu/cpu0/cache";
        let (_folder, root) = tree(&[
            (&format!("{cache}/index0/size"), "32K\n"),
            (&format!("{cache}/index2/size"), "1024K\n"),
            (&format!("{cache}/index3/size"), "32768K\n"),
        ]);
        assert_eq!(largest_cache(&root), Some(32 << 20));
    }
}
