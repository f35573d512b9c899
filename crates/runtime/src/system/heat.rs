//! How warm the CPU is, and whether it slows down for it.

use super::Root;

/// Chips whose temperature is that of the CPU. Source: the drivers' names in Linux, `drivers/hwmon`.
const CHIPS: [&str; 5] = ["coretemp", "k10temp", "zenpower", "cpu_thermal", "soc_thermal"];

/// The folders of the kernel's thermal zones that are about the CPU.
fn zones(root: &Root) -> impl Iterator<Item = String> {
    root.entries("sys/class/thermal", "thermal_zone").into_iter().filter(|zone| {
        let kind = root.text(format!("{zone}/type")).unwrap_or_default().to_ascii_lowercase();
        let about_cpu = ["cpu", "soc", "x86_pkg_temp", "package", "bigcore", "littlecore", "center-thermal"];
        about_cpu.iter().any(|word| kind.contains(word))
    })
}

/// The temperature in °C from which on the kernel slows the CPU down: the lowest passive trip point of its zones.
pub fn slows_at(root: &Root) -> Option<f64> {
    let points = zones(root).flat_map(|zone| {
        let kinds = root.entries(&zone, "trip_point_").into_iter().filter(|path| path.ends_with("_type"));
        kinds.filter_map(|path| {
            (root.text(&path)? == "passive").then(|| root.number::<i64>(path.replace("_type", "_temp")))?
        })
    });
    points.min().map(|thousandths| thousandths as f64 / 1000.0)
}

/// The temperature of the CPU in °C: the highest of the sensors that are about it.
pub fn temperature(root: &Root) -> Option<f64> {
    let zones = zones(root).filter_map(|zone| root.number(format!("{zone}/temp")));
    let chips = root.entries("sys/class/hwmon", "hwmon").into_iter().filter_map(|chip| {
        CHIPS.contains(&root.text(format!("{chip}/name"))?.as_str()).then_some(())?;
        root.entries(&chip, "temp")
            .into_iter()
            .filter(|path| path.ends_with("_input"))
            .filter_map(|path| root.number::<i64>(path))
            .max()
    });
    zones.chain(chips).max().map(|thousandths| thousandths as f64 / 1000.0)
}

/// What counts or tells that the machine holds itself back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Throttling {
    /// How often x86 cores have slowed down for heat.
    events: Option<u64>,
    /// The Raspberry Pi firmware's flags.
    firmware: Option<u32>,
}

/// Of the firmware's flags: the supply voltage is too low, or was since the start.
const UNDER_VOLTAGE: u32 = 1 | 1 << 16;

impl Throttling {
    /// Whether the Raspberry Pi's firmware has found the supply voltage too low since the start.
    pub fn under_voltage(&self) -> bool {
        self.firmware.is_some_and(|flags| flags & UNDER_VOLTAGE != 0)
    }

    pub fn read(root: &Root) -> Self {
        let cores = root.cpus();
        let counts = cores.iter().flat_map(|cpu| {
            ["core_throttle_count", "package_throttle_count"]
                .into_iter()
                .filter_map(move |name| root.number::<u64>(format!("{cpu}/thermal_throttle/{name}")))
        });
        Self {
            events: counts.reduce(u64::saturating_add),
            // In hexadecimal, without a prefix.
            firmware: root
                .text("sys/devices/platform/soc/soc:firmware/get_throttled")
                .and_then(|text| u32::from_str_radix(text.trim_start_matches("0x"), 16).ok()),
        }
    }

    /// Whether the machine held itself back between `before` and now; `None` where it does not tell.
    ///
    /// The firmware's lowest four bits are what is now: under-voltage, capped frequency, throttled, soft temperature
    /// limit. Source: the documentation of `vcgencmd get_throttled`.
    pub fn since(&self, before: &Self) -> Option<bool> {
        let counted = self.events.zip(before.events).map(|(now, before)| now > before);
        let flagged = self.firmware.map(|flags| (flags | before.firmware.unwrap_or(0)) & 0xf != 0);
        match (counted, flagged) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or(false) || b.unwrap_or(false)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::{put, tree};
    use super::*;

    #[test]
    fn the_hottest_sensor_about_the_cpu_counts() {
        let (folder, root) = tree(&[
            ("sys/class/thermal/thermal_zone0/type", "acpitz\n"),
            ("sys/class/thermal/thermal_zone0/temp", "95000\n"),
            ("sys/class/thermal/thermal_zone1/type", "cpu-thermal\n"),
            ("sys/class/thermal/thermal_zone1/temp", "51250\n"),
        ]);
        assert_eq!(temperature(&root), Some(51.25));
        put(
            &folder,
            &[
                ("sys/class/hwmon/hwmon0/name", "nvme\n"),
                ("sys/class/hwmon/hwmon0/temp1_input", "99000\n"),
                ("sys/class/hwmon/hwmon1/name", "k10temp\n"),
                ("sys/class/hwmon/hwmon1/temp1_input", "60125\n"),
                ("sys/class/hwmon/hwmon1/temp1_max", "100000\n"),
            ],
        );
        assert_eq!(temperature(&root), Some(60.125));
    }

    #[test]
    fn x86_cores_count_how_often_they_slowed_down() {
        let count = "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count";
        let (folder, root) = tree(&[(count, "7\n")]);
        let before = Throttling::read(&root);
        assert_eq!(Throttling::read(&root).since(&before), Some(false));
        put(&folder, &[(count, "8\n")]);
        assert_eq!(Throttling::read(&root).since(&before), Some(true));
    }

    #[test]
    fn a_raspberry_pi_says_what_is_now_and_what_was_once() {
        let flags = "sys/devices/platform/soc/soc:firmware/get_throttled";
        let (folder, root) = tree(&[(flags, "50000\n")]);
        let before = Throttling::read(&root);
        assert_eq!(Throttling::read(&root).since(&before), Some(false));
        put(&folder, &[(flags, "50005\n")]);
        assert_eq!(Throttling::read(&root).since(&before), Some(true));
        assert!(before.under_voltage());
        put(&folder, &[(flags, "40004\n")]);
        assert!(!Throttling::read(&root).under_voltage());
    }

    #[test]
    fn the_first_passive_trip_point_of_a_cpu_is_where_it_slows_down() {
        let zone = "sys/class/thermal/thermal_zone";
        let (_folder, root) = tree(&[
            (&format!("{zone}0/type"), "bigcore0-thermal\n"),
            (&format!("{zone}0/trip_point_0_type"), "passive\n"),
            (&format!("{zone}0/trip_point_0_temp"), "85000\n"),
            (&format!("{zone}0/trip_point_1_type"), "critical\n"),
            (&format!("{zone}0/trip_point_1_temp"), "115000\n"),
            (&format!("{zone}1/type"), "gpu-thermal\n"),
            (&format!("{zone}1/trip_point_0_type"), "passive\n"),
            (&format!("{zone}1/trip_point_0_temp"), "70000\n"),
        ]);
        assert_eq!(slows_at(&root), Some(85.0));
    }

    #[test]
    fn a_machine_that_does_not_tell_has_not_said_no() {
        let (_folder, root) = tree(&[]);
        let before = Throttling::read(&root);
        assert_eq!((before.since(&before), temperature(&root)), (None, None));
    }
}
