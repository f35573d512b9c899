//! What the system tells about the machine and about this process: for those who measure.
//!
//! In go the files under `/proc` and `/sys`; out come the CPU's name and features, caches, memory, clock, heat, energy,
//! and what else was running. Everything is optional: what a system does not tell is `None`, never a guess. Other
//! systems than Linux tell nothing here.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub(crate) mod clock;
mod cpu;
mod energy;
pub(crate) mod heat;
mod load;
pub(crate) mod memory;
mod process;
mod watch;

pub use clock::governor;
pub use cpu::Cpu;
pub use energy::Meter;
pub use memory::{available_memory, last_level_cache};
pub use process::{Memory, reset_peak};
pub use watch::{Observation, Watch};

/// Files and folders of the system that this crate may read in a program that runs: for those who allow nothing else. What a module
/// here begins to read has to lie below one of these.
pub const READS: [&str; 11] = [
    // Memory, and what else was running. Of processes this one alone.
    "/proc/self",
    "/proc/stat",
    "/proc/meminfo",
    "/proc/cpuinfo",
    // Cores, clocks, heat, and what board it is: links below `/sys/class` and `/proc/device-tree` lead there.
    "/sys/devices",
    "/sys/class",
    "/sys/firmware/devicetree",
    // How much of the memory and the cores is ours.
    "/sys/fs/cgroup",
    // What time it is here, for chat templates.
    "/etc/localtime",
    "/etc/timezone",
    "/usr/share/zoneinfo",
];

/// Where the files are: `/`, or for tests a folder that looks like it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Root(PathBuf);

impl Default for Root {
    fn default() -> Self {
        Self("/".into())
    }
}

impl Root {
    /// A folder that looks like `/`.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// Where a file or folder is.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.0.join(path)
    }

    /// A file's text without blanks around it; `None` where it is not, or is not ours to read.
    pub fn text(&self, path: impl AsRef<Path>) -> Option<String> {
        let text = fs::read_to_string(self.0.join(path)).ok()?;
        // Device trees end their texts with a zero.
        Some(text.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned())
    }

    /// A file that holds one number.
    pub fn number<T: FromStr>(&self, path: impl AsRef<Path>) -> Option<T> {
        self.text(path)?.parse().ok()
    }

    /// What a folder holds that begins with `prefix`, in order.
    pub fn entries(&self, folder: &str, prefix: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.0.join(folder)) else { return Vec::new() };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut paths: Vec<_> =
            names.filter(|name| name.starts_with(prefix)).map(|name| format!("{folder}/{name}")).collect();
        paths.sort();
        paths
    }

    /// The folders of the CPUs: `sys/devices/system/cpu/cpu0` and so on.
    pub fn cpus(&self) -> Vec<String> {
        let mut paths = self.entries("sys/devices/system/cpu", "cpu");
        // Beside them there are `cpufreq` and `cpuidle`.
        paths.retain(|path| path.ends_with(|c: char| c.is_ascii_digit()));
        paths
    }
}

/// The value after `name` and a colon, in texts such as `/proc/meminfo`.
pub(crate) fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

/// A value such as `2188 kB`, in bytes.
pub(crate) fn kibibytes(value: &str) -> Option<u64> {
    value.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
pub(crate) mod tree;
