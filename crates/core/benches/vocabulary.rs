//! What a vocabulary costs: to be built, and to encode with, beside the library `tokenizers`.
//!
//!     cargo bench -p stonechat-core --bench vocabulary
//!
//! Builds vocabularies of 262,144 tokens, the size of Gemma's, that are made up here, and those of real models in the
//! folder that `STONECHAT_GOLDEN` names. Encodes with the real ones, and compares the tokens before the times.

use std::collections::HashSet;
use std::hint::black_box;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use stonechat_core::vocabulary::{Encode, Vocabulary};
use stonechat_gguf::Gguf;
use stonechat_gguf::writer::{ArrayBuffer, Writer};

const TOKENS: usize = 262_144;
const ROUNDS: usize = 21;

fn main() {
    for model in ["llama", "t5", "bert", "gpt2", "gemma4"] {
        build(model, &made_up(model));
    }
    let Some(folder) = std::env::var_os("STONECHAT_GOLDEN").map(PathBuf::from) else {
        println!("encoding: set STONECHAT_GOLDEN to the folder of golden data");
        return;
    };
    let corpus = std::fs::read_to_string(folder.join("corpora/tinyshakespeare.txt")).unwrap();
    let corpora = [
        ("prose", corpus),
        ("1 MB of `a`", "a".repeat(1_000_000)),
        ("1 MB of spaces", " ".repeat(1_000_000)),
    ];
    for (name, vocabulary, library) in [
        ("gpt-2", "gpt-2", Some("gpt2")),
        ("llama 3", "llama-bpe", Some("llama3_2")),
        ("qwen 2", "qwen2", Some("qwen2_5")),
        ("llama 2", "llama-spm", None),
        ("deepseek", "deepseek-llm", None),
        ("bert", "bert-bge", None),
    ] {
        let file = std::fs::read(folder.join(format!("vocab/ggml-vocab-{vocabulary}.gguf"))).unwrap();
        build(name, &file);
        let gguf = Gguf::parse(&file).unwrap();
        let mut memory = vec![0u32; Vocabulary::memory(&gguf).unwrap() / 4];
        let vocabulary = Vocabulary::new(&gguf, bytemuck::cast_slice_mut(&mut memory)).unwrap();
        let library = library.map(|name| {
            tokenizers::Tokenizer::from_file(folder.join(format!("tokenizers/{name}/tokenizer.json")))
                .unwrap()
        });
        for (kind, text) in &corpora {
            let mut ids = Vec::new();
            let [ours, _] = time(|| {
                ids.clear();
                let mut scratch = vec![0; vocabulary.scratch_for(text.as_bytes(), Encode::default())];
                let mut put = |id| {
                    ids.push(id);
                    ControlFlow::Continue(())
                };
                vocabulary.encode(text.as_bytes(), Encode::default(), &mut scratch, &mut put).unwrap();
            });
            let speed = |seconds: f64| text.len() as f64 / 1e6 / seconds;
            print!("encode {name:<8} {kind:<14}: {:6.1} MB/s", speed(ours));
            // The library takes minutes for a megabyte of one letter.
            if let Some(library) = library.as_ref().filter(|_| *kind == "prose") {
                let theirs = library.encode(text.as_str(), false).unwrap();
                assert!(theirs.get_ids() == ids, "{name}: the tokens differ");
                let [theirs, _] = time(|| {
                    black_box(library.encode_fast(text.as_str(), false).unwrap());
                });
                print!(", tokenizers {:6.1} MB/s", speed(theirs));
            }
            println!();
        }
    }
}

/// Builds the vocabulary of a file a few times, and says how long it took.
fn build(name: &str, file: &[u8]) {
    let gguf = Gguf::parse(file).unwrap();
    let bytes = Vocabulary::memory(&gguf).unwrap();
    let mut memory = vec![0u32; bytes / 4];
    let mut tokens = 0;
    let [min, median] = time(|| {
        tokens = Vocabulary::new(&gguf, bytemuck::cast_slice_mut(&mut memory)).unwrap().len();
    });
    let merges = gguf.opt_array("tokenizer.ggml.merges").unwrap().map_or(0, |merges| merges.len());
    let texts = gguf.array("tokenizer.ggml.tokens").unwrap();
    let letters: usize = texts.strings().unwrap().map(|(_, text)| text.len()).sum();
    println!(
        "build {name:<8} {tokens} tokens of {:4.1} bytes, {merges} merges: min {:5.1} ms, median {:5.1} ms, {:4.1} MB of memory, file {:4.1} MB",
        letters as f64 / tokens as f64,
        min * 1e3,
        median * 1e3,
        bytes as f64 / 1e6,
        file.len() as f64 / 1e6
    );
}

/// The least and the median time of a few rounds in seconds.
fn time(mut work: impl FnMut()) -> [f64; 2] {
    let mut times: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    [times[0], times[ROUNDS / 2]]
}

/// Tokens in a hundred thousand of Llama 3 that are as long as this in bytes, and those that are longer with the last.
const LENGTHS: [usize; 25] = [
    0, 0, 2500, 6700, 9400, 11100, 13900, 10000, 10800, 6900, 6100, 3800, 6600, 1600, 2900, 600, 1100, 200,
    1900, 100, 600, 0, 900, 0, 2200,
];

/// A vocabulary of as many tokens as Gemma has, as long as Llama 3's, and, as in that, with every way to make a token of
/// two in the order of the tokens.
fn made_up(model: &str) -> Vec<u8> {
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut tokens: Vec<String> = (0..256).map(|byte| format!("<0x{byte:02X}>")).collect();
    tokens.extend(["<unk>", "<s>", "</s>"].map(String::from));
    let first = tokens.len();
    tokens.extend(('a'..='z').chain(['▁', 'Ġ', 'é', 'д', '中']).map(String::from));
    let letters = first..tokens.len();
    let mut known: HashSet<String> = tokens[first..].iter().cloned().collect();
    // Two parts of each token, and what each part goes on with in others.
    let mut parts = vec![[0; 2]; tokens.len()];
    let mut rests: Vec<Vec<usize>> = vec![Vec::new(); tokens.len()];
    let mut left = LENGTHS.map(|share| share * TOKENS / 90_000 + TOKENS / 1000);
    for one in letters.clone() {
        for two in letters.clone() {
            rests[one].push(two);
            rests.push(Vec::new());
            parts.push([one, two]);
            tokens.push(format!("{}{}", tokens[one], tokens[two]));
        }
    }
    known.extend(tokens[letters.end..].iter().cloned());
    while tokens.len() < TOKENS {
        // A token, and another that begins with its second part: together they have two ways to be made of two.
        let one = letters.end + random(tokens.len() - letters.end);
        let [_, middle] = parts[one];
        if rests[middle].is_empty() {
            continue;
        }
        let rest = rests[middle][random(rests[middle].len())];
        let token = format!("{}{}", tokens[one], tokens[rest]);
        if left.get(token.len()).is_none_or(|&left| left == 0) || !known.insert(token.clone()) {
            continue;
        }
        left[token.len()] -= 1;
        rests[one].push(rest);
        rests.push(Vec::new());
        parts.push([one, rest]);
        tokens.push(token);
    }
    let mut merges = Vec::new();
    for token in &tokens[letters.end..] {
        for (at, _) in token.char_indices().skip(1) {
            let (one, two) = token.split_at(at);
            if known.contains(one) && known.contains(two) {
                merges.push(format!("{one} {two}"));
            }
        }
    }
    let mut writer = Writer::new();
    let strings = |texts: &[String]| ArrayBuffer::new(texts.iter().map(String::as_bytes));
    writer.metadata("tokenizer.ggml.model", model).unwrap();
    writer.metadata("tokenizer.ggml.pre", "llama-bpe").unwrap();
    writer.metadata("tokenizer.ggml.tokens", &strings(&tokens)).unwrap();
    writer
        .metadata("tokenizer.ggml.scores", &ArrayBuffer::new((0..tokens.len()).map(|id| -(id as f32))))
        .unwrap();
    let kind = |id| {
        if id < 256 {
            6i32
        } else if id < first {
            3
        } else {
            1
        }
    };
    writer.metadata("tokenizer.ggml.token_type", &ArrayBuffer::new((0..tokens.len()).map(kind))).unwrap();
    if matches!(model, "gpt2" | "gemma4") {
        writer.metadata("tokenizer.ggml.merges", &strings(&merges)).unwrap();
    }
    for (key, id) in [("unknown", 256u32), ("bos", 257), ("eos", 258)] {
        writer.metadata(&format!("tokenizer.ggml.{key}_token_id"), id).unwrap();
    }
    writer.finish().unwrap()
}
