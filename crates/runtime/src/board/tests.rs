use tempfile::TempDir;

use super::*;
use crate::system::tree::{put, tree};

/// What Linux tells on a Raspberry Pi 5 with 8 GB.
const PI_5: &[(&str, &str)] = &[
    ("proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0"),
    ("proc/device-tree/compatible", "raspberrypi,5-model-b\0brcm,bcm2712\0"),
    ("proc/meminfo", "MemTotal:        8255232 kB\nMemAvailable:    7600000 kB\n"),
    (
        "proc/cpuinfo",
        "processor\t: 0\nFeatures\t: fp asimd asimdhp asimddp\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n",
    ),
    ("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n"),
    ("sys/class/thermal/thermal_zone0/temp", "48000\n"),
];

/// And on a Zero 2 W.
const ZERO: &[(&str, &str)] = &[
    ("sys/firmware/devicetree/base/model", "Raspberry Pi Zero 2 W Rev 1.0\0"),
    ("sys/firmware/devicetree/base/compatible", "raspberrypi,model-zero-2-w\0brcm,bcm2837\0"),
    ("proc/meminfo", "MemTotal:         425984 kB\nMemAvailable:     300000 kB\n"),
];

fn board(files: &[(&str, &str)]) -> (TempDir, Board) {
    let (folder, root) = tree(files);
    (folder, Board::read(root))
}

#[test]
fn a_board_is_recognised_by_its_device_tree() {
    for (compatible, model, expected) in [
        (
            "raspberrypi,model-zero-2-w\0brcm,bcm2837\0",
            "Raspberry Pi Zero 2 W Rev 1.0\0",
            Some("raspberry-pi-zero-2w"),
        ),
        ("raspberrypi,4-model-b\0brcm,bcm2711\0", "Raspberry Pi 4 Model B Rev 1.5\0", Some("raspberry-pi-4")),
        (
            "raspberrypi,4-compute-module\0brcm,bcm2711\0",
            "Raspberry Pi Compute Module 4\0",
            Some("raspberry-pi-4"),
        ),
        ("raspberrypi,5-model-b\0brcm,bcm2712\0", "Raspberry Pi 5 Model B Rev 1.0\0", Some("raspberry-pi-5")),
        ("radxa,rock-5b\0rockchip,rk3588\0", "Radxa ROCK 5 Model B\0", Some("rock-5b")),
        // The same chips on boards that are not known.
        ("raspberrypi,3-model-b\0brcm,bcm2837\0", "Raspberry Pi 3 Model B\0", None),
        ("radxa,rock-5a\0rockchip,rk3588s\0", "Radxa ROCK 5A\0", None),
        // The name alone, where nothing else is left of the tree.
        ("", "Raspberry Pi 5 Model B Rev 1.0\0", Some("raspberry-pi-5")),
    ] {
        let (_folder, board) =
            board(&[("proc/device-tree/compatible", compatible), ("proc/device-tree/model", model)]);
        assert_eq!(board.profile.map(|profile| profile.name), expected, "{model}");
        assert_eq!(board.name.as_deref(), Some(model.trim_end_matches('\0')));
    }
}

#[test]
fn a_machine_without_a_device_tree_has_the_name_of_its_firmware_and_no_profile() {
    let (_folder, board) =
        board(&[("sys/class/dmi/id/sys_vendor", "Acme\n"), ("sys/class/dmi/id/product_name", "Mini\n")]);
    assert_eq!((board.name.as_deref(), board.profile), (Some("Acme Mini"), None));
    let (_folder, nothing) = self::board(&[]);
    assert_eq!((nothing.name, nothing.compatible.len()), (None, 0));
}

/// Names are unique, sizes make sense, and a profile is its board's folder under `targets`.
#[test]
fn profiles_are_in_order() {
    let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../targets");
    for profile in Profile::ALL {
        let name = profile.name;
        assert_eq!(Profile::named(name), Some(profile));
        assert!(targets.join(name).is_dir(), "{name} has a folder");
        let cores: usize = profile.clusters.iter().map(|cluster| cluster.cores).sum();
        let Threads { token, batch } = profile.threads;
        assert!((1..=cores).contains(&token) && (token..=cores).contains(&batch), "{name}");
        assert!(profile.slows_at < profile.hottest && profile.pages.contains(&4), "{name}");
        assert!(crate::manifest::find(profile.model.0).is_ok(), "{name}");
        for compatible in profile.compatible {
            let one = Profile::of(&[(*compatible).to_owned()], None);
            assert_eq!(one.map(|profile| profile.name), Some(name), "{compatible} is of one profile");
        }
    }
    assert_eq!(Profile::named("raspberry-pi-6"), None);
}

#[test]
fn threads_are_the_profiles_as_far_as_there_are_cores() {
    let (_folder, pi) = board(PI_5);
    let threads = |token, batch| Threads { token, batch };
    assert_eq!(pi.threads(4), threads(2, 4));
    assert_eq!(pi.threads(3), threads(2, 3), "one is somebody else's");
    assert_eq!(pi.threads(1), threads(1, 1));
    let (_folder, unknown) = board(&[]);
    assert_eq!(unknown.threads(6), threads(6, 6));
}

#[test]
fn the_cores_of_a_copy_are_counted_there() {
    let cpu = "sys/devices/system/cpu";
    let (folder, rock) = board(&[("proc/device-tree/compatible", "radxa,rock-5b\0")]);
    assert_eq!(rock.cores(), 1, "nothing is told");
    put(&folder, &[(&format!("{cpu}/online"), "0-7\n")]);
    for number in 0..8 {
        let capacity = if number < 4 { "414\n" } else { "1024\n" };
        put(
            &folder,
            &[
                (&format!("{cpu}/cpu{number}/topology/core_cpus_list"), &format!("{number}\n")),
                (&format!("{cpu}/cpu{number}/cpu_capacity"), capacity),
            ],
        );
    }
    assert_eq!((rock.cores(), rock.is_here()), (4, false));
}

#[test]
fn levels_of_arm_are_in_the_kernels_list() {
    let level = |features: &str| {
        let (_folder, board) = board(&[("proc/cpuinfo", &format!("Features\t: {features}\n"))]);
        board.arm_level()
    };
    assert_eq!(level("fp asimd evtstrm crc32"), Some(LevelName::Neon));
    assert_eq!(level("fp asimd asimdhp asimddp"), Some(LevelName::Dotprod));
    assert_eq!(level("fp asimd asimddp i8mm bf16"), Some(LevelName::I8mm));
    assert_eq!(level("half thumb fastmult vfp edsp neon vfpv4"), None);
}

#[test]
fn a_known_board_leaves_what_its_system_does_not_need() {
    let (folder, zero) = board(ZERO);
    assert_eq!((zero.memory(), zero.room()), (Some(416 << 20), Some(256 << 20)));
    put(&folder, &[("proc/self/cgroup", "0::/unit\n"), ("sys/fs/cgroup/unit/memory.max", "100000000\n")]);
    assert_eq!(zero.room(), Some(100_000_000), "or what its control group has");
    let (_folder, unknown) = board(&ZERO[2..]);
    assert_eq!(unknown.room(), Some(300_000 << 10), "elsewhere it is what is free");
    let (_folder, silent) = board(&[]);
    assert_eq!(silent.room(), None);
}

#[test]
fn what_makes_a_board_slow_is_said_with_what_to_do() {
    let (folder, pi) = board(PI_5);
    assert_eq!(pi.hindrances(LevelName::Dotprod), [""; 0]);
    put(
        &folder,
        &[
            ("sys/class/thermal/thermal_zone0/temp", "81500\n"),
            ("sys/devices/platform/soc/soc:firmware/get_throttled", "50000\n"),
            ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n"),
        ],
    );
    let found = pi.hindrances(LevelName::Neon);
    for (sentence, words) in found.iter().zip([
        ["the level is neon", "have dotprod"],
        ["supply voltage", "stronger power supply"],
        ["82 °C", "from 80 °C on"],
        ["governor is powersave", "ondemand"],
    ]) {
        assert!(words.iter().all(|word| sentence.contains(word)), "{sentence}");
    }
    assert_eq!(found.len(), 4);
}

/// The tiny model's file and plan, as they are and as if they were larger.
#[cfg(feature = "built-in")]
#[test]
fn a_model_that_does_not_fit_is_told_by_how_much_and_what_would() {
    use stonechat_core::Limits;
    use stonechat_gguf::Gguf;

    let file = crate::built_in::file();
    let gguf = Gguf::parse(&file).unwrap();
    let model = Model::from_gguf(&gguf).unwrap();
    let context = model.hyperparameters().context;
    let plan = Plan::new(&model, Limits { context, threads: 4, ..Limits::default() }).unwrap();
    let (folder, zero) = board(ZERO);
    assert_eq!(zero.check(file.len() as u64, &model, &plan), Ok(()));

    // Room for the file and half of the arena.
    let kib = (Profile::named("raspberry-pi-zero-2w").unwrap().kept
        + BESIDE
        + (200 << 20)
        + plan.bytes() as u64 / 2)
        >> 10;
    put(&folder, &[("proc/meminfo", &format!("MemTotal: {kib} kB\nMemAvailable: {kib} kB\n"))]);
    let problem = zero.check(200 << 20, &model, &plan).unwrap_err();
    assert!(problem.missing().abs_diff(plan.bytes() as u64 / 2) <= 1024, "{problem:?}");
    let (context, batch) = problem.fits.expect("less fits");
    let said = problem.to_string();
    let what = format!("it fits with {context} tokens of context, read {batch} at a time");
    for words in ["200.0 for the file", "that the Raspberry Pi Zero 2 W has for it", &what] {
        assert!(said.contains(words), "{said}");
    }
    let fitting = Plan::new(&model, Limits { context, batch, threads: 4, ..Limits::default() }).unwrap();
    assert!(fitting.bytes() < plan.bytes());
    assert_eq!(zero.check(200 << 20, &model, &fitting), Ok(()), "and it does");

    let problem = zero.check(4 << 30, &model, &plan).unwrap_err();
    assert_eq!(problem.fits, None);
    assert!(problem.to_string().ends_with("smollm2-135m fits, with 1024 tokens of context"), "{problem}");

    // A board that nobody knows.
    std::fs::remove_dir_all(folder.path().join("sys/firmware")).unwrap();
    let unknown = Board::in_copy(folder.path());
    let said = unknown.check(4 << 30, &model, &plan).unwrap_err().to_string();
    assert!(
        said.contains("that this machine has for it") && said.ends_with("take a smaller model"),
        "{said}"
    );
}
