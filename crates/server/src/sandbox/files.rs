//! Which files can be opened, and that no connection can be made: Landlock.
//!
//! In: folders. Out: a process that opens nothing but files below them, to be read, and below what the runtime reads of the system.

use std::path::{Path, PathBuf};
use std::time::Duration;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, PathFd, RestrictSelfAttr,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use stonechat_runtime::system;

/// The rights that are taken away are those of this version of Landlock, which the tests have run with. An older kernel takes what it
/// knows of them; a newer one takes no more, because what is not yet tried here could be what a supervisor or a system
/// library needs. Before this number is raised, `cargo test` has to pass on a kernel that has the new one.
const KNOWN: ABI = ABI::V7;

/// How long threads that have ended may take to be gone.
const THREADS_END: Duration = Duration::from_millis(100);

/// That it holds.
#[derive(Debug)]
pub struct Held {
    abi: i32,
    /// Files of `/proc` that may be read. A rule is about a file as the kernel has it in memory, and those of `/proc` are made
    /// anew when memory was short: as long as they are open they stay the same, and the rules hold.
    _open: Vec<PathFd>,
}

impl Held {
    /// The version of Landlock that the kernel has: from 4 on no TCP connection can be made and no port be listened at, from 6 on
    /// no signal be sent to other processes.
    pub const fn abi(&self) -> i32 {
        self.abi
    }
}

/// Restricts the process to reading below these folders, or says why that cannot be.
pub fn restrict(folders: &[PathBuf]) -> Result<Held, String> {
    let mut open = Vec::new();
    let status = rules(folders, &mut open)
        .and_then(|rules| rules.all_threads(true))
        .and_then(RulesetCreated::restrict_self)
        .map_err(|error| format!("Landlock cannot be used: {error}"))?;
    let abi = match status.landlock {
        LandlockStatus::NotImplemented => return Err("the kernel has no Landlock".into()),
        LandlockStatus::NotEnabled => {
            return Err("the kernel's Landlock is switched off; add landlock to its parameter lsm=".into());
        }
        LandlockStatus::Available { effective_abi, kernel_abi } => kernel_abi.unwrap_or(effective_abi as i32),
    };
    if status.ruleset == RulesetStatus::NotEnforced {
        return Err("Landlock does not hold".into());
    }
    let others = if status.all_threads { 0 } else { other_threads() };
    if others > 0 {
        return Err(format!("Landlock does not hold for {others} threads that ran before"));
    }
    Ok(Held { abi, _open: open })
}

fn rules(folders: &[PathBuf], open: &mut Vec<PathFd>) -> Result<RulesetCreated, RulesetError> {
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        // Nothing is allowed of these: the one port is listened at already.
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(scope())?
        .create()?;
    for folder in folders {
        // What is not there needs no rule.
        if let Ok(folder) = PathFd::new(folder) {
            rules = rules.add_rule(PathBeneath::new(folder, AccessFs::ReadFile))?;
        }
    }
    for path in system::READS.map(Path::new) {
        let Ok(file) = PathFd::new(path) else { continue };
        let mut rights: BitFlags<AccessFs> = AccessFs::ReadFile.into();
        if path.is_dir() {
            rights |= AccessFs::ReadDir;
        }
        rules = rules.add_rule(PathBeneath::new(&file, rights))?;
        if path.starts_with("/proc") {
            open.push(file);
        }
    }
    Ok(rules)
}

/// Which other processes cannot be reached: none with a signal, and none at a socket with a name that is in no folder, unless the
/// supervisor listens there.
fn scope() -> BitFlags<Scope> {
    let supervisor = std::env::var_os("NOTIFY_SOCKET");
    if supervisor.is_some_and(|name| name.as_encoded_bytes().starts_with(b"@")) {
        Scope::Signal.into()
    } else {
        Scope::from_all(KNOWN)
    }
}

/// Threads beside this one. One that was waited for may be seen for a moment longer.
fn other_threads() -> usize {
    let count = || std::fs::read_dir("/proc/self/task").map_or(0, |tasks| tasks.count().saturating_sub(1));
    let begun = std::time::Instant::now();
    loop {
        let others = count();
        if others == 0 || begun.elapsed() > THREADS_END {
            return others;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
