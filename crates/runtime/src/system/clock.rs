//! How fast the CPUs are clocked, and who decides.

use super::Root;

/// The names of the frequency governors in use, with commas between them: `schedutil`.
pub fn governor() -> Option<String> {
    governor_in(&Root::default())
}

/// See [`governor`].
pub fn governor_in(root: &Root) -> Option<String> {
    let mut names: Vec<_> =
        root.cpus().iter().filter_map(|cpu| root.text(format!("{cpu}/cpufreq/scaling_governor"))).collect();
    names.sort();
    names.dedup();
    (!names.is_empty()).then(|| names.join(","))
}

/// The frequency of each CPU in kHz, where the system tells.
pub fn frequencies(root: &Root) -> Vec<u64> {
    root.cpus().iter().filter_map(|cpu| root.number(format!("{cpu}/cpufreq/scaling_cur_freq"))).collect()
}

/// The highest frequency that each CPU can have, in kHz, where the system tells.
pub fn highest(root: &Root) -> Vec<u64> {
    root.cpus().iter().filter_map(|cpu| root.number(format!("{cpu}/cpufreq/cpuinfo_max_freq"))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tree::tree;
    use super::*;

    #[test]
    fn each_cpu_has_a_governor_and_a_frequency() {
        let cpu = "sys/devices/system/cpu";
        let (_folder, root) = tree(&[
            (&format!("{cpu}/cpu0/cpufreq/scaling_governor"), "schedutil\n"),
            (&format!("{cpu}/cpu0/cpufreq/scaling_cur_freq"), "1500000\n"),
            (&format!("{cpu}/cpu1/cpufreq/scaling_governor"), "schedutil\n"),
            (&format!("{cpu}/cpu1/cpufreq/scaling_cur_freq"), "2400000\n"),
            (&format!("{cpu}/cpu1/cpufreq/cpuinfo_max_freq"), "2600000\n"),
            (&format!("{cpu}/cpu10/cpufreq/scaling_governor"), "performance\n"),
            (&format!("{cpu}/cpufreq/policy0/scaling_governor"), "powersave\n"),
        ]);
        assert_eq!(governor_in(&root).as_deref(), Some("performance,schedutil"));
        assert_eq!(frequencies(&root), [1_500_000, 2_400_000]);
        assert_eq!(highest(&root), [2_600_000]);
    }

    #[test]
    fn a_virtual_machine_tells_neither() {
        let (_folder, root) = tree(&[("sys/devices/system/cpu/cpu0/online", "1")]);
        assert_eq!((governor_in(&root), frequencies(&root)), (None, vec![]));
    }
}
