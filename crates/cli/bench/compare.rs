//! `--compare`: records beside earlier ones of the same model and the same tests.
//!
//! Speeds of different models say nothing about each other, so that such records are refused. Whether both sides did
//! the same work is shown by the checksums of the logits.

use std::io::{Write, stderr, stdout};

use super::args::Output;
use super::facts::ModelFacts;
use super::output::table;
use super::record::Record;
use crate::failure::Failure;

/// Why two records are not of the same model; nothing if they are.
pub fn difference(a: &Record, b: &Record) -> Option<String> {
    if a.model_n_params != b.model_n_params {
        return Some(format!(
            "{} with {} weights, and {} with {}",
            a.model_type, a.model_n_params, b.model_type, b.model_n_params
        ));
    }
    match (&a.model_id, &b.model_id) {
        // Another program's record: it names types in its own way.
        (None, _) | (_, None) => (a.model_size != b.model_size).then(|| {
            format!("{} of {} bytes, and {} of {}", a.model_type, a.model_size, b.model_type, b.model_size)
        }),
        _ if a.model_type != b.model_type => Some(format!("{}, and {}", a.model_type, b.model_type)),
        (Some(x), Some(y)) => {
            (x != y).then(|| format!("{}, and another {} with other weights", a.model_type, b.model_type))
        }
    }
}

/// Whether there is an earlier record of this model, before it is measured.
pub fn check(earlier: &[Record], path: &str, facts: &ModelFacts) -> Result<(), Failure> {
    let now = Record {
        model_type: facts.kind.clone(),
        model_size: facts.bytes,
        model_n_params: facts.params,
        model_id: Some(facts.id.clone()),
        ..Record::default()
    };
    known(earlier, &now).map_err(|why| refusal(&format!("the earlier records and {path}"), &why))
}

fn known(earlier: &[Record], now: &Record) -> Result<(), String> {
    let mut differences = earlier.iter().map(|before| difference(before, now));
    match differences.next() {
        Some(Some(why)) if differences.all(|difference| difference.is_some()) => Err(why),
        _ => Ok(()),
    }
}

fn refusal(whose: &str, why: &str) -> Failure {
    Failure::Failed(format!(
        "{whose} are of different models ({why}), whose speeds say nothing about each other"
    ))
}

/// The earlier record to set beside `now`: of the same model and test, and if there are several, with the same
/// settings.
fn partner<'a>(earlier: &'a [Record], now: &Record) -> Option<&'a Record> {
    let same = |a: &Option<String>, b: &Option<String>| a.is_none() || b.is_none() || a == b;
    let is_partner = |before: &&Record| {
        difference(before, now).is_none()
            && before.work() == now.work()
            && (&before.type_k, &before.type_v) == (&now.type_k, &now.type_v)
            && same(&before.activations, &now.activations)
            && (before.seed.is_none() || now.seed.is_none() || before.seed == now.seed)
    };
    let alike = |before: &&Record| {
        let like = |alike: bool| usize::from(alike);
        8 * like(before.n_threads == now.n_threads)
            + 4 * like(before.model_layout == now.model_layout)
            + 2 * like(before.cpu_level == now.cpu_level)
            + like(before.n_batch == now.n_batch)
    };
    earlier.iter().filter(is_partner).max_by_key(alike)
}

/// Sets records beside earlier ones.
pub fn run(output: Output, earlier: &[Record], now: &[Record]) -> Result<(), Failure> {
    now.iter()
        .try_for_each(|now| known(earlier, now).map_err(|why| refusal("the two runs' records", &why)))?;
    let pairs: Vec<_> =
        now.iter().filter_map(|now| partner(earlier, now).map(|before| (before, now))).collect();
    if pairs.is_empty() {
        return Err(Failure::Failed(format!(
            "the earlier records have no test in common with these ({}); measure one of theirs ({})",
            tests_of(now),
            tests_of(earlier)
        )));
    }
    let rows: Vec<_> = pairs.iter().map(|(before, now)| row(before, now)).collect();
    let head = ["model", "level", "threads", "test", "earlier t/s", "now t/s", "ratio", "logits"];
    let agreements: Vec<_> = pairs.iter().filter_map(|(before, now)| agree(before, now)).collect();
    let differ = agreements.iter().filter(|same| !**same).count();
    let verdict = match (differ, agreements.len()) {
        (_, 0) => {
            "One side does not say which logits it computed: nothing shows that both did the same work."
                .into()
        }
        (0, n) if n == pairs.len() => "The logits agree in every test: both did the same work.".into(),
        (0, n) => {
            format!("The logits agree in {n} of {} tests; of the others nothing is known.", pairs.len())
        }
        (n, _) => format!("The logits DIFFER in {n} of {} tests.", pairs.len()),
    };
    let text = format!("\n{}\n{verdict}\n", table(&head, 4, &rows));
    // Where stdout carries records for a program, this is for whoever watches.
    match output {
        Output::Md => stdout().write_all(text.as_bytes())?,
        _ => stderr().write_all(text.as_bytes())?,
    }
    if differ > 0 {
        return Err(Failure::Failed(format!(
            "the logits differ in {differ} of {} tests: the two runs did not do the same work",
            pairs.len()
        )));
    }
    Ok(())
}

fn tests_of(records: &[Record]) -> String {
    let mut names: Vec<_> = records.iter().map(|record| record.work().to_string()).collect();
    names.dedup();
    names.join(", ")
}

/// Whether both computed the same logits, if both say.
fn agree(a: &Record, b: &Record) -> Option<bool> {
    Some(a.logits_sha256.as_ref()? == b.logits_sha256.as_ref()?)
}

fn row(before: &Record, now: &Record) -> Vec<String> {
    let level = |record: &Record| record.cpu_level.clone().unwrap_or_else(|| record.backends.clone());
    let speed = |record: &Record| {
        let mark = if record.disturbances.is_empty() { "" } else { " (disturbed)" };
        format!("{:.2} ± {:.2}{mark}", record.median_ts(), record.spread_ts())
    };
    vec![
        change(&before.model(), &now.model()),
        change(&level(before), &level(now)),
        change(&before.n_threads.to_string(), &now.n_threads.to_string()),
        now.work().to_string(),
        speed(before),
        speed(now),
        format!("{:.3}", now.median_ts() / before.median_ts()),
        match agree(before, now) {
            Some(true) => "same".into(),
            Some(false) => "DIFFERENT".into(),
            None => "unknown".into(),
        },
    ]
}

fn change(before: &str, now: &str) -> String {
    if before == now { now.into() } else { format!("{before} -> {now}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(level: &str, threads: usize, ts: f64) -> Record {
        Record {
            model_type: "llama 135M Q4_1".into(),
            model_n_params: 134_515_008,
            model_id: Some("a".into()),
            cpu_level: Some(level.into()),
            n_threads: threads,
            n_prompt: 512,
            median_ts: Some(ts),
            ..Record::default()
        }
    }

    #[test]
    fn the_partner_has_the_same_test_and_if_there_is_one_the_same_settings() {
        let earlier = [record("avx2", 1, 1.0), record("avx2", 2, 2.0), record("avx512", 2, 3.0)];
        let of = |now: &Record| partner(&earlier, now).map(Record::median_ts);
        assert_eq!(of(&record("avx512", 2, 9.0)), Some(3.0));
        assert_eq!(of(&record("avx2", 2, 9.0)), Some(2.0));
        assert_eq!(of(&record("neon", 1, 9.0)), Some(1.0));
        assert_eq!(of(&Record { n_depth: 64, ..record("avx2", 2, 9.0) }), None);
        assert_eq!(of(&Record { type_k: "q8_0".into(), ..record("avx2", 2, 9.0) }), None);
        assert_eq!(of(&Record { seed: Some(1), ..record("avx2", 2, 9.0) }), Some(2.0));
    }

    #[test]
    fn models_differ_in_weights_type_or_number() {
        let a = record("avx2", 1, 1.0);
        assert_eq!(difference(&a, &record("neon", 4, 2.0)), None);
        let why = |b: &Record| difference(&a, b).unwrap();
        let b = Record { model_n_params: 7, ..a.clone() };
        assert!(why(&b).contains("134515008 weights, and llama 135M Q4_1 with 7"));
        let b = Record { model_type: "llama 135M Q8_0".into(), ..a.clone() };
        assert_eq!(why(&b), "llama 135M Q4_1, and llama 135M Q8_0");
        let b = Record { model_id: Some("b".into()), ..a.clone() };
        assert!(why(&b).contains("with other weights"));
    }

    #[test]
    fn another_programs_record_is_of_the_same_model_if_size_and_number_agree() {
        let ours = Record { model_size: 5, ..record("avx2", 1, 1.0) };
        let theirs = Record { model_type: "llama ?B Q4_1".into(), model_id: None, ..ours.clone() };
        assert_eq!(difference(&ours, &theirs), None);
        assert!(difference(&ours, &Record { model_size: 6, ..theirs }).is_some());
    }
}
