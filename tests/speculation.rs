//! Guessing what follows changes how long a text takes, and nothing else.

mod common;

use std::path::Path;

use stonechat_core::{Sampler, Sampling};
use stonechat_runtime::draft::{Draft, DraftModel, Lookup};
use stonechat_runtime::engine::Options;
use stonechat_runtime::generate::Counts;
use stonechat_runtime::{Engine, Generator};

fn load(path: &Path, outputs: usize) -> Engine {
    let options = Options { context: Some(256), batch: 32, outputs, ..Options::default() };
    Engine::load(path, &options).expect("a model")
}

/// The tokens that follow `prompt`, and what guessing brought.
fn text(
    path: &Path,
    sampling: Sampling,
    prompt: &[u32],
    draft: Option<Box<dyn Draft + Send>>,
    most: usize,
) -> (Vec<u32>, Counts) {
    let mut engine = load(path, most + 1);
    let sampler = Sampler::new(sampling).expect("sensible parameters");
    let mut generator = draft.map_or_else(Generator::new, |draft| Generator::with_draft(draft, most));
    let mut tokens = prompt.to_vec();
    engine.feed(prompt).expect("a prompt");
    while tokens.len() < 250 {
        generator.next(&mut engine, &sampler, &mut tokens).expect("a token");
    }
    (tokens, generator.counts())
}

/// Greedy, and sampled with a penalty that depends on what came before.
fn samplings() -> [Sampling; 3] {
    let greedy = Sampling::default();
    let sampled = Sampling { temperature: 0.9, repeat_penalty: 1.1, seed: 11, ..greedy };
    [greedy, sampled, Sampling { temperature: 0.4, seed: 5, ..greedy }]
}

fn check(path: &Path, prompt: &[u32]) {
    for sampling in samplings() {
        let (plain, none) = text(path, sampling, prompt, None, 0);
        assert_eq!(none, Counts::default());
        for most in [1, 5, 15] {
            let (same, _) = text(path, sampling, prompt, Some(Box::new(Lookup::default())), most);
            assert_eq!(same, plain, "lookup of {most} with {sampling:?}");
            // The model itself always guesses right.
            let draft = DraftModel::new(load(path, 1), &load(path, 1)).expect("the same vocabulary");
            let (same, counts) = text(path, sampling, prompt, Some(Box::new(draft)), most);
            assert_eq!(same, plain, "a draft of {most} with {sampling:?}");
            assert_eq!(counts.accepted, counts.drafted, "{most} with {sampling:?}");
            assert!(counts.accepted > 90, "{counts:?}");
        }
    }
}

#[test]
fn a_text_does_not_depend_on_what_was_guessed() {
    let prompt: Vec<u32> = (0..60).map(|i| i % 20 * 7 + 3).collect();
    check(&common::golden("models/llama_k/llama_k-Q4_0.gguf"), &prompt);
}

#[test]
fn a_real_text_that_repeats_itself_is_guessed_and_the_same() {
    let path = common::smollm2();
    // "1 2 3 4 5 6 7 8 9 1 2 3 4 5 6 7 8 9 ..." goes on so.
    let digits: Vec<u32> = (0..45).map(|i| 33 + i % 9).collect();
    let greedy = Sampling::default();
    let (plain, _) = text(path, greedy, &digits, None, 0);
    let (same, counts) = text(path, greedy, &digits, Some(Box::new(Lookup::default())), 15);
    assert_eq!(same, plain);
    assert!(counts.accepted > 100 && counts.accepted * 10 > counts.drafted * 8, "{counts:?}");
}

#[test]
fn a_model_of_another_vocabulary_cannot_guess() {
    let other = load(&common::golden("models/llama_k/llama_k-Q4_0.gguf"), 1);
    let error = DraftModel::new(other, &load(common::smollm2(), 1)).expect_err("other tokens");
    assert!(error.to_string().contains("has other tokens than"), "{error}");
}
