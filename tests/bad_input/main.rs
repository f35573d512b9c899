//! Bad input, given to the program as a user would: each ends in one sentence on stderr that says what, where and what
//! to do, with exit code 1 (it could not) or 2 (it was asked wrongly), and nothing on stdout.
//!
//! Broken files are made from the goldens by editing bytes. What the reader, the core and a pull refuse in detail, the
//! tests of those crates show; here it is that the program says it. In this file are what all share, files that cannot be
//! read, and what the machine lacks; beside it flags, architectures, models that embed, and files to be written.

mod architectures;
#[path = "../common/mod.rs"]
mod common;
mod embed;
mod quantize;
mod requests;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use stonechat_gguf::{Gguf, TensorType, writer::Writer};
use tempfile::TempDir;

const MODEL: &str = "models/llama_k/llama_k-Q8_0.gguf";

const BPE: &str = "tokenizers/gpt2.gguf";

/// What a damaged file ends with.
const AGAIN: &str = "fetch the file again, or convert it anew";

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Asserts that the program ended badly, and well.
fn assert_refused(what: &str, output: &Output, code: i32, words: &[&str]) {
    let said = String::from_utf8(output.stderr.clone()).expect("stderr is UTF-8");
    assert_eq!(output.status.code(), Some(code), "{what}: {said}");
    assert!(said.starts_with("stonechat: ") && said.ends_with('\n'), "{what}: {said}");
    assert_eq!(said.lines().count(), 1, "{what}: one sentence, not\n{said}");
    assert!(!said.contains("panicked") && !said.trim_end().contains(char::is_control), "{what}: {said}");
    assert!(output.stdout.is_empty(), "{what}: nothing belongs on stdout");
    for word in words {
        assert!(said.contains(word), "{what}: there is no '{word}' in\n{said}");
    }
}

/// Runs the program with these arguments, and asserts that it refuses.
fn refused(arguments: &[&str], code: i32, words: &[&str]) {
    let mut command = common::stonechat();
    // A model of that name must not be found, nor one fetched.
    command.args(arguments).env("STONECHAT_HOME", "/nonexistent").env_remove("STONECHAT_CPU");
    let output = command.stdin(Stdio::null()).output().expect("the program starts");
    assert_refused(&format!("{arguments:?}"), &output, code, words);
}

/// A golden file, to be broken.
struct Broken(Vec<u8>);

impl Broken {
    fn new(name: &str) -> Self {
        Self(fs::read(golden(name)).expect("a golden"))
    }

    /// Where a key or a tensor's name begins.
    fn find(&self, name: &str) -> usize {
        let mut pattern = (name.len() as u64).to_le_bytes().to_vec();
        pattern.extend(name.as_bytes());
        let place = self.0.windows(pattern.len()).position(|window| window == pattern);
        place.unwrap_or_else(|| panic!("the golden has no {name}")) + 8
    }

    fn put(mut self, place: usize, bytes: &[u8]) -> Self {
        self.0[place..][..bytes.len()].copy_from_slice(bytes);
        self
    }

    /// Gives a key or a tensor another name of the same length: the old one is missing then.
    fn rename(self, name: &str, other: &str) -> Self {
        assert_eq!(name.len(), other.len());
        let place = self.find(name);
        self.put(place, other.as_bytes())
    }

    /// Changes the value of a key, which follows its type.
    fn number(self, key: &str, value: [u8; 4]) -> Self {
        let place = self.find(key) + key.len() + 4;
        self.put(place, &value)
    }

    /// Changes a text, which follows its type and length, to another of the same length.
    fn text(self, key: &str, value: &str) -> Self {
        let place = self.find(key) + key.len() + 12;
        self.put(place, value.as_bytes())
    }

    /// Where the first dimension, the type or the data's offset of a tensor of two dimensions stands.
    fn tensor(&self, name: &str, field: Field) -> usize {
        let skip = match field {
            Field::Dimension => 4,
            Field::Type => 20,
            Field::Offset => 24,
        };
        self.find(name) + name.len() + skip
    }

    fn cut(mut self, len: usize) -> Self {
        self.0.truncate(len);
        self
    }
}

#[derive(Clone, Copy)]
enum Field {
    Dimension,
    Type,
    Offset,
}

/// A folder for broken files.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(TempDir::new().expect("a folder"))
    }

    fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).expect("a file");
        path.to_str().expect("UTF-8").to_owned()
    }
}

/// Every verb that takes a model refuses this file, naming it.
fn refused_by_all(file: &str, words: &[&str]) {
    let words: Vec<&str> = words.iter().copied().chain([file]).collect();
    refused(&["run", "-m", file, "-n", "1", "hi"], 1, &words);
    refused(&["plan", file], 1, &words);
    refused(&["logits", "-m", file, "-p", "hi"], 1, &words);
}

#[test]
fn what_is_no_model_file() {
    let folder = Folder::new();
    refused_by_all("no/such/model.gguf", &["there is no file", "check the path"]);
    refused_by_all(env!("CARGO_MANIFEST_DIR"), &["is a folder", "give the path of a file"]);
    let cases: [(&str, &[u8], &[&str]); 6] = [
        ("empty", b"", &["is empty; fetch or copy it again"]),
        ("three", b"GGU", &["ends inside the header", AGAIN]),
        ("text", b"Once upon a time", &[r#"begins with "Once", not "GGUF""#, "give a GGUF file"]),
        ("escape", b"\x1b[2J", &[r#"begins with "\x1b[2J""#]),
        ("pointer", b"version https://git-lfs.github.com/spec/v1\n", &["Git LFS pointer: fetch"]),
        ("page", b"<!DOCTYPE html>\n<html>", &["web page: fetch the file itself"]),
    ];
    for (name, bytes, words) in cases {
        refused_by_all(&folder.file(&format!("{name}.gguf"), bytes), words);
    }
    #[cfg(unix)]
    refused(&["inspect", "/dev/zero"], 1, &["is a device or pipe", "give the path of a file"]);
}

#[test]
fn a_file_cut_in_any_section() {
    let folder = Folder::new();
    let whole = Broken::new(MODEL);
    let tensor = whole.find("blk.0.attn_k.weight");
    let cuts = [
        (10, "ends inside the header: 8 bytes are needed at byte 8 and 2 are left"),
        (26, "the key of metadata entry 0"),
        (whole.find("llama.block_count") + 19, "the value of key `llama.block_count`"),
        (whole.find("tokenizer.ggml.tokens") + 99, "the value of key `tokenizer.ggml.tokens`"),
        (tensor + 5, "the name of tensor 2"),
        (tensor + 30, "the table entry of tensor `blk.0.attn_k.weight`"),
        (whole.0.len() - 100, "tensor `output_norm.weight` has 1024 bytes"),
    ];
    for (len, words) in cuts {
        let file = folder.file(&format!("cut-{len}.gguf"), &whole.0[..len]);
        refused_by_all(&file, &[words, "damaged or incomplete", AGAIN]);
    }
}

#[test]
fn a_file_that_breaks_the_rules() {
    let folder = Folder::new();
    let new = || Broken::new(MODEL);
    let query = "blk.0.attn_q.weight";
    let at = |field| new().tensor(query, field);
    let cases: [(&str, Broken, &[&str]); 18] = [
        ("version", new().put(4, &9u32.to_le_bytes()), &["GGUF version 9", "versions 2 to 3 are"]),
        ("big-endian", new().put(4, &3u32.to_be_bytes()), &["big-endian", "convert it"]),
        ("tensors", new().put(8, &(1u64 << 60).to_le_bytes()), &["tensors; the limit is 16384", AGAIN]),
        ("entries", new().put(16, &u64::MAX.to_le_bytes()), &["metadata entries; the limit is 4096", AGAIN]),
        (
            "overlap",
            new().put(at(Field::Offset), &0u64.to_le_bytes()),
            &["the data of tensor `blk.0.attn_q.weight`", "overlaps", AGAIN],
        ),
        (
            "outside",
            new().put(at(Field::Offset), &(1u64 << 40).to_le_bytes()),
            &["tensor `blk.0.attn_q.weight`", "but the file ends at byte", AGAIN],
        ),
        (
            "shape",
            new().put(at(Field::Dimension) + 8, &128u64.to_le_bytes()),
            &["`blk.0.attn_q.weight` has 128 rows of 256", "ask for 256 rows of 256", AGAIN],
        ),
        (
            "format",
            new().put(at(Field::Type), &24u32.to_le_bytes()),
            &["`blk.0.attn_q.weight` has the format I8", "not supported; supported are: F32"],
        ),
        (
            "no-format",
            new().put(at(Field::Type), &777u32.to_le_bytes()),
            &["`blk.0.attn_q.weight` has the type 777", AGAIN],
        ),
        ("missing", new().rename(query, "blk.0.attn_x.weight"), &["`blk.0.attn_q.weight` is missing", AGAIN]),
        (
            "architecture",
            new().text("general.architecture", "bloom"),
            &["the architecture `bloom` is not supported; supported are: apertus"],
        ),
        (
            "hostile-name",
            new().text("general.architecture", "a\x1b[2J"),
            &[r"the architecture `a\u{1b}[2J` is not supported"],
        ),
        (
            "no-context",
            new().rename("llama.context_length", "llama.context_lengtX"),
            &["no key `llama.context_length`", AGAIN],
        ),
        (
            "heads",
            new().number("llama.attention.head_count", [0; 4]),
            &["`llama.attention.head_count` must be at least 1", AGAIN],
        ),
        ("layers", new().number("llama.block_count", [0xff; 4]), &["`llama.block_count` must be", AGAIN]),
        (
            "epsilon",
            new().number("llama.attention.layer_norm_rms_epsilon", f32::NAN.to_le_bytes()),
            &["layer_norm_rms_epsilon` must be a positive number", AGAIN],
        ),
        (
            "no-tokens",
            new().rename("tokenizer.ggml.tokens", "tokenizer.ggml.tokenX"),
            &["no key `tokenizer.ggml.tokens`", AGAIN],
        ),
        (
            "bos",
            new().number("tokenizer.ggml.bos_token_id", 512u32.to_le_bytes()),
            &["`tokenizer.ggml.bos_token_id` is 512, but the vocabulary has 512 tokens", AGAIN],
        ),
    ];
    for (name, broken, words) in cases {
        // What only the session asks for, `plan` does not see.
        let file = folder.file(&format!("{name}.gguf"), &broken.0);
        let words: Vec<&str> = words.iter().copied().chain([file.as_str()]).collect();
        refused(&["run", "-m", &file, "-n", "1", "hi"], 1, &words);
    }
}

#[test]
fn weights_that_are_no_numbers() {
    let folder = Folder::new();
    let end = Broken::new(MODEL).0.len();
    // The last tensor is the last norm, in f32.
    let file = folder.file("nan.gguf", &Broken::new(MODEL).put(end - 4, &f32::NAN.to_le_bytes()).0);
    refused(
        &["run", "-m", &file, "hi"],
        1,
        &[&file, "a number that is not finite arose in the output of the last layer", AGAIN],
    );
}

#[test]
fn a_vocabulary_that_cannot_work() {
    let folder = Folder::new();
    let cases: [(&str, Broken, &[&str]); 3] = [
        (
            "merges",
            Broken::new(BPE).rename("tokenizer.ggml.merges", "tokenizer.ggml.mergeX"),
            &["has no merges (key `tokenizer.ggml.merges`)", AGAIN],
        ),
        ("model", Broken::new(BPE).text("tokenizer.ggml.model", "rwkv"), &["`rwkv`, which is not supported"]),
        ("cut", Broken::new(BPE).cut(400), &["ends inside", AGAIN]),
    ];
    for (name, broken, words) in cases {
        let file = folder.file(&format!("{name}.gguf"), &broken.0);
        refused(&["tokenize", "-m", &file, "hi"], 1, &[words, &[file.as_str()]].concat());
    }
    // A vocabulary alone is no model.
    let vocabulary = golden(BPE);
    refused(
        &["run", "-m", vocabulary.to_str().expect("UTF-8"), "hi"],
        1,
        &["`token_embd.weight` is missing"],
    );
}

#[test]
fn a_level_that_this_cpu_lacks_is_named_with_those_it_has() {
    let foreign = if cfg!(target_arch = "x86_64") { "neon" } else { "avx2" };
    let model = golden(MODEL);
    let model = model.to_str().expect("UTF-8");
    let words = [format!("this CPU has no level '{foreign}'; it has: "), "reference".to_owned()];
    refused(&["run", "-m", model, "--cpu", foreign, "hi"], 2, &words.each_ref().map(String::as_str));
}

#[test]
fn a_context_that_fits_with_a_smaller_batch_is_not_refused() {
    let plan = |arguments: &[&str]| -> serde_json::Value {
        let model = golden(MODEL);
        let model = model.to_str().expect("UTF-8");
        let plan = common::stdout([&["plan", "--json", "-c", "512", model], arguments].concat());
        serde_json::from_str(&plan).expect("JSON")
    };
    let bytes = |plan: &serde_json::Value| plan["arena_bytes"].as_u64().expect("bytes");
    let (least, usual) = (bytes(&plan(&["-b", "1"])), bytes(&plan(&[])));
    assert!(least < usual, "{least} {usual}");
    for memory in [least, u64::midpoint(least, usual)] {
        let plan = plan(&["--memory", &memory.to_string()]);
        assert_eq!(plan["context"], 512);
        assert!(bytes(&plan) <= memory, "{plan}");
    }
}

#[test]
fn names_that_no_model_has() {
    refused(&["run", "-m", "smolm2-135m", "hi"], 1, &["'smolm2-135m'; did you mean smollm2-135m?"]);
    refused(
        &["pull", "no-such-thing"],
        1,
        &["'no-such-thing'; there are smollm2-135m", "the path of a GGUF file"],
    );
    refused(&["run", "-m", "", "hi"], 1, &["there is no model named ''"]);
}

#[test]
fn no_folder_for_models() {
    let folder = Folder::new();
    let file = folder.file("file", b"not a folder");
    let mut command = common::stonechat();
    command.args(["run", "hi"]).env("STONECHAT_HOME", &file).stdin(Stdio::null());
    let output = command.output().expect("the program starts");
    if cfg!(feature = "pull") {
        let words = ["cannot create the folder", "set STONECHAT_HOME to a folder that you may write to"];
        assert_refused("a file in place of the folder", &output, 1, &words);
    } else if cfg!(feature = "built-in") {
        assert!(output.status.success(), "the built-in model answers");
    } else {
        assert_refused("no model", &output, 1, &["this build cannot pull it; put its file at"]);
    }
}

/// A network that leads nowhere: the proxy is a port that nobody listens on, and there is no `pip`.
#[cfg(feature = "pull")]
#[test]
fn no_network() {
    let folder = Folder::new();
    let mut command = common::stonechat();
    command.args(["pull", "smollm2-135m"]).stdin(Stdio::null());
    command.env("STONECHAT_HOME", folder.0.path()).env("PATH", folder.0.path());
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        command.env(name, "http://127.0.0.1:9");
    }
    let output = command.output().expect("the program starts");
    let words = ["cannot pull smollm2-135m", "there is no pip", "check the network, or pull again later"];
    assert_refused("no network", &output, 1, &words);
}

#[test]
fn help_is_an_answer() {
    for arguments in [&["--help"][..], &["run", "--help"], &["--version"]] {
        let output = common::stonechat().args(arguments).output().expect("the program starts");
        assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("stonechat"), "{arguments:?}");
    }
    // Nothing asked: the help, but on stderr.
    let output = common::stonechat().output().expect("the program starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty() && String::from_utf8_lossy(&output.stderr).contains("Usage:"));
}
