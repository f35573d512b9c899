//! What is left of logits after a chain, and with what probabilities, against llama.cpp's samplers
//! (`tests/golden/make/samplers_golden.py`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use stonechat_core::Vocabulary;
use stonechat_core::sampler::{Breakers, Candidate, Chain, Dry, Mirostat, Sampler, Sampling, memory};
use stonechat_gguf::Gguf;

/// What is forbidden may stay among the candidates, with no probability.
const POSSIBLE: f32 = 1e-30;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name)
}

fn number(value: &Value) -> f32 {
    // JSON has no infinity.
    value.as_str().map_or_else(|| value.as_f64().unwrap() as f32, |text| text.parse().unwrap())
}

fn words(value: &Value) -> Vec<u32> {
    value.as_array().map_or(&[][..], Vec::as_slice).iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn sampling(chain: &str, parameters: &Value) -> Sampling {
    let get = |name: &str, otherwise: f32| parameters.get(name).map_or(otherwise, number);
    let count =
        |name: &str, otherwise| parameters.get(name).map_or(otherwise, |n| n.as_u64().unwrap() as usize);
    let mirostat = parameters.get("mirostat").map(|m| Mirostat { tau: number(&m[0]), eta: number(&m[1]) });
    Sampling {
        chain: Chain::from_letters(chain).unwrap(),
        temperature: get("temp", 1.0),
        dynatemp_range: get("dynatemp_range", 0.0),
        dynatemp_exponent: get("dynatemp_exp", 1.0),
        top_k: count("top_k", 0),
        top_p: get("top_p", 1.0),
        min_p: get("min_p", 0.0),
        typical_p: get("typical", 1.0),
        top_n_sigma: get("top_n_sigma", -1.0),
        xtc_probability: get("xtc_probability", 0.0),
        xtc_threshold: get("xtc_threshold", 0.1),
        repeat_penalty: get("repeat_penalty", 1.0),
        frequency_penalty: get("frequency_penalty", 0.0),
        presence_penalty: get("presence_penalty", 0.0),
        repeat_last: count("repeat_last_n", 64),
        dry: Dry {
            multiplier: get("dry_multiplier", 0.0),
            base: get("dry_base", 1.75),
            allowed_length: count("dry_allowed_length", 2),
            last: count("dry_penalty_last_n", 64),
        },
        mirostat,
        seed: 0,
    }
}

#[test]
fn every_chain_leaves_what_llama_cpps_leaves() {
    let goldens = std::fs::File::open(golden("samplers/samplers.json.gz")).unwrap();
    let goldens: Value = serde_json::from_reader(flate2::read::GzDecoder::new(goldens)).unwrap();
    let file = std::fs::read(golden("tokenizers").join(goldens["vocabulary"].as_str().unwrap())).unwrap();
    let gguf = Gguf::parse(&file).unwrap();
    let mut index: Vec<u32> = vec![0; Vocabulary::memory(&gguf).unwrap() / 4];
    let vocabulary = Vocabulary::new(&gguf, bytemuck::cast_slice_mut(&mut index)).unwrap();
    let cases = goldens["cases"].as_array().unwrap();
    assert!(cases.len() > 190);
    let (mut worst, mut penalized) = (0f64, 0);
    for case in cases {
        let logits = &goldens["logits"][case["logits"].as_u64().unwrap() as usize];
        let logits: Vec<f32> = logits.as_array().unwrap().iter().map(number).collect();
        let history = case["history"].as_u64().map(|which| words(&goldens["histories"][which as usize]));
        let history = history.unwrap_or_default();
        let (chain, parameters) = (case["chain"].as_str().unwrap(), &case["parameters"]);

        let biases: Vec<(u32, f32)> = parameters["logit_bias"].as_array().map_or(vec![], |biases| {
            biases.iter().map(|bias| (bias[0].as_u64().unwrap() as u32, number(&bias[1]))).collect()
        });
        let texts = parameters["dry_breakers"].as_array().map_or(&[][..], Vec::as_slice);
        let texts: Vec<&[u8]> = texts.iter().map(|text| text.as_str().unwrap().as_bytes()).collect();
        let mut prepared = vec![0; Breakers::memory(&vocabulary, &texts).unwrap()];
        let breakers = Breakers::new(&vocabulary, &texts, &mut prepared).unwrap();
        let sampler = Sampler::new(sampling(chain, parameters)).unwrap();
        let sampler = sampler.with_biases(&biases).unwrap().with_breakers(breakers);

        let room = memory(logits.len(), history.len()).unwrap();
        let mut room: Vec<Candidate> = vec![bytemuck::Zeroable::zeroed(); room];
        let left = sampler.candidates(&logits, None, &history, 0, &mut room);
        let left: BTreeMap<u32, f32> = left.iter().map(|c| (c.token(), c.probability())).collect();

        let kept = case["kept"].as_str().unwrap();
        let is_kept = |id: u32| {
            let digit = kept.len().checked_sub(1 + id as usize / 4);
            let digit = digit.map_or(0, |at| kept[at..=at].chars().next().unwrap().to_digit(16).unwrap());
            digit >> (id % 4) & 1 == 1
        };
        let what = format!("{chain} {parameters} of {} after {}", case["logits"], case["history"]);
        for id in 0..logits.len() as u32 {
            let is_left = left.get(&id).is_some_and(|p| *p > POSSIBLE);
            assert_eq!(is_left, is_kept(id), "{what}: {id}");
        }
        for pair in case["probabilities"].as_array().unwrap() {
            let (id, expected) = (pair[0].as_u64().unwrap() as u32, pair[1].as_f64().unwrap());
            let left = f64::from(left.get(&id).copied().unwrap_or_default());
            let apart = (left - expected).abs();
            assert!(apart < 1e-5, "{what}: {id} has {left}, not {expected}");
            worst = worst.max(apart);
        }
        penalized += usize::from(chain.contains('d') && !texts.is_empty());
    }
    assert_eq!(penalized, 54);
    println!("{} chains, {worst:.1e} apart at most", cases.len());
}
