//! Whether a measurement can be believed: what else happened on the machine while it ran.

use std::time::{Duration, Instant};

use super::heat::{Throttling, temperature};
use super::load::CpuTime;
use super::{Root, clock, process};

/// More CPU time of others than this share of one CPU disturbs.
const OTHERS: f64 = 0.1;
/// Below this many seconds of it, the kernel's ticks of 10 ms say nothing.
const LEAST_SECONDS: f64 = 0.05;
/// A lowest frequency below this share of the highest disturbs.
const FREQUENCY: f64 = 0.9;
/// Getting this much warmer, in kelvins, disturbs.
const WARMING: f64 = 10.0;

/// Looks at the machine from [`start`](Self::start) to [`stop`](Self::stop).
#[derive(Debug)]
pub struct Watch {
    root: Root,
    start: Instant,
    cpu_time: Option<CpuTime>,
    major_faults: Option<u64>,
    throttling: Throttling,
    temperature: Option<f64>,
    /// The lowest and the highest average of all CPUs, in kHz.
    frequency: Option<[u64; 2]>,
}

/// What a [`Watch`] saw. What the system does not tell is `None`.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Observation {
    /// CPUs' worth of time that other processes took.
    pub other_cpus: Option<f64>,
    /// Pages of ours that had to come from the disk.
    pub major_faults: Option<u64>,
    /// The lowest and the highest frequency of a CPU that was seen, in MHz.
    pub frequency_mhz: Option<[u64; 2]>,
    /// The temperature of the CPU at the start and at the stop, in °C.
    pub temperature_c: Option<[f64; 2]>,
    /// Whether the machine held itself back.
    pub throttled: Option<bool>,
    /// How long it was.
    pub duration: Duration,
}

impl Watch {
    /// Begins.
    pub fn start() -> Self {
        Self::start_in(Root::default())
    }

    fn start_in(root: Root) -> Self {
        let mut watch = Self {
            start: Instant::now(),
            cpu_time: CpuTime::read(&root),
            major_faults: process::major_faults(&root),
            throttling: Throttling::read(&root),
            temperature: temperature(&root),
            frequency: None,
            root,
        };
        watch.look();
        watch
    }

    /// Looks at what is only known of the moment: to be called now and then.
    pub fn look(&mut self) {
        // The fastest CPU: those that idle are clocked down, which is no disturbance.
        if let Some(now) = clock::frequencies(&self.root).into_iter().max() {
            let [low, high] = self.frequency.unwrap_or([now, now]);
            self.frequency = Some([low.min(now), high.max(now)]);
        }
    }

    /// Ends.
    pub fn stop(mut self) -> Observation {
        self.look();
        let duration = self.start.elapsed();
        let root = &self.root;
        let others = CpuTime::read(root).zip(self.cpu_time).map(|(now, before)| now.others_since(&before));
        let faults = process::major_faults(root).zip(self.major_faults);
        Observation {
            other_cpus: others.map(|seconds| seconds / duration.as_secs_f64().max(f64::MIN_POSITIVE)),
            major_faults: faults.map(|(now, before)| now.saturating_sub(before)),
            frequency_mhz: self.frequency.map(|range| range.map(|khz| khz / 1000)),
            temperature_c: self.temperature.zip(temperature(root)).map(|(before, now)| [before, now]),
            throttled: Throttling::read(root).since(&self.throttling),
            duration,
        }
    }
}

impl Observation {
    /// What makes the measurement less than believable, each in one sentence.
    pub fn disturbances(&self) -> Vec<String> {
        let mut found = Vec::new();
        if let Some(cpus) = self.other_cpus
            && cpus > OTHERS
            && cpus * self.duration.as_secs_f64() > LEAST_SECONDS
        {
            found.push(format!("other processes used {cpus:.2} CPUs"));
        }
        if let Some(pages) = self.major_faults.filter(|pages| *pages > 0) {
            found.push(format!("{pages} pages had to be read from the disk"));
        }
        if let Some([low, high]) = self.frequency_mhz
            && (low as f64) < FREQUENCY * high as f64
        {
            found.push(format!("the clock changed between {low} and {high} MHz"));
        }
        if self.throttled == Some(true) {
            found.push("the machine held itself back for heat or power".into());
        }
        if let Some([before, after]) = self.temperature_c
            && after - before >= WARMING
        {
            found.push(format!("the CPU warmed up from {before:.0} to {after:.0} °C"));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::{put, tree};
    use super::*;

    const STAT: &str = "proc/stat";
    const SELF: &str = "proc/self/stat";
    const FREQUENCY: &str = "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq";
    const ZONE: &str = "sys/class/thermal/thermal_zone0";

    fn own(ticks: u64, major: u64) -> String {
        format!("1 (stonechat) R 1 1 1 0 -1 0 0 0 {major} 0 {ticks} 0 0 0")
    }

    #[test]
    fn everything_that_happened_is_seen() {
        let (folder, root) = tree(&[
            (STAT, "cpu  1000 0 0 5000 0 0 0 0 0 0\n"),
            (SELF, &own(100, 3)),
            (FREQUENCY, "2400000"),
            (&format!("{ZONE}/type"), "cpu-thermal"),
            (&format!("{ZONE}/temp"), "50000"),
        ]);
        let mut watch = Watch::start_in(root);
        put(&folder, &[(FREQUENCY, "1500000")]);
        watch.look();
        put(
            &folder,
            &[
                (STAT, "cpu  1500 0 0 5000 0 0 0 0 0 0\n"),
                (SELF, &own(400, 5)),
                (FREQUENCY, "2300000"),
                (&format!("{ZONE}/temp"), "71000"),
            ],
        );
        let seen = watch.stop();
        let others = seen.other_cpus.unwrap() * seen.duration.as_secs_f64();
        assert!((others - 2.0).abs() < 1e-9, "{others} s");
        assert_eq!(seen.major_faults, Some(2));
        assert_eq!(seen.frequency_mhz, Some([1500, 2400]));
        assert_eq!(seen.temperature_c, Some([50.0, 71.0]));
        assert_eq!(seen.throttled, None);
    }

    #[test]
    fn each_disturbance_is_one_sentence() {
        let seen = Observation {
            other_cpus: Some(0.75),
            major_faults: Some(2),
            frequency_mhz: Some([1500, 2400]),
            temperature_c: Some([50.0, 71.0]),
            throttled: Some(true),
            duration: Duration::from_secs(1),
        };
        assert_eq!(
            seen.disturbances(),
            [
                "other processes used 0.75 CPUs",
                "2 pages had to be read from the disk",
                "the clock changed between 1500 and 2400 MHz",
                "the machine held itself back for heat or power",
                "the CPU warmed up from 50 to 71 °C",
            ]
        );
    }

    #[test]
    fn a_quiet_machine_disturbs_nothing() {
        let seen = Observation {
            other_cpus: Some(0.02),
            major_faults: Some(0),
            frequency_mhz: Some([2350, 2400]),
            temperature_c: Some([50.0, 52.0]),
            throttled: Some(false),
            duration: Duration::from_secs(10),
        };
        assert_eq!(seen.disturbances(), [""; 0]);
        assert_eq!(Observation::default().disturbances(), [""; 0]);
        // A tick or two in a run that is over at once.
        let short = Observation { other_cpus: Some(2.0), duration: Duration::from_millis(10), ..seen };
        assert_eq!(short.disturbances(), [""; 0]);
    }
}
