//! From flags to a running model.

#[cfg(feature = "built-in")]
use std::io::{Write, stderr};
use std::path::PathBuf;

use stonechat_core::plan::{ActivationMode, KvFormat};
#[cfg(feature = "embed")]
use stonechat_core::{Model, Plan};
use stonechat_gguf::Gguf;
use stonechat_kernels::{Level, LevelName};
#[cfg(feature = "built-in")]
use stonechat_runtime::built_in;
use stonechat_runtime::draft::{DraftModel, Lookup};
use stonechat_runtime::engine::{Engine, Options, Threads};
use stonechat_runtime::generate::MOST_DRAFTED;
use stonechat_runtime::manifest::Manifest;
use stonechat_runtime::{Generator, Home, MappedFile, Pool, manifest};

use crate::args::{Activations, DraftArgs, EngineArgs, Kv};
use crate::failure::Failure;
#[cfg(feature = "built-in")]
use crate::failure::one_line;
use crate::terminal::patiently;

/// Where the file of a model is.
pub enum Place {
    /// Here.
    File(PathBuf),
    /// In the program.
    #[cfg(feature = "built-in")]
    Program,
    /// Where it can be pulled from.
    Elsewhere(&'static Manifest),
}

/// Where the file of a model is that goes by a path or a name.
pub fn place(model: Option<&str>) -> Result<Place, Failure> {
    let manifest = match model {
        Some(text) => {
            let path = PathBuf::from(text);
            let is_path = text.contains(['/', '\\']) || text.to_ascii_lowercase().ends_with(".gguf");
            if is_path || path.exists() {
                return Ok(Place::File(path));
            }
            #[cfg(feature = "built-in")]
            if text.eq_ignore_ascii_case(built_in::NAME) {
                return Ok(Place::Program);
            }
            manifest::find(text)?
        }
        None => manifest::default_model(),
    };
    Ok(Home::locate()?.pulled(manifest).map_or(Place::Elsewhere(manifest), Place::File))
}

/// The file of a model: one that exists, the built-in one, or one pulled by name.
pub fn file(model: Option<&str>) -> Result<MappedFile, Failure> {
    match place(model)? {
        Place::File(path) => Ok(MappedFile::open(path)?),
        #[cfg(feature = "built-in")]
        Place::Program => Ok(built_in::file()),
        Place::Elsewhere(manifest) => Ok(MappedFile::open(crate::pull::fetch(manifest, &Home::locate()?)?)?),
    }
}

/// The file of a model to answer with: where none was asked for and the default one cannot be had, the built-in one does.
pub fn answering(model: Option<&str>) -> Result<MappedFile, Failure> {
    #[cfg(feature = "built-in")]
    if model.is_none() {
        return match file(None) {
            Ok(file) => Ok(file),
            Err(Failure::NoModel(reason)) => {
                // A notice that nobody may be there to read.
                let _ = writeln!(
                    stderr(),
                    "stonechat: {}; the built-in model 'tiny' answers instead, which only tells simple stories",
                    one_line(&reason)
                );
                Ok(built_in::file())
            }
            Err(failure) => Err(failure),
        };
    }
    file(model)
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
    /// What these flags allow. `outputs` positions' logits are computed together.
    pub fn options(&self, outputs: usize, cpu: Option<LevelName>) -> Result<Options, Failure> {
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
        let advised = Threads::default();
        let token = threads("-t", self.threads)?;
        let batch = threads("--threads-batch", self.threads_batch)?.or(token).unwrap_or(advised.batch);
        let token = token.unwrap_or(advised.token);
        Ok(Options {
            level: level(cpu)?,
            sequences: 1,
            context: self.ctx,
            batch: self.batch,
            outputs,
            threads: Threads { token, batch },
            keys: kv(keys),
            values: kv(values),
            activations: match self.activations {
                Activations::Q8 => ActivationMode::Q8,
                Activations::F32 => ActivationMode::F32,
            },
            memory: self.memory,
        })
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

/// The number of threads that a flag asks for, if it is one that a pool can have.
pub fn threads(flag: &str, asked: Option<usize>) -> Result<Option<usize>, Failure> {
    match asked {
        Some(0) => Err(Failure::Usage(format!("{flag} must be at least 1"))),
        Some(n) if n > Pool::MAX_THREADS => Err(Failure::Usage(format!(
            "{flag} {n} is more than the {} threads that can be; give the number of the CPU's cores, or leave it out",
            Pool::MAX_THREADS
        ))),
        asked => Ok(asked),
    }
}

/// Maps a model and checks its header.
pub fn open(file: &MappedFile) -> Result<Gguf<'_>, Failure> {
    let gguf = Gguf::parse(file);
    file.check()?;
    gguf.map_err(|error| Failure::in_model(file.path(), error))
}

/// Loads a model, and what guesses for it.
pub fn load_with_draft(
    model: Option<&str>,
    args: &EngineArgs,
    draft: &DraftArgs,
    cpu: Option<LevelName>,
) -> Result<(Engine, Generator), Failure> {
    let guesses = draft.model_draft.is_some() || draft.lookup;
    if draft.draft_max == 0 || draft.draft_max > MOST_DRAFTED {
        return Err(Failure::Usage(format!("--draft-max must be between 1 and {MOST_DRAFTED}")));
    }
    // What is asked wrongly is said before anything is fetched.
    let options = args.options(if guesses { draft.draft_max + 1 } else { 1 }, cpu)?;
    let file = answering(model)?;
    let engine = patiently("loading the model", || Engine::load_file(file, &options))?;
    let generator = match &draft.model_draft {
        Some(model) => {
            let small = load(Some(model), args, 1, cpu)?;
            Generator::with_draft(Box::new(DraftModel::new(small, &engine)?), draft.draft_max)
        }
        None if draft.lookup => Generator::with_draft(Box::new(Lookup::default()), draft.draft_max),
        None => Generator::new(),
    };
    Ok((engine, generator))
}

/// Loads a model that continues texts. `outputs` positions' logits are computed together.
pub fn load(
    model: Option<&str>,
    args: &EngineArgs,
    outputs: usize,
    cpu: Option<LevelName>,
) -> Result<Engine, Failure> {
    let options = args.options(outputs, cpu)?;
    let file = file(model)?;
    Ok(patiently("loading the model", || Engine::load_file(file, &options))?)
}

/// Loads a model, with what `plan` found out while it made the plan.
#[cfg(feature = "embed")]
pub fn planned<P>(
    model: Option<&str>,
    options: &Options,
    plan: impl FnOnce(&MappedFile, &Model<'_>) -> Result<(Plan, P), Failure>,
) -> Result<(Engine, P), Failure> {
    Engine::load_planned(file(model)?, options.level, options.threads, plan)
}
