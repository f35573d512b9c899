//! How much energy the machine takes, where something counts it.
//!
//! RAPL (x86) and some chips count energy themselves. Power sensors beside a board's supply (INA219, INA226, ..) tell
//! the power of now: a thread looks twenty times a second and adds it up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Root;
use crate::threads;

/// Something that counts energy.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Counter {
    /// What it is about: `rapl package-0`.
    name: String,
    /// The file with the microjoules.
    path: String,
    /// Where the count begins anew at 0.
    wraps_at: Option<u64>,
}

/// Sensors for the power of a board. Source: the drivers' names in Linux, `drivers/hwmon/ina2xx.c` and `ina238.c`.
const POWER_SENSORS: [&str; 9] =
    ["ina219", "ina220", "ina226", "ina230", "ina231", "ina237", "ina238", "ina260", "sy24655"];

/// How often a power sensor is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// RAPL's domains (AMD's processors have them too): packages and their memory. What is inside a package (core, uncore) would count twice, and `psys`,
/// the whole board, where it is, counts all of them.
fn counters(root: &Root) -> Vec<Counter> {
    let all: Vec<_> = root
        .entries("sys/class/powercap", "intel-rapl:")
        .into_iter()
        .filter_map(|domain| {
            let name = root.text(format!("{domain}/name"))?;
            let path = format!("{domain}/energy_uj");
            root.number::<u64>(&path)?;
            Some(Counter {
                name: format!("rapl {name}"),
                path,
                wraps_at: root.number(format!("{domain}/max_energy_range_uj")),
            })
        })
        .collect();
    let board: Vec<_> = all.iter().filter(|counter| counter.name == "rapl psys").cloned().collect();
    if !board.is_empty() {
        return board;
    }
    let parts: Vec<_> = all
        .into_iter()
        .filter(|counter| counter.name.starts_with("rapl package") || counter.name == "rapl dram")
        .collect();
    if !parts.is_empty() {
        return parts;
    }
    // AMD's own driver, where there is no RAPL: the sockets, not their cores.
    let chips = root
        .entries("sys/class/hwmon", "hwmon")
        .into_iter()
        .filter(|chip| root.text(format!("{chip}/name")).is_some_and(|name| name == "amd_energy"));
    chips
        .flat_map(|chip| root.entries(&chip, "energy"))
        .filter_map(|path| {
            let label = root.text(format!("{}_label", path.strip_suffix("_input")?))?;
            root.number::<u64>(&path)?;
            label.starts_with("Esocket").then(|| Counter {
                name: format!("amd_energy {label}"),
                path,
                wraps_at: None,
            })
        })
        .collect()
}

/// The files with the microwatts of the board's power sensors, and their names.
fn sensors(root: &Root) -> Vec<(String, String)> {
    root.entries("sys/class/hwmon", "hwmon")
        .into_iter()
        .filter_map(|chip| {
            let name = root.text(format!("{chip}/name"))?;
            let path = format!("{chip}/power1_input");
            root.number::<u64>(&path)?;
            POWER_SENSORS.contains(&name.as_str()).then_some((name, path))
        })
        .collect()
}

/// Counts the energy from [`start`](Self::start) to [`stop`](Self::stop).
#[derive(Debug)]
pub struct Meter {
    root: Root,
    counters: Vec<(Counter, u64)>,
    sampler: Option<Sampler>,
}

/// The thread that adds up power.
#[derive(Debug)]
struct Sampler {
    names: String,
    ending: Arc<AtomicBool>,
    joules: Arc<Mutex<f64>>,
    thread: JoinHandle<()>,
}

impl Meter {
    /// Starts to count. Without a counter or sensor the result will be nothing.
    pub fn start() -> Self {
        Self::start_in(Root::default())
    }

    fn start_in(root: Root) -> Self {
        let counters: Vec<_> = counters(&root)
            .into_iter()
            .filter_map(|counter| root.number(&counter.path).map(|start| (counter, start)))
            .collect();
        let sampler = if counters.is_empty() { Sampler::start(&root) } else { None };
        Self { root, counters, sampler }
    }

    /// The joules since the start, and what counted them.
    pub fn stop(self) -> Option<(f64, String)> {
        if let Some(sampler) = self.sampler {
            return sampler.stop();
        }
        let mut microjoules = 0u64;
        let mut names = Vec::new();
        for (counter, start) in self.counters {
            let now: u64 = self.root.number(&counter.path)?;
            microjoules += match now.checked_sub(start) {
                Some(since) => since,
                None => now + counter.wraps_at?.saturating_sub(start),
            };
            names.push(counter.name);
        }
        (!names.is_empty()).then(|| (microjoules as f64 / 1e6, names.join(", ")))
    }
}

impl Sampler {
    fn start(root: &Root) -> Option<Self> {
        let (names, paths): (Vec<_>, Vec<_>) = sensors(root).into_iter().unzip();
        if paths.is_empty() {
            return None;
        }
        let (ending, joules) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(0.0)));
        let (root, end, sum) = (root.clone(), Arc::clone(&ending), Arc::clone(&joules));
        let thread = threads::start("stonechat-power".into(), move || {
            let mut last = Instant::now();
            loop {
                let watts =
                    paths.iter().filter_map(|path| root.number::<u64>(path)).sum::<u64>() as f64 / 1e6;
                let ending = end.load(Ordering::Acquire);
                // The power of now stands for the time since the last look.
                let now = Instant::now();
                *sum.lock().unwrap_or_else(PoisonError::into_inner) +=
                    watts * now.duration_since(last).as_secs_f64();
                last = now;
                if ending {
                    return;
                }
                thread::park_timeout(LOOK);
            }
        });
        Some(Self { names: names.join(", "), ending, joules, thread: thread.ok()? })
    }

    fn stop(self) -> Option<(f64, String)> {
        self.ending.store(true, Ordering::Release);
        self.thread.thread().unpark();
        self.thread.join().ok()?;
        let joules = *self.joules.lock().unwrap_or_else(PoisonError::into_inner);
        Some((joules, self.names))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::{put, tree};
    use super::*;

    const CAP: &str = "sys/class/powercap";

    fn domain(number: &str, name: &str, energy: &str) -> [(String, String); 3] {
        let file =
            |file: &str, text: &str| (format!("{CAP}/intel-rapl:{number}/{file}"), format!("{text}\n"));
        [file("name", name), file("energy_uj", energy), file("max_energy_range_uj", "1000000000")]
    }

    fn rapl(domains: &[(&str, &str, &str)]) -> (tempfile::TempDir, Root) {
        let files: Vec<_> =
            domains.iter().flat_map(|(number, name, energy)| domain(number, name, energy)).collect();
        let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        tree(&files)
    }

    #[test]
    fn packages_and_their_memory_are_added_and_their_parts_are_not() {
        let (folder, root) =
            rapl(&[("0", "package-0", "1000000"), ("0:0", "core", "5"), ("0:1", "dram", "2000000")]);
        let meter = Meter::start_in(root);
        put(&folder, &[(&format!("{CAP}/intel-rapl:0/energy_uj"), "4000000\n")]);
        put(&folder, &[(&format!("{CAP}/intel-rapl:0:0/energy_uj"), "900000000\n")]);
        put(&folder, &[(&format!("{CAP}/intel-rapl:0:1/energy_uj"), "2500000\n")]);
        assert_eq!(meter.stop(), Some((3.5, "rapl package-0, rapl dram".into())));
    }

    #[test]
    fn a_counter_that_began_anew_is_understood() {
        let (folder, root) = rapl(&[("0", "package-0", "999000000")]);
        let meter = Meter::start_in(root);
        put(&folder, &[(&format!("{CAP}/intel-rapl:0/energy_uj"), "1000000\n")]);
        assert_eq!(meter.stop(), Some((2.0, "rapl package-0".into())));
    }

    #[test]
    fn the_whole_board_counts_instead_of_its_parts() {
        let (_folder, root) = rapl(&[("0", "package-0", "1"), ("1", "psys", "1")]);
        let names: Vec<_> = counters(&root).into_iter().map(|counter| counter.name).collect();
        assert_eq!(names, ["rapl psys"]);
    }

    #[test]
    fn the_power_of_a_sensor_adds_up() {
        let (_folder, root) = tree(&[
            ("sys/class/hwmon/hwmon0/name", "ina226\n"),
            ("sys/class/hwmon/hwmon0/power1_input", "5000000\n"),
            ("sys/class/hwmon/hwmon1/name", "nvme\n"),
            ("sys/class/hwmon/hwmon1/power1_input", "900000000\n"),
        ]);
        let start = Instant::now();
        let meter = Meter::start_in(root);
        thread::sleep(Duration::from_millis(20));
        let (joules, name) = meter.stop().unwrap();
        let most = 5.0 * start.elapsed().as_secs_f64();
        assert_eq!(name, "ina226");
        assert!(joules > 0.0 && joules <= most, "{joules} J of at most {most} J");
    }

    #[test]
    fn a_machine_without_counters_gives_nothing() {
        let (_folder, root) = tree(&[]);
        assert_eq!(Meter::start_in(root).stop(), None);
    }
}
