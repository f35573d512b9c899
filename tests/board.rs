//! `stonechat board`: what boards are recognised by, and what is advised there.
//!
//! A board is a folder with what Linux tells on it. What is recognised in detail, the unit tests of the runtime ask; here it is
//! that the program says it, and that a model is refused where it does not fit.
#![cfg(feature = "board")]

mod common;

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

/// A core as `/proc/cpuinfo` has it.
const A76: &str = "Features\t: fp asimd asimdhp asimddp\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n\n";
const A55: &str = "Features\t: fp asimd asimdhp asimddp\nCPU implementer\t: 0x41\nCPU part\t: 0xd05\n\n";
const A53: &str = "Features\t: fp asimd evtstrm crc32\nCPU implementer\t: 0x41\nCPU part\t: 0xd03\n\n";

/// A copy of what a board's kernel tells: names, memory in kB, and cores with their capacity.
fn copy(compatible: &str, model: &str, memory: u64, cores: &[(&str, u32)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let put = |path: String, text: &str| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        fs::write(path, text).expect("a file");
    };
    put("proc/device-tree/compatible".into(), compatible);
    put("proc/device-tree/model".into(), model);
    put("proc/meminfo".into(), &format!("MemTotal: {memory} kB\nMemAvailable: {memory} kB\n"));
    let info: Vec<_> = cores
        .iter()
        .enumerate()
        .map(|(number, (core, _))| format!("processor\t: {number}\n{core}"))
        .collect();
    put("proc/cpuinfo".into(), &info.concat());
    put("sys/devices/system/cpu/online".into(), &format!("0-{}\n", cores.len() - 1));
    for (number, (_, capacity)) in cores.iter().enumerate() {
        let cpu = format!("sys/devices/system/cpu/cpu{number}");
        put(format!("{cpu}/topology/core_cpus_list"), &number.to_string());
        put(format!("{cpu}/cpu_capacity"), &capacity.to_string());
    }
    folder
}

fn zero_2w() -> TempDir {
    copy(
        "raspberrypi,model-zero-2-w\0brcm,bcm2837\0",
        "Raspberry Pi Zero 2 W Rev 1.0\0",
        425_984,
        &[(A53, 1024); 4],
    )
}

fn rock_5b() -> TempDir {
    let cores = [[(A55, 414); 4], [(A76, 1024); 4]].concat();
    copy("radxa,rock-5b\0rockchip,rk3588\0", "Radxa ROCK 5B\0", 16_000_000, &cores)
}

fn pi_5() -> TempDir {
    copy(
        "raspberrypi,5-model-b\0brcm,bcm2712\0",
        "Raspberry Pi 5 Model B Rev 1.0\0",
        8_255_232,
        &[(A76, 1024); 4],
    )
}

fn report(board: &TempDir) -> Value {
    let path = board.path().to_str().expect("UTF-8");
    serde_json::from_str(&common::stdout(["board", "--json", "--root", path])).expect("JSON")
}

#[test]
fn each_board_has_its_level_and_threads() {
    for (board, profile, level, [token, batch]) in [
        (zero_2w(), "raspberry-pi-zero-2w", "neon", [4, 4]),
        (pi_5(), "raspberry-pi-5", "dotprod", [2, 4]),
        (rock_5b(), "rock-5b", "dotprod", [4, 4]),
    ] {
        let report = report(&board);
        assert_eq!(report["profile"], profile);
        assert_eq!((&report["level"], &report["expected_level"]), (&level.into(), &level.into()));
        assert_eq!(report["threads"]["token"], token, "{profile}");
        assert_eq!(report["threads"]["batch"], batch, "{profile}");
        assert_eq!(report["hindrances"], Value::Array(vec![]), "{profile}");
        assert!(report["measured"].as_str().is_some_and(|words| words.contains("ot measured")), "{profile}");
    }
}

#[test]
fn a_person_reads_what_was_recognised_and_why() {
    let board = pi_5();
    let said = common::stdout(["board", "--root", board.path().to_str().expect("UTF-8")]);
    for words in [
        "Raspberry Pi 5 Model B Rev 1.0\n",
        "raspberry-pi-5 (BCM2712)",
        "4 x Cortex-A76",
        "2 write, 4 read (-t 2 --threads-batch 4): an answer waits for the memory",
        "slowed down from 80 °C on",
        "tiny fits with",
        "13.8 GB/s read by one thread",
    ] {
        assert!(said.contains(words), "there is no '{words}' in\n{said}");
    }
}

#[test]
fn a_board_that_nobody_knows_gets_advice_from_what_it_tells() {
    let board =
        copy("acme,anvil\0acme,soc\0", "Acme Anvil\0", 2_000_000, &[(A76, 1024), (A76, 1024), (A55, 300)]);
    let report = report(&board);
    assert_eq!((&report["board"], &report["profile"]), (&"Acme Anvil".into(), &Value::Null));
    assert_eq!((&report["threads"]["token"], &report["threads"]["batch"]), (&2.into(), &2.into()));
    assert_eq!((&report["level"], &report["room_bytes"]), (&"dotprod".into(), &2_048_000_000u64.into()));
}

#[test]
fn here_it_advises_what_run_does() {
    let advice: Value = serde_json::from_str(&common::stdout(["board", "--json"])).expect("JSON");
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/models/tiny/tiny-Q8_0.gguf");
    let run = common::stdout(["run", "--json", "--raw", "-m", model, "-n", "1", "Once"]);
    let run: Value = serde_json::from_str(&run).expect("JSON");
    assert_eq!((&advice["threads"]["token"], &advice["level"]), (&run["threads"], &run["cpu"]));
}

#[test]
fn a_model_that_does_not_fit_is_refused_with_what_would() {
    let board = zero_2w();
    let model = common::smollm2().to_str().expect("UTF-8");
    let root = board.path().to_str().expect("UTF-8");
    let ask = |context: &str| {
        let mut command = common::stonechat();
        command.args(["board", "--root", root, "-m", model, "-c", context]);
        command.output().expect("the program starts")
    };
    let fits = ask("1024");
    assert!(fits.status.success(), "{}", String::from_utf8_lossy(&fits.stderr));
    let refused = ask("8192");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(
        (refused.status.code(), refused.stdout.len(), said.lines().count()),
        (Some(1), 0, 1),
        "{said}"
    );
    for words in
        ["93.8 for the file", "more than the 256.0 MiB that the Raspberry Pi Zero 2 W has", "it fits with "]
    {
        assert!(said.contains(words), "{said}");
    }
}

/// The pages of the boards say what `plan` says.
#[test]
fn the_pages_of_the_boards_have_the_figures_of_the_plan() {
    use stonechat_runtime::board::Profile;

    for Profile { name, model: (model, context), threads, .. } in Profile::ALL {
        assert_eq!(*model, "smollm2-135m");
        let (context, threads) = (context.to_string(), threads.token.max(threads.batch).to_string());
        let file = common::smollm2().to_str().expect("UTF-8");
        let plan = common::stdout(["plan", "--json", file, "-c", &context, "-t", &threads, "-b", "32"]);
        let plan: Value = serde_json::from_str(&plan).expect("JSON");
        let mib = |key: &str| plan[key].as_u64().expect("bytes") as f64 / 1_048_576.0;
        let (mapped, arena) = (mib("mapped_bytes"), mib("arena_bytes"));
        let row = format!("| {model} | {context} | {mapped:.1} | {arena:.1} | {:.1} |", mapped + arena + 8.0);
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("targets").join(name).join("README.md");
        let text = fs::read_to_string(&page).expect("a page");
        assert!(text.contains(&row), "{} has no row\n{row}", page.display());
    }
}
