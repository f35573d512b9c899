//! One test: warm-up and repetitions, each of which must give the same logits.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use stonechat_runtime::system::{self, Cpu, Memory, Meter, Observation, Watch};
use stonechat_runtime::{Engine, Interrupt};

use super::args::BenchArgs;
use super::facts::ModelFacts;
use super::limits::{Known, Limits};
use super::progress::Progress;
use super::record::Record;
use super::statistics::summary;
use super::work::{Test, Work, token};
use crate::args::Activations;
use crate::engine;
use crate::failure::Failure;

/// All that the tests of one run share.
pub struct Bench<'a> {
    pub args: &'a BenchArgs,
    pub interrupt: &'a Interrupt,
    pub progress: Progress,
    /// The command line, as a shell takes it.
    pub command: String,
    pub cpu: Cpu,
    pub limits: Known,
}

/// What one test found out, and which is gone with its engine.
struct Measured {
    test_time: String,
    limits: Limits,
    logits_sha256: String,
    first_token: Duration,
    times: Vec<Duration>,
    seen: Observation,
    energy: Option<(f64, String)>,
}

impl Bench<'_> {
    /// Loads the model anew, so that load time and memory are this test's own, and measures.
    pub fn measure(&mut self, model: &str, facts: &ModelFacts, test: &Test) -> Result<Record, Failure> {
        let test_time = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        self.progress.say(|| "measuring what the machine can do".into());
        let limits = self.limits.get(test.level, test.threads)?;
        // The memory that this took is given back; what follows is the test's own.
        system::reset_peak();
        let args = self.args;
        let mut engine = engine::load(Some(model), &test.engine_args(args), 1, Some(test.level))?;
        let start = Instant::now();
        let mut run = Run::new(args.seed, test.work, &mut engine, self.interrupt);
        self.progress.say(|| "reading the context".into());
        run.reach_depth()?;
        self.progress.say(|| "warming up".into());
        let (first, logits_sha256) = run.warm_up()?;
        let first_token = run.engine.load_time() + first.duration_since(start);

        let (mut watch, meter) = (Watch::start(), Meter::start());
        let mut times = Vec::new();
        for n in 1..=args.repetitions {
            self.progress.say(|| format!("repetition {n} of {}", args.repetitions));
            times.push(run.repeat()?);
            watch.look();
        }
        let (seen, energy) = (watch.stop(), meter.stop());
        run.check()?;
        let measured = Measured { test_time, limits, logits_sha256, first_token, times, seen, energy };
        Ok(self.record(facts, test, &engine, measured))
    }

    fn record(&self, facts: &ModelFacts, test: &Test, engine: &Engine, measured: Measured) -> Record {
        let Measured { test_time, limits, logits_sha256, first_token, times, seen, energy } = measured;
        let (memory, planned) = (Memory::now(), engine.plan().limits());
        let tokens = test.work.tokens() as f64;
        let ns: Vec<f64> = times.iter().map(|time| time.as_nanos() as f64).collect();
        let ts: Vec<f64> = ns.iter().map(|ns| tokens * 1e9 / ns).collect();
        let (in_ns, in_ts) = (summary(&ns), summary(&ts));
        let disturbances = seen.disturbances();
        let bytes = facts.bytes_read(test.work, engine.plan()) / tokens;
        let products = facts.products(test.work) / tokens;
        // Weights of floats, or activations in f32, form no product of int8.
        let products = (self.args.activations == Activations::Q8 && products > 0.0).then_some(products);
        Record {
            build_commit: env!("STONECHAT_COMMIT").into(),
            cpu_info: self.cpu.name.clone().unwrap_or_default(),
            gpu_info: String::new(),
            backends: "CPU".into(),
            model_filename: engine.file().path().display().to_string(),
            model_type: facts.kind.clone(),
            model_size: facts.bytes,
            model_n_params: facts.params,
            n_batch: planned.batch,
            n_ubatch: planned.batch,
            n_threads: test.threads,
            type_k: planned.keys.as_str().into(),
            type_v: planned.values.as_str().into(),
            n_gpu_layers: 0,
            n_prompt: test.work.prompt,
            n_gen: test.work.generate,
            n_depth: test.work.depth,
            test_time,
            avg_ns: in_ns.mean as u64,
            stddev_ns: in_ns.stddev as u64,
            avg_ts: in_ts.mean,
            stddev_ts: in_ts.stddev,
            samples_ns: times.iter().map(|time| time.as_nanos() as u64).collect(),
            samples_ts: ts,
            engine: Some(concat!("stonechat ", env!("CARGO_PKG_VERSION")).into()),
            command: Some(self.command.clone()),
            model_layout: Some(facts.layout.into()),
            cpu_level: Some(engine.level().name().as_str().into()),
            activations: Some(self.args.activations.as_str().into()),
            seed: Some(self.args.seed),
            model_id: Some(facts.id.clone()),
            logits_sha256: Some(logits_sha256),
            median_ns: Some(in_ns.median),
            median_ts: Some(in_ts.median),
            quartiles_ts: Some(in_ts.quartiles),
            load_s: Some(engine.load_time().as_secs_f64()),
            first_token_s: Some(first_token.as_secs_f64()),
            bytes_per_token: Some(bytes),
            memory_gb_s: Some(limits.bytes_s / 1e9),
            memory_share: Some(bytes * in_ts.median / limits.bytes_s),
            products_per_token: products,
            int8_gmac_s: Some(limits.products_s / 1e9),
            int8_share: products.map(|products| products * in_ts.median / limits.products_s),
            mapped_bytes: Some(engine.file().len() as u64),
            arena_bytes: Some(engine.plan().bytes() as u64),
            rss_peak_bytes: memory.peak,
            rss_anonymous_bytes: memory.anonymous,
            major_faults: seen.major_faults,
            os: Some(format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)),
            board: self.cpu.board.clone(),
            cpu_features: self.cpu.features.clone(),
            cpu_count: self.cpu.count,
            governor: system::governor(),
            frequency_mhz: seen.frequency_mhz,
            temperature_c: seen.temperature_c,
            throttled: seen.throttled,
            other_cpus: seen.other_cpus,
            joules_per_token: energy.as_ref().map(|(joules, _)| joules / (tokens * times.len() as f64)),
            energy_source: energy.map(|(_, source)| source),
            disturbances,
        }
    }
}

/// A test in work.
struct Run<'a> {
    engine: &'a mut Engine,
    work: Work,
    tokens: Vec<u32>,
    /// The recurrent state at the depth; empty at the beginning, and in models without.
    state: Vec<f32>,
    /// The bits of the last logits of the warm-up.
    last: Vec<u32>,
    interrupt: &'a Interrupt,
}

impl<'a> Run<'a> {
    fn new(seed: u64, work: Work, engine: &'a mut Engine, interrupt: &'a Interrupt) -> Self {
        let vocabulary = engine.model().hyperparameters().vocabulary;
        let tokens = (0..work.context()).map(|position| token(seed, position, vocabulary)).collect();
        Self { engine, work, tokens, state: Vec::new(), last: Vec::new(), interrupt }
    }

    /// Feeds what is there before the test, batch by batch, so that Ctrl-C is heard.
    fn reach_depth(&mut self) -> Result<(), Failure> {
        let batch = self.engine.plan().limits().batch;
        for tokens in self.tokens[..self.work.depth].chunks(batch) {
            self.listen()?;
            self.engine.feed(tokens)?;
        }
        if self.work.depth > 0 {
            self.state = self.engine.session().state().to_vec();
        }
        Ok(())
    }

    /// One repetition that is not measured. Gives when the first logits were there, and the hash of all.
    fn warm_up(&mut self) -> Result<(Instant, String), Failure> {
        let mut hash = Sha256::new();
        let mut first = None;
        self.pass(&mut |engine| {
            first.get_or_insert_with(Instant::now);
            engine.logits().iter().for_each(|logit| hash.update(logit.to_le_bytes()));
        })?;
        self.last = self.bits().collect();
        Ok((first.unwrap_or_else(Instant::now), format!("{:x}", hash.finalize())))
    }

    /// One repetition, and what it took.
    fn repeat(&mut self) -> Result<Duration, Failure> {
        let start = Instant::now();
        self.pass(&mut |_| ())?;
        Ok(start.elapsed())
    }

    /// Whether the last repetition gave the logits of the warm-up. A kernel that sometimes gives others is none.
    fn check(&self) -> Result<(), Failure> {
        if self.bits().eq(self.last.iter().copied()) {
            return Ok(());
        }
        Err(Failure::Failed(format!(
            "{} gave other logits in its last repetition than in its first: this build or this machine is broken",
            self.work
        )))
    }

    fn bits(&self) -> impl Iterator<Item = u32> {
        self.engine.logits().iter().map(|logit| logit.to_bits())
    }

    fn pass(&mut self, each: &mut dyn FnMut(&Engine)) -> Result<(), Failure> {
        if self.state.is_empty() {
            self.engine.wind_back(self.work.depth);
        } else {
            let (depth, state) = (self.work.depth, &self.state);
            self.engine.with_session(|session| session.restore(depth, state));
        }
        let tokens = &self.tokens[self.work.depth..];
        for tokens in tokens.chunks(self.work.step()) {
            self.listen()?;
            self.engine.feed(tokens)?;
            each(self.engine);
        }
        Ok(())
    }

    fn listen(&self) -> Result<(), Failure> {
        if self.interrupt.is_raised() { Err(Failure::Interrupted(None)) } else { Ok(()) }
    }
}
