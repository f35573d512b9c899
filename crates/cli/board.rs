//! `stonechat board`: which board this is, and what is advised on it.
//!
//! All that it says is `stonechat_runtime::board`'s, which `run`, `chat` and `bench` ask, too. What a model takes is planned where
//! its file is here; of one that has not been pulled only the size is known.

use std::io::{Write, stdout};

use serde_json::{Value as Json, json};
use stonechat_core::Model;
use stonechat_kernels::LevelName;
use stonechat_runtime::board::{BESIDE, Board, Profile, TooLarge};
#[cfg(feature = "built-in")]
use stonechat_runtime::built_in;
use stonechat_runtime::engine::{DEFAULT_CONTEXT, Options, Threads};
use stonechat_runtime::{Home, MappedFile, manifest};

use crate::args::BoardArgs;
use crate::engine;
use crate::failure::Failure;

/// All that is said of a board.
struct Report {
    board: Board,
    /// The level in use; of a copy, what the kernel's list of features allows.
    level: Option<LevelName>,
    threads: Threads,
    hindrances: Vec<String>,
    models: Vec<Fit>,
}

/// A model on the board.
struct Fit {
    name: String,
    /// Its bytes.
    file: u64,
    /// What is known where the file is here.
    plan: Option<Planned>,
    /// That its file alone is too much.
    is_hopeless: bool,
}

/// What a model takes.
struct Planned {
    context: usize,
    arena: u64,
    fits: Result<(), TooLarge>,
}

/// Runs the verb.
pub fn run(args: &BoardArgs, cpu: Option<LevelName>) -> Result<(), Failure> {
    let board = match &args.root {
        None => Board::detect(),
        Some(folder) if folder.join("proc").is_dir() => Board::in_copy(folder),
        Some(folder) => {
            return Err(Failure::Usage(format!(
                "{} has no folder proc, so it is no copy of a system's files; copy /proc/cpuinfo, /proc/meminfo, \
                 /proc/device-tree and /sys/devices/system/cpu into it, with their paths",
                folder.display()
            )));
        }
    };
    let level =
        if board.is_here() { Some(engine::level(cpu)?.name()) } else { cpu.or_else(|| board.arm_level()) };
    let threads = board.threads(board.cores());
    let context = args.ctx.or(board.profile.map(|profile| profile.model.1));
    let models = match &args.model {
        Some(name) => {
            let file = engine::file(Some(name))?;
            let planned = planned(&board, &file, context, threads)?;
            if let Err(problem) = &planned.fits {
                return Err(Failure::at(file.path().display(), problem));
            }
            vec![Fit { name: name.clone(), file: file.len() as u64, plan: Some(planned), is_hopeless: false }]
        }
        None => named(&board, context, threads)?,
    };
    let hindrances = level.map(|level| board.hindrances(level)).unwrap_or_default();
    let report = Report { board, level, threads, hindrances, models };
    let out = &mut stdout().lock();
    if args.json { writeln!(out, "{}", report.json()) } else { report.write(out) }.map_err(Failure::from)
}

/// Every model that has a name.
fn named(board: &Board, context: Option<usize>, threads: Threads) -> Result<Vec<Fit>, Failure> {
    // Where no folder for models is known, none is here.
    let home = Home::locate().ok();
    let mut models = Vec::new();
    for manifest in manifest::all() {
        let path = home.as_ref().and_then(|home| home.pulled(manifest));
        let plan = path.map(|path| planned(board, &MappedFile::open(path)?, context, threads)).transpose()?;
        let is_hopeless = board.room().is_some_and(|room| manifest.size.saturating_add(BESIDE) > room);
        models.push(Fit { name: manifest.name.clone(), file: manifest.size, plan, is_hopeless });
    }
    #[cfg(feature = "built-in")]
    {
        let file = built_in::file();
        let plan = Some(planned(board, &file, context, threads)?);
        models.push(Fit {
            name: built_in::NAME.to_owned(),
            file: file.len() as u64,
            plan,
            is_hopeless: false,
        });
    }
    Ok(models)
}

/// What a model takes with a context, or with the usual one.
fn planned(
    board: &Board,
    file: &MappedFile,
    context: Option<usize>,
    threads: Threads,
) -> Result<Planned, Failure> {
    let gguf = engine::open(file)?;
    let model = Model::from_gguf(&gguf).map_err(|error| Failure::in_model(file.path(), error))?;
    let context = context.unwrap_or(DEFAULT_CONTEXT).min(model.hyperparameters().context);
    let options = Options { context: Some(context), threads, ..Options::default() };
    let plan = options.plan(file.path(), &model)?;
    file.check()?;
    let fits = board.check(file.len() as u64, &model, &plan);
    Ok(Planned { context, arena: plan.bytes() as u64, fits })
}

impl Report {
    fn json(&self) -> Json {
        let board = &self.board;
        let profile = board.profile;
        let clusters: Option<Vec<Json>> = profile.map(|profile| {
            let cluster = profile.clusters.iter();
            cluster.map(|c| json!({ "cores": c.cores, "kind": c.kind, "mhz": c.megahertz })).collect()
        });
        let models: Vec<Json> = self.models.iter().map(Fit::json).collect();
        json!({
            "board": board.name,
            "compatible": board.compatible,
            "profile": profile.map(|profile| profile.name),
            "chip": profile.map(|profile| profile.chip),
            "cpu": board.cpu().name,
            "clusters": clusters,
            "mhz": board.megahertz(),
            "level": self.level.map(LevelName::as_str),
            "expected_level": profile.map(|profile| profile.level.as_str()),
            "threads": { "token": self.threads.token, "batch": self.threads.batch, "reason": self.reason() },
            "memory_bytes": board.memory(),
            "available_bytes": board.available(),
            "room_bytes": board.room(),
            "page_bytes": board.page(),
            "temperature_c": board.temperature(),
            "slows_at_c": board.slows_at(),
            "hottest_c": profile.map(|profile| profile.hottest),
            "hindrances": self.hindrances,
            "models": models,
            "measured": profile.map(|profile| profile.measured),
        })
    }

    /// Why so many threads.
    fn reason(&self) -> &'static str {
        self.board.profile.map_or(
            "one for each physical core; small cores beside big ones and second threads of a core are left out",
            |profile| profile.threads_reason,
        )
    }

    fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let board = &self.board;
        writeln!(out, "{}", board.name.as_deref().unwrap_or("a machine that does not tell its name"))?;
        for (name, text) in self.facts() {
            writeln!(out, "  {name:<10} {text}")?;
        }
        let Threads { token, batch } = self.threads;
        writeln!(
            out,
            "  threads    {token} write, {batch} read (-t {token} --threads-batch {batch}): {}",
            self.reason()
        )?;
        for (index, fit) in self.models.iter().enumerate() {
            writeln!(out, "  {:<10} {fit}", if index == 0 { "models" } else { "" })?;
        }
        for hindrance in &self.hindrances {
            writeln!(out, "  slow       {hindrance}")?;
        }
        if let Some(profile) = board.profile {
            writeln!(out, "  measured   {}", profile.measured)?;
        }
        Ok(())
    }

    /// What the machine is, in lines with a name.
    fn facts(&self) -> Vec<(&'static str, String)> {
        let board = &self.board;
        let mut lines = Vec::new();
        lines.push(match board.profile {
            Some(Profile { name, chip, .. }) => ("profile", format!("{name} ({chip})")),
            None => ("profile", "none for this board; what follows is from what the system tells".into()),
        });
        if let Some(cpu) = board.cpu().name {
            let clock = board.megahertz().map(|mhz| format!(", {mhz} MHz at most")).unwrap_or_default();
            lines.push(("cores", cpu + &clock));
        }
        if let Some(level) = self.level {
            let expected = board.profile.map(|profile| profile.level).filter(|expected| *expected != level);
            let expected =
                expected.map(|level| format!(" (the profile expects {level})")).unwrap_or_default();
            lines.push(("level", format!("{level}{expected}")));
        }
        if let Some(total) = board.memory() {
            let room =
                board.room().map(|room| format!(", of which a model with its arena may take {}", mib(room)));
            let free = board.available().filter(|_| board.profile.is_some());
            let free = free.map(|available| format!("; {} are free now", mib(available)));
            let text = [Some(mib(total)), room, free].into_iter().flatten().collect::<String>();
            lines.push(("memory", text));
        }
        if let Some(page) = board.page() {
            lines.push(("pages", format!("{} KiB", page >> 10)));
        }
        let heat = [
            board.temperature().map(|now| format!("{now:.0} °C now")),
            board.slows_at().map(|limit| format!("slowed down from {limit:.0} °C on")),
        ];
        let heat: Vec<_> = heat.into_iter().flatten().collect();
        if !heat.is_empty() {
            lines.push(("heat", heat.join(", ")));
        }
        lines
    }
}

impl Fit {
    fn json(&self) -> Json {
        let plan = self.plan.as_ref();
        let problem = plan.and_then(|plan| plan.fits.err());
        json!({
            "name": self.name,
            "file_bytes": self.file,
            "here": plan.is_some(),
            "context": plan.map(|plan| plan.context),
            "arena_bytes": plan.map(|plan| plan.arena),
            // Not known before it is pulled, unless the file alone is too much.
            "fits": match plan {
                Some(plan) => Some(plan.fits.is_ok()),
                None => self.is_hopeless.then_some(false),
            },
            "missing_bytes": problem.map(|problem| problem.missing()),
            "fits_with": problem.and_then(|problem| problem.fits).map(|(context, batch)| {
                json!({ "context": context, "batch": batch })
            }),
        })
    }
}

impl std::fmt::Display for Fit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, file) = (&self.name, mib(self.file));
        match &self.plan {
            Some(Planned { context, arena, fits: Ok(()) }) => {
                let sum = mib(self.file.saturating_add(*arena).saturating_add(BESIDE));
                write!(f, "{name} fits with {context} tokens of context: {sum} ({file} are its file)")
            }
            Some(Planned { fits: Err(problem), .. }) => write!(f, "{name} {problem}"),
            None if self.is_hopeless => write!(f, "{name} does not fit: its file alone has {file}"),
            None => write!(f, "{name} has {file}; once it is pulled, its plan says whether it fits"),
        }
    }
}

fn mib(bytes: u64) -> String {
    format!("{:.0} MiB", bytes as f64 / 1_048_576.0)
}
