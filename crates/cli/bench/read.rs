//! Records out of files: what `-o json` or `-o jsonl` wrote, here or in llama-bench.

use std::path::{Path, PathBuf};

use serde_json::Value;
use stonechat_runtime::MappedFile;

use super::record::Record;
use crate::failure::Failure;

/// The records of all files, in order.
pub fn all(files: &[PathBuf]) -> Result<Vec<Record>, Failure> {
    Ok(files.iter().map(|file| records(file)).collect::<Result<Vec<_>, _>>()?.concat())
}

/// The records of a file; at least one.
pub fn records(path: &Path) -> Result<Vec<Record>, Failure> {
    let file = MappedFile::open(path)?;
    let records = match std::str::from_utf8(&file) {
        Ok(text) => parse(text),
        Err(error) => Err(no_records(&error)),
    };
    file.check()?;
    records.map_err(|error| Failure::at(path.display(), error))
}

fn parse(text: &str) -> Result<Vec<Record>, String> {
    let values: Vec<Value> = if text.trim_start().starts_with('[') {
        serde_json::from_str(text).map_err(|error| no_records(&error))?
    } else {
        let values = serde_json::Deserializer::from_str(text).into_iter();
        values.collect::<Result<_, _>>().map_err(|error| no_records(&error))?
    };
    if values.is_empty() {
        return Err("there is no record in this file".into());
    }
    values.into_iter().enumerate().map(|(n, value)| record(value).map_err(|why| said(n, &why))).collect()
}

fn no_records(error: &dyn std::fmt::Display) -> String {
    format!("this is no file of records ({error}); give what -o json or -o jsonl wrote")
}

fn said(n: usize, why: &str) -> String {
    format!("record {} cannot be used: {why}", n + 1)
}

fn record(value: Value) -> Result<Record, String> {
    if !value.is_object() {
        return Err("it is no JSON object".into());
    }
    let record: Record = serde_json::from_value(value).map_err(|error| error.to_string())?;
    if record.work().tokens() == 0 || record.model_type.is_empty() {
        return Err("it says neither model_type nor n_prompt or n_gen, as records of a benchmark do".into());
    }
    let speed = record.median_ts();
    if !(speed.is_finite() && speed > 0.0) {
        return Err(format!("its speed is {speed} tokens per second"));
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str =
        r#"{"model_type": "llama 1B Q4_0", "n_prompt": 512, "n_gen": 0, "avg_ts": 24.5, "samples_ts": []}"#;

    #[test]
    fn arrays_lines_and_single_objects_are_read() {
        assert_eq!(parse(ONE).unwrap().len(), 1);
        assert_eq!(parse(&format!("{ONE}\n{ONE}\n")).unwrap().len(), 2);
        let two = parse(&format!("[\n{ONE},\n{ONE}\n]\n")).unwrap();
        assert_eq!((two.len(), two[1].median_ts(), two[1].n_prompt), (2, 24.5, 512));
    }

    #[test]
    fn what_is_no_record_is_said() {
        let error = |text: &str| parse(text).unwrap_err();
        assert!(error("model,size\n").contains("this is no file of records"));
        assert!(error("").contains("there is no record"));
        assert!(error("[]").contains("there is no record"));
        assert!(error("[1]").contains("record 1 cannot be used: it is no JSON object"));
        assert!(error(&format!("{ONE}\n{{}}")).contains("record 2 cannot be used: it says neither"));
        assert!(error(&ONE.replace("24.5", "0.0")).contains("its speed is 0 tokens per second"));
        assert!(error(&ONE.replace("512", "-1")).contains("record 1 cannot be used"));
        assert!(error(&ONE[..20]).contains("this is no file of records"));
    }
}
