//! Embeddings against those of other implementations, in `tests/golden` and in the folder that `STONECHAT_GOLDEN` names;
//! and the forms in which the verb takes texts and gives vectors.

#![cfg(feature = "embed")]

mod common;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
#[cfg(all(feature = "quantize", feature = "pull"))]
use sha2::{Digest, Sha256};
use stonechat_core::arch;
use stonechat_gguf::Gguf;

/// What `tests/golden` has.
const MODELS: [&str; 9] = [
    "bert",
    "nomic_bert",
    "nomic_bert_moe",
    "jina_bert_v2",
    "jina_bert_v3",
    "modern_bert",
    "eurobert",
    "embedding_gemma",
    "llama_embed",
];
/// How far an f32 number may be from that of transformers: both round, in different orders.
const TOLERANCE: f64 = 2e-4;
/// How near, as a cosine, an embedding in int8 must be to that in f32.
const NEAR: f64 = 0.999;

fn golden(name: &str) -> (PathBuf, Value) {
    let folder = common::golden("models").join(name);
    let text = std::fs::read(folder.join(format!("{name}.json"))).expect("a golden");
    (folder.join(format!("{name}-BF16.gguf")), serde_json::from_slice(&text).expect("JSON"))
}

fn embed(model: &Path, arguments: &[&str]) -> Vec<Vec<f64>> {
    let model = model.to_str().expect("a path in UTF-8");
    let text = common::stdout([&["embed", "-m", model], arguments].concat());
    text.lines().map(|line| line.split(' ').map(|x| x.parse().expect("a number")).collect()).collect()
}

fn ids(list: &Value) -> String {
    let ids: Vec<String> = list.as_array().expect("ids").iter().map(Value::to_string).collect();
    ids.join(",")
}

fn floats(list: &Value) -> Vec<f64> {
    list.as_array().expect("floats").iter().map(|x| x.as_f64().expect("a float")).collect()
}

fn rows(list: &Value) -> Vec<Vec<f64>> {
    list.as_array().expect("rows").iter().map(floats).collect()
}

/// How far apart the numbers are that lie farthest apart.
fn distance(found: &[Vec<f64>], expected: &[Vec<f64>]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(expected).flat_map(|(a, b)| {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b)
    });
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

fn check(name: &str, found: &[Vec<f64>], expected: &[Vec<f64>]) {
    let off = distance(found, expected);
    println!("{name}: off by {off:.1e}");
    assert!(off <= TOLERANCE, "{name}: off by {off}");
}

/// What the goldens ask for: as it comes from the model, in f32.
const EXACT: [&str; 3] = ["--activations", "f32", "--no-normalize"];

#[test]
fn our_own_embeddings_hold() {
    for name in MODELS {
        let (model, golden) = golden(name);
        let exact = |more: &[&str]| embed(&model, &[&EXACT, more].concat());
        let prompt = ids(&golden["prompt"]);
        let tokens = exact(&["--ids", &prompt, "--pooling", "none"]);
        check(&format!("{name}: tokens"), &tokens, &rows(&golden["tok_embd_hf"]));
        for (pooling, expected) in golden["pooled_hf"].as_object().expect("poolings") {
            let found = exact(&["--ids", &prompt, "--pooling", pooling]);
            check(&format!("{name}: {pooling}"), &found, &[floats(expected)]);
        }
        // Over more than one chunk of attention.
        let long = &golden["long"];
        let found = exact(&["--ids", &ids(&long["prompt"]), "--pooling", "mean"]);
        check(&format!("{name}: long"), &found, &[floats(&long["mean_hf"])]);
    }
}

#[test]
fn every_architecture_that_embeds_alone_has_a_golden() {
    let mut without: Vec<&str> = arch::ALL.iter().filter(|spec| !spec.causal).map(|spec| spec.name).collect();
    for name in MODELS {
        let bytes = std::fs::read(golden(name).0).expect("a model");
        let gguf = Gguf::parse(&bytes).expect("a GGUF file");
        let architecture = gguf.str("general.architecture").expect("a key");
        without.retain(|name| *name != architecture);
    }
    assert!(without.is_empty(), "these have no golden: {without:?}");
}

/// From words to vectors of length 1, with the tokens and the pooling that the file asks for.
#[test]
fn texts_become_the_vectors_that_their_models_give_them() {
    for name in MODELS {
        let (model, golden) = golden(name);
        let texts = golden["texts"].as_array().expect("texts");
        let words: Vec<&str> = texts.iter().map(|text| text["text"].as_str().expect("a text")).collect();
        let expected: Vec<_> = texts.iter().map(|text| floats(&text["embedding_hf"])).collect();
        let found = embed(&model, &[&["--activations", "f32"], &words[..]].concat());
        check(&format!("{name}: texts"), &found, &expected);
        for (text, (int8, exact)) in words.iter().zip(embed(&model, &words).iter().zip(&expected)) {
            let cosine: f64 = int8.iter().zip(exact).map(|(a, b)| a * b).sum();
            assert!(cosine > NEAR, "{name} in int8: the cosine is {cosine} for {text}");
        }
    }
}

/// How near, as a cosine, the vectors of a published model must be to those of transformers, with its weights in f16.
#[cfg(all(feature = "quantize", feature = "pull"))]
const PUBLISHED: f64 = 0.9999;

/// From the folder that was published to vectors, by our own converter and tokenizer.
#[test]
#[cfg(all(feature = "quantize", feature = "pull"))]
fn all_minilm_converted_from_its_safetensors_gives_the_vectors_that_transformers_gives() {
    let source = common::minilm();
    let read = |path: &Path| -> Value {
        serde_json::from_slice(&std::fs::read(path).expect("a golden")).expect("JSON")
    };
    let golden = read(&common::golden("real/all-minilm-l6-v2.json"));
    let weights = std::fs::read(source.join("model.safetensors")).expect("weights");
    let sha256 = format!("{:x}", Sha256::digest(weights));
    assert_eq!(golden["sha256"], sha256, "{} is the model that the golden is of", source.display());

    let folder = tempfile::TempDir::new().expect("a folder");
    let model = folder.path().join("minilm.gguf");
    common::stdout(["quantize".as_ref(), source.as_os_str(), model.as_os_str(), "F16".as_ref()]);
    let mut goldens = vec![golden];
    goldens.extend(
        common::further_goldens().map(|folder| read(&folder.join("real/minilm/minilm_goldens.json"))),
    );
    for golden in goldens {
        let sentences = golden["sentences"].as_array().expect("sentences");
        let texts: Vec<&str> = sentences.iter().map(|one| one["text"].as_str().expect("a text")).collect();
        assert!(texts.len() > 4);
        for ((text, found), sentence) in texts.iter().zip(embed(&model, &texts)).zip(sentences) {
            let expected = floats(&sentence["embedding_hf"]);
            assert_eq!(found.len(), expected.len());
            let cosine: f64 = found.iter().zip(&expected).map(|(a, b)| a * b).sum();
            println!("{cosine:.7} {text}");
            assert!(cosine > PUBLISHED, "the cosine is {cosine} for {text}");
        }
    }
}

#[test]
fn the_embeddings_of_the_named_folder_hold() {
    let Some(folder) = common::further_goldens() else { return };
    let mut models = 0;
    for entry in std::fs::read_dir(folder.join("models")).expect("a folder of models") {
        let name = entry.expect("an entry").file_name().into_string().expect("a name in UTF-8");
        let folder = folder.join("models").join(&name);
        let Ok(text) = std::fs::read(folder.join(format!("{name}.json"))) else { continue };
        let golden: Value = serde_json::from_slice(&text).expect("JSON");
        let Some(expected) = golden.get("tok_embd_hf") else { continue };
        models += 1;
        let prompt = ids(&golden["prompt"]);
        let arguments = [&EXACT[..], &["--ids", &prompt, "--pooling", "none"]].concat();
        let found = embed(&folder.join(format!("{name}-f32.gguf")), &arguments);
        check(&name, &found, &rows(expected));
    }
    assert!(models > 0, "the folder has no models that embed");
}

/// What generates embeds, too: the mean where the file does not say, and a text may be longer than a batch.
#[test]
fn a_model_that_generates_embeds_in_batches() {
    let model = common::golden("models/llama/llama-f32.gguf");
    let tokens = embed(
        &model,
        &[&EXACT[..], &["-b", "5", "--pooling", "none", "--ids", "1,5,8,13,21,34,55"]].concat(),
    );
    assert_eq!(tokens.len(), 7);
    let of = |pooling: &[&str]| {
        embed(&model, &[&EXACT[..], &["-b", "5", "--ids", "1,5,8,13,21,34,55"], pooling].concat()).remove(0)
    };
    assert_eq!(of(&["--pooling", "last"]), tokens[6]);
    assert_eq!(of(&["--pooling", "cls"]), tokens[0]);
    let mean: Vec<f64> =
        (0..tokens[0].len()).map(|i| tokens.iter().map(|row| row[i]).sum::<f64>() / 7.0).collect();
    check("mean", &[of(&[])], &[mean]);
}

#[test]
fn lines_of_a_file_and_of_stdin_are_texts() {
    let (model, golden) = golden("bert");
    let texts: Vec<&str> = golden["texts"]
        .as_array()
        .expect("texts")
        .iter()
        .map(|text| text["text"].as_str().expect("text"))
        .collect();
    let path = model.to_str().expect("UTF-8");
    let expected = common::stdout([&["embed", "-m", path], &texts[..]].concat());
    let lines = texts.join("\r\n") + "\n";
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(lines.as_bytes()).expect("room");
    let by_file = common::stdout(["embed", "-m", path, "-f", file.path().to_str().expect("UTF-8")]);
    assert_eq!(by_file, expected);
    let mut command = common::stonechat();
    command.args(["embed", "-m", path]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    child.stdin.take().expect("a pipe").write_all(lines.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8(output.stdout).expect("UTF-8").trim_end(), expected);
}

#[test]
fn similarity_is_the_cosine_of_every_two_texts() {
    let (model, _) = golden("bert");
    let texts = ["a dog", "the dog", "what was it"];
    let vectors = embed(&model, &texts);
    let found = embed(&model, &[&["--similarity"], &texts[..]].concat());
    for (a, row) in vectors.iter().zip(&found) {
        for (b, found) in vectors.iter().zip(row) {
            let cosine: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
            assert!((cosine - found).abs() < 1e-6, "{found} {cosine}");
        }
    }
    assert_eq!(found.len(), 3);
}

#[test]
fn json_has_the_shape_of_openais_interface() {
    let (model, golden) = golden("bert");
    let path = model.to_str().expect("UTF-8");
    let json = |more: &[&str]| -> Value {
        let text = common::stdout([&["embed", "--json", "-m", path, "a dog", "the cat"], more].concat());
        serde_json::from_str(&text).expect("JSON")
    };
    let answer = json(&[]);
    let plain = embed(&model, &["a dog", "the cat"]);
    assert_eq!((answer["object"].as_str(), answer["model"].as_str()), (Some("list"), Some("bert-BF16.gguf")));
    let tokens = answer["usage"]["prompt_tokens"].as_u64().expect("a number");
    assert!(tokens > 4 && answer["usage"]["total_tokens"].as_u64() == Some(tokens));
    for (index, (datum, plain)) in answer["data"].as_array().expect("data").iter().zip(&plain).enumerate() {
        assert_eq!(
            (datum["object"].as_str(), datum["index"].as_u64()),
            (Some("embedding"), Some(index as u64))
        );
        let found: Vec<f32> = floats(&datum["embedding"]).iter().map(|x| *x as f32).collect();
        let plain: Vec<f32> = plain.iter().map(|x| *x as f32).collect();
        assert_eq!(found, plain);
    }
    // A vector for each token.
    let answer = json(&["--pooling", "none"]);
    let first = rows(&answer["data"][0]["embedding"]);
    assert!(first.len() > 2 && first[0].len() == floats(&golden["pooled_hf"]["cls"]).len());
}
