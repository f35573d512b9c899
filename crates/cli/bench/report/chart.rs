//! Charts: for each test a bar for each record, the fastest first.
//!
//! All that is computed about a chart is computed here, in percent of its width; the template only draws.

use serde::Serialize;

use super::{machine_name, setting};
use crate::bench::output::percent;
use crate::bench::record::Record;
use crate::bench::work::Work;

/// The bars of one test.
#[derive(Serialize)]
pub struct Chart {
    pub test: String,
    pub title: String,
    /// `prompt` or `generation`.
    pub kind: &'static str,
    pub bars: Vec<Bar>,
    /// Marks on the scale: where, in percent, and the number there.
    pub ticks: Vec<(f64, String)>,
    /// The commands that made it, each with who ran it and when.
    pub commands: Vec<(String, Vec<String>)>,
    /// The different checksums of the logits.
    pub logits: Vec<String>,
    /// The number of records that have one.
    #[serde(skip)]
    pub witnesses: usize,
}

/// One record in a chart; places are percents of the width.
#[derive(Serialize)]
pub struct Bar {
    pub machine: String,
    pub setting: String,
    pub speed: String,
    pub share: String,
    pub width: f64,
    /// How far the limit of memory or arithmetic lies; 0 where it is not known.
    pub limit: f64,
    /// Whether the limit lies outside of the chart.
    pub limit_beyond: bool,
    pub quartiles: [f64; 2],
    pub samples: Vec<f64>,
    pub disturbances: Vec<String>,
}

/// The charts of all tests: reading before generating, then by length and depth.
pub fn charts(records: &[Record]) -> Vec<Chart> {
    let mut works: Vec<Work> = records.iter().map(Record::work).collect();
    works.sort_by_key(|work| (work.generate > 0, work.tokens(), work.depth));
    works.dedup();
    works.into_iter().map(|work| Chart::of(work, records)).collect()
}

impl Chart {
    fn of(work: Work, records: &[Record]) -> Self {
        let mut records: Vec<_> = records.iter().filter(|record| record.work() == work).collect();
        records.sort_by(|a, b| b.median_ts().total_cmp(&a.median_ts()));
        let longest = records.iter().flat_map(|record| highest(record)).fold(0.0, f64::max);
        // Limits far off would leave the bars no room; those are said in words alone.
        let nearby = records.iter().filter_map(|record| limit(record)).filter(|limit| *limit < 1.5 * longest);
        let (step, end) = scale(nearby.fold(longest, f64::max));
        let ticks = (0..).map(|n| f64::from(n) * step).take_while(|tick| *tick < end * 1.0001);
        let mut logits: Vec<_> = records.iter().filter_map(|record| record.logits_sha256.clone()).collect();
        let witnesses = logits.len();
        logits.sort();
        logits.dedup();
        Self {
            test: work.to_string(),
            title: title(work),
            kind: if work.generate > 0 { "generation" } else { "prompt" },
            bars: records.iter().map(|record| Bar::of(record, end)).collect(),
            ticks: ticks.map(|tick| (100.0 * tick / end, number(tick))).collect(),
            commands: commands(&records),
            logits,
            witnesses,
        }
    }
}

fn title(work: Work) -> String {
    let what = match work.prompt {
        0 => format!("Generating {} tokens", work.generate),
        prompt => format!("Reading a prompt of {prompt} tokens"),
    };
    if work.depth > 0 { format!("{what}, after {}", work.depth) } else { what }
}

impl Bar {
    fn of(record: &Record, end: f64) -> Self {
        let place = |speed: f64| (100.0 * speed / end).clamp(0.0, 100.0);
        let (median, spread) = (record.median_ts(), record.spread_ts());
        let limit = limit(record);
        let share = match (record.memory_share, record.int8_share) {
            (Some(memory), Some(int8)) if int8 > memory => format!("{} of int8 peak", percent(int8)),
            (Some(memory), _) => format!("{} of memory", percent(memory)),
            (None, Some(int8)) => format!("{} of int8 peak", percent(int8)),
            (None, None) => String::new(),
        };
        Self {
            machine: machine_name(record),
            setting: setting(record),
            speed: speed(median),
            share,
            width: place(median),
            limit: limit.map_or(0.0, place),
            limit_beyond: limit.is_some_and(|limit| limit > end),
            quartiles: record.quartiles_ts.unwrap_or([median - spread, median + spread]).map(place),
            samples: record.samples_ts.iter().map(|speed| place(*speed)).collect(),
            disturbances: record.disturbances.clone(),
        }
    }
}

/// The speed at which the nearer of memory and arithmetic would be used up.
fn limit(record: &Record) -> Option<f64> {
    let shares = [record.memory_share, record.int8_share].into_iter().flatten();
    let share = shares.filter(|share| *share > 0.0).reduce(f64::max)?;
    Some(record.median_ts() / share)
}

/// What of a record must fit into the chart.
fn highest(record: &Record) -> impl Iterator<Item = f64> {
    record.samples_ts.iter().copied().chain([record.median_ts()]).filter(|speed| speed.is_finite())
}

/// The step between marks, 1, 2 or 5 times a power of ten, and the end of the scale, just above `longest`.
fn scale(longest: f64) -> (f64, f64) {
    let power = 10f64.powf((longest / 4.0).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|step| longest / step <= 5.0);
    (step.unwrap_or(10.0 * power), longest * 1.02)
}

/// A speed with as many digits as say something.
pub fn speed(speed: f64) -> String {
    match speed {
        1000.0.. => format!("{speed:.0}"),
        100.0.. => format!("{speed:.1}"),
        10.0.. => format!("{speed:.2}"),
        _ => format!("{speed:.3}"),
    }
}

/// A number on the scale, without zeros behind the point.
fn number(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Each command once, with the machines and builds that ran it, each with the times of its first and last test.
fn commands(records: &[&Record]) -> Vec<(String, Vec<String>)> {
    // Command, who ran it, and when.
    let mut runs: Vec<(&str, String, Vec<&str>)> = Vec::new();
    for record in records {
        let command = record.command.as_deref().unwrap_or("the record does not say which command made it");
        let build = record.engine.as_deref().unwrap_or("another program");
        let who = format!("{} · {build} at {}", machine_name(record), record.build_commit);
        match runs.iter_mut().find(|(other, name, _)| *other == command && *name == who) {
            Some((_, _, times)) => times.push(&record.test_time),
            None => runs.push((command, who, vec![&record.test_time])),
        }
    }
    let mut commands: Vec<(String, Vec<String>)> = Vec::new();
    for (command, who, times) in runs {
        let (first, last) = (times.iter().min().unwrap_or(&""), times.iter().max().unwrap_or(&""));
        let when = if first == last { (*first).to_owned() } else { format!("{first} to {last}") };
        let run = format!("{who} · {when}");
        match commands.iter_mut().find(|(other, _)| other == command) {
            Some((_, runs)) => runs.push(run),
            None => commands.push((command.to_owned(), vec![run])),
        }
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_end_just_above_the_longest_bar_and_have_round_steps() {
        assert_eq!(scale(100.0), (20.0, 102.0));
        assert_eq!(scale(37.0).0, 10.0);
        assert_eq!(scale(0.9).0, 0.2);
        assert_eq!(scale(12345.0).0, 5000.0);
        assert_eq!((number(20.0), number(0.2), number(0.0)), ("20".into(), "0.2".into(), "0".into()));
    }

    #[test]
    fn bars_are_sorted_and_placed_and_a_near_limit_is_in_the_picture() {
        let record = |ts: f64, share: f64| Record {
            n_gen: 128,
            median_ts: Some(ts),
            memory_share: Some(share),
            logits_sha256: Some("a".into()),
            ..Record::default()
        };
        let charts = charts(&[record(10.0, 0.1), record(40.0, 0.8)]);
        let chart = &charts[0];
        assert_eq!((charts.len(), chart.kind, chart.bars.len(), chart.witnesses), (1, "generation", 2, 2));
        assert_eq!(chart.title, "Generating 128 tokens");
        // 40 t/s are 80 % of memory: the limit of 50 ends the scale, 51 with its margin.
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(
            near(chart.bars[0].width, 100.0 * 40.0 / 51.0) && near(chart.bars[0].limit, 100.0 * 50.0 / 51.0)
        );
        assert!(chart.bars[1].limit_beyond && !chart.bars[0].limit_beyond);
        assert_eq!(chart.logits, ["a"]);
    }

    #[test]
    fn a_command_stands_once_with_all_who_ran_it() {
        let run = |cpu: &str, time: &str| Record {
            cpu_info: cpu.into(),
            command: Some("stonechat bench".into()),
            engine: Some("stonechat 0.1.0".into()),
            build_commit: "abc".into(),
            test_time: time.into(),
            ..Record::default()
        };
        let (a, b, c) = (run("A", "T2"), run("A", "T1"), run("B", "T3"));
        let of = commands(&[&a, &b, &c]);
        let who = ["A · stonechat 0.1.0 at abc · T1 to T2", "B · stonechat 0.1.0 at abc · T3"];
        assert_eq!(of, [("stonechat bench".to_owned(), who.map(str::to_owned).to_vec())]);
    }
}
