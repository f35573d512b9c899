//! Records as text: a table to read, or json, jsonl and csv for programs.

use std::io::{self, IsTerminal, Write, stderr, stdout};

use serde_json::Value;

use super::args::Output;
use super::record::Record;
use crate::failure::Failure;

/// Writes records in one form, each as soon as it is there.
pub struct Writer {
    output: Output,
    records: Vec<Record>,
}

impl Writer {
    pub const fn new(output: Output) -> Self {
        Self { output, records: Vec::new() }
    }

    /// Writes one more record.
    pub fn write(&mut self, record: Record) -> Result<(), Failure> {
        let mut out = stdout().lock();
        let first = self.records.is_empty();
        match self.output {
            Output::Json => write!(out, "{}{}", if first { "[\n" } else { ",\n" }, json(&record))?,
            Output::Jsonl => writeln!(out, "{}", json(&record))?,
            Output::Csv => {
                let fields = fields(&record);
                if first {
                    writeln!(out, "{}", line(fields.iter().map(|(name, _)| name.clone())))?;
                }
                writeln!(out, "{}", line(fields.iter().map(|(_, value)| quoted(value))))?;
            }
            Output::Md => {
                let (names, widths) = (HEAD.map(|(name, _)| name), HEAD.map(|(_, width)| width));
                if first {
                    writeln!(out, "{}", table_head(&names, &widths, TEXTS))?;
                }
                writeln!(out, "{}", table_line(&cells(&record), &widths, TEXTS))?;
            }
        }
        out.flush()?;
        // In a table a disturbance has its place; whoever keeps the records for a program should hear of it now.
        if self.output != Output::Md && stderr().is_terminal() {
            for disturbance in &record.disturbances {
                eprintln!("{}: {disturbance}", record.work());
            }
        }
        self.records.push(record);
        Ok(())
    }

    /// Ends what is open, also after a failure.
    pub fn finish(&self) -> Result<(), Failure> {
        let mut out = stdout().lock();
        match self.output {
            Output::Json => writeln!(out, "{}", if self.records.is_empty() { "[]" } else { "\n]" })?,
            Output::Md if !self.records.is_empty() => explain(&mut out, &self.records)?,
            _ => {}
        }
        Ok(())
    }

    /// What was written.
    pub fn into_records(self) -> Vec<Record> {
        self.records
    }
}

fn json(record: &Record) -> Value {
    serde_json::to_value(record).expect("a record is plain data")
}

fn fields(record: &Record) -> Vec<(String, Value)> {
    match json(record) {
        Value::Object(fields) => fields.into_iter().collect(),
        _ => Vec::new(),
    }
}

fn line(words: impl Iterator<Item = String>) -> String {
    words.collect::<Vec<_>>().join(",")
}

/// A value in quotes, as llama-bench writes all of them; the parts of a list with spaces between them.
fn quoted(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(list) => {
            let texts =
                list.iter().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            texts.collect::<Vec<_>>().join(" ")
        }
        value => value.to_string(),
    };
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// The columns of the table that grows with each test, with room for what is usually in them; the first
/// [`TEXTS`] are texts.
const HEAD: [(&str, usize); 10] = [
    ("model", 24),
    ("level", 9),
    ("threads", 7),
    ("test", 14),
    ("t/s", 18),
    ("of memory", 9),
    ("of int8", 7),
    ("bytes/token", 11),
    ("peak RSS", 10),
    ("J/token", 7),
];
const TEXTS: usize = 4;

fn cells(record: &Record) -> [String; HEAD.len()] {
    [
        record.model(),
        record.cpu_level.clone().unwrap_or_default(),
        record.n_threads.to_string(),
        record.work().to_string(),
        format!("{:.2} ± {:.2}", record.median_ts(), record.spread_ts()),
        record.memory_share.map_or_else(String::new, percent),
        record.int8_share.map_or_else(String::new, percent),
        record.bytes_per_token.map_or_else(String::new, |bytes| mib(bytes as u64)),
        record.rss_peak_bytes.map_or_else(String::new, mib),
        record.joules_per_token.map_or_else(String::new, |joules| format!("{joules:.3}")),
    ]
}

/// A line of a table; texts are set to the left, numbers to the right.
fn table_line(cells: &[String], widths: &[usize], texts: usize) -> String {
    let cell = |(n, (cell, width)): (usize, (&String, &usize))| {
        if n < texts { format!(" {cell:<width$} |") } else { format!(" {cell:>width$} |") }
    };
    format!("|{}", cells.iter().zip(widths).enumerate().map(cell).collect::<String>())
}

fn table_head(names: &[&str], widths: &[usize], texts: usize) -> String {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let rule = |(n, width): (usize, &usize)| {
        if n < texts {
            format!(" {} |", "-".repeat(*width))
        } else {
            format!(" {}: |", "-".repeat(width - 1))
        }
    };
    let rules: String = widths.iter().enumerate().map(rule).collect();
    format!("{}\n|{rules}", table_line(&names, widths, texts))
}

/// A whole table, its columns as wide as they must be.
pub fn table(names: &[&str], texts: usize, rows: &[Vec<String>]) -> String {
    let width = |n: usize| rows.iter().map(|row| row[n].chars().count()).chain([names[n].len(), 3]).max();
    let widths: Vec<_> = (0..names.len()).filter_map(width).collect();
    let mut text = table_head(names, &widths, texts);
    for row in rows {
        text += "\n";
        text += &table_line(row, &widths, texts);
    }
    text + "\n"
}

/// Writes what stands below the table: the machine, its limits, how tests began, and what disturbed them.
fn explain(out: &mut impl Write, records: &[Record]) -> io::Result<()> {
    writeln!(out, "\n{}", machine(&records[0]))?;
    let limits: Vec<String> = records.iter().filter_map(limits).collect();
    for (n, limit) in limits.iter().enumerate() {
        if !limits[..n].contains(limit) {
            writeln!(out, "{limit}")?;
        }
    }
    let seconds = |s: Option<f64>| s.map_or_else(String::new, |s| format!("{s:.3} s"));
    let row = |record: &Record| {
        vec![
            record.setting(),
            record.work().to_string(),
            record.logits_sha256.clone().unwrap_or_default(),
            seconds(record.load_s),
            seconds(record.first_token_s),
            record.rss_anonymous_bytes.map_or_else(String::new, mib),
        ]
    };
    let head = ["run as", "test", "SHA-256 of the logits", "load", "first token", "anonymous RSS"];
    write!(out, "\n{}", table(&head, 3, &records.iter().map(row).collect::<Vec<_>>()))?;
    for record in records {
        for disturbance in &record.disturbances {
            writeln!(out, "DISTURBED {} ({}): {disturbance}", record.work(), record.setting())?;
        }
    }
    Ok(())
}

/// The machine in a line: only what it tells.
pub fn machine(record: &Record) -> String {
    let mut parts = vec![record.cpu_info.clone()];
    parts.extend(record.board.clone());
    parts.extend(record.cpu_count.map(|count| format!("{count} CPUs")));
    parts.extend(record.os.clone());
    parts.extend(record.governor.as_ref().map(|name| format!("governor {name}")));
    parts.extend(record.frequency_mhz.map(|[low, high]| format!("{low} to {high} MHz")));
    parts.extend(record.temperature_c.map(|[before, after]| format!("{before:.0} to {after:.0} °C")));
    parts.extend(record.throttled.map(|yes| if yes { "throttled".into() } else { "not throttled".into() }));
    parts.extend(record.energy_source.as_ref().map(|name| format!("energy by {name}")));
    parts.retain(|part| !part.is_empty());
    parts.join(", ")
}

/// What the machine can do, in a line.
fn limits(record: &Record) -> Option<String> {
    Some(format!(
        "{}: reads memory at {:.1} GB/s, multiplies {:.0} G int8/s",
        record.setting(),
        record.memory_gb_s?,
        record.int8_gmac_s?
    ))
}

/// A share in percent.
pub fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

/// Bytes in MiB.
pub fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn csv_quotes_what_it_must() {
        assert_eq!(quoted(&json!("a \"b\", c")), "\"a \"\"b\"\", c\"");
        assert_eq!(quoted(&json!([1, 2])), "\"1 2\"");
        assert_eq!(quoted(&Value::Null), "\"\"");
        assert_eq!(quoted(&json!(1.5)), "\"1.5\"");
    }

    #[test]
    fn tables_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["pp512".to_owned(), "1.5 ± 0.1".to_owned()], vec!["tg".into(), "2".into()]];
        let expected =
            "| test  |       t/s |\n| ----- | --------: |\n| pp512 | 1.5 ± 0.1 |\n| tg    |         2 |\n";
        assert_eq!(table(&["test", "t/s"], 1, &rows), expected);
    }
}
