//! The flags of `stonechat bench`, and the lists that they take.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::args::{Activations, Kv, size};

/// `stonechat bench`.
#[derive(Args, Debug)]
#[command(
    after_help = "Numbers of -p, -n, -d, -t and -b may be lists: 1,2,4 or 1-4 or 0-4096+1024 or 1-8*2.\n\n\
    Examples:\n  stonechat bench -m model.gguf\n  \
    stonechat bench -m a.gguf,b.gguf -p 512 -n 128 -d 0,4096 -t 1,2 --cpu avx2,avx512\n  \
    stonechat bench -m model.gguf -o jsonl > before.jsonl\n  \
    stonechat bench -m model.gguf --compare before.jsonl\n  \
    stonechat bench --report report.html pi5.jsonl zero2w.jsonl"
)]
pub struct BenchArgs {
    /// GGUF files, or names of models
    #[arg(short, long, value_name = "FILE|NAME,..", value_delimiter = ',')]
    pub model: Vec<String>,
    /// Tokens of a prompt to read; 0 leaves this test out
    #[arg(short = 'p', long = "n-prompt", value_name = "N", default_value = "512", value_parser = numbers)]
    pub prompt: Vec<Numbers>,
    /// Tokens to generate, one by one; 0 leaves this test out
    #[arg(short = 'n', long = "n-gen", value_name = "N", default_value = "128", value_parser = numbers)]
    pub generate: Vec<Numbers>,
    /// Tokens of context that are there before the test begins
    #[arg(short, long = "n-depth", value_name = "N", default_value = "0", value_parser = numbers)]
    pub depth: Vec<Numbers>,
    /// Threads; by default as many as suit the board, or else one for each physical core
    #[arg(short, long, value_name = "N", value_parser = numbers)]
    pub threads: Vec<Numbers>,
    /// Tokens of a prompt that are computed together
    #[arg(short, long = "batch-size", value_name = "N", default_value = "512", value_parser = numbers)]
    pub batch: Vec<Numbers>,
    /// Repetitions of each test, beside one to warm up
    #[arg(short, long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub repetitions: u32,
    /// How keys and values are kept: one format for both, or K,V
    #[arg(long, value_name = "K[,V]", value_delimiter = ',', num_args = 1..=2)]
    pub kv: Vec<Kv>,
    /// Let activations meet quantized weights in int8 (fast) or f32 (exact)
    #[arg(long, value_name = "FORM", default_value = "q8")]
    pub activations: Activations,
    /// Tokens of context to make room for; by default as many as the test needs
    #[arg(short, long, value_name = "N")]
    pub ctx: Option<usize>,
    /// Stay within this much memory beside the mapped file, for instance 400M
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub memory: Option<usize>,
    /// Which random tokens are fed
    #[arg(short, long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// How to write the records
    #[arg(short, long, value_name = "FORM", default_value = "md")]
    pub output: Output,
    /// Compare with the records of an earlier run (json or jsonl); with FILE, compare those and measure nothing
    #[arg(long, value_name = "EARLIER", conflicts_with = "report")]
    pub compare: Option<PathBuf>,
    /// Write a page with charts of the records in FILE, and measure nothing
    #[arg(long, value_name = "OUT.html", requires = "files")]
    pub report: Option<PathBuf>,
    /// Files with records (json or jsonl), for --compare and --report
    #[arg(value_name = "FILE", conflicts_with = "model")]
    pub files: Vec<PathBuf>,
}

/// See [`BenchArgs::output`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A table to read
    Md,
    /// An array of objects
    Json,
    /// An object on each line, as soon as it is there
    Jsonl,
    /// A line with the names, then one for each record
    Csv,
}

/// The numbers of one list.
pub type Numbers = Vec<usize>;

/// More numbers than any list has a use for.
const MOST_NUMBERS: usize = 1000;

/// A list as llama-bench writes it: numbers and ranges `first-last`, `first-last+step`, `first-last*factor`, with
/// commas between them.
fn numbers(text: &str) -> Result<Numbers, String> {
    let mut all = Numbers::new();
    for part in text.split(',') {
        range(part, &mut all).ok_or_else(|| {
            format!(
                "'{part}' is no number and no range; write for instance 512 or 1,2,4 or 0-4096+1024 or 1-8*2"
            )
        })?;
        if all.len() > MOST_NUMBERS {
            return Err(format!("'{text}' has more than {MOST_NUMBERS} numbers; make the steps larger"));
        }
    }
    Ok(all)
}

/// Adds the numbers of a range, or one alone.
fn range(text: &str, all: &mut Numbers) -> Option<()> {
    let Some((first, rest)) = text.split_once('-') else {
        all.push(text.parse().ok()?);
        return Some(());
    };
    let (last, step, factor) = match (rest.split_once('+'), rest.split_once('*')) {
        (Some((last, step)), None) => (last, step.parse().ok()?, 1),
        (None, Some((last, factor))) => (last, 0, factor.parse().ok()?),
        (None, None) => (rest, 1, 1),
        (Some(_), Some(_)) => return None,
    };
    let (mut next, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
    if next > last {
        return None;
    }
    while next <= last && all.len() <= MOST_NUMBERS {
        all.push(next);
        let after = next.checked_mul(factor)?.checked_add(step)?;
        if after <= next {
            return None;
        }
        next = after;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_llama_benchs() {
        let of = |text| numbers(text).unwrap();
        assert_eq!(of("512"), [512]);
        assert_eq!(of("1,2,4"), [1, 2, 4]);
        assert_eq!(of("1-4"), [1, 2, 3, 4]);
        assert_eq!(of("0-4096+2048,7"), [0, 2048, 4096, 7]);
        assert_eq!(of("1-9*2"), [1, 2, 4, 8]);
    }

    #[test]
    fn what_is_no_list_is_said() {
        for text in ["", "x", "1,", "-1", "1-", "4-3", "0-8*2", "1-8*1", "1-8+0", "1-8+1*2", "1.5"] {
            let error = numbers(text).unwrap_err();
            assert!(error.contains("is no number and no range"), "{text}: {error}");
        }
        assert!(numbers("0-100000").unwrap_err().contains("more than 1000 numbers"));
        assert!(numbers("18446744073709551615-18446744073709551615").is_err());
    }
}
