//! What the kernel tells of the cores: which CPUs share one, and how fast each is.
//!
//! In: a tree like `/sys/devices/system/cpu`, and the CPUs that this process may use. Out: how many threads are worth
//! having, and where to keep them. Only Linux tells; elsewhere nothing is known, and threads go where they like.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use crate::system::Root;

/// A CPU that this process may use.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Cpu {
    number: u16,
    /// All CPUs of its core, as the kernel writes them.
    core: String,
    /// How fast it is, the fastest of the machine being 1024; the same for all where the kernel does not tell.
    capacity: u32,
}

/// The CPUs that this process may use, the fastest first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Cores(Vec<Cpu>);

/// A core slower than this share of the fastest is one of the small ones of a big.LITTLE machine: it takes so little
/// of the work that the others wait for it.
const SMALL: [u32; 2] = [1, 2];

impl Cores {
    /// Those of this machine, where the kernel tells.
    pub fn of_this_machine() -> Option<Self> {
        if !cfg!(any(target_os = "linux", target_os = "android")) {
            return None;
        }
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
        Self::read(Path::new("/sys/devices/system/cpu"), list)
    }

    /// Those of the machine whose files these are, all of them.
    pub fn of(root: &Root) -> Option<Self> {
        Self::read(&root.path("sys/devices/system/cpu"), &root.text("sys/devices/system/cpu/online")?)
    }

    /// Those in the tree `cpus`, of which `allowed` (such as `0-3,8`) may be used.
    fn read(cpus: &Path, allowed: &str) -> Option<Self> {
        let mut all = numbers(allowed)?
            .into_iter()
            .map(|number| {
                let folder = cpus.join(format!("cpu{number}"));
                let core = fs::read_to_string(folder.join("topology/core_cpus_list"))
                    // Its name before Linux 5.1.
                    .or_else(|_| fs::read_to_string(folder.join("topology/thread_siblings_list")))
                    .ok()?;
                let capacity = fs::read_to_string(folder.join("cpu_capacity")).ok();
                let capacity = capacity.and_then(|text| text.trim().parse().ok()).unwrap_or(1024);
                Some(Cpu { number, core, capacity })
            })
            .collect::<Option<Vec<_>>>()?;
        all.sort_by_key(|cpu| std::cmp::Reverse(cpu.capacity));
        Some(Self(all))
    }

    /// The number of physical cores, small ones beside big ones left out.
    pub fn worth_using(&self) -> usize {
        let most = self.0.first().map_or(0, |cpu| cpu.capacity);
        let big = self.0.iter().filter(|cpu| cpu.capacity * SMALL[1] >= most * SMALL[0]);
        big.map(|cpu| &cpu.core).collect::<HashSet<_>>().len()
    }

    /// The CPUs to keep `threads` threads on: as many as there are threads, and all that are as fast as the slowest of
    /// them. Nothing where that is every CPU: then there is nothing to choose.
    pub fn fastest(&self, threads: usize) -> Option<Vec<u16>> {
        let slowest = self.0.get(threads.checked_sub(1)?)?.capacity;
        let chosen: Vec<_> =
            self.0.iter().filter(|cpu| cpu.capacity >= slowest).map(|cpu| cpu.number).collect();
        (chosen.len() < self.0.len()).then_some(chosen)
    }
}

/// The numbers in a list such as `0-3,8`.
fn numbers(list: &str) -> Option<Vec<u16>> {
    let mut numbers = Vec::new();
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        numbers.extend(first.parse::<u16>().ok()?..=last.parse().ok()?);
    }
    Some(numbers)
}

/// Keeps the calling thread on these CPUs. Only speed depends on it: where the system refuses, the thread goes where
/// it likes.
pub(super) fn stay_on(cpus: &[u16]) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let mut set = rustix::thread::CpuSet::new();
        let most = rustix::thread::CpuSet::MAX_CPU;
        cpus.iter().map(|cpu| usize::from(*cpu)).filter(|cpu| *cpu < most).for_each(|cpu| set.set(cpu));
        let _ = rustix::thread::sched_setaffinity(None, &set);
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = cpus;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree as the kernel has it: for each CPU its core's list and, where it is told, its capacity.
    fn tree(cpus: &[(&str, Option<u32>)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (number, (core, capacity)) in cpus.iter().enumerate() {
            let folder = root.path().join(format!("cpu{number}"));
            fs::create_dir_all(folder.join("topology")).unwrap();
            fs::write(folder.join("topology/core_cpus_list"), format!("{core}\n")).unwrap();
            if let Some(capacity) = capacity {
                fs::write(folder.join("cpu_capacity"), format!("{capacity}\n")).unwrap();
            }
        }
        root
    }

    fn read(cpus: &[(&str, Option<u32>)], allowed: &str) -> Cores {
        Cores::read(tree(cpus).path(), allowed).unwrap()
    }

    #[test]
    fn a_big_little_machine_is_used_on_its_big_cores() {
        // An RK3588: four A55, then four A76 in two clusters of which one is a little slower.
        let cpus = [
            ("0", Some(530)),
            ("1", Some(530)),
            ("2", Some(530)),
            ("3", Some(530)),
            ("4", Some(1024)),
            ("5", Some(1024)),
            ("6", Some(1005)),
            ("7", Some(1005)),
        ];
        let slow: Vec<_> =
            cpus.map(|(core, capacity)| (core, capacity.map(|c| if c == 530 { 414 } else { c }))).into();
        let cores = read(&slow, "0-7");
        assert_eq!(cores.worth_using(), 4);
        assert_eq!(cores.fastest(1), Some(vec![4, 5]));
        assert_eq!(cores.fastest(2), Some(vec![4, 5]));
        assert_eq!(cores.fastest(3), Some(vec![4, 5, 6, 7]));
        assert_eq!(cores.fastest(4), Some(vec![4, 5, 6, 7]));
        assert_eq!(cores.fastest(5), None);
        // Cores of half the speed and more are worth having.
        assert_eq!(read(&cpus, "0-7").worth_using(), 8);
    }

    #[test]
    fn what_this_process_may_not_use_is_not_chosen() {
        let cpus = [("0", Some(400)), ("1", Some(400)), ("2", Some(1024)), ("3", Some(1024))];
        let cores = read(&cpus, "0-2");
        assert_eq!((cores.worth_using(), cores.fastest(1)), (1, Some(vec![2])));
        let cores = read(&cpus, "0-1");
        assert_eq!((cores.worth_using(), cores.fastest(1)), (2, None));
    }

    #[test]
    fn two_threads_of_a_core_count_as_one() {
        let cpus = [("0,2", None), ("1,3", None), ("0,2", None), ("1,3", None)];
        let cores = read(&cpus, "0-3");
        assert_eq!((cores.worth_using(), cores.fastest(1), cores.fastest(9)), (2, None, None));
    }

    #[test]
    fn where_the_kernel_does_not_tell_nothing_is_known() {
        assert_eq!(Cores::read(Path::new("/nowhere"), "0-3"), None);
        assert_eq!(Cores::read(tree(&[("0", None)]).path(), "0-x"), None);
    }

    #[test]
    fn lists_are_read_as_the_kernel_writes_them() {
        assert_eq!(numbers("\t0-3,8\n"), Some(vec![0, 1, 2, 3, 8]));
        assert_eq!(numbers("5"), Some(vec![5]));
        assert_eq!(numbers(""), None);
        assert_eq!(numbers("0-x"), None);
    }
}
