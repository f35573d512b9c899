//! `--report`: a page that shows records of one or many runs, also across machines.
//!
//! One file that needs nothing else: charts are SVG in the page (`page.html`, a template), colours follow the
//! reader's light or dark setting, and below every chart stands the command that made it.

use std::path::{Path, PathBuf};

use minijinja::{Environment, Error, ErrorKind};
use serde::Serialize;

use super::compare::difference;
use super::output::{mib, percent};
use super::read;
use super::record::Record;
use crate::failure::Failure;

mod chart;

use chart::Chart;

const PAGE: &str = include_str!("report/page.html");

/// Writes the page.
pub fn run(page: &Path, files: &[PathBuf]) -> Result<(), Failure> {
    let records = read::all(files)?;
    one_model(&records)?;
    let html =
        render(&records).map_err(|error| Failure::Failed(format!("cannot make the page: {error:#}")))?;
    std::fs::write(page, html)
        .map_err(|error| Failure::at(page.display(), format!("cannot write the page: {error}")))
}

fn one_model(records: &[Record]) -> Result<(), Failure> {
    match records.iter().find_map(|record| difference(&records[0], record)) {
        None => Ok(()),
        Some(why) => Err(Failure::Failed(format!(
            "the files hold records of different models ({why}), whose speeds say nothing about each other; give \
             records of one model"
        ))),
    }
}

fn render(records: &[Record]) -> Result<String, Error> {
    let mut environment = Environment::new();
    // The name's ending asks for HTML escapes: everything in a record came out of a file.
    environment.add_template("page.html", PAGE)?;
    // A template's values come out of any of serde's formats.
    let page = serde_json::to_value(Page::of(records)).and_then(serde_json::from_value::<minijinja::Value>);
    let page = page.map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    environment.get_template("page.html")?.render(page)
}

/// What the template is given.
#[derive(Serialize)]
struct Page {
    model: String,
    size: String,
    params: String,
    records: usize,
    machines: Vec<Machine>,
    agreement: Agreement,
    charts: Vec<Chart>,
    rows: Vec<Row>,
}

impl Page {
    fn of(records: &[Record]) -> Self {
        let first = &records[0];
        let charts = chart::charts(records);
        Self {
            model: first.model_type.clone(),
            size: mib(first.model_size),
            params: format!("{:.1} million", first.model_n_params as f64 / 1e6),
            records: records.len(),
            machines: machines(records),
            agreement: Agreement::of(&charts),
            charts,
            rows: records.iter().map(Row::of).collect(),
        }
    }
}

/// Whether all did the same work.
#[derive(Serialize)]
struct Agreement {
    /// `yes`, `no`, or `unknown`.
    answer: &'static str,
    sentence: String,
}

impl Agreement {
    fn of(charts: &[Chart]) -> Self {
        let differ: Vec<_> =
            charts.iter().filter(|chart| chart.logits.len() > 1).map(|c| c.test.as_str()).collect();
        let shown: usize =
            charts.iter().filter(|chart| chart.witnesses > 1 && chart.logits.len() == 1).count();
        if !differ.is_empty() {
            let sentence = format!(
                "The logits differ in {}: not all of these runs did the same work.",
                differ.join(", ")
            );
            return Self { answer: "no", sentence };
        }
        if shown == 0 {
            let sentence = "Each test was run once: its checksum is there for others to compare with.".into();
            return Self { answer: "unknown", sentence };
        }
        let sentence = format!(
            "The logits agree bit for bit in {}: all of these runs did the same work.",
            if shown == charts.len() {
                "every test".into()
            } else {
                format!("{shown} of {} tests", charts.len())
            }
        );
        Self { answer: "yes", sentence }
    }
}

/// A machine and what it can do, for each level and number of threads.
#[derive(Serialize, PartialEq)]
struct Machine {
    name: String,
    about: String,
    features: String,
    limits: Vec<[String; 3]>,
}

fn machines(records: &[Record]) -> Vec<Machine> {
    let mut machines: Vec<Machine> = Vec::new();
    for record in records {
        let name = machine_name(record);
        let mut about = Vec::new();
        about.extend(record.board.as_ref().map(|_| record.cpu_info.clone()));
        about.extend(record.cpu_count.map(|count| format!("{count} CPUs")));
        about.extend(record.os.clone());
        about.extend(record.governor.as_ref().map(|name| format!("governor {name}")));
        let about = about.join(" · ");
        let limit = [
            record.setting(),
            record.memory_gb_s.map_or_else(String::new, |gb| format!("{gb:.1} GB/s")),
            record.int8_gmac_s.map_or_else(String::new, |gmac| format!("{gmac:.0} G/s")),
        ];
        let index = machines.iter().position(|machine| machine.name == name && machine.about == about);
        let index = index.unwrap_or_else(|| {
            let features = record.cpu_features.clone().unwrap_or_default();
            machines.push(Machine { name, about, features, limits: Vec::new() });
            machines.len() - 1
        });
        let known = &mut machines[index].limits;
        if !known.iter().any(|other| other[0] == limit[0]) {
            known.push(limit);
        }
    }
    machines
}

/// The board where there is one, else the CPU.
fn machine_name(record: &Record) -> String {
    record.board.clone().unwrap_or_else(|| record.cpu_info.clone())
}

/// How it was run: threads and level, and what else tells two bars apart.
fn setting(record: &Record) -> String {
    let mut text = record.setting();
    if record.model_layout.as_deref() == Some("packed") {
        text += ", packed";
    }
    if record.engine.is_none() {
        text += ", another program";
    }
    if (record.type_k.as_str(), record.type_v.as_str()) != ("f16", "f16") && !record.type_k.is_empty() {
        text = format!("{text}, KV {}/{}", record.type_k, record.type_v);
    }
    if record.activations.as_deref() == Some("f32") {
        text += ", f32 activations";
    }
    text
}

/// A line of the table with everything.
#[derive(Serialize)]
struct Row {
    machine: String,
    setting: String,
    test: String,
    speed: String,
    spread: String,
    memory: String,
    int8: String,
    bytes: String,
    load: String,
    first_token: String,
    peak: String,
    anonymous: String,
    joules: String,
    temperature: String,
    logits: String,
    disturbances: String,
}

impl Row {
    fn of(record: &Record) -> Self {
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "–".into());
        let seconds = |s: Option<f64>| or_none(s.map(|s| format!("{s:.3} s")));
        Self {
            machine: machine_name(record),
            setting: setting(record),
            test: record.work().to_string(),
            speed: chart::speed(record.median_ts()),
            spread: chart::speed(record.spread_ts()),
            memory: or_none(record.memory_share.map(percent)),
            int8: or_none(record.int8_share.map(percent)),
            bytes: or_none(record.bytes_per_token.map(|bytes| mib(bytes as u64))),
            load: seconds(record.load_s),
            first_token: seconds(record.first_token_s),
            peak: or_none(record.rss_peak_bytes.map(mib)),
            anonymous: or_none(record.rss_anonymous_bytes.map(mib)),
            joules: or_none(record.joules_per_token.map(|joules| format!("{joules:.3} J"))),
            temperature: or_none(
                record.temperature_c.map(|[before, after]| format!("{before:.0} → {after:.0} °C")),
            ),
            logits: or_none(record.logits_sha256.clone()),
            disturbances: record.disturbances.join("; "),
        }
    }
}

#[cfg(test)]
mod tests;
