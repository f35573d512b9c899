//! Mixers that carry a state from token to token: a text begins with an empty one, goes on from a copy, and cannot be
//! wound back without one.

mod common;

use stonechat_core::plan::{ActivationMode, KvFormat};
use stonechat_core::{Error, Limits, Model, Plan, Session};
use stonechat_gguf::Gguf;
use stonechat_kernels::{Alone, Level};
use stonechat_runtime::Arena;

/// The goldens with a state: a short convolution, two state spaces, the delta rule.
const NAMES: [&str; 4] = ["lfm2", "mamba", "falcon_h1", "qwen35"];
/// A golden that only attends.
const NO_STATE: &str = "qwen2";
/// Ids that every golden has.
const IDS: [u32; 8] = [1, 40, 13, 61, 7, 22, 58, 33];

fn file(name: &str) -> Vec<u8> {
    std::fs::read(common::golden(&format!("architectures/{name}.gguf"))).expect("a golden")
}

/// A plan for a few tokens, in batches of three.
fn plan(model: &Model<'_>) -> Plan {
    let limits = Limits {
        context: 16,
        batch: 3,
        keys: KvFormat::F32,
        values: KvFormat::F32,
        activations: ActivationMode::F32,
        ..Limits::default()
    };
    Plan::new(model, limits).expect("a plan")
}

/// Lets `work` have a session over memory in which nothing is zero.
fn with_session(bytes: &[u8], work: impl FnOnce(&mut Session<'_>)) {
    let gguf = Gguf::parse(bytes).expect("a GGUF file");
    let model = Model::from_gguf(&gguf).expect("a model that runs");
    let plan = plan(&model);
    let mut arena = Arena::new(plan.bytes()).expect("memory");
    arena.as_mut_slice().fill(0xff);
    work(&mut Session::new(&model, &plan, arena.as_mut_slice(), Level::detect()).expect("a session"));
}

/// The bits of the logits that follow more tokens.
fn after(session: &mut Session<'_>, tokens: &[u32]) -> Vec<u32> {
    session.feed(tokens, &Alone).expect("tokens");
    session.logits().iter().map(|logit| logit.to_bits()).collect()
}

#[test]
fn a_text_begins_with_an_empty_state_however_often() {
    for name in NAMES {
        with_session(&file(name), |session| {
            let first = after(session, &IDS);
            let state = session.state().to_vec();
            assert!(state.iter().any(|number| *number != 0.0), "{name}");
            session.rewind(0).expect("the beginning");
            session.feed(&IDS[..3], &Alone).expect("tokens");
            assert_eq!(after(session, &IDS[3..]), first, "{name}");
            assert_eq!(session.state(), state, "{name}");
        });
    }
}

#[test]
fn a_state_cannot_be_wound_back_but_a_copy_of_it_restored() {
    for name in NAMES {
        with_session(&file(name), |session| {
            session.feed(&IDS[..3], &Alone).expect("tokens");
            let state = session.state().to_vec();
            let expected = after(session, &IDS[3..]);
            assert_eq!(session.rewind(3), Err(Error::CannotRewind { from: 8, to: 3 }), "{name}");
            assert_eq!(session.position(), 8);
            session.rewind(8).expect("nothing to forget");
            session.restore(3, &state);
            assert_eq!(after(session, &IDS[3..]), expected, "{name}");
        });
    }
}

#[test]
fn models_that_only_attend_have_no_state_and_can_be_wound_back() {
    with_session(&file(NO_STATE), |session| {
        let expected = after(session, &IDS);
        assert!(session.state().is_empty());
        session.rewind(3).expect("keys and values stay");
        assert_eq!(after(session, &IDS[3..]), expected);
    });
}

/// A token whose embedding has no finite norm ends in an error, when the states of all layers have gone on with the batch
/// before it.
#[test]
fn an_error_forgets_all_tokens_where_a_state_had_changed() {
    for (name, has_state) in [("lfm2", true), ("mamba", true), (NO_STATE, false)] {
        let mut bytes = common::in_f32(&format!("architectures/{name}.gguf"));
        let gguf = Gguf::parse(&bytes).expect("a GGUF file");
        let embedding = gguf.tensor("token_embd.weight").expect("an embedding");
        let (row, at) = (embedding.dims.row_len() as usize * 4, embedding.data.as_ptr());
        let from = at.addr() - bytes.as_ptr().addr() + 51 * row;
        bytes[from..from + row].copy_from_slice(&1e30f32.to_le_bytes().repeat(row / 4));
        with_session(&bytes, |session| {
            session.feed(&IDS[..5], &Alone).expect("tokens");
            let error = session.feed(&[61, 40, 1, 51], &Alone);
            assert!(matches!(error, Err(Error::NotFinite(_))), "{name}: {error:?}");
            assert_eq!(session.position(), if has_state { 0 } else { 5 }, "{name}");
            // What is asked wrongly is found before anything is computed.
            session.rewind(0).expect("the beginning");
            let expected = after(session, &IDS[..5]);
            assert!(session.feed(&[1, 100_000], &Alone).is_err() && session.position() == 5);
            session.rewind(0).expect("the beginning");
            assert_eq!(after(session, &IDS[..5]), expected, "{name}");
        });
    }
}

#[test]
fn the_plan_counts_states_and_no_keys_of_layers_that_do_not_attend() {
    // Two of three inputs of 32 channels; of 64 channels three inputs and 16 numbers each, in two layers; 96 channels and
    // four heads of 8 rows; 64 channels and four heads of 8 rows, which are padded to 16.
    let floats = [2 * 32, 2 * (3 * 64 + 64 * 16), 3 * 96 + 32 * 16, 3 * 64 + 32 * 16];
    let keys = [16 * 16, 0, 16 * 16, 16 * 16];
    for ((name, floats), keys) in NAMES.into_iter().zip(floats).zip(keys) {
        let bytes = file(name);
        let gguf = Gguf::parse(&bytes).expect("a GGUF file");
        let model = Model::from_gguf(&gguf).expect("a model that runs");
        let plan = plan(&model);
        let region =
            |name| plan.regions().iter().find(|region| region.name == name).map(|region| region.bytes);
        assert_eq!(region("recurrent state"), Some(floats * 4), "{name}");
        assert_eq!(region("keys"), Some(keys * 4), "{name}");
    }
}
