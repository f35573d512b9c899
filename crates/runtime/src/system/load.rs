//! How much CPU time the whole machine used, and how much of it was this process's.

use super::Root;

/// CPU time since the start of machine and process, in the kernel's ticks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CpuTime {
    /// All that ran on all CPUs; where a hypervisor lent a CPU to somebody else, that too.
    machine: u64,
    /// This process, all its threads.
    own: u64,
}

/// Ticks in a second: fixed by Linux's interface to programs (`USER_HZ`) on x86 and ARM.
const TICKS: f64 = 100.0;

impl CpuTime {
    pub fn read(root: &Root) -> Option<Self> {
        Some(Self { machine: machine(&root.text("proc/stat")?)?, own: own(&root.text("proc/self/stat")?)? })
    }

    /// Seconds of CPU time that others took since `before`.
    pub fn others_since(&self, before: &Self) -> f64 {
        let machine = self.machine.saturating_sub(before.machine);
        let own = self.own.saturating_sub(before.own);
        machine.saturating_sub(own) as f64 / TICKS
    }
}

/// The line `cpu` of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal; guests count as user.
fn machine(stat: &str) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks = line.split_whitespace().map(|word| word.parse().ok()).collect::<Option<Vec<u64>>>()?;
    let (idle, busy) = ([3, 4], 0..8);
    Some(busy.filter(|n| !idle.contains(n)).filter_map(|n| ticks.get(n)).sum())
}

/// Fields 14 and 15 of `/proc/self/stat`: user and system time.
fn own(stat: &str) -> Option<u64> {
    Some(field(stat, 14)? + field(stat, 15)?)
}

/// A numbered field of `/proc/self/stat`. The second is the program's name in brackets, which may hold anything.
pub fn field(stat: &str, number: usize) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(number - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  94563 3255 19937 55394 1541 1 138 62 7 0\ncpu0 44861 1672 8016 32412 423 0 36 27 0 0\nintr 1203503 0\n";
    const SELF: &str =
        "3402 (a) b) R 3386 3386 15758 0 -1 4194304 100 0 9 0 250 50 0 0 20 0 1 0 87935 3133440 389\n";

    #[test]
    fn busy_time_leaves_idle_and_waiting_out_and_takes_stolen_time_in() {
        assert_eq!(machine(STAT), Some(94563 + 3255 + 19937 + 1 + 138 + 62));
        assert_eq!(machine("cpu  1 2 3 4\n"), Some(1 + 2 + 3));
        assert_eq!(machine("nothing"), None);
    }

    #[test]
    fn own_time_is_found_behind_a_name_with_brackets() {
        assert_eq!(own(SELF), Some(300));
        assert_eq!(field(SELF, 12), Some(9));
    }

    #[test]
    fn others_took_what_was_not_ours() {
        let before = CpuTime { machine: 1000, own: 100 };
        let now = CpuTime { machine: 1500, own: 450 };
        assert_eq!(now.others_since(&before), 1.5);
        // Ticks of process and machine are not counted at the same instants.
        assert_eq!(CpuTime { machine: 1010, own: 111 }.others_since(&before), 0.0);
    }
}
