//! What is known of a kind of board, as data: a file each beside this one. To add a board, add its file and a line in `ALL`.

use stonechat_kernels::LevelName;

use super::{raspberry_pi_4, raspberry_pi_5, raspberry_pi_zero_2w, rock_5b};
use crate::engine::Threads;

/// Boards of one kind.
#[derive(Debug, PartialEq)]
pub struct Profile {
    /// The name, which is also that of the folder in `targets` and of the package: `raspberry-pi-5`.
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// How device trees name boards of this kind, the exact names first.
    pub compatible: &'static [&'static str],
    /// The chip.
    pub chip: &'static str,
    /// The kinds of cores, the fastest first.
    pub clusters: &'static [Cluster],
    /// The strongest level that all of them have.
    pub level: LevelName,
    /// How many threads work.
    pub threads: Threads,
    /// Why so many.
    pub threads_reason: &'static str,
    /// Bytes of the kernel's memory that are left to the system and its services.
    pub kept: u64,
    /// The sizes of pages that kernels for it use, in KiB.
    pub pages: &'static [u64],
    /// From this temperature on, in °C, it slows itself down.
    pub slows_at: f64,
    /// The highest temperature that it lets itself reach, in °C.
    pub hottest: f64,
    /// The model that is at home on it, by name, and a context that it has room for.
    pub model: (&'static str, usize),
    /// What of all this was measured, by whom, and what was not.
    pub measured: &'static str,
}

/// Cores of one kind.
#[derive(Debug, PartialEq, Eq)]
pub struct Cluster {
    /// How many.
    pub cores: usize,
    /// What they are: `Cortex-A76`.
    pub kind: &'static str,
    /// How fast they are clocked at most, in MHz.
    pub megahertz: u64,
}

impl Profile {
    /// All that there are.
    pub const ALL: [&Self; 4] = [
        &raspberry_pi_zero_2w::PROFILE,
        &raspberry_pi_4::PROFILE,
        &raspberry_pi_5::PROFILE,
        &rock_5b::PROFILE,
    ];

    /// The one of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::ALL.into_iter().find(|profile| profile.name == name)
    }

    /// The one for a board with these names, the exact one first, or else with this title.
    pub(super) fn of(compatible: &[String], title: Option<&str>) -> Option<&'static Self> {
        let by_name = compatible.iter().find_map(|name| {
            Self::ALL.into_iter().find(|profile| profile.compatible.contains(&name.as_str()))
        });
        // What some tools of virtual machines and containers leave of a device tree is the title alone.
        by_name.or_else(|| {
            let title = title?;
            Self::ALL.into_iter().find(|profile| compatible.is_empty() && title.starts_with(profile.title))
        })
    }
}
