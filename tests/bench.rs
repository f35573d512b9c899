//! `stonechat bench`: that it measures the work it names, says what it must, and refuses what makes no sense.
//!
//! No test here looks at a time: a busy machine fails none.

mod common;

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;
use stonechat_kernels::{Level, LevelName};

fn model(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/models").join(file)
}

fn tiny() -> PathBuf {
    model("llama_k/llama_k-Q4_0.gguf")
}

fn bench(arguments: &[&str]) -> Output {
    common::stonechat().arg("bench").args(arguments).output().expect("the program starts")
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// The records of a quick run of the tiny model.
fn records(arguments: &[&str]) -> Vec<Value> {
    let tiny = tiny();
    let quick = ["-m", tiny.to_str().expect("UTF-8"), "-r", "2", "-o", "jsonl"];
    let text = stdout(&bench(&[&quick, arguments].concat()));
    text.lines().map(|line| serde_json::from_str(line).expect("a record on each line")).collect()
}

/// The exit code and the sentence of a run that must fail.
fn refusal(arguments: &[&str]) -> (i32, String) {
    let output = bench(arguments);
    let sentence = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(!sentence.contains("panicked"), "{sentence}");
    (output.status.code().expect("an exit code"), sentence.trim_end().to_owned())
}

fn refusal_of_tiny(arguments: &[&str]) -> (i32, String) {
    let tiny = tiny();
    refusal(&[&["-m", tiny.to_str().expect("UTF-8")], arguments].concat())
}

#[test]
fn records_carry_llama_benchs_names_and_ours() {
    let records = records(&["-p", "16", "-n", "4", "-t", "1"]);
    assert_eq!(records.len(), 2);
    let names = [
        "build_commit cpu_info gpu_info backends model_filename model_type model_size model_n_params n_batch n_ubatch \
         n_threads type_k type_v n_gpu_layers n_prompt n_gen n_depth test_time avg_ns stddev_ns avg_ts stddev_ts \
         samples_ns samples_ts",
        "engine command model_layout cpu_level activations seed model_id logits_sha256 median_ns median_ts quartiles_ts load_s \
         first_token_s bytes_per_token memory_gb_s memory_share products_per_token int8_gmac_s int8_share \
         mapped_bytes arena_bytes rss_peak_bytes rss_anonymous_bytes major_faults os board cpu_features cpu_count \
         governor frequency_mhz temperature_c throttled other_cpus joules_per_token energy_source disturbances",
    ];
    let expected: Vec<_> = names.iter().flat_map(|names| names.split_whitespace()).collect();
    for record in &records {
        let found: Vec<_> = record.as_object().expect("an object").keys().collect();
        assert_eq!(found, expected);
        assert_eq!(record["samples_ts"].as_array().expect("samples").len(), 2);
        for number in ["avg_ts", "median_ts", "load_s", "first_token_s", "memory_gb_s", "int8_gmac_s"] {
            assert!(record[number].as_f64().expect(number) > 0.0, "{number}: {}", record[number]);
        }
        assert!(record["avg_ns"].is_u64() && record["model_size"].is_u64());
    }
    let [prompt, generation] = &records[..] else { panic!("two records") };
    assert_eq!((&prompt["n_prompt"], &prompt["n_gen"]), (&16.into(), &0.into()));
    assert_eq!((&generation["n_prompt"], &generation["n_gen"]), (&0.into(), &4.into()));
    assert_eq!(prompt["model_type"], "llama 492K Q4_0");
    let command = prompt["command"].as_str().expect("a command");
    assert!(command.starts_with("stonechat bench -m ") && command.ends_with(" -p 16 -n 4 -t 1"), "{command}");
}

fn inspected() -> Value {
    let mut command = common::stonechat();
    command.args(["inspect", "--json"]).arg(tiny());
    serde_json::from_str(&stdout(&command.output().expect("the program starts"))).expect("JSON")
}

/// The tokens are documented, so that anyone can check the work: output number i of `SplitMix64`, modulo the tokens.
fn tokens(count: u64, vocabulary: u64) -> String {
    let token = |n: u64| {
        let mut z = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % vocabulary).to_string()
    };
    (0..count).map(token).collect::<Vec<_>>().join(",")
}

#[test]
fn a_prompts_checksum_is_that_of_its_logits() {
    let records = records(&["-p", "16", "-n", "0", "-d", "0,8"]);
    let inspected = inspected();
    let tensors = inspected["tensors"].as_array().expect("tensors");
    let embedding =
        tensors.iter().find(|tensor| tensor["name"] == "token_embd.weight").expect("an embedding");
    let vocabulary = embedding["dims"][1].as_u64().expect("a number of tokens");
    for (record, fed) in records.iter().zip([16, 24]) {
        let mut command = common::stonechat();
        command.args(["logits", "--hash", "--ids", &tokens(fed, vocabulary), "-m"]).arg(tiny());
        let hash = stdout(&command.output().expect("the program starts"));
        assert_eq!(record["logits_sha256"], hash.trim(), "{fed} tokens");
    }
    assert_eq!(records.len(), 2);
}

#[test]
fn every_level_thread_count_and_batch_does_the_same_work() {
    let levels: Vec<_> = Level::available().map(|level| level.name().as_str()).collect();
    let records = records(&["-p", "16", "-n", "4", "-t", "1,2", "-b", "5,16", "--cpu", &levels.join(",")]);
    assert_eq!(records.len(), levels.len() * 2 * 2 * 2);
    for kind in ["n_prompt", "n_gen"] {
        let of_kind = || records.iter().filter(|record| record[kind] != 0);
        let first = &of_kind().next().expect("a record")["logits_sha256"];
        assert!(of_kind().all(|record| record["logits_sha256"] == *first), "{kind}");
    }
    for level in levels {
        assert!(records.iter().any(|record| record["cpu_level"] == level), "{level}");
    }
}

/// All matrices once for each token (the embedding is this model's output head), a row of the embedding, and the keys and values so far: 16.5 positions on the
/// average of 32 tokens.
#[test]
fn a_generated_token_takes_the_matrices_and_the_cache_from_memory() {
    let record = &records(&["-p", "0", "-n", "32", "-c", "512"])[0];
    let inspected = inspected();
    let (mut matrices, mut row) = (0.0, 0.0);
    for tensor in inspected["tensors"].as_array().expect("tensors") {
        let dims = tensor["dims"].as_array().expect("dims");
        let bytes = tensor["bytes"].as_f64().expect("bytes");
        if dims.len() == 2 {
            matrices += bytes;
        }
        if tensor["name"] == "token_embd.weight" {
            row = bytes / dims[1].as_f64().expect("a number of rows");
        }
    }
    let number = |key: &str| inspected["metadata"][format!("llama.{key}")].as_f64().expect("a number");
    let head_dim = number("embedding_length") / number("attention.head_count");
    let position = 2.0 * 2.0 * number("block_count") * number("attention.head_count_kv") * head_dim;
    assert_eq!(record["bytes_per_token"].as_f64(), Some(matrices + row + 16.5 * position));
}

#[test]
fn a_packed_file_is_the_same_model() {
    let folder = tempfile::tempdir().expect("a folder");
    let packed = folder.path().join("packed.gguf");
    let mut command = common::stonechat();
    stdout(&command.arg("pack").arg(tiny()).arg(&packed).output().expect("the program starts"));
    let plain = written(folder.path(), "plain.jsonl", &records(&["-p", "16", "-n", "2"]));
    let packed = packed.to_str().expect("UTF-8");
    let text = stdout(&bench(&["-m", packed, "-r", "1", "-p", "16", "-n", "2", "--compare", &plain]));
    assert!(text.contains("llama 492K Q4_0 -> llama 492K Q4_0, packed"), "{text}");
    assert!(text.contains("The logits agree in every test"), "{text}");
}

#[test]
fn another_seed_is_other_work() {
    let hash = |seed| records(&["-p", "16", "-n", "0", "--seed", seed])[0]["logits_sha256"].clone();
    assert_eq!(hash("0"), hash("0"));
    assert_ne!(hash("0"), hash("1"));
}

#[test]
fn json_is_an_array_csv_has_a_head_and_md_is_a_table() {
    let tiny = tiny();
    let run = |form| {
        stdout(&bench(&["-m", tiny.to_str().expect("UTF-8"), "-r", "1", "-p", "8", "-n", "2", "-o", form]))
    };
    let array: Value = serde_json::from_str(&run("json")).expect("JSON");
    assert_eq!(array.as_array().expect("an array").len(), 2);
    let csv = run("csv");
    let lines: Vec<_> = csv.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with("build_commit,cpu_info,") && lines[1].starts_with('"'));
    let md = run("md");
    for part in ["| llama 492K Q4_0", " pp8 ", " tg2 ", "reads memory at", "SHA-256 of the logits"] {
        assert!(md.contains(part), "{part} is missing in\n{md}");
    }
}

#[test]
fn what_makes_no_sense_is_said_in_one_sentence() {
    let lacking =
        LevelName::ALL.into_iter().find(|name| Level::new(*name).is_none()).expect("no CPU has all levels");
    let cases: [(&[&str], i32, &[&str]); 8] = [
        (&["-p", "0", "-n", "0"], 2, &["-p and -n are both 0"]),
        (
            &["-n", "99999999999"],
            1,
            &["tg99999999999 needs a context of 99999999999 tokens", "512 is the most"],
        ),
        (&["-n", "18446744073709551615", "-d", "1"], 1, &["512 is the most"]),
        (&["-d", "4096"], 1, &["pp512 @ d4096 needs a context of 4608 tokens", "512 is the most"]),
        (&["--cpu", lacking.as_str()], 2, &["this CPU has no level", lacking.as_str(), "it has: reference"]),
        (&["-t", "0"], 2, &["-t must be at least 1"]),
        (&["-b", "0"], 2, &["-b must be at least 1"]),
        (&["--memory", "1k", "-p", "8", "-n", "0"], 1, &["bytes of memory are too few for this model"]),
    ];
    for (arguments, code, parts) in cases {
        let (found, sentence) = refusal_of_tiny(arguments);
        assert_eq!(found, code, "{arguments:?}: {sentence}");
        assert!(parts.iter().all(|part| sentence.contains(part)), "{arguments:?}: {sentence}");
        assert_eq!(sentence.lines().count(), 1, "{sentence}");
    }
    for arguments in [&["-p", "x"][..], &["-r", "0"], &["-o", "yaml"]] {
        assert_eq!(refusal_of_tiny(arguments).0, 2, "{arguments:?}");
    }
    let (code, sentence) = refusal(&["-m", "no/such/model.gguf"]);
    assert!(code == 1 && sentence.contains("there is no file no/such/model.gguf"), "{sentence}");
}

/// Memory is not taken to find out that there is too little of it.
#[test]
fn a_test_too_large_for_memory_is_named_before_anything_is_allocated() {
    // The same model, but made for a context that no machine has the memory for.
    let mut bytes = std::fs::read(tiny()).expect("the golden");
    let key = b"llama.context_length";
    let at = bytes.windows(key.len()).position(|part| part == key).expect("the key") + key.len() + 4;
    bytes[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("long.gguf");
    std::fs::write(&path, bytes).expect("written");
    let long = ["-m", path.to_str().expect("UTF-8"), "-p", "8", "-n", "0", "-d", "4000000000"];
    let (code, sentence) = refusal(&long);
    assert_eq!(code, 1, "{sentence}");
    for part in ["long.gguf: the test pp8 @ d4000000000 needs", "MiB of memory", "are available"] {
        assert!(sentence.contains(part), "{sentence}");
    }
}

/// Writes a file of records.
fn written(folder: &Path, name: &str, records: &[Value]) -> String {
    let path = folder.join(name);
    let lines: Vec<_> = records.iter().map(Value::to_string).collect();
    std::fs::write(&path, lines.join("\n")).expect("written");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn earlier_records_are_set_beside_later_ones() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut earlier = records(&["-p", "8,16", "-n", "2", "-t", "1"]);
    let file = written(folder.path(), "earlier.jsonl", &earlier);
    let tiny = tiny();
    let again = [
        "-m",
        tiny.to_str().expect("UTF-8"),
        "-r",
        "1",
        "-p",
        "8,16",
        "-n",
        "2",
        "-t",
        "1",
        "--compare",
        &file,
    ];
    let text = stdout(&bench(&again));
    assert!(text.contains("ratio") && text.contains("The logits agree in every test"), "{text}");

    // Without measuring, and with numbers that are known: twice as fast.
    for record in &mut earlier {
        record["median_ts"] = 100.0.into();
    }
    let mut now = earlier.clone();
    for record in &mut now {
        record["median_ts"] = 200.0.into();
    }
    let (earlier_file, now_file) =
        (written(folder.path(), "a.jsonl", &earlier), written(folder.path(), "b.jsonl", &now));
    let text = stdout(&bench(&["--compare", &earlier_file, &now_file]));
    assert_eq!(text.matches(" 2.000 ").count(), 3, "{text}");

    now[1]["logits_sha256"] = "00".into();
    let now_file = written(folder.path(), "b.jsonl", &now);
    let output = bench(&["--compare", &earlier_file, &now_file]);
    let (text, sentence) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(
        text.contains("DIFFERENT") && sentence.contains("the logits differ in 1 of 3 tests"),
        "{text}{sentence}"
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn records_of_different_models_are_compared_nowhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let ours = written(folder.path(), "ours.jsonl", &records(&["-p", "8", "-n", "0"]));
    let other = model("llama_k/llama_k-Q8_0.gguf");
    let other = other.to_str().expect("UTF-8");
    let text = stdout(&bench(&["-m", other, "-r", "1", "-p", "8", "-n", "0", "-o", "json"]));
    let theirs = folder.path().join("theirs.json");
    std::fs::write(&theirs, text).expect("written");
    let theirs = theirs.to_str().expect("UTF-8");
    let page = folder.path().join("report.html");
    let page_name = page.to_str().expect("UTF-8");
    let refused = [
        refusal(&["-m", other, "-p", "8", "-n", "0", "--compare", &ours]),
        refusal(&["--compare", &ours, theirs]),
        refusal(&["--report", page_name, &ours, theirs]),
    ];
    for (code, sentence) in refused {
        assert_eq!(code, 1, "{sentence}");
        for part in ["different models", "llama 492K Q4_0", "llama 492K Q8_0", "say nothing about each other"]
        {
            assert!(sentence.contains(part), "{sentence}");
        }
    }
    assert!(!page.exists());
    stdout(&bench(&["--report", page_name, &ours, &ours]));
    let html = std::fs::read_to_string(&page).expect("the page");
    assert!(html.contains("<svg") && html.contains("Reading a prompt of 8 tokens"), "{html}");
}

#[test]
fn files_that_hold_no_records_are_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let page = folder.path().join("report.html");
    let page = page.to_str().expect("UTF-8");
    let tiny = tiny();
    let tiny = tiny.to_str().expect("UTF-8");
    let empty = written(folder.path(), "empty.json", &[Value::Array(Vec::new())]);
    let missing = folder.path().join("missing.jsonl");
    let cases = [
        (vec!["--report", page, tiny], 1, "llama_k-Q4_0.gguf: this is no file of records"),
        (vec!["--report", page, &empty], 1, "there is no record in this file"),
        (vec!["--report", page, missing.to_str().expect("UTF-8")], 1, "there is no file"),
        (vec!["--report", page], 2, "required arguments"),
        (vec![&empty], 2, "not what to do with them"),
        (vec!["--report", "/no/such/folder/a.html", &empty], 1, "there is no record"),
    ];
    for (arguments, code, part) in cases {
        let (found, sentence) = refusal(&arguments);
        assert!(found == code && sentence.contains(part), "{arguments:?}: {found}: {sentence}");
    }
}
