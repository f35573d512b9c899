//! A record: all that one test found out, flat, under llama-bench's names where it has one.
//!
//! Readers of llama-bench's output read these, and `--compare` and `--report` read both: whatever llama-bench does
//! not say is optional here.

use serde::{Deserialize, Serialize};

use super::statistics::Summary;
use super::work::Work;

/// One test's record.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    // What llama-bench says, in its order.
    pub build_commit: String,
    pub cpu_info: String,
    pub gpu_info: String,
    pub backends: String,
    pub model_filename: String,
    pub model_type: String,
    pub model_size: u64,
    pub model_n_params: u64,
    pub n_batch: usize,
    pub n_ubatch: usize,
    pub n_threads: usize,
    pub type_k: String,
    pub type_v: String,
    pub n_gpu_layers: i64,
    pub n_prompt: usize,
    pub n_gen: usize,
    pub n_depth: usize,
    /// When the test began: ISO 8601, UTC.
    pub test_time: String,
    pub avg_ns: u64,
    pub stddev_ns: u64,
    pub avg_ts: f64,
    pub stddev_ts: f64,
    pub samples_ns: Vec<u64>,
    pub samples_ts: Vec<f64>,

    // What it does not say. Of the program:
    /// `stonechat VERSION`; absent in another program's records.
    pub engine: Option<String>,
    /// The command that made this record.
    pub command: Option<String>,
    /// `plain` or `packed`: how the file lays its matrices out.
    pub model_layout: Option<String>,
    pub cpu_level: Option<String>,
    pub activations: Option<String>,
    /// Decides which tokens were fed.
    pub seed: Option<u64>,

    // Of the result:
    /// Who the model is: SHA-256 over its vectors, which quantizing and packing leave as they are.
    pub model_id: Option<String>,
    /// SHA-256 of the little-endian f32 bits of the logits: a prompt's last, or those after each generated token.
    pub logits_sha256: Option<String>,

    // Of the time:
    pub median_ns: Option<f64>,
    pub median_ts: Option<f64>,
    /// Half of the repetitions lie between these.
    pub quartiles_ts: Option<[f64; 2]>,
    /// From opening the file until tokens can be fed.
    pub load_s: Option<f64>,
    /// From opening the file until the logits after all that the test feeds first: the context and the prompt, or
    /// the first token. Before anything was warm but the page cache.
    pub first_token_s: Option<f64>,

    // Of the machine's limits, measured in the same run at the same level with the same threads:
    /// Weights, keys and values that a token takes from memory.
    pub bytes_per_token: Option<f64>,
    pub memory_gb_s: Option<f64>,
    /// Bytes per token times tokens per second, of what memory gives.
    pub memory_share: Option<f64>,
    /// Products of int8 that a token takes.
    pub products_per_token: Option<f64>,
    /// Thousand millions of products of int8 in a second.
    pub int8_gmac_s: Option<f64>,
    /// Products per token times tokens per second, of what the arithmetic units give.
    pub int8_share: Option<f64>,

    // Of memory:
    pub mapped_bytes: Option<u64>,
    pub arena_bytes: Option<u64>,
    pub rss_peak_bytes: Option<u64>,
    pub rss_anonymous_bytes: Option<u64>,
    pub major_faults: Option<u64>,

    // Of the machine:
    pub os: Option<String>,
    pub board: Option<String>,
    pub cpu_features: Option<String>,
    pub cpu_count: Option<usize>,
    pub governor: Option<String>,
    /// The lowest and the highest seen.
    pub frequency_mhz: Option<[u64; 2]>,
    /// At the beginning and at the end.
    pub temperature_c: Option<[f64; 2]>,
    /// Whether the machine slowed itself down for heat or power, where it tells.
    pub throttled: Option<bool>,
    /// CPUs' worth of time that others took.
    pub other_cpus: Option<f64>,
    pub joules_per_token: Option<f64>,
    /// What counted the energy.
    pub energy_source: Option<String>,
    /// What makes these times less than believable, each in one sentence.
    pub disturbances: Vec<String>,
}

impl Record {
    pub const fn work(&self) -> Work {
        Work { prompt: self.n_prompt, generate: self.n_gen, depth: self.n_depth }
    }

    /// The model's kind, and whether its file is a packed one.
    pub fn model(&self) -> String {
        match self.model_layout.as_deref() {
            Some("packed") => format!("{}, packed", self.model_type),
            _ => self.model_type.clone(),
        }
    }

    /// How it was run: threads and level.
    pub fn setting(&self) -> String {
        format!("{} x {}", self.n_threads, self.cpu_level.as_deref().unwrap_or(&self.backends))
    }

    /// The median, also of records that have only samples or, as llama-bench's csv, only a mean.
    pub fn median_ts(&self) -> f64 {
        self.median_ts.unwrap_or_else(|| self.samples().map_or(self.avg_ts, |of| of.median))
    }

    /// Half the distance between the quartiles.
    pub fn spread_ts(&self) -> f64 {
        let of = self.quartiles_ts.or_else(|| self.samples().map(|of| of.quartiles));
        of.map_or(self.stddev_ts, |[low, high]| (high - low) / 2.0)
    }

    fn samples(&self) -> Option<Summary> {
        (!self.samples_ts.is_empty()).then(|| super::statistics::summary(&self.samples_ts))
    }
}
