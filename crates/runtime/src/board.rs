//! The board: which one this is, and what works well on it.
//!
//! In: what Linux tells under `/proc` and `/sys`, of this machine or in a copy of another's. Out: a [`Board`], with its
//! [`Profile`] where it is one of those that are known by their device tree; how many threads work ([`Board::threads`], the one
//! place that decides it); how much memory a model may take, and whether one fits ([`Board::check`]).
//!
//! Nothing here changes a result: a profile is advice about speed, and about memory before it is spent.

use std::path::Path;

use stonechat_core::{Model, Plan};
use stonechat_kernels::LevelName;

use crate::engine::Threads;
use crate::pool;
use crate::system::{Cpu, Root, clock, heat, memory};

mod profile;
mod raspberry_pi_4;
mod raspberry_pi_5;
mod raspberry_pi_zero_2w;
mod rock_5b;
#[cfg(test)]
mod tests;

pub use profile::{Cluster, Profile};

/// What a process takes beside the file that it maps and the arena: the program, its stacks, its heap.
pub const BESIDE: u64 = 8 << 20;

/// A machine as far as it is known. What the system does not tell is `None`.
#[derive(Clone, Debug)]
pub struct Board {
    /// Its name, by the device tree or the firmware: `Raspberry Pi 5 Model B Rev 1.0`.
    pub name: Option<String>,
    /// What the device tree calls it, the exact name first: `raspberrypi,5-model-b`, `brcm,bcm2712`. Empty without one.
    pub compatible: Vec<String>,
    /// What is known of boards of this kind.
    pub profile: Option<&'static Profile>,
    root: Root,
}

/// A model that does not fit, and what would.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TooLarge {
    /// The bytes of the file.
    pub file: u64,
    /// The bytes of the arena.
    pub arena: u64,
    /// The bytes that the board leaves for a model, its arena and the program.
    pub room: u64,
    /// The longest context with which the model fits, and a batch, if there are any worth having.
    pub fits: Option<(usize, usize)>,
    /// The board, where it is one that is known.
    pub profile: Option<&'static Profile>,
}

/// A context shorter than this holds no conversation.
const SHORTEST: usize = 128;

impl Board {
    /// This machine.
    pub fn detect() -> Self {
        Self::read(Root::default())
    }

    /// The machine whose `/proc` and `/sys` were copied into a folder.
    pub fn in_copy(folder: &Path) -> Self {
        Self::read(Root::at(folder))
    }

    fn read(root: Root) -> Self {
        let tree = |name: &str| {
            let text = root.text(format!("proc/device-tree/{name}"));
            text.or_else(|| root.text(format!("sys/firmware/devicetree/base/{name}")))
        };
        // A list of texts, each of which ends with a zero.
        let compatible: Vec<String> = tree("compatible").map_or_else(Vec::new, |list| {
            list.split('\0').filter(|text| !text.is_empty()).map(str::to_owned).collect()
        });
        let name = tree("model").or_else(|| {
            let dmi = |name| root.text(format!("sys/class/dmi/id/{name}")).filter(|text| !text.is_empty());
            Some(format!("{} {}", dmi("sys_vendor")?, dmi("product_name")?))
        });
        let profile = Profile::of(&compatible, name.as_deref());
        Self { name, compatible, profile, root }
    }

    /// How many threads work best: as many as the profile says, or else one for each physical core that is fast enough; in
    /// either case no more than there are `cores` of these.
    pub fn threads(&self, cores: usize) -> Threads {
        match self.profile {
            Some(profile) => {
                let Threads { token, batch } = profile.threads;
                Threads { token: token.min(cores), batch: batch.min(cores) }
            }
            None => Threads { token: cores, batch: cores },
        }
    }

    /// The physical cores that are worth having: those of this machine that the process may use, or in a copy those that its
    /// kernel lists.
    pub fn cores(&self) -> usize {
        if self.is_here() {
            return pool::default_threads();
        }
        pool::cores_in(&self.root).or_else(|| self.cpu().count).unwrap_or(1)
    }

    /// Whether this is the machine that the program runs on.
    pub fn is_here(&self) -> bool {
        self.root == Root::default()
    }

    /// Its CPU.
    pub fn cpu(&self) -> Cpu {
        Cpu::read(&self.root)
    }

    /// The fastest clock of its CPUs in MHz.
    pub fn megahertz(&self) -> Option<u64> {
        clock::highest(&self.root).into_iter().max().map(|khz| khz / 1000)
    }

    /// The strongest level of ARM's that the kernel's list of features allows; `None` on other CPUs.
    pub fn arm_level(&self) -> Option<LevelName> {
        let features = self.cpu().features?;
        let has = |name| features.split(' ').any(|feature| feature == name);
        match (has("asimd"), has("asimddp"), has("i8mm")) {
            (true, true, true) => Some(LevelName::I8mm),
            (true, true, false) => Some(LevelName::Dotprod),
            (true, false, _) => Some(LevelName::Neon),
            (false, ..) => None,
        }
    }

    /// The bytes of memory that its kernel has to give.
    pub fn memory(&self) -> Option<u64> {
        memory::total(&self.root)
    }

    /// The bytes that this process could use now without pushing others out.
    pub fn available(&self) -> Option<u64> {
        memory::available(&self.root)
    }

    /// The bytes that a model, its arena and the program may take: on a board with a profile what the system does not need
    /// for itself, elsewhere what is free now; in either case no more than the control groups allow.
    pub fn room(&self) -> Option<u64> {
        let Some(profile) = self.profile else { return self.available() };
        let room = self.memory()?.saturating_sub(profile.kept);
        Some(memory::group_left(&self.root).map_or(room, |group| group.min(room)))
    }

    /// The bytes of a page.
    pub fn page(&self) -> Option<u64> {
        memory::page(&self.root)
    }

    /// How warm the CPU is, in °C.
    pub fn temperature(&self) -> Option<f64> {
        heat::temperature(&self.root)
    }

    /// From how many °C on the CPU is slowed down: as the profile says, or else the kernel.
    pub fn slows_at(&self) -> Option<f64> {
        self.profile.map(|profile| profile.slows_at).or_else(|| heat::slows_at(&self.root))
    }

    /// What stands in the way of a good speed, each in one sentence that says what to do. `level` is the one in use.
    pub fn hindrances(&self, level: LevelName) -> Vec<String> {
        let mut found = Vec::new();
        if let Some(profile) = self.profile {
            let expected = profile.level;
            if cfg!(target_arch = "arm") && self.is_here() {
                found.push(format!(
                    "this program is for 32 bits, where it computes without vectors; the {} has level {expected} with a system \
                     and a program for 64 bits (aarch64)",
                    profile.title
                ));
            } else if level != expected {
                found.push(format!(
                    "the level is {level}, but boards of this kind have {expected}; ask without --cpu, or look whether the \
                     system hides features of the CPU"
                ));
            }
        }
        if heat::Throttling::read(&self.root).under_voltage() {
            found.push(
                "the supply voltage has been too low since the start, which slows the board down; use a stronger power supply"
                    .into(),
            );
        }
        if let Some((now, limit)) = self.temperature().zip(self.slows_at())
            && now >= limit
        {
            found.push(format!(
                "the CPU has {now:.0} °C and is slowed down from {limit:.0} °C on; give it a heat sink or a fan"
            ));
        }
        if let Some(governor) = clock::governor_in(&self.root).filter(|names| names.contains("powersave")) {
            found.push(format!(
                "the frequency governor is {governor}, which keeps the clock low; ondemand or performance is faster"
            ));
        }
        found
    }

    /// Whether a model with this plan fits, its file as a whole in memory; `file` is the file's size. Where the memory is not
    /// known, everything does.
    pub fn check(&self, file: u64, model: &Model<'_>, plan: &Plan) -> Result<(), TooLarge> {
        let Some(room) = self.room() else { return Ok(()) };
        let arena = plan.bytes() as u64;
        if file.saturating_add(arena).saturating_add(BESIDE) <= room {
            return Ok(());
        }
        let left = room.saturating_sub(file.saturating_add(BESIDE));
        let shorter = Plan::fit(model, *plan.limits(), usize::try_from(left).unwrap_or(usize::MAX));
        let fits = shorter.ok().map(|plan| (plan.limits().context, plan.limits().batch));
        let fits = fits.filter(|(context, _)| *context >= SHORTEST);
        Err(TooLarge { file, arena, room, fits, profile: self.profile })
    }
}

impl TooLarge {
    /// The bytes that the board is short of.
    pub fn missing(&self) -> u64 {
        self.file.saturating_add(self.arena).saturating_add(BESIDE).saturating_sub(self.room)
    }
}

impl std::fmt::Display for TooLarge {
    /// By how much, and what would fit.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mib = |bytes: u64| bytes as f64 / 1_048_576.0;
        write!(
            f,
            "needs {:.1} MiB ({:.1} for the file, {:.1} for the arena, {:.0} for the program), {:.1} MiB more than the {:.1} MiB \
             that {} has for it; ",
            mib(self.missing() + self.room),
            mib(self.file),
            mib(self.arena),
            mib(BESIDE),
            mib(self.missing()),
            mib(self.room),
            self.profile
                .map_or_else(|| "this machine".to_owned(), |profile| format!("the {}", profile.title))
        )?;
        match (self.fits, self.profile.map(|profile| profile.model)) {
            (Some((context, batch)), _) => {
                write!(f, "it fits with {context} tokens of context, read {batch} at a time")
            }
            (None, Some((name, context))) => write!(f, "{name} fits, with {context} tokens of context"),
            (None, None) => f.write_str("take a smaller model"),
        }
    }
}
