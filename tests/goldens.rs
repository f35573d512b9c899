//! Logits and greedy tokens against those of other implementations, in `tests/golden` and in the folder that
//! `STONECHAT_GOLDEN` names.

mod common;

use std::path::Path;

use serde_json::Value;
use stonechat_kernels::Format;

/// How far an f32 logit may be from that of transformers: both round, in different orders.
const TOLERANCE: f64 = 2e-4;
/// What `tests/golden` has.
const LLAMAS: [&str; 6] =
    ["llama", "llama_tied_rope3", "llama_rope_yarn", "llama_rope_linear", "llama_bias", "llama_head_dim"];

/// How far an int8 logit may be from the contract computed in float64 (see `tests/golden/README.md`).
const Q8_TOLERANCE: f64 = 2e-3;

fn stonechat(arguments: &[&str], model: &Path) -> String {
    let model = model.to_str().expect("a path in UTF-8");
    common::stdout([arguments, &["-m", model]].concat())
}

fn ids(list: &Value) -> String {
    let ids: Vec<String> = list.as_array().expect("ids").iter().map(Value::to_string).collect();
    ids.join(",")
}

fn floats(list: &Value) -> Vec<f64> {
    list.as_array().expect("floats").iter().map(|x| x.as_f64().expect("a float")).collect()
}

fn argmax(row: &[f64]) -> usize {
    (0..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}

fn read(path: &Path) -> Value {
    let text = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).expect("JSON")
}

/// Logits after a prompt: a row for each position.
fn rows(model: &Path, prompt: &Value, flags: &[&str]) -> Vec<Vec<f64>> {
    let prompt = ids(prompt);
    let logits = stonechat(&[&["logits", "--json", "--all", "--ids", &prompt], flags].concat(), model);
    let logits: Value = serde_json::from_str(&logits).expect("JSON");
    logits["logits"].as_array().expect("rows").iter().map(floats).collect()
}

/// The last row is what was expected.
fn compare(name: &str, rows: &[Vec<f64>], expected: &Value, tolerance: f64) {
    let (last, expected) = (rows.last().expect("a row"), floats(expected));
    assert_eq!(last.len(), expected.len(), "{name}");
    let off = last.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(off <= tolerance, "{name}: the last logits are off by {off}");
}

fn compare_greedy(name: &str, model: &Path, prompt: &Value, expected: &Value) {
    let (prompt, n) = (ids(prompt), expected.as_array().expect("ids").len().to_string());
    let flags = ["run", "--print-ids", "-n", &n, "--activations", "f32", "--ids", &prompt];
    assert_eq!(stonechat(&flags, model), ids(expected), "{name}: greedy tokens");
}

fn check(folder: &Path, name: &str) {
    let model = folder.join(name).join(format!("{name}-f32.gguf"));
    let golden = read(&folder.join(name).join(format!("{name}.json")));
    for golden in [Some(&golden), golden.get("long")].into_iter().flatten() {
        let rows = rows(&model, &golden["prompt"], &["--activations", "f32"]);
        compare(name, &rows, &golden["logits_last_hf"], TOLERANCE);
        let found: Vec<Value> = rows.iter().map(|row| argmax(row).into()).collect();
        let expected = &golden["argmax_per_pos_hf"];
        assert_eq!(&Value::from(found), expected, "{name}: the best token of each position");
    }
    compare_greedy(name, &model, &golden["prompt"], &golden["greedy_hf"]);
}

#[test]
fn our_own_goldens_hold() {
    for name in LLAMAS {
        check(&common::golden("models"), name);
    }
}

/// With activations in f32 a quantized model is the model of its decoded weights; in int8 it is what the contract says.
#[test]
fn our_own_quantized_goldens_hold() {
    for (name, formats) in [("llama", 2), ("llama_k", 5)] {
        let folder = common::golden("models").join(name);
        let golden = read(&folder.join("quants.json"));
        let types = golden["types"].as_object().expect("formats");
        assert_eq!(types.len(), formats);
        for (format, quant) in types {
            let name = &format!("{name} in {format}");
            let model = folder.join(quant["file"].as_str().expect("a name"));
            let exact = rows(&model, &golden["prompt"], &["--activations", "f32"]);
            compare(name, &exact, &quant["logits_last_dequant_f32"], TOLERANCE);
            compare_greedy(name, &model, &golden["prompt"], &quant["greedy_dequant_f32"]);
            if let Some(q8) = quant.get("q8") {
                let quantized = rows(&model, &q8["prompt"], &[]);
                compare(name, &quantized, &q8["logits_last_contract"], Q8_TOLERANCE);
            } else {
                assert!(matches!(format.as_str(), "F16" | "BF16"), "{name}: int8 activations are not tested");
            }
        }
    }
}

#[test]
fn the_goldens_of_the_named_folder_hold() {
    let Some(folder) = common::further_goldens() else { return };
    for name in ["llama", "llama_tied_rope3", "llama_rope_yarn"] {
        check(&folder.join("models"), name);
    }
}

/// Every ggml type and some real mixes, of a llama whose files and goldens the named folder has. With f32 activations
/// the answer is known; quantized ones must be no further from it than llama.cpp's.
#[test]
fn the_quantized_goldens_of_the_named_folder_hold() {
    let Some(folder) = common::further_goldens() else { return };
    let folder = folder.join("models/llama_k");
    let golden = read(&folder.join("quants.json"));
    let types = golden["types"].as_object().expect("formats");
    for format in Format::ALL.into_iter().filter(|format| *format != Format::F32) {
        assert!(types.contains_key(format.as_str()), "{format}");
    }
    let (mut product, mut count) = (1.0, 0);
    for (format, quant) in types {
        let model = folder.join(quant["file"].as_str().expect("a name"));
        let exact = rows(&model, &golden["prompt"], &["--activations", "f32"]);
        let expected = &quant["logits_last_dequant_f32"];
        compare(&format!("llama_k in {format}"), &exact, expected, TOLERANCE);
        // Floats are multiplied as they are; llama.cpp rounds activations to them.
        if !matches!(format.as_str(), "F16" | "BF16") {
            // Over all positions: at the last alone, chance decides by a fifth.
            let quantized = rows(&model, &golden["prompt"], &["--kv", "f32"]);
            let theirs = quant["rms_diff_llamacpp_vs_dequant"].as_f64().expect("a float");
            let ratio = rms(&quantized, &exact) / theirs;
            println!("{format}: {ratio:.3} of llama.cpp's distance");
            assert!(ratio <= 1.1, "{format}: {ratio} times as far from the exact logits as llama.cpp's");
            (product, count) = (product * ratio, count + 1);
        }
    }
    let mean = f64::powf(product, 1.0 / f64::from(count));
    println!("geometric mean {mean:.3}");
    assert!(mean <= 1.0, "{mean} times as far from the exact logits as llama.cpp's");
}

/// The root of the mean squared difference.
fn rms(a: &[Vec<f64>], b: &[Vec<f64>]) -> f64 {
    let squares: Vec<f64> =
        a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| (a - b) * (a - b)).collect();
    (squares.iter().sum::<f64>() / squares.len() as f64).sqrt()
}
