//! `stonechat quantize`: files of every type run, have the formats that llama.cpp gives them, and come out the same
//! however many threads there are; folders in Hugging Face's layout become what llama.cpp's converter makes of them.
#![cfg(feature = "quantize")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use stonechat_gguf::{Gguf, TensorType, Value};
use tempfile::TempDir;

/// All types, and how far a quantized model's logits may be from those of its source, as a part of these (root mean
/// squares): what the number of bits leaves, about twice over.
const TYPES: [(&str, f64); 19] = [
    ("F32", 0.0),
    ("F16", 0.01),
    ("BF16", 0.03),
    ("Q8_0", 0.03),
    ("Q6_K", 0.08),
    ("Q5_1", 0.15),
    ("Q5_K_M", 0.15),
    ("Q5_K_S", 0.15),
    ("Q5_0", 0.15),
    ("Q4_1", 0.3),
    ("Q4_K_M", 0.3),
    ("Q4_K_S", 0.3),
    ("IQ4_NL", 0.3),
    ("Q4_0", 0.3),
    ("IQ4_XS", 0.3),
    ("Q3_K_L", 0.5),
    ("Q3_K_M", 0.5),
    ("Q3_K_S", 0.6),
    ("Q2_K", 0.9),
];

fn quantize(input: &Path, output: &Path, more: &[&str]) -> Output {
    let mut command = common::stonechat();
    command.arg("quantize").arg(input).arg(output).args(more);
    command.output().expect("the program starts")
}

fn quantized(input: &Path, output: &Path, more: &[&str]) -> String {
    let output = quantize(input, output, more);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The logits after some ids, with exact activations.
fn logits(model: &Path) -> Vec<f64> {
    let text = common::stdout([
        "logits",
        "--json",
        "--activations",
        "f32",
        "--ids",
        "1,40,7,120,33,250,90,15,201,60,77,5",
        "-m",
        model.to_str().expect("UTF-8"),
    ]);
    let logits: Json = serde_json::from_str(&text).expect("JSON");
    logits["logits"].as_array().expect("floats").iter().map(|x| x.as_f64().expect("a float")).collect()
}

fn rms(a: &[f64], b: &[f64]) -> f64 {
    let squares: f64 = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum();
    (squares / a.len() as f64).sqrt()
}

/// A copy of a golden model with all its matrices in f32.
fn in_f32(folder: &Path, golden: &str) -> PathBuf {
    let path = folder.join("source.gguf");
    fs::write(&path, common::in_f32(golden)).expect("room");
    path
}

/// Names and types of a file's tensors, by name.
fn types(model: &Path) -> Vec<(String, TensorType)> {
    let bytes = fs::read(model).expect("a model");
    let gguf = Gguf::parse(&bytes).expect("a model");
    let mut types: Vec<_> = gguf.tensors().map(|tensor| (tensor.name.to_owned(), tensor.ty)).collect();
    types.sort_by(|a, b| a.0.cmp(&b.0));
    types
}

#[test]
fn a_file_of_each_type_runs_and_answers_as_its_bits_allow() {
    let folder = TempDir::new().expect("a folder");
    let source = in_f32(folder.path(), "models/llama_k/llama_k-Q8_0.gguf");
    let exact = logits(&source);
    let size = rms(&exact, &vec![0.0; exact.len()]);
    let mut last = u64::MAX;
    for (ty, bound) in TYPES {
        let output = folder.path().join(format!("{ty}.gguf"));
        let said = quantized(&source, &output, &[ty]);
        assert!(said.contains(&format!("{ty}.gguf: {ty}, tensors ")), "{said}");
        let off = rms(&logits(&output), &exact) / size;
        println!("{ty}: {off:.4}");
        assert!(off <= bound, "{ty}: logits are off by {off} of their size");
        let bytes = fs::read(&output).expect("a file");
        let gguf = Gguf::parse(&bytes).expect("a model");
        assert_eq!(gguf.u32("general.quantization_version"), Ok(2));
        assert!(gguf.opt_u32("general.file_type").expect("a number").is_some());
        assert_eq!(gguf.str("general.architecture"), Ok("llama"));
        // From the largest to the smallest; what a mix gives some matrices weighs more in a model of one layer.
        let len = bytes.len() as u64;
        assert!(len <= last.saturating_add(last / 10), "{ty} has {len} bytes, the type before it {last}");
        last = len;
    }
}

#[test]
fn the_bytes_do_not_depend_on_threads_and_metadata_is_kept() {
    let folder = TempDir::new().expect("a folder");
    let source = in_f32(folder.path(), "models/llama_k/llama_k-Q8_0.gguf");
    let [one, three] = ["1", "3"].map(|threads| {
        let output = folder.path().join(threads);
        quantized(&source, &output, &["q4_k_m", "-t", threads]);
        fs::read(output).expect("a file")
    });
    assert!(one == three);
    let (before, after) = (fs::read(&source).expect("a file"), one);
    let (before, after) = (Gguf::parse(&before).expect("a model"), Gguf::parse(&after).expect("a model"));
    for (key, value) in before.metadata().filter(|(key, _)| !key.starts_with("general.")) {
        assert_eq!(after.get(key), Some(value), "{key}");
    }
    assert_eq!(after.get("general.file_type"), Some(Value::U32(15)));
}

#[test]
fn what_is_there_already_is_copied_and_a_packed_model_unpacked() {
    let folder = TempDir::new().expect("a folder");
    let golden = common::golden("models/llama_k/llama_k-Q8_0.gguf");
    let [copy, packed, unpacked] = ["copy", "packed", "unpacked"].map(|name| folder.path().join(name));
    quantized(&golden, &copy, &["Q8_0"]);
    common::stdout(["pack".as_ref(), golden.as_os_str(), packed.as_os_str()]);
    quantized(&packed, &unpacked, &["Q8_0"]);
    let [golden, copy, unpacked] = [golden, copy, unpacked].map(|path| fs::read(path).expect("a file"));
    let [golden, copy, unpacked] =
        [&golden, &copy, &unpacked].map(|bytes| Gguf::parse(bytes).expect("a model"));
    for ((golden, copy), unpacked) in golden.tensors().zip(copy.tensors()).zip(unpacked.tensors()) {
        assert!(golden.data == copy.data && golden.ty == copy.ty, "{}", golden.name);
        assert!(golden.data == unpacked.data && golden.ty == unpacked.ty, "{}", golden.name);
    }
}

#[test]
fn quantizing_what_is_quantized_warns() {
    let folder = TempDir::new().expect("a folder");
    let golden = common::golden("models/llama_k/llama_k-Q8_0.gguf");
    let output = quantize(&golden, &folder.path().join("out.gguf"), &["Q4_0"]);
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(
        output.status.success() && said.starts_with("warning: ") && said.contains("in Q8_0 already"),
        "{said}"
    );
    let exact = quantize(&golden, &folder.path().join("f16.gguf"), &["F16"]);
    assert!(exact.status.success() && exact.stderr.is_empty(), "nothing is lost there");
}

/// Six mixes that llama.cpp itself made of the same model.
#[test]
fn mixes_have_the_formats_that_llama_cpp_gives_them() {
    let Some(further) = common::further_goldens() else { return };
    let models = further.join("models/llama_k");
    let folder = TempDir::new().expect("a folder");
    for ty in ["Q4_K_M", "Q5_K_M", "Q3_K_S", "Q3_K_M", "Q2_K", "IQ4_XS"] {
        let output = folder.path().join(ty);
        quantized(&models.join("llama_k-f32.gguf"), &output, &[ty]);
        assert_eq!(types(&output), types(&models.join(format!("llama_k-mix-{ty}.gguf"))), "{ty}");
        let (ours, theirs) = (fs::read(&output), fs::read(models.join(format!("llama_k-mix-{ty}.gguf"))));
        let (ours, theirs) = (ours.expect("a file"), theirs.expect("a file"));
        let file_type = |bytes: &[u8]| Gguf::parse(bytes).expect("a model").u32("general.file_type");
        assert_eq!(file_type(&ours), file_type(&theirs), "{ty}");
    }
}

/// A value as the golden has it.
fn as_json(value: Value<'_>) -> Json {
    match value {
        Value::Bool(value) => json!(value),
        Value::F32(value) => json!(f64::from(value)),
        Value::String(value) => json!(String::from_utf8_lossy(value)),
        Value::Array(value) => value.iter().map(as_json).collect(),
        value => json!(value.as_u64().or_else(|| value.as_i64().map(|value| value as u64))),
    }
}

const FAMILIES: [&str; 5] = ["llama", "qwen2", "qwen3", "gemma3", "bert"];

#[test]
fn a_converted_folder_is_what_llama_cpp_makes_of_it() {
    let folder = TempDir::new().expect("a folder");
    for family in FAMILIES {
        let output = folder.path().join(family);
        quantized(&common::golden("convert").join(family), &output, &["F16"]);
        let golden = fs::read(common::golden("convert").join(format!("{family}.json"))).expect("a golden");
        let golden: Json = serde_json::from_slice(&golden).expect("JSON");
        let bytes = fs::read(&output).expect("a file");
        let gguf = Gguf::parse(&bytes).expect("a model");
        let expected = golden["f16"]["metadata"].as_object().expect("keys");
        for (key, value) in expected {
            let found = gguf.get(key).map(as_json);
            assert_eq!(found.as_ref(), Some(&value["value"]), "{family}: {key}");
        }
        for (key, _) in gguf.metadata().filter(|(key, _)| *key != "general.name") {
            assert!(expected.contains_key(key), "{family}: {key} is in no file of llama.cpp's");
        }
        let expected = golden["f16"]["tensors"].as_object().expect("tensors");
        assert_eq!(gguf.tensors().len(), expected.len(), "{family}");
        for tensor in gguf.tensors() {
            let expected = &expected[tensor.name];
            assert_eq!(expected["type"], tensor.ty.name(), "{family}: {}", tensor.name);
            assert_eq!(expected["dims"], json!(tensor.dims.as_slice()), "{family}: {}", tensor.name);
            let sha256 = format!("{:x}", Sha256::digest(tensor.data));
            assert_eq!(expected["sha256"], sha256, "{family}: {}", tensor.name);
        }
    }
}

#[test]
fn a_converted_folder_answers_as_transformers_does() {
    let folder = TempDir::new().expect("a folder");
    for family in FAMILIES.into_iter().filter(|family| *family != "bert") {
        let output = folder.path().join(family);
        quantized(&common::golden("convert").join(family), &output, &["F32"]);
        let golden = fs::read(common::golden("convert").join(format!("{family}.json"))).expect("a golden");
        let golden: Json = serde_json::from_slice(&golden).expect("JSON");
        let expected = golden["logits_last_hf"].as_array().expect("floats");
        let found = logits(&output);
        assert_eq!(found.len(), expected.len(), "{family}");
        for (found, expected) in found.iter().zip(expected) {
            let off = (found - expected.as_f64().expect("a float")).abs();
            assert!(off <= 5e-4, "{family}: a logit is off by {off}");
        }
    }
}

/// Where there is no `tokenizer.model`, the order of merges tells the scores.
#[test]
fn a_vocabulary_of_characters_is_the_same_from_either_file() {
    let folder = TempDir::new().expect("a folder");
    let (with, without) = (common::golden("convert/gemma3"), folder.path().join("gemma3"));
    fs::create_dir(&without).expect("a folder");
    for entry in fs::read_dir(&with).expect("a folder") {
        let path = entry.expect("a file").path();
        let name = path.file_name().expect("a name");
        if name != "tokenizer.model" {
            fs::copy(&path, without.join(name)).expect("room");
        }
    }
    let text = "The quick brown fox, 123 foxes;  two  spaces\nand a line. Ünïcödé → 日本 <bos>";
    let [with, without] = [with, without].map(|input| {
        let output = folder.path().join("out.gguf");
        quantized(&input, &output, &["F32"]);
        common::stdout(["tokenize", "-m", output.to_str().expect("UTF-8"), text])
    });
    assert!(with.len() > 40, "{with}");
    assert_eq!(with, without);
}
