//! Bad input, given to the program as a user would: each ends in one sentence on stderr that says what, where and what
//! to do, with exit code 1 (it could not) or 2 (it was asked wrongly), and nothing on stdout.
//!
//! Broken files are made from the goldens by editing bytes. What the reader, the core and a pull refuse in detail, the
//! tests of those crates show; here it is that the program says it.

mod common;

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
fn flags_out_of_range() {
    let model = golden(MODEL);
    let model = model.to_str().expect("UTF-8");
    let run = |flags: &[&str], code, words: &[&str]| {
        refused(&[&["run", "-m", model][..], flags].concat(), code, words);
    };
    let cases: [(&[&str], &[&str]); 40] = [
        (&["-n", "0", "hi"], &["-n must be at least 1"]),
        (&["-n", "-2", "hi"], &["-n must be at least 1, or -1"]),
        (&["-n", "x", "hi"], &["invalid value 'x' for '--predict <N>'", "see 'stonechat run --help'"]),
        (&["--temp", "nan", "hi"], &["the temperature must be a finite number"]),
        (&["--temp", "inf", "hi"], &["the temperature must be a finite number"]),
        (&["--temp", "-1", "hi"], &["the temperature must be a finite number that is not negative"]),
        (&["--top-p", "1.5", "hi"], &["top-p must be between 0 and 1"]),
        (&["--min-p", "-0.5", "hi"], &["min-p must be between 0 and 1"]),
        (&["--repeat-penalty", "0", "hi"], &["the repeat penalty must be a positive number"]),
        (&["--xtc-probability", "2", "hi"], &["the probability of XTC must be between 0 and 1"]),
        (&["--samplers", "top_k;topq", "hi"], &["there is no sampler 'topq'; there are: penalties (e)"]),
        (&["--sampler-seq", "kz", "hi"], &["there is no sampler 'z'"]),
        (&["--mirostat", "1", "hi"], &["--mirostat must be 0 or 2"]),
        (&["--logit-bias", "5", "hi"], &["'5' is no bias; write a token's id"]),
        (&["--logit-bias", "5+nan", "hi"], &["the bias of a token must be a finite number or -inf"]),
        (&["--logit-bias", "512+1", "hi"], &["--logit-bias names the token 512, but the model has tokens 0"]),
        (
            &["--dry-multiplier", "1", "--dry-sequence-breaker", "", "hi"],
            &["a sequence breaker of DRY must be 1 to 40 bytes long"],
        ),
        (&["--logprobs", "3", "hi"], &["--json"]),
        (&["--chat-template-kwargs", "[1]", "hi"], &["it must be a JSON object"]),
        (&["--think", "-3", "hi"], &["unexpected argument '-3'"]),
        (&["--think", "3", "--raw", "hi"], &["'--think <N>' cannot be used with '--raw'"]),
        (&["--reasoning", "loud", "hi"], &["invalid value 'loud' for '--reasoning"]),
        (&["--samples", "0", "hi"], &["--samples must be at least 1"]),
        (&["--samples", "3", "hi"], &["--samples gives the same answer each time at temperature 0"]),
        (&["--samples", "3", "--lookup", "hi"], &["'--samples <N>' cannot be used with '--lookup'"]),
        (
            &["-c", "513", "hi"],
            &["a context of 513 tokens is longer than the model's 512; ask for at most that"],
        ),
        (&["-c", "0", "hi"], &["the context must be at least 1"]),
        (&["-b", "0", "hi"], &["the batch must be at least 1"]),
        (&["-t", "0", "hi"], &["-t must be at least 1"]),
        (&["-t", "9999", "hi"], &["-t 9999 is more than the 512 threads that can be"]),
        (&["--memory", "lots", "hi"], &["'lots' is no size", "write for instance 400M"]),
        (&["--kv", "f16,f16,f16", "hi"], &["--kv takes one format for keys and values, or two"]),
        (&["--kv", "q9", "hi"], &["invalid value 'q9' for '--kv", "possible values"]),
        (&["--cpu", "pentium", "hi"], &["no such CPU level; there are reference"]),
        (&["--ids", "1,x"], &["invalid value 'x' for '--ids"]),
        (&["--ids", "1", "-p", "hi"], &["cannot be used with"]),
        (&["hi", "-p", "hi"], &["cannot be used with"]),
        (&["--tmp", "1", "hi"], &["unexpected argument '--tmp'", "a similar argument exists: '--temp'"]),
        (&["-m"], &["a value is required for '--model", "see 'stonechat run --help'"]),
        (&[], &["there is no prompt; write one"]),
    ];
    for (flags, words) in cases {
        run(flags, 2, words);
    }
    run(&["--ids", "1,512"], 1, &["there is no token 512: the model has tokens 0 to 511"]);
    run(&["--memory", "1K", "hi"], 1, &["1024 bytes of memory are too few", "the least that would do is"]);
    run(
        &["-c", "8", "a prompt of more than eight"],
        1,
        &["the context of 8", "shorten it or ask for a longer"],
    );
    refused(&["rum", "hi"], 2, &["unrecognized subcommand 'rum'", "'run'", "see 'stonechat --help'"]);
    refused(&["inspect"], 2, &["not provided: <FILE>", "see 'stonechat inspect --help'"]);
    refused(&["perplexity", "-m", model, "-f", "no/text"], 1, &["there is no file no/text; check the path"]);
    refused(&["perplexity", "-m", model, "-f", model, "-c", "2"], 2, &["-c must be at least 4"]);
    refused(&["perplexity", "-m", model, "-f", model, "--chunks", "0"], 2, &["--chunks must be at least 1"]);
}

#[cfg(feature = "chat")]
#[test]
fn tools_that_are_declared_wrongly() {
    let folder = Folder::new();
    let refused = |text: &str, words: &[&str]| {
        let path = folder.file("tools.toml", text.as_bytes());
        refused(&["chat", "--tools", &path], 1, &[&[&path[..]], words].concat());
    };
    refused("[[tools]]\nname = 3", &[", line 2: name: invalid type: integer `3`"]);
    refused("[[tools]]\nname = \"a\"\ncommand = []", &[", line 3: command: a command needs a program"]);
    refused("[[tools]]\nname = \"a\"", &[", line 1: missing field"]);
    refused("tools = []", &[": it declares no tool"]);
    refused("[[tools]", &[", line 1: "]);
    self::refused(&["chat", "--tools", "no/tools.toml"], 1, &["there is no file no/tools.toml"]);
    self::refused(&["chat", "--yes"], 2, &["--tools <FILE>"]);
}

/// A golden llama under another architecture's name, with that architecture's keys, and with some more.
fn llama_as(architecture: &str, more: &[(&str, u32)]) -> Vec<u8> {
    llama_with(architecture, more, None)
}

/// The same, with one more tensor of one number.
fn llama_with(architecture: &str, more: &[(&str, u32)], tensor: Option<&str>) -> Vec<u8> {
    let bytes = fs::read(golden(MODEL)).expect("a golden");
    let gguf = Gguf::parse(&bytes).expect("a GGUF file");
    let mut writer = Writer::new();
    writer.metadata("general.architecture", architecture).expect("a key");
    for (key, value) in gguf.metadata().filter(|(key, _)| *key != "general.architecture") {
        let key = key.replace("llama.", &format!("{architecture}."));
        writer.metadata(&key, value).expect("what the file had");
    }
    for (key, value) in more {
        writer.metadata(&format!("{architecture}.{key}"), *value).expect("a new key");
    }
    for tensor in gguf.tensors() {
        writer.tensor(tensor.name, &tensor.dims, tensor.ty, tensor.data).expect("what the file had");
    }
    let (f32, one) = (TensorType::from_id(0).expect("the first type"), 1f32.to_le_bytes());
    if let Some(name) = tensor {
        writer.tensor(name, &[1], f32, &one).expect("a new tensor");
    }
    writer.finish().expect("a GGUF file")
}

/// Some are like Llama and run; all others lack something, and say what.
#[test]
fn a_llama_that_claims_another_architecture() {
    let folder = Folder::new();
    for spec in stonechat_core::arch::ALL {
        let file = folder.file(&format!("{}.gguf", spec.name), &llama_as(spec.name, &[]));
        let mut command = common::stonechat();
        let output = command.args(["plan", &file]).output().expect("the program starts");
        if !output.status.success() {
            assert_refused(spec.name, &output, 1, &[&file]);
        }
    }
    let missing = |architecture, words: &[&str]| {
        let file = folder.file("missing.gguf", &llama_as(architecture, &[]));
        refused(&["plan", &file], 1, &[&[&file[..]], words].concat());
    };
    missing("qwen2", &["`blk.0.attn_q.bias` is missing"]);
    missing("qwen3", &["`blk.0.attn_q_norm.weight` is missing"]);
    missing("gemma2", &["`blk.0.post_attention_norm.weight` is missing"]);
    missing("gpt2", &["no key `gpt2.attention.layer_norm_epsilon`"]);
    missing("phi3", &["`blk.0.ffn_up.weight` has 256 rows of 256", "ask for 512 rows of 256"]);
    missing("apertus", &["`blk.0.attn_q_norm.weight` is missing"]);
}

/// A factor beside a matrix, or a bias of a matrix that is not there, would change every number.
#[test]
fn a_tensor_that_must_not_be_passed_over() {
    let folder = Folder::new();
    for name in ["blk.0.attn_q.scale", "blk.0.attn_qkv.bias"] {
        let file = folder.file("stray.gguf", &llama_with("llama", &[], Some(name)));
        refused(&["plan", &file], 1, &[&file, name, "changes what the model computes"]);
    }
}

#[test]
fn experts_and_windows_that_cannot_be() {
    let folder = Folder::new();
    let check = |more: &[(&str, u32)], words: &[&str]| {
        let file = folder.file("experts.gguf", &llama_as("llama", more));
        refused(&["plan", &file], 1, &[&[&file[..]], words].concat());
    };
    check(&[("expert_count", 4)], &["no key `llama.expert_used_count`"]);
    check(
        &[("expert_count", 4), ("expert_used_count", 5)],
        &["`llama.expert_used_count` must be at most expert_count"],
    );
    check(
        &[("expert_count", 4), ("expert_used_count", 0)],
        &["`llama.expert_used_count` must be at least 1"],
    );
    check(&[("expert_count", 4), ("expert_used_count", 2)], &["`blk.0.ffn_gate_inp.weight` is missing"]);
    let groups = [("expert_count", 4), ("expert_used_count", 2), ("expert_group_count", 3)];
    check(&groups, &["`llama.expert_group_count` must be a divisor of expert_count"]);
    let score = [("expert_count", 4), ("expert_used_count", 2), ("expert_gating_func", 9)];
    check(&score, &["`llama.expert_gating_func` must be 1 (softmax)"]);
    check(&[("nextn_predict_layers", 1)], &["`llama.nextn_predict_layers` must be less than block_count"]);
    check(
        &[("attention.shared_kv_layers", 1)],
        &["`llama.attention.shared_kv_layers` must be such that earlier layers"],
    );
}

/// A golden llama that wants no BOS before a text.
#[cfg(feature = "embed")]
fn llama_without_bos() -> Vec<u8> {
    let bytes = fs::read(golden("architectures/llama_tied_rope3.gguf")).expect("a golden");
    let gguf = Gguf::parse(&bytes).expect("a GGUF file");
    let mut writer = Writer::new();
    for (key, value) in gguf.metadata() {
        writer.metadata(key, value).expect("what the file had");
    }
    writer.metadata("tokenizer.ggml.add_bos_token", stonechat_gguf::Value::Bool(false)).expect("a new key");
    for tensor in gguf.tensors() {
        writer.tensor(tensor.name, &tensor.dims, tensor.ty, tensor.data).expect("what the file had");
    }
    writer.finish().expect("a GGUF file")
}

/// A golden BERT with other values of keys, and without some tensors.
#[cfg(feature = "embed")]
fn bert(change: &dyn Fn(Broken) -> Broken) -> Vec<u8> {
    change(Broken::new("models/bert/bert-BF16.gguf")).0
}

#[test]
#[cfg(feature = "embed")]
fn models_that_embed_and_texts_that_cannot_be_embedded() {
    let folder = Folder::new();
    let bert_file = golden("models/bert/bert-BF16.gguf");
    let bert_file = bert_file.to_str().expect("UTF-8");
    let embed = |flags: &[&str], code, words: &[&str]| {
        refused(&[&["embed", "-m", bert_file], flags].concat(), code, words);
    };
    embed(&["a dog", "", "a cat"], 1, &["text 2 is empty; leave it out"]);
    embed(&[], 1, &["there is no text to embed; give some after the verb"]);
    let file = folder.file("lines", b"a dog\n\na cat\n");
    embed(&["-f", &file], 1, &[&file, "line 2 is empty; leave it out"]);
    embed(&["-f", "no/lines"], 1, &["there is no file no/lines; check the path"]);
    embed(&["--ids", "2,999,3"], 1, &["there is no token 999"]);
    embed(&["-f", &file, "a dog"], 2, &["cannot be used with"]);
    embed(&["--pooling", "sum", "a dog"], 2, &["invalid value 'sum' for '--pooling <HOW>'", "mean"]);
    let long = "a dog ".repeat(200);
    embed(
        &["a dog", &long],
        1,
        &["text 2 has", "tokens, but the model takes at most 320; shorten it, or split"],
    );
    embed(&["-c", "3", "what was it"], 1, &["text 1 has", "but -c allows 3; shorten it, or ask for more"]);
    embed(&["-c", "999", "a dog"], 2, &["longer than the model's 320"]);
    embed(&["--memory", "1K", "a dog"], 1, &["1024 bytes of memory are too few"]);

    // It does not continue texts.
    for verb in [&["run", "hi"][..], &["logits", "-p", "hi"], &["bench", "-p", "4", "-n", "0"]] {
        refused(&[verb, &["-m", bert_file]].concat(), 1, &[bert_file, "stonechat embed"]);
    }

    let broken = |name: &str, change: &dyn Fn(Broken) -> Broken, words: &[&str]| {
        let file = folder.file(&format!("{name}.gguf"), &bert(change));
        refused(&["embed", "-m", &file, "a dog"], 1, &[&[&file[..]], words].concat());
    };
    let pooling = |value: u8| move |file: Broken| file.number("bert.pooling_type", [value, 0, 0, 0]);
    broken("rank", &pooling(4), &["ranks pairs of texts", "choose a way (--pooling)"]);
    broken("pooling", &pooling(9), &["`bert.pooling_type` must be 0 (none), 1 (mean)", AGAIN]);
    let without = |tensor: &'static str| move |file: Broken| file.rename(tensor, &"x".repeat(tensor.len()));
    for tensor in [
        "token_embd_norm.weight",
        "position_embd.weight",
        "blk.1.attn_output_norm.weight",
        "blk.0.ffn_up.bias",
    ] {
        broken("missing", &without(tensor), &[tensor, "is missing"]);
    }
    broken(
        "shape",
        &|file| {
            let place = file.tensor("position_embd.weight", Field::Dimension);
            file.put(place, &16u64.to_le_bytes())
        },
        &["position_embd.weight"],
    );
    broken(
        "cls",
        &|file| file.number("tokenizer.ggml.cls_token_id", 9999u32.to_le_bytes()),
        &["tokenizer.ggml.cls_token_id", AGAIN],
    );
    // Nothing begins the texts of this vocabulary.
    let file = folder.file("first.gguf", &llama_without_bos());
    refused(
        &["embed", "-m", &file, "--pooling", "cls", "a dog"],
        1,
        &[
            &file,
            "the token with which texts begin, but the vocabulary adds none",
            "choose another way (--pooling)",
        ],
    );
}

#[test]
fn latent_attention_that_cannot_be() {
    let folder = Folder::new();
    let check = |more: &[(&str, u32)], words: &[&str]| {
        let file = folder.file("latent.gguf", &llama_as("deepseek2", more));
        refused(&["plan", &file], 1, &[&[&file[..]], words].concat());
    };
    check(&[], &["no key `deepseek2.attention.kv_lora_rank`"]);
    check(&[("attention.kv_lora_rank", 0)], &["`deepseek2.attention.kv_lora_rank` must be at least 1"]);
    check(
        &[("attention.kv_lora_rank", 32)],
        &["`deepseek2.rope.dimension_count` must be an even number, less than attention.key_length"],
    );
    let longer = [("attention.kv_lora_rank", 32), ("attention.key_length_mla", 96)];
    check(&longer, &["`blk.0.attn_q.weight` has 256 rows of 256", "ask for 384 rows of 256"]);
    let more_heads = [("attention.kv_lora_rank", 1 << 24), ("attention.key_length_mla", 96)];
    check(&more_heads, &["`deepseek2.attention.head_count` must be such that all heads together"]);
}

#[test]
fn recurrent_states_that_cannot_be() {
    let folder = Folder::new();
    let check = |architecture, more: &[(&str, u32)], words: &[&str]| {
        let file = folder.file("state.gguf", &llama_as(architecture, more));
        refused(&["plan", &file], 1, &[&[&file[..]], words].concat());
    };
    check("lfm2", &[], &["no key `lfm2.shortconv.l_cache`"]);
    check("lfm2", &[("shortconv.l_cache", 1)], &["`lfm2.shortconv.l_cache` must be from 2 to 64"]);
    check("lfm2", &[("shortconv.l_cache", u32::MAX)], &["must be of a size that a model can have"]);
    check("lfm2", &[("shortconv.l_cache", 3)], &["`token_embd_norm.weight` is missing"]);
    let state_space = |inner, state, heads, groups| {
        [
            ("ssm.conv_kernel", 4),
            ("ssm.inner_size", inner),
            ("ssm.state_size", state),
            ("ssm.time_step_rank", heads),
            ("ssm.group_count", groups),
        ]
    };
    check("mamba2", &state_space(512, 0, 8, 1), &["`mamba2.ssm.state_size` must be at least 1"]);
    check("mamba2", &state_space(0, 16, 8, 1), &["`mamba2.ssm.inner_size` must be at least 1"]);
    let most = 1 << 24;
    check("mamba2", &state_space(512, most + 1, 8, 1), &["`mamba2.ssm.state_size` must be of a size"]);
    check("mamba2", &state_space(most, most, most, most), &["`mamba2.ssm.state_size` must be of a size"]);
    check("mamba2", &state_space(500, 16, 8, 1), &["`mamba2.ssm.inner_size` must be a multiple"]);
    check("mamba2", &state_space(512, 16, 8, 3), &["`mamba2.ssm.time_step_rank` must be a multiple"]);
    check("mamba2", &state_space(512, 16, 8, 2), &["`blk.0.ssm_in.weight` is missing"]);
    check("mamba", &state_space(most, most, most, 1), &["`blk.0.ssm_in.weight` is missing"]);
    let interval = [&state_space(512, 16, 8, 2)[..], &[("full_attention_interval", 0)]].concat();
    check("qwen35", &interval, &["`qwen35.full_attention_interval` must be at least 1"]);
    check("qwen35", &interval[..5], &["`blk.0.attn_qkv.weight` is missing"]);
}

#[test]
fn a_tensor_of_a_state_that_is_missing_or_of_another_shape() {
    let folder = Folder::new();
    let check = |name: &str, broken: Broken, words: &[&str]| {
        let file = folder.file(&format!("{name}.gguf"), &broken.0);
        refused(&["plan", &file], 1, &[&[&file[..]], words].concat());
    };
    let model = |name: &str| Broken::new(&format!("architectures/{name}.gguf"));
    let without = |name: &str, tensor: &str| {
        let other = tensor.replace("blk.0", "blk.9");
        check(name, model(name).rename(tensor, &other), &[&format!("`{tensor}` is missing")]);
    };
    without("lfm2", "blk.0.shortconv.conv.weight");
    without("lfm2", "blk.0.shortconv.in_proj.weight");
    without("mamba", "blk.0.ssm_a");
    without("mamba", "blk.0.ssm_dt.bias");
    without("mamba", "blk.0.ssm_x.weight");
    without("falcon_h1", "blk.0.ssm_d");
    without("falcon_h1", "blk.0.ssm_dt.bias");
    without("falcon_h1", "blk.0.attn_q.weight");
    without("qwen35", "blk.0.ssm_norm.weight");
    without("qwen35", "blk.0.ssm_beta.weight");
    let taps = model("mamba").number("mamba.ssm.conv_kernel", 3u32.to_le_bytes());
    check("mamba", taps, &["`blk.0.ssm_conv1d.weight` has 64 rows of 4", "ask for 64 rows of 3"]);
    let state = model("mamba").number("mamba.ssm.state_size", 16u32.to_le_bytes());
    check("mamba", state, &["`blk.0.ssm_x.weight` has 18 rows", "ask for 34"]);
    let groups = model("falcon_h1").number("falcon-h1.ssm.group_count", 4u32.to_le_bytes());
    check("falcon_h1", groups, &["`blk.0.ssm_in.weight` has"]);
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

/// The model is a copy: a mistake here must not cost the golden.
#[test]
fn a_packed_file_never_takes_the_place_of_a_device_or_of_the_model() {
    let folder = Folder::new();
    let model = folder.file("model.gguf", &Broken::new(MODEL).0);
    let there = folder.0.path().to_str().expect("UTF-8");
    refused(&["pack", &model, there], 2, &[there, "is no file; name the file to write"]);
    refused(&["pack", &model, &model], 2, &[&model, "is the model itself; name another"]);
    assert_eq!(fs::read(&model).expect("the model"), Broken::new(MODEL).0);
    refused(&["pack", "no/model.gguf", "out"], 1, &["there is no file no/model.gguf"]);
}

/// As with `pack`; and a type that there is not, an input that is not there.
#[cfg(feature = "quantize")]
#[test]
fn what_cannot_be_quantized_or_not_to_there() {
    let folder = Folder::new();
    let model = folder.file("model.gguf", &Broken::new(MODEL).0);
    let there = folder.0.path().to_str().expect("UTF-8");
    refused(&["quantize", &model, there, "Q4_0"], 2, &[there, "is no file; name the file to write"]);
    refused(&["quantize", &model, &model, "Q4_0"], 2, &[&model, "is the model itself; name another"]);
    assert_eq!(fs::read(&model).expect("the model"), Broken::new(MODEL).0);
    let words =
        ["there is no type 'Q4_X'; the types are F32, F16, BF16, Q8_0, Q6_K", "Q2_K", "quantize --help"];
    refused(&["quantize", &model, "out.gguf", "Q4_X"], 2, &words);
    refused(&["quantize", &model, "out.gguf", "Q4_0", "-t", "0"], 2, &["-t must be at least 1"]);
    refused(&["quantize", "no/model.gguf", "out.gguf", "Q4_0"], 1, &["there is no file no/model.gguf"]);
    refused(
        &["quantize", &model, "no/such/folder/out.gguf", "Q4_0"],
        1,
        &["cannot create a file in no/such/folder: No such file or directory"],
    );
    let cut = folder.file("cut.gguf", &Broken::new(MODEL).cut(9000).0);
    refused(&["quantize", &cut, "out.gguf", "Q4_0"], 1, &[&cut, AGAIN]);
    // A scale that is NaN, in the first block of a matrix.
    let name = "blk.0.ffn_down.weight";
    let bytes = Broken::new(MODEL).0;
    let offset = Gguf::parse(&bytes).expect("a golden").tensor(name).expect("a tensor").offset as usize;
    let nan = folder.file("nan.gguf", &Broken::new(MODEL).put(offset, &[0xff, 0x7f]).0);
    let output = folder.0.path().join("out.gguf");
    refused(
        &["quantize", &nan, output.to_str().expect("UTF-8"), "Q4_0"],
        1,
        &[name, "a weight that is NaN, infinite or too large for Q4_0"],
    );
    let mut left: Vec<_> = fs::read_dir(folder.0.path())
        .expect("a folder")
        .map(|entry| entry.expect("a file").file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["cut.gguf", "model.gguf", "nan.gguf"]);
}

/// A copy of a golden folder in Hugging Face's layout, to be broken.
#[cfg(feature = "quantize")]
struct HuggingFace(TempDir);

#[cfg(feature = "quantize")]
impl HuggingFace {
    fn new(name: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        for entry in fs::read_dir(golden("convert").join(name)).expect("a golden") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                fs::copy(&path, folder.path().join(path.file_name().expect("a name"))).expect("room");
            }
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    /// Replaces some text of a file.
    fn edit(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(name)).expect("a text");
        assert!(text.contains(from), "{name} has no {from}");
        fs::write(self.path(name), text.replacen(from, to, 1)).expect("room");
    }

    fn refused(&self, words: &[&str]) {
        let output = self.path("out.gguf");
        refused(&["quantize", self.0.path().to_str().expect("UTF-8"), &output, "Q8_0"], 1, words);
        assert!(!Path::new(&output).exists());
    }
}

#[cfg(feature = "quantize")]
#[test]
fn folders_that_cannot_be_converted() {
    let empty = Folder::new();
    let path = empty.0.path().to_str().expect("UTF-8");
    refused(
        &["quantize", path, "out.gguf", "F16"],
        1,
        &[path, "has no config.json; name a folder with a model"],
    );

    let model = HuggingFace::new("qwen2");
    model.edit("config.json", "\"qwen2\"", "\"qwen99\"");
    model.refused(&[
        "config.json",
        "models of the type 'qwen99' cannot be converted, only llama, mistral, qwen2",
    ]);

    let model = HuggingFace::new("qwen2");
    model.edit("config.json", "{", "{ \"quantization_config\": {\"quant_method\": \"gptq\"},");
    model.refused(&["is quantized already, by gptq; fetch the original"]);

    let model = HuggingFace::new("gemma3");
    model.edit("config.json", "\"full_attention\"\n", "\"sliding_attention\"\n");
    model.refused(&["layer_types are other than every sixth with full attention"]);

    let model = HuggingFace::new("qwen2");
    model.edit("config.json", "\"hidden_size\"", "\"hidden_sise\"");
    model.refused(&["config.json", "it has no hidden_size"]);
    fs::write(model.path("config.json"), "[1").expect("room");
    model.refused(&["config.json", "EOF while parsing", "fetch the file again"]);

    let model = HuggingFace::new("qwen2");
    let weights = fs::read(model.path("model.safetensors")).expect("weights");
    for len in [4, 100, weights.len() - 1] {
        fs::write(model.path("model.safetensors"), &weights[..len]).expect("room");
        model.refused(&["model.safetensors", "not a whole safetensors file", "fetch the file again"]);
    }
    fs::remove_file(model.path("model.safetensors")).expect("a file");
    model.refused(&["has no model.safetensors; fetch the model's safetensors files"]);
    let of_integers = replaced(&weights, b"\"dtype\":\"BF16\"", b"\"dtype\":\"I16\" ");
    fs::write(model.path("model.safetensors"), of_integers).expect("room");
    model.refused(&["is of type I16, and only F32, F16 and BF16 can be converted"]);
    let stray = replaced(&weights, b"model.norm.weight", b"model.gnat.weight");
    fs::write(model.path("model.safetensors"), stray).expect("room");
    model.refused(&["have no tensor norm.weight"]);

    let model = HuggingFace::new("llama");
    fs::remove_file(model.path("model-00002-of-00003.safetensors")).expect("a shard");
    model.refused(&["index.json", "a part of the model, model-00002-of-00003.safetensors, is missing"]);
    model.edit("model.safetensors.index.json", "model-00002-of-00003.safetensors", "../../x.safetensors");
    model.refused(&["which is no file's name"]);

    let model = HuggingFace::new("llama");
    model.edit("tokenizer.json", "{1,3}", "{1,4}");
    model.refused(&["tokenizer.json", "its pre-tokenizer is not known", "{1,4}", "fetch a GGUF file"]);
    fs::remove_file(model.path("tokenizer.json")).expect("a file");
    model.refused(&["has no tokenizer.json; fetch the whole model"]);

    let model = HuggingFace::new("llama");
    let shard = model.path("model-00001-of-00003.safetensors");
    let input = model.0.path().to_str().expect("UTF-8");
    refused(&["quantize", input, &shard, "Q8_0"], 2, &[&shard, "is the model itself; name another"]);
    let tokenizer = model.path("tokenizer.json");
    refused(&["quantize", input, &tokenizer, "Q8_0"], 2, &[&tokenizer, "is the model itself; name another"]);
}

/// The first of these bytes replaced by others of the same length.
#[cfg(feature = "quantize")]
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let place = bytes.windows(from.len()).position(|window| window == from).expect("the text is there");
    let mut bytes = bytes.to_vec();
    bytes[place..place + to.len()].copy_from_slice(to);
    bytes
}

#[cfg(feature = "grammar")]
#[test]
fn grammars_with_mistakes_and_schemas_that_nothing_fits() {
    let model = golden(MODEL);
    let model = model.to_str().expect("UTF-8");
    let run = |flags: &[&str], code, words: &[&str]| {
        refused(&[&["run", "-m", model], flags, &["hi"]].concat(), code, words);
    };
    run(&["-j", "{\"type\": "], 1, &["the JSON schema has a mistake at line 1, column 9"]);
    run(&["-j", "{\"enum\": []}"], 1, &["the JSON schema cannot be used: unsatisfiable"]);
    run(&["-j", "no-such.json"], 1, &["no-such.json: No such file"]);
    run(&["-j", "no-such.json", "--regex", "a"], 2, &["cannot be used with"]);
    run(&["--regex", "a("], 1, &["the regular expression has a mistake at line 1, column 2"]);
    run(&["--regex", "a{300}", "-n", "3"], 1, &["the shortest answer", "has 300 tokens", "room for 3", "-n"]);
    run(
        &["--grammar", "root ::= \"a\" b"],
        1,
        &["the GBNF grammar has a mistake at line 1, column 14", "'b'"],
    );
    run(&["--grammar", "root ::= \"a\" root"], 1, &["the GBNF grammar cannot be used: no text"]);
    run(&["--regex", "a", "--json", "--logprobs", "1"], 2, &["cannot be used with"]);
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
