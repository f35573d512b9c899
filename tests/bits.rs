//! The same bits everywhere: one file and prompt give one hash, whatever the level, the threads and the batch.
//!
//! The hashes are recorded here, so that a run on another architecture is held to those of this one: they are our own
//! results, and change only if the numerics contract does. That the results are right is what `goldens.rs` shows.

mod common;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::Write;
use std::sync::Mutex;

use common::ARCHITECTURE_IDS;
use stonechat_gguf::writer::Writer;
use stonechat_gguf::{Gguf, TensorType};
use stonechat_kernels::{Format, Level};
use tempfile::NamedTempFile;

/// A golden model, the ids of a prompt, and the hash of the logits that follow it, for int8 activations.
const RECORD: [(&str, &str, &str); 11] = [
    // What boards without an operating system are held to as well (scripts/board.sh).
    (
        "../../models/tiny/tiny-Q8_0.gguf",
        IDS,
        "f41d4fa3095730043d391b7ce9bdae98d19340a46c3489207368d2019b963618",
    ),
    (
        "../../models/tiny/tiny-Q4_0.gguf",
        IDS,
        "36730917e99b9d77a8822a86dbb21f9bf8350c0564d7cfdf6f7ae7491d147b81",
    ),
    (
        "models/llama_k/llama_k-Q8_0.gguf",
        IDS,
        "fe14139901c634088bcffdd626344475354e4c00f38b12a625d8ed5ec90b8139",
    ),
    (
        "models/llama_k/llama_k-Q4_0.gguf",
        IDS,
        "96de2100fec65c5f31e59dd33e756238445405194fe2f3d2a62e03410e41e796",
    ),
    (
        "models/llama_k/llama_k-Q4_K.gguf",
        IDS,
        "e90a51c190d645a1998213f56d49823a3558ade05fa70a6315e8f3d81f93bad2",
    ),
    ("models/llama/llama-F16.gguf", IDS, "4c4503dc746f8a7110a71acdf16ed21a7131801de72eb49f3fea420b2f20fc8b"),
    ("models/llama/llama-BF16.gguf", IDS, "4c4503dc746f8a7110a71acdf16ed21a7131801de72eb49f3fea420b2f20fc8b"),
    (
        "architectures/lfm2.gguf",
        ARCHITECTURE_IDS,
        "9a81051a19ba5f622a9b4a85ae8c35d8d0e45bb5852fb3fe303d982262576e16",
    ),
    (
        "architectures/mamba.gguf",
        ARCHITECTURE_IDS,
        "22d8eb632a62935282ca8ad994bc337213687a82a3efc87cdd992c284777ce1e",
    ),
    (
        "architectures/falcon_h1.gguf",
        ARCHITECTURE_IDS,
        "9d4b8956ac54c739d5ccd4119ca9881dd7ce0022e90aa2d4d0266c3306cc8ad6",
    ),
    (
        "architectures/qwen35.gguf",
        ARCHITECTURE_IDS,
        "351b638fdbf911957a77a19cde2ddad80bdda09d2a30e05d804b6469678b5ebf",
    ),
];

/// Ids that every model there has but those of `architectures`; more than one batch of 7.
const IDS: &str = "1,489,488,494,196,93,462,61,138,78,166,272,67,399,128,395,166,398,482,479,139,282,226,134";

/// The formats of keys and values, and the hash of the logits of [`LONG`] tokens: more than one chunk of attention.
const KV_RECORD: [(&str, &str); 6] = [
    ("f32", "37f86bfde50e81f46a5ca34334d8dcc06514fde25bd93bdee91643f2d919296e"),
    ("f16", "93ee0376c441cfd616830cfdd9cfc038832c12bc54296db18b7dd530a276d18e"),
    ("q8_0", "47689ec51475f46335062fd2d7287185ab23c639b6b2a61cec321514fa9d3bd5"),
    ("q4_0", "de03529603960541b65562cb4bd233cf0551958b93649575b5253991a999b4de"),
    ("q8_0,q4_0", "e51f687f25df7041934fb7c0433e49b28443998cf488b617893e7339df4797f5"),
    ("f16,q8_0", "34128b6639515a7c262bb79d66a8cd8309fd7021beac9068a057f484e2814ff6"),
];
/// The model for them: its heads are whole blocks, four to a KV head.
const KV_MODEL: &str = "llama_k/llama_k-Q4_0.gguf";
/// The number of tokens.
const LONG: usize = 300;

/// Threads and sizes of batches: each number of both, once.
const SHARED: [(&str, &str); 3] = [("1", "1"), ("2", "7"), ("3", "64")];

/// What follows this, said by the default model.
const PROMPT: &str = "The capital of France is";
const SMOLLM2: &str = "4942dd39c0fda81c9ff4c86461cb7d1094d6dd906de0f557bb50f6819d471c23";

fn hash(file: &str, ids: &str, arguments: &[&str]) -> String {
    let path = common::golden(file);
    let model = path.to_str().expect("a path in UTF-8");
    common::stdout([&["logits", "--hash", "--all", "--ids", ids, "-m", model], arguments].concat())
}

fn hash_of_smollm2(arguments: &[&str]) -> String {
    let model = common::smollm2().to_str().expect("a path in UTF-8");
    common::stdout([&["logits", "--hash", "-p", PROMPT, "-m", model], arguments].concat())
}

#[test]
fn every_level_gives_the_recorded_bits() {
    for (file, ids, recorded) in RECORD {
        for level in common::levels() {
            let level = level.name().as_str();
            assert_eq!(hash(file, ids, &["--cpu", level, "-t", "1"]), recorded, "{file} at level {level}");
        }
    }
}

/// What the built-in model makes of a beginning with these flags, and a seed: the same draws on every CPU.
const SAMPLED: [(&[&str], &str); 2] = [
    (
        &["--temp", "0.9", "--top-k", "50", "--top-p", "0.95", "--repeat-penalty", "1.1"],
        "12,386,286,259,376,412,368,298,14,313,387,262,299,306,293,405,267,261,332,339,264,261,75,89,14,396,326,12,341,359,259,351,12,389,417,385,1,314,385,286",
    ),
    (
        &["--temp", "1.2", "--mirostat", "2"],
        "12,386,286,259,376,412,368,298,14,313,387,262,299,485,306,293,409,14,396,326,12,341,494,259,376,412,368,482,482,354,267,285,468,68,89,14,372,477,393,278",
    ),
];

#[test]
fn a_seed_gives_the_recorded_text() {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/models/tiny/tiny-Q8_0.gguf");
    let fixed =
        ["run", "-m", model, "--raw", "-p", "Once upon a time", "-n", "40", "--seed", "7", "--print-ids"];
    for (flags, recorded) in SAMPLED {
        for level in common::levels() {
            let level = ["--cpu", level.name().as_str()];
            let ids = common::stdout(fixed.iter().chain(flags).chain(&level));
            assert_eq!(ids, recorded, "{flags:?} at level {}", level[1]);
        }
    }
}

#[test]
fn threads_and_batch_change_no_bit() {
    let all = ["1", "2", "3"].into_iter().flat_map(|threads| ["1", "7", "64"].map(|batch| (threads, batch)));
    // Which of them meet is not the CPU's business.
    let chosen: Vec<_> = if common::is_emulated() { SHARED.to_vec() } else { all.collect() };
    common::for_each(&RECORD, |(file, ids, recorded)| {
        for (threads, batch) in &chosen {
            let found = hash(file, ids, &["-t", threads, "-b", batch]);
            assert_eq!(found, *recorded, "{file} with -t {threads} -b {batch}");
        }
    });
}

#[test]
fn a_real_model_gives_the_recorded_bits_at_every_level_with_any_threads_and_batch() {
    for level in common::levels() {
        // Without SIMD, and with an emulated one, a token takes seconds: there once.
        let quick = level != Level::REFERENCE && !common::is_emulated();
        let (threads, batches): (&[_], &[_]) =
            if quick { (&["1", "2", "3"], &["1", "7", "64"]) } else { (&["2"], &["64"]) };
        let level = level.name().as_str();
        for threads in threads {
            for batch in batches {
                let found = hash_of_smollm2(&["--cpu", level, "-t", threads, "-b", batch]);
                assert_eq!(found, SMOLLM2, "level {level} with -t {threads} -b {batch}");
            }
        }
    }
    assert_eq!(hash_of_smollm2(&["-t", "3", "-b", "3"]), SMOLLM2, "the level that is detected");
}

/// Of every architecture, with its windows, experts, norms and activations, the hash of the logits of [`ARCHITECTURE_IDS`]:
/// a line for each model of that folder.
const ARCHITECTURES: &str = include_str!("golden/architectures/bits.txt");

/// Natively at every level and emulated, in whatever way the work is shared out.
#[test]
fn every_architecture_gives_the_recorded_bits() {
    let recorded: HashMap<&str, &str> =
        ARCHITECTURES.lines().filter_map(|line| line.split_once(' ')).collect();
    let ways: &[_] = if common::is_emulated() { &SHARED[1..2] } else { &SHARED };
    let models = common::architectures();
    let wrong = Mutex::new(Vec::new());
    common::for_each(&models, |model| {
        let name = model.file_stem().and_then(OsStr::to_str).expect("a name in UTF-8");
        for level in common::levels() {
            for (threads, batch) in ways {
                let arguments = ["--cpu", level.name().as_str(), "-t", threads, "-b", batch];
                let found = hash(&format!("architectures/{name}.gguf"), ARCHITECTURE_IDS, &arguments);
                if recorded.get(name) != Some(&found.as_str()) {
                    wrong.lock().expect("no panic").push(format!("{name} {found} with {arguments:?}"));
                }
            }
        }
    });
    let wrong = wrong.into_inner().expect("no panic");
    assert!(
        wrong.is_empty(),
        "other bits than tests/golden/architectures/bits.txt says:\n{}",
        wrong.join("\n")
    );
    assert_eq!(recorded.len(), models.len(), "a line for each model");
}

/// Those of the folder of further goldens, held to the reference.
#[test]
fn no_architecture_makes_bits_depend_on_level_threads_or_batch() {
    let ways: &[_] = if common::is_emulated() { &SHARED[1..2] } else { &SHARED };
    common::for_each(&common::further_models(), |model| {
        let hash = |arguments: &[&str]| {
            let model = model.to_str().expect("a path in UTF-8");
            common::stdout([&["logits", "--hash", "--all", "--ids", IDS, "-m", model], arguments].concat())
        };
        let expected = hash(&["--cpu", "reference", "-t", "1", "-b", "1"]);
        for level in common::levels() {
            for (threads, batch) in ways {
                let arguments = ["--cpu", level.name().as_str(), "-t", threads, "-b", batch];
                assert_eq!(hash(&arguments), expected, "{} with {arguments:?}", model.display());
            }
        }
    });
}

/// A llama whose nine matrices have nine formats, until each format was there: the hashes of the logits of [`IDS`].
const FORMATS: [&str; 3] = [
    "958c728e3fa1b22b2183b27def77d7dd73739a64087fa62df72c1ae87e30a201",
    "da12ca8e6d9978bd799743bc3d0bec57aabf029ce866fa13e593b7a046a84be8",
    "6a12cbdcaa12046a1c069713ecf711f73d0681379cbfda37df9aa6b11d54d18d",
];

/// A copy of a golden with other matrices: random weights, each in the next of some formats.
fn with_formats(golden: &str, formats: &[Format], seed: u64) -> NamedTempFile {
    let bytes = std::fs::read(common::golden(golden)).expect("a model");
    let gguf = Gguf::parse(&bytes).expect("a GGUF file");
    let mut writer = Writer::new();
    for (key, value) in gguf.metadata() {
        writer.metadata(key, value).expect("what the file had");
    }
    let mut formats = formats.iter().cycle();
    let mut state = seed;
    let tensors: Vec<_> = gguf
        .tensors()
        .map(|tensor| {
            if tensor.dims.as_slice().len() < 2 {
                return (tensor, tensor.ty, tensor.data.to_vec());
            }
            let format = *formats.next().expect("one of them");
            let weights = random_weights(format, tensor.dims.elements().expect("few") as usize, &mut state);
            (tensor, TensorType::from_id(format.ggml_id()).expect("a type"), weights)
        })
        .collect();
    for (tensor, ty, data) in &tensors {
        writer.tensor(tensor.name, &tensor.dims, *ty, data).expect("what the file had");
    }
    let mut file = NamedTempFile::with_suffix(".gguf").expect("a file");
    file.write_all(&writer.finish().expect("a GGUF file")).expect("room");
    file
}

/// Random integers, and scales that are neither large nor infinite.
fn random_weights(format: Format, count: usize, state: &mut u64) -> Vec<u8> {
    let mut next = || {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) as u32
    };
    let mut bytes = vec![0; count / format.block_len() * format.block_bytes()];
    bytes.iter_mut().for_each(|byte| *byte = next() as u8);
    for block in bytes.chunks_exact_mut(format.block_bytes()) {
        match format {
            // A number between 2^-7 and 2^-6, of either sign.
            Format::F16 => block[1] = block[1] & 0x83 | 0x20,
            Format::BF16 => {
                block[0] &= 0x7f;
                block[1] = block[1] & 0x80 | 0x3c;
            }
            // Powers of two and E4M3 about there; of IQ1_M, four of the bits of a half.
            Format::MXFP4 => block[0] = 118 + block[0] % 4,
            Format::NVFP4 => block[..4].iter_mut().for_each(|scale| *scale = 8 + *scale % 16),
            Format::IQ1_M => block[55] = block[55] & 0x8f | 0x10,
            _ => {}
        }
        for at in format.halves() {
            block[*at..at + 2].copy_from_slice(&(0x1400 + (next() as u16 & 0x87ff)).to_le_bytes());
        }
    }
    bytes
}

#[test]
fn every_format_gives_the_recorded_bits() {
    let formats: Vec<Format> = Format::ALL.into_iter().filter(|format| *format != Format::F32).collect();
    let groups: Vec<_> = formats.chunks(9).zip(FORMATS).zip(1..).collect();
    assert_eq!(formats.len().div_ceil(9), groups.len(), "a hash for every nine formats");
    common::for_each(&groups, |((formats, recorded), seed)| {
        let file = with_formats("models/llama_k/llama_k-Q8_0.gguf", formats, *seed);
        let model = file.path().to_str().expect("a path in UTF-8");
        for level in common::levels() {
            for (threads, batch) in [("1", "1"), ("2", "7")] {
                let arguments = ["--cpu", level.name().as_str(), "-t", threads, "-b", batch];
                let basic = ["logits", "--hash", "--all", "--ids", IDS, "-m", model];
                let found = common::stdout([&basic[..], &arguments].concat());
                assert_eq!(found, *recorded, "{formats:?} with {arguments:?}");
            }
        }
    });
}

/// Models that embed, and the hash of the vectors of [`IDS`] and of [`LONG`] tokens.
#[cfg(feature = "embed")]
const EMBEDDINGS: [(&str, &str, &str); 9] = [
    (
        "bert",
        "49f06354a23b97228d68551566ce7bb724cb4b98fe4704e1189f9d8e6f499c83",
        "2e80ac0cf0c52df8954bc206cb967d5d9302c4b860d776834eed2932dde19f83",
    ),
    (
        "nomic_bert",
        "4b1cf492c89708514f15db3c3f290908c3df83586ded5e9b8bc6f069c072e6e6",
        "fa23254cabd59074aa310c2cc0b651b01f894ea1464fe9d6fadaf32f564b0de4",
    ),
    (
        "nomic_bert_moe",
        "0814bc700288ebe91e4ddd54947a0e54a72c61167d5f09d5e39ab4d34913ec19",
        "9817b1bdd2d1b70bf2e4ff20a63ba784aaf0b148ac753c9abbce50e9be3cd42c",
    ),
    (
        "jina_bert_v2",
        "01dfae64f91aa3c764d73d4d04918a7796d3f9842375ac7610eaa1d78ab5f55e",
        "5c349e688ca4c921d2228a4b631ec8e918a01f2f92beaf7321ad03208a61ca5e",
    ),
    (
        "jina_bert_v3",
        "3a15a9fd0d098733f4aca4526fc78fd4e21a26471507c0db67a8207d0f3c1b2e",
        "af47f8123cc3b462344d15b408d0cc0235604b1727992afbd11c5a6e29da3467",
    ),
    (
        "modern_bert",
        "3a5041e69f4f27662f9811fb7e4dce771380f91db8d681943f206fc5549daf28",
        "05b04ab558689b2c0e2cd990ac304634a74b1bd07b882f633acf07852976da5a",
    ),
    (
        "eurobert",
        "2610cd517b973d29a958486e010b8ae8ff71a3cbeec165c9d061fb504f967beb",
        "c891d213464a7626d4b1a01fcadad70a014cb88ee880bde58469dcf0754fcf60",
    ),
    (
        "embedding_gemma",
        "ea08c5c1bb06f6341a982ebfe41da2e6c2eabdf9bb4e78bf1cf06b0d10a7b4e0",
        "2130ba3cd88cfc72dfa6e92cf8328c240be5c3393e66e62e3096e9b53b8b080d",
    ),
    (
        "llama_embed",
        "f221a22cb28bb21483b5dea43ea4f0a18930e1b41b0e2beb91a108a63b75919a",
        "adcc24ccf67fdef396d7f919e736aba5b72211b29e62d55a6b85358f1b60ab2b",
    ),
];

#[test]
#[cfg(feature = "embed")]
fn every_level_and_any_threads_give_the_recorded_embeddings() {
    let long: Vec<String> = (0..LONG).map(|i| (1 + i * 37 % 110).to_string()).collect();
    let long = long.join(",");
    let ids = "2,5,49,48,19,9,46,61,113,78,16,27,67,99,12,95,66,98,42,79,3";
    // How threads share the work is not the CPU's business.
    let threads: &[_] = if common::is_emulated() { &["2"] } else { &["1", "2", "3"] };
    common::for_each(&EMBEDDINGS, |(name, recorded, recorded_long)| {
        let path = common::golden("models").join(name).join(format!("{name}-BF16.gguf"));
        let model = path.to_str().expect("a path in UTF-8");
        for (ids, pooling, recorded) in [(ids, "none", recorded), (&long, "mean", recorded_long)] {
            let basic = ["embed", "--hash", "-m", model, "--ids", ids, "--pooling", pooling];
            for level in common::levels() {
                for threads in threads {
                    let arguments = ["--cpu", level.name().as_str(), "-t", threads];
                    let found = common::stdout([&basic[..], &arguments].concat());
                    assert_eq!(found, *recorded, "{name}, {pooling}, with {arguments:?}");
                }
            }
        }
    });
}

#[test]
#[cfg(feature = "embed")]
fn an_embedding_does_not_depend_on_the_texts_beside_it_nor_on_context_and_batch() {
    let texts = ["What was it?", "The quick brown fox jumps over the lazy dog, and on it goes.", "a"];
    for name in ["bert", "modern_bert", "embedding_gemma"] {
        let path = common::golden("models").join(name).join(format!("{name}-BF16.gguf"));
        let model = path.to_str().expect("a path in UTF-8");
        let embed = |more: &[&str]| common::stdout([&["embed", "-m", model], more].concat());
        let alone: Vec<String> = texts.iter().map(|text| embed(&[text])).collect();
        assert_eq!(embed(&texts), alone.join("\n"), "{name}");
        assert_eq!(embed(&[&texts[..], &["-c", "300", "-b", "2"]].concat()), alone.join("\n"), "{name}");
    }
}

/// Models that embed of the folder of further goldens; what generates also embeds, in batches.
#[test]
#[cfg(feature = "embed")]
fn no_architecture_makes_embeddings_depend_on_level_or_threads() {
    common::for_each(&common::further_embedders(), |model| {
        let hash = |arguments: &[&str]| {
            let model = model.to_str().expect("a path in UTF-8");
            let basic = ["embed", "--hash", "--pooling", "none", "--ids", IDS, "-m", model];
            common::stdout([&basic, arguments].concat())
        };
        let expected = hash(&["--cpu", "reference", "-t", "1", "-b", "1"]);
        for level in common::levels() {
            for (threads, batch) in SHARED {
                let arguments = ["--cpu", level.name().as_str(), "-t", threads, "-b", batch];
                assert_eq!(hash(&arguments), expected, "{} with {arguments:?}", model.display());
            }
        }
    });
}

/// The weights of `llama` are exact in bf16 and in f16, so that both formats hold the same model.
#[test]
fn formats_that_hold_the_same_floats_give_the_same_bits() {
    let of = |name: &str| RECORD.iter().find(|(file, ..)| file.contains(name)).expect("a golden").2;
    assert_eq!(of("F16"), of("BF16"));
    assert_ne!(of("Q8_0"), of("Q4_0"));
}

#[test]
fn every_kv_format_gives_the_recorded_bits_at_every_level_and_however_shared_out() {
    let ids: Vec<String> = (0..LONG).map(|i| (1 + i * 37 % 509).to_string()).collect();
    let (ids, path) = (ids.join(","), common::golden("models").join(KV_MODEL));
    let model = path.to_str().expect("a path in UTF-8");
    common::for_each(&KV_RECORD, |(kv, recorded)| {
        let check = |arguments: &[&str]| {
            let basic = ["logits", "--hash", "--all", "--ids", &ids, "-m", model, "--kv", kv];
            assert_eq!(
                common::stdout([&basic, arguments].concat()),
                *recorded,
                "--kv {kv} with {arguments:?}"
            );
        };
        for level in common::levels() {
            check(&["--cpu", level.name().as_str()]);
        }
        // One token at a time goes over the chunks apart and merges them; several go over them together.
        check(&["-t", "1", "-b", "1"]);
        check(&["-t", "3", "-b", "1"]);
        check(&["-t", "1", "--threads-batch", "3", "-b", "7"]);
        check(&["-t", "3", "--threads-batch", "2", "-b", "64"]);
    });
}

#[test]
fn a_quantized_cache_for_heads_that_are_no_whole_blocks_is_refused() {
    let model = common::golden("architectures/llama_head_dim.gguf");
    let output =
        common::stonechat().arg("plan").arg(model).args(["--kv", "f16,q4_0"]).output().expect("it starts");
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(error.contains("q4_0") && error.contains("24") && error.contains("--kv f16"), "{error}");
}
