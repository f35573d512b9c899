//! The default model against what other implementations say of it: logits, the best token at each step, perplexity.
//!
//! `tests/golden/real` has llama.cpp's answers for it; the folder that `STONECHAT_GOLDEN` names has more, and those for
//! a small model whose weights are floats.

mod common;

use std::path::Path;

use serde_json::Value;

/// Where llama.cpp prefers its best token by more than this, quantized activations must not change the choice.
const CLEAR: f64 = 0.5;
/// How far apart two engines' f32 logits may be: thirty layers in another order of sums.
const TOLERANCE: f64 = 2e-4;

fn read(path: &Path) -> Value {
    let text = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).expect("JSON")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

fn floats(list: &Value) -> Vec<f64> {
    list.as_array().expect("floats").iter().map(|x| x.as_f64().expect("a float")).collect()
}

fn ids(list: &Value) -> Vec<usize> {
    list.as_array().expect("ids").iter().map(|id| id.as_u64().expect("an id") as usize).collect()
}

fn argmax(row: &[f64]) -> usize {
    (0..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}

/// The logits before each of the tokens `answer`, which follow `prompt`.
fn steps(model: &Path, prompt: &[usize], answer: &[usize], flags: &[&str]) -> Vec<Vec<f64>> {
    let fed: Vec<String> =
        prompt.iter().chain(&answer[..answer.len() - 1]).map(ToString::to_string).collect();
    let fed = fed.join(",");
    let logits =
        common::stdout([&["logits", "--all", "--json", "-m", text(model), "--ids", &fed], flags].concat());
    let logits: Value = serde_json::from_str(&logits).expect("JSON");
    let rows = logits["logits"].as_array().expect("rows");
    assert_eq!(rows.len(), prompt.len() + answer.len() - 1);
    rows[prompt.len() - 1..].iter().map(floats).collect()
}

/// Wherever the golden's margin is clear, our best token is the golden's. Says at how many steps that was.
fn compare_best(name: &str, rows: &[Vec<f64>], best: &[usize], margins: &[f64], clear: f64) -> usize {
    assert!(rows.len() == best.len() && best.len() == margins.len(), "{name}");
    let mut compared = 0;
    for (step, row) in rows.iter().enumerate().filter(|(step, _)| margins[*step] > clear) {
        let margin = margins[step];
        assert_eq!(argmax(row), best[step], "{name}: the best token of step {step}, by {margin}");
        compared += 1;
    }
    compared
}

/// The first row has these logits.
fn compare_logits(name: &str, rows: &[Vec<f64>], top: &[usize], logits: &[f64], tolerance: f64) {
    let off = top.iter().zip(logits).map(|(id, logit)| (rows[0][*id] - logit).abs()).fold(0.0, f64::max);
    println!("{name}: the best logits are off by {off}");
    assert!(!top.is_empty() && off <= tolerance, "{name}: the best logits are off by {off}");
}

fn perplexity(model: &Path, file: &Path, chunks: usize, flags: &[&str]) -> f64 {
    let chunks = chunks.to_string();
    let command =
        ["perplexity", "-c", "256", "--json", "-m", text(model), "-f", text(file), "--chunks", &chunks];
    let report: Value = serde_json::from_str(&common::stdout([&command, flags].concat())).expect("JSON");
    assert_eq!(report["chunks"].to_string(), chunks, "{} is long enough", file.display());
    report["perplexity"].as_f64().expect("a number")
}

fn close(name: &str, found: f64, expected: f64, part: f64) {
    println!("perplexity of {name}: {found}, golden {expected}");
    assert!((found / expected - 1.0).abs() <= part, "perplexity of {name}: {found}, golden {expected}");
}

#[test]
fn the_default_models_answers_are_llama_cpps() {
    let golden = read(&common::golden("real/smollm2-135m.json"));
    let model = common::smollm2();
    for prompt in golden["prompts"].as_array().expect("prompts") {
        let name = prompt["prompt"].to_string();
        let (before, greedy) = (ids(&prompt["ids"]), ids(&prompt["greedy"]));
        let tokens =
            common::stdout(["tokenize", "-m", text(model), prompt["prompt"].as_str().expect("a text")]);
        assert_eq!(ids(&serde_json::from_str(&tokens).expect("JSON")), before, "{name}: tokens");

        let exact = steps(model, &before, &greedy, &["--activations", "f32"]);
        let f32 = &prompt["f32"];
        compare_logits(&name, &exact, &ids(&f32["top_ids"]), &floats(&f32["top_logits"]), TOLERANCE);
        let compared = compare_best(&name, &exact, &greedy, &floats(&f32["margin"]), 2.0 * TOLERANCE);
        assert_eq!(compared, greedy.len(), "{name}: every step is clear in f32");

        let quantized = steps(model, &before, &greedy, &[]);
        let q8 = &prompt["q8"];
        let compared = compare_best(&name, &quantized, &ids(&q8["best"]), &floats(&q8["margin"]), CLEAR);
        assert!(compared >= greedy.len() / 3, "{name}: {compared} steps are clear in int8");
    }
}

#[test]
fn the_default_models_perplexity_is_llama_cpps() {
    let golden = &read(&common::golden("real/smollm2-135m.json"))["perplexity"];
    let file = common::golden(golden["file"].as_str().expect("a name"));
    // Activations in f32 are slow: a few chunks, but to the last digits.
    for (mode, chunks, part) in [("f32", 2, 1e-5), ("q8", 7, 0.01)] {
        let found = perplexity(common::smollm2(), &file, chunks, &["--activations", mode]);
        close(&format!("our own corpus ({mode})"), found, floats(&golden[mode])[chunks - 1], part);
    }
}

/// Like is compared with like: llama.cpp ran once with keys and values in f32, and once in f16 with flash attention.
#[test]
fn the_answers_of_the_named_folder_hold() {
    let Some(folder) = common::further_goldens() else { return };
    let golden = read(&folder.join("real/goldens.json"));
    let stories = folder.join("real/stories260k/stories260K-f32.gguf");
    for (key, model) in [("SmolLM2-135M-Instruct.Q4_1", common::smollm2()), ("stories260K", &stories)] {
        let prompts = golden["models"][key].as_array().expect("prompts");
        assert_eq!(prompts.len(), 3);
        for prompt in prompts {
            let before = ids(&prompt["ids"]);
            for (kind, kv) in [("f32_nofa", "f32"), ("f16_fa", "f16")] {
                let name = format!("{key} after {} ({kind})", prompt["prompt"]);
                let answer = &prompt[kind];
                let (greedy, margins) = (ids(&answer["greedy"]), floats(&answer["margin"]));
                let rows = steps(model, &before, &greedy, &["--kv", kv]);
                assert!(compare_best(&name, &rows, &greedy, &margins, CLEAR) > 8, "{name}");
            }
        }
    }
    // Weights in floats leave no room: the logits are the same, and so is every token.
    for prompt in golden["models"]["stories260K"].as_array().expect("prompts") {
        let (name, answer) = (prompt["prompt"].to_string(), &prompt["f32_nofa"]);
        let (before, greedy) = (ids(&prompt["ids"]), ids(&answer["greedy"]));
        let rows = steps(&stories, &before, &greedy, &["--activations", "f32"]);
        compare_logits(&name, &rows, &ids(&answer["top20_ids"]), &floats(&answer["top20_logits"]), 2e-4);
        assert_eq!(compare_best(&name, &rows, &greedy, &floats(&answer["margin"]), 0.0), greedy.len());
    }
}

#[test]
fn the_perplexities_of_the_named_folder_hold() {
    let Some(folder) = common::further_goldens() else { return };
    let golden = read(&folder.join("real/goldens.json"));
    let stories = folder.join("real/stories260k/stories260K-f32.gguf");
    for (key, model) in [("SmolLM2-135M-Instruct.Q4_1", common::smollm2()), ("stories260K", &stories)] {
        let expected = floats(&golden["perplexity"][key]);
        let files = ["corpora/wikitext2_test.txt", "corpora/tinyshakespeare.txt"];
        for (file, expected) in files.iter().zip(expected) {
            close(&format!("{key} on {file}"), perplexity(model, &folder.join(file), 8, &[]), expected, 0.01);
        }
    }
}
