//! What llama.cpp, `tokenizers` and sentencepiece make of the same texts with the same vocabularies.
//!
//! `tests/golden` has small vocabularies of our own; those of real models are in the folder that `STONECHAT_GOLDEN`
//! names. Where it names none, their tests say so and pass; where it names one, a missing file is a failure.

mod vocabulary_support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use stonechat_core::vocabulary::Encode;
use stonechat_gguf::Gguf;
use stonechat_gguf::writer::Writer;
use vocabulary_support::{decode, encode, plain, with_vocabulary};

/// The folder of golden data, or a line that says why the test `name` does nothing.
fn golden(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("STONECHAT_GOLDEN").map(PathBuf::from);
    if folder.is_none() {
        println!("{name}: not asked to run; set STONECHAT_GOLDEN to the folder of golden data");
    }
    folder
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&read(path)).unwrap()
}

fn read_gz(path: &Path) -> Value {
    serde_json::from_reader(flate2::read::GzDecoder::new(&read(path)[..])).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect()
}

#[test]
fn vocabularies_of_our_own_give_the_tokens_of_other_tokenizers() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/tokenizers");
    let goldens = read_json(&folder.join("goldens.json"));
    let tokenizers = goldens["tokenizers"].as_object().unwrap();
    let names: Vec<_> = tokenizers.keys().map(String::as_str).collect();
    assert_eq!(names, ["gpt2", "smollm", "llama_bpe", "qwen2", "spm"]);
    for (name, golden) in tokenizers {
        let kinds = [(&goldens["texts"], &golden["ids"]), (&golden["special_texts"], &golden["special_ids"])];
        with_vocabulary(&read(&folder.join(format!("{name}.gguf"))), |vocabulary| {
            for (special, (texts, expected)) in [false, true].into_iter().zip(kinds) {
                let (texts, expected) = (texts.as_array().unwrap(), expected.as_array().unwrap());
                assert!(texts.len() >= 8 && texts.len() == expected.len());
                for (text, expected) in texts.iter().zip(expected) {
                    let options = Encode { bos: false, special };
                    let found = encode(vocabulary, text.as_str().unwrap().as_bytes(), options);
                    assert_eq!(found, ids(expected), "{name}: {text}");
                }
            }
        });
    }
}

/// The file with other values of some keys.
fn with_keys(file: &[u8], changed: &[(&str, KeyValue<'_>)]) -> Vec<u8> {
    let gguf = Gguf::parse(file).unwrap();
    let mut writer = Writer::new();
    for entry in gguf.metadata() {
        if changed.iter().all(|(key, _)| *key != entry.0) {
            writer.metadata(entry.0, entry.1).unwrap();
        }
    }
    for (key, value) in changed {
        match value {
            KeyValue::Text(text) => writer.metadata(key, *text).unwrap(),
            KeyValue::Flag(flag) => writer.metadata(key, *flag).unwrap(),
        }
    }
    writer.finish().unwrap()
}

enum KeyValue<'a> {
    Text(&'a str),
    Flag(bool),
}

/// Compares the tokens of texts with those of a golden, and says which texts differ.
fn differing(file: &[u8], texts: &Value, golden: &Value) -> Vec<String> {
    let (texts, golden) = (texts.as_array().unwrap(), golden.as_array().unwrap());
    assert!(texts.len() >= 90 && texts.len() == golden.len());
    with_vocabulary(file, |vocabulary| {
        let pairs = texts.iter().zip(golden).map(|(text, golden)| {
            let text = text.as_str().unwrap();
            (text, plain(vocabulary, text), ids(golden))
        });
        pairs
            .filter(|(_, found, golden)| found != golden)
            .map(|(text, found, golden)| format!("{text:?}:\n  {found:?}\n  {golden:?}"))
            .collect()
    })
}

#[test]
fn every_pre_tokenizer_cuts_as_its_models_own_tokenizer() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/tokenizers");
    let goldens = read_gz(&folder.join("families.json.gz"));
    let file = read(&folder.join("pre_tokenizers.gguf"));
    let families = goldens["pre_tokenizers"].as_object().unwrap();
    assert!(families.len() >= 28);
    for (pre, golden) in families {
        let file = with_keys(&file, &[("tokenizer.ggml.pre", KeyValue::Text(pre))]);
        assert_eq!(differing(&file, &goldens["texts"], golden), [""; 0], "{pre}");
    }
}

#[test]
fn other_tokenizers_give_the_tokens_of_the_libraries_they_come_from() {
    let flag = |name: &'static str| vec![(name, KeyValue::Flag(false))];
    let cases = [
        ("wordpiece", "wordpiece", vec![]),
        ("wordpiece cased", "wordpiece", flag("tokenizer.ggml.normalizer.lowercase")),
        ("wordpiece accents", "wordpiece", flag("tokenizer.ggml.normalizer.strip_accents")),
        ("unigram", "unigram", vec![]),
        ("unigram spaces", "unigram_spaces", vec![]),
        ("characters", "characters", vec![]),
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/tokenizers");
    let goldens = read_gz(&folder.join("families.json.gz"));
    assert_eq!(goldens["tokenizers"].as_object().unwrap().len(), cases.len());
    for (name, file, changed) in cases {
        let file = with_keys(&read(&folder.join(format!("{file}.gguf"))), &changed);
        let golden = &goldens["tokenizers"][name];
        assert_eq!(differing(&file, &golden["texts"], &golden["ids"]), [""; 0], "{name}");
    }
}

#[test]
fn llama_cpps_own_tests_give_llama_cpps_tokens() {
    let Some(folder) = golden("llama.cpp's tests") else { return };
    for name in ["gpt-2", "llama-bpe", "llama-spm", "qwen2", "phi-3", "starcoder", "deepseek-llm", "bert-bge"]
    {
        let base = folder.join("vocab").join(format!("ggml-vocab-{name}.gguf"));
        let input = String::from_utf8(read(&base.with_extension("gguf.inp"))).unwrap();
        let output = String::from_utf8(read(&base.with_extension("gguf.out"))).unwrap();
        let texts: Vec<_> = input.split("\n__ggml_vocab_test__\n").collect();
        let expected: Vec<Vec<u32>> = output
            .lines()
            .map(|line| line.split_whitespace().map(|id| id.parse().unwrap()).collect())
            .collect();
        // The separator also ends the last text.
        assert_eq!(texts.len(), expected.len() + 1, "{name}");
        with_vocabulary(&read(&base), |vocabulary| {
            for (text, expected) in texts.iter().zip(&expected) {
                let ids = plain(vocabulary, text);
                assert_eq!(&ids, expected, "{name}: {text:?}");
            }
        });
        println!("{name}: {} texts", expected.len());
    }
}

/// A tokenizer of goldens.json and the vocabulary that belongs to it.
struct Case {
    tokenizer: &'static str,
    vocabulary: &'static str,
    /// Texts in which the golden's author let control tokens count as such.
    special: &'static [usize],
    /// Texts on which the tokens differ.
    differs: &'static [usize],
}

const CASES: [Case; 4] = [
    Case { tokenizer: "gpt2", vocabulary: "gpt-2", special: &[], differs: &[] },
    Case { tokenizer: "llama3_2", vocabulary: "llama-bpe", special: &[], differs: &[] },
    // 131 is `<|im_start|>user…<|im_end|>`. 124 has an accent as a character of its own, which that tokenizer's
    // normalization (NFC) joins to its letter; llama.cpp and we do not normalize.
    Case { tokenizer: "qwen2_5", vocabulary: "qwen2", special: &[131], differs: &[124] },
    Case { tokenizer: "llama2_spm", vocabulary: "llama-spm", special: &[], differs: &[] },
];

#[test]
fn texts_of_many_kinds_give_the_tokens_of_the_models_own_tokenizers() {
    let Some(folder) = golden("tokenizer goldens") else { return };
    let goldens = read_json(&folder.join("tokenizers/goldens.json"));
    let texts: Vec<_> =
        goldens["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    assert_eq!(texts.len(), 142);
    for case in CASES {
        let expected = goldens["tokenizers"][case.tokenizer]["ids"].as_array().unwrap();
        assert_eq!(expected.len(), texts.len());
        let file = read(&folder.join("vocab").join(format!("ggml-vocab-{}.gguf", case.vocabulary)));
        with_vocabulary(&file, |vocabulary| {
            let mut differs = Vec::new();
            for (i, (text, expected)) in texts.iter().zip(expected).enumerate() {
                let options = Encode { bos: false, special: case.special.contains(&i) };
                let found = encode(vocabulary, text.as_bytes(), options);
                if found != ids(expected) {
                    println!("{} {i} {text:?}:\n  {found:?}\n  {expected}", case.tokenizer);
                    differs.push(i);
                }
            }
            assert_eq!(differs, case.differs, "{}", case.tokenizer);
        });
    }
}

#[test]
fn prompts_of_a_real_model_have_its_tokens_with_bos_where_the_file_asks_for_it() {
    let Some(folder) = golden("prompts") else { return };
    let goldens = read_json(&folder.join("real/goldens.json"));
    let file = read(&folder.join("real/stories260k/stories260K-f32.gguf"));
    with_vocabulary(&file, |vocabulary| {
        let prompts = goldens["models"]["stories260K"].as_array().unwrap();
        assert!(!prompts.is_empty());
        for prompt in prompts {
            let text = prompt["prompt"].as_str().unwrap();
            let options = Encode { bos: vocabulary.add_bos(), special: false };
            let found = encode(vocabulary, text.as_bytes(), options);
            assert_eq!(found, ids(&prompt["ids"]), "{text:?}");
            // The piece of the first word begins with the space that was put before it.
            assert_eq!(decode(vocabulary, &found), format!(" {text}").into_bytes());
        }
    });
}

#[test]
fn large_texts_come_back_byte_for_byte() {
    let Some(folder) = golden("corpora") else { return };
    let corpus = read(&folder.join("corpora/wikitext2_test.txt"));
    for name in ["gpt-2", "llama-bpe", "llama-spm", "qwen2"] {
        let file = read(&folder.join("vocab").join(format!("ggml-vocab-{name}.gguf")));
        with_vocabulary(&file, |vocabulary| {
            let decoded = decode(vocabulary, &encode(vocabulary, &corpus, Encode::default()));
            let prefix = usize::from(vocabulary.add_space_prefix());
            assert!(decoded[prefix..] == corpus, "{name}");
        });
    }
}
