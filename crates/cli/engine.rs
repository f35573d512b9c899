//! From flags to a running model: the file is found, mapped and checked, the plan made, the arena taken.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[cfg(feature = "embed")]
use stonechat_core::Pooling;
use stonechat_core::plan::{ActivationMode, KvFormat};
use stonechat_core::{Limits, Model, Plan, Session};
use stonechat_gguf::Gguf;
use stonechat_kernels::{Level, LevelName};
use stonechat_runtime::{Arena, Home, MappedFile, Pool, default_threads, manifest};

use crate::args::{Activations, EngineArgs, Kv};
use crate::failure::Failure;

/// The context that is taken when nobody says how long it should be, if the model goes so far.
const DEFAULT_CONTEXT: usize = 4096;

/// The path of a model: an existing file, or one pulled by name.
pub fn locate(model: Option<&str>) -> Result<PathBuf, Failure> {
    let manifest = match model {
        Some(text) => {
            let path = PathBuf::from(text);
            let is_path = text.contains(['/', '\\']) || text.to_ascii_lowercase().ends_with(".gguf");
            if is_path || path.exists() {
                return Ok(path);
            }
            manifest::find(text)?
        }
        None => manifest::default_model(),
    };
    let home = Home::locate()?;
    home.pulled(manifest).map_or_else(|| crate::pull::fetch(manifest, &home), Ok)
}

/// The level to compute with.
pub fn level(name: Option<LevelName>) -> Result<Level, Failure> {
    let Some(name) = name else { return Ok(Level::detect()) };
    Level::new(name).ok_or_else(|| {
        let there: Vec<_> = Level::available().map(|level| level.name().as_str()).collect();
        Failure::Usage(format!("this CPU has no level '{name}'; it has: {}", there.join(" ")))
    })
}

impl EngineArgs {
    /// The threads that were asked for, or are worth having.
    pub fn threads(&self) -> Result<Threads, Failure> {
        let token = threads("-t", self.threads)?.unwrap_or_else(default_threads);
        let batch = threads("--threads-batch", self.threads_batch)?.unwrap_or(token);
        Ok(Threads { token, batch })
    }

    /// The plan for the model in the file `path`.
    pub fn plan(&self, path: &Path, model: &Model<'_>, outputs: usize) -> Result<Plan, Failure> {
        let (keys, values) = match self.kv[..] {
            [] if self.activations == Activations::F32 => (Kv::F32, Kv::F32),
            [] => (Kv::F16, Kv::F16),
            [both] => (both, both),
            [keys, values] => (keys, values),
            _ => {
                return Err(Failure::Usage(
                    "--kv takes one format for keys and values, or two: K,V; give no more".into(),
                ));
            }
        };
        let longest = model.hyperparameters().context;
        let limits = Limits {
            context: self.ctx.unwrap_or(DEFAULT_CONTEXT.min(longest)),
            batch: self.batch,
            outputs,
            threads: self.threads()?.most(),
            keys: kv(keys),
            values: kv(values),
            activations: match self.activations {
                Activations::Q8 => ActivationMode::Q8,
                Activations::F32 => ActivationMode::F32,
            },
        };
        let plan = match (self.memory, self.ctx) {
            (None, _) => Plan::new(model, limits),
            (Some(memory), None) => Plan::fit(model, Limits { context: longest, ..limits }, memory),
            (Some(memory), Some(_)) => Plan::fit_batch(model, limits, memory),
        };
        plan.map_err(|error| Failure::in_model(path, error))
    }
}

fn kv(kv: Kv) -> KvFormat {
    match kv {
        Kv::F32 => KvFormat::F32,
        Kv::F16 => KvFormat::F16,
        Kv::Q8_0 => KvFormat::Q8_0,
        Kv::Q4_0 => KvFormat::Q4_0,
    }
}

/// How many threads work on one token, and on a batch of a prompt.
#[derive(Clone, Copy, Debug)]
pub struct Threads {
    pub token: usize,
    pub batch: usize,
}

impl Threads {
    /// The number that must be there.
    pub fn most(self) -> usize {
        self.token.max(self.batch)
    }
}

/// The number of threads that a flag asks for, if it is one that a pool can have.
fn threads(flag: &str, asked: Option<usize>) -> Result<Option<usize>, Failure> {
    match asked {
        Some(0) => Err(Failure::Usage(format!("{flag} must be at least 1"))),
        Some(n) if n > Pool::MAX_THREADS => Err(Failure::Usage(format!(
            "{flag} {n} is more than the {} threads that can be; give the number of the CPU's cores, or leave it out",
            Pool::MAX_THREADS
        ))),
        asked => Ok(asked),
    }
}

/// A model that is ready to compute.
pub struct Engine<'a> {
    pub session: Session<'a>,
    pub pool: &'a Pool,
    pub threads: Threads,
    pub plan: &'a Plan,
    pub file: &'a MappedFile,
    pub level: Level,
    pub load: Duration,
}

impl Engine<'_> {
    /// A failure of the core; if the file was cut short in the meantime, that is the cause to name.
    pub fn failed(&self, error: stonechat_core::Error) -> Failure {
        self.file.check().map_or_else(Failure::from, |()| Failure::in_model(self.file.path(), error))
    }

    /// Feeds tokens.
    pub fn feed(&mut self, tokens: &[u32]) -> Result<(), Failure> {
        self.feed_each(tokens, tokens.len().saturating_sub(1), &mut |_, _| ())
    }

    /// Feeds tokens and hands out the logits from the `from`-th on.
    pub fn feed_each(
        &mut self,
        tokens: &[u32],
        from: usize,
        each: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), Failure> {
        let count = if tokens.len() > 1 { self.threads.batch } else { self.threads.token };
        let result = self.session.feed_each(tokens, from, &self.pool.with(count), each);
        result.map_err(|error| self.failed(error))?;
        Ok(self.file.check()?)
    }

    /// Hands out the embeddings of a text.
    #[cfg(feature = "embed")]
    pub fn embed(
        &mut self,
        tokens: &[u32],
        pooling: Pooling,
        each: &mut dyn FnMut(&[f32]),
    ) -> Result<(), Failure> {
        let result = self.session.embed(tokens, pooling, &self.pool.with(self.threads.batch), each);
        result.map_err(|error| self.failed(error))?;
        Ok(self.file.check()?)
    }
}

/// Maps a model and checks its header.
pub fn open(file: &MappedFile) -> Result<Gguf<'_>, Failure> {
    let gguf = Gguf::parse(file);
    file.check()?;
    gguf.map_err(|error| Failure::in_model(file.path(), error))
}

/// Loads a model and hands it, ready to continue texts, to `work`. `outputs` positions' logits are computed together.
pub fn with<T>(
    model: Option<&str>,
    args: &EngineArgs,
    outputs: usize,
    cpu: Option<LevelName>,
    work: impl FnOnce(Engine<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let plan = |file: &MappedFile, model: &Model<'_>| {
        if !model.hyperparameters().causal {
            return Err(Failure::in_model(file.path(), stonechat_core::Error::LooksAhead));
        }
        Ok((args.plan(file.path(), model, outputs)?, ()))
    };
    planned(model, args, cpu, plan, |engine, ()| work(engine))
}

/// Loads a model, and hands it to `work` with what `plan` found out while it made the plan.
pub fn planned<P, T>(
    model: Option<&str>,
    args: &EngineArgs,
    cpu: Option<LevelName>,
    plan: impl FnOnce(&MappedFile, &Model<'_>) -> Result<(Plan, P), Failure>,
    work: impl FnOnce(Engine<'_>, P) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let level = level(cpu)?;
    let path = locate(model)?;
    let start = Instant::now();
    let file = MappedFile::open(path)?;
    file.prefetch();
    let gguf = open(&file)?;
    let at_file = |error| Failure::in_model(file.path(), error);
    let model = Model::from_gguf(&gguf).map_err(at_file)?;
    let (plan, found) = plan(&file, &model)?;
    let mut arena = Arena::new(plan.bytes())?;
    let pool = Pool::new(plan.limits().threads)?;
    pool.place_caller();
    let session = Session::new(&model, &plan, arena.as_mut_slice(), level).map_err(at_file)?;
    let load = start.elapsed();
    let threads = args.threads()?;
    work(Engine { session, pool: &pool, threads, plan: &plan, file: &file, level, load }, found)
}
