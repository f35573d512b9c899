//! A model that is ready to compute: file, plan, arena, threads and session in one value.
//!
//! Of several texts at once, all methods but [`Engine::feed_together`] are about the sequence that the session has at hand.
//!
//! In: a path and what the user allows. Out: an [`Engine`], which owns everything that its session borrows, so that it
//! can be kept, moved and handed to another thread. All errors name the file.

use std::path::Path;
use std::time::{Duration, Instant};

use self_cell::{MutBorrow, self_cell};
use stonechat_core::plan::{ActivationMode, KvFormat};
use stonechat_core::session::Stretch;
use stonechat_core::{Limits, Model, Plan, Pooling, Sampler, Session, Vocabulary};
use stonechat_gguf::Gguf;
use stonechat_kernels::Level;

use crate::{Arena, Board, Error, MappedFile, Pool, Team, default_threads};

/// The context that is taken when nobody says how long it should be, if the model goes so far.
pub const DEFAULT_CONTEXT: usize = 4096;

/// What the user allows.
#[derive(Clone, Debug)]
pub struct Options {
    /// The instructions to use.
    pub level: Level,
    /// Texts at once.
    pub sequences: usize,
    /// Tokens of context, of each text; by default as many as the model takes, up to [`DEFAULT_CONTEXT`].
    pub context: Option<usize>,
    /// Tokens of a prompt that are computed together.
    pub batch: usize,
    /// Positions whose logits are computed together.
    pub outputs: usize,
    /// How many threads work.
    pub threads: Threads,
    /// How keys are kept.
    pub keys: KvFormat,
    /// How values are kept.
    pub values: KvFormat,
    /// In what form activations meet quantized matrices.
    pub activations: ActivationMode,
    /// The bytes that the arena may have: chooses the context, where none is given, and the batch.
    pub memory: Option<usize>,
}

impl Default for Options {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            level: Level::detect(),
            sequences: limits.sequences,
            context: None,
            batch: limits.batch,
            outputs: limits.outputs,
            threads: Threads::default(),
            keys: limits.keys,
            values: limits.values,
            activations: limits.activations,
            memory: None,
        }
    }
}

impl Options {
    /// The plan for the model in the file `path`.
    pub fn plan(&self, path: &Path, model: &Model<'_>) -> Result<Plan, Error> {
        let longest = model.hyperparameters().context;
        let limits = Limits {
            sequences: self.sequences,
            context: self.context.unwrap_or(DEFAULT_CONTEXT.min(longest)),
            batch: self.batch,
            outputs: self.outputs,
            threads: self.threads.most(),
            keys: self.keys,
            values: self.values,
            activations: self.activations,
        };
        let plan = match (self.memory, self.context) {
            (None, _) => Plan::new(model, limits),
            (Some(memory), None) => Plan::fit(model, Limits { context: longest, ..limits }, memory),
            (Some(memory), Some(_)) => Plan::fit_batch(model, limits, memory),
        };
        plan.map_err(|error| Error::model(path, error))
    }
}

/// How many threads work on one token, and on a batch of a prompt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Threads {
    /// On one token.
    pub token: usize,
    /// On several.
    pub batch: usize,
}

impl Default for Threads {
    /// As many as work best on this board.
    fn default() -> Self {
        Board::detect().threads(default_threads())
    }
}

impl Threads {
    /// The number that must be there.
    pub fn most(self) -> usize {
        self.token.max(self.batch)
    }
}

/// Refuses a model that a board of known memory has no room for, before the board is brought down by it. Elsewhere the
/// system decides, which knows what else it can do without.
fn fits(board: &Board, file: &MappedFile, model: &Model<'_>, plan: &Plan) -> Result<(), Error> {
    if board.profile.is_none() {
        return Ok(());
    }
    let refused = |problem| Error::TooLarge { path: file.path().to_path_buf(), problem };
    board.check(file.len() as u64, model, plan).map_err(refused)
}

self_cell!(
    /// A file and the checked view of it.
    struct ModelFile {
        owner: MappedFile,
        #[covariant]
        dependent: Model,
    }
);

/// What a session stands on.
struct Ground {
    file: ModelFile,
    plan: Plan,
    arena: MutBorrow<Arena>,
}

self_cell!(
    /// A session and what it stands on.
    struct Running {
        owner: Ground,
        #[covariant]
        dependent: Session,
    }
);

/// A model that is ready to compute.
pub struct Engine {
    running: Running,
    pool: Pool,
    threads: Threads,
    level: Level,
    load: Duration,
}

impl Engine {
    /// Maps a model that continues texts, and goes on as [`load_file`](Self::load_file).
    pub fn load(path: impl AsRef<Path>, options: &Options) -> Result<Self, Error> {
        Self::load_file(MappedFile::open(path)?, options)
    }

    /// Of a model that continues texts: plans, takes the arena, starts the threads.
    pub fn load_file(file: MappedFile, options: &Options) -> Result<Self, Error> {
        let plan = |file: &MappedFile, model: &Model<'_>| {
            if !model.hyperparameters().causal {
                return Err(Error::model(file.path(), stonechat_core::Error::LooksAhead));
            }
            let plan = options.plan(file.path(), model)?;
            // Who states the memory has decided.
            if options.memory.is_none() {
                fits(&Board::detect(), file, model, &plan)?;
            }
            Ok((plan, ()))
        };
        Self::load_planned(file, options.level, options.threads, plan).map(|(engine, ())| engine)
    }

    /// Makes of a model file what `plan` says, which may find out more while it is about it.
    pub fn load_planned<P, E: From<Error>>(
        file: MappedFile,
        level: Level,
        threads: Threads,
        plan: impl FnOnce(&MappedFile, &Model<'_>) -> Result<(Plan, P), E>,
    ) -> Result<(Self, P), E> {
        let start = Instant::now();
        file.prefetch();
        let path = file.path().to_path_buf();
        let at = |error| Error::model(&path, error);
        let file = ModelFile::try_new(file, |file| {
            let model = Gguf::parse(file)
                .map_err(|error| Error::model(file.path(), error))
                .and_then(|gguf| Model::from_gguf(&gguf).map_err(at));
            // What was read past a cut is zeros, of which nothing is to be said but that.
            file.check()?;
            model
        })?;
        let (plan, found) = plan(file.borrow_owner(), file.borrow_dependent())?;
        let arena = MutBorrow::new(Arena::new(plan.bytes())?);
        let pool = Pool::new(plan.limits().threads)?;
        pool.place_caller();
        let ground = Ground { file, plan, arena };
        let running = Running::try_new(ground, |ground| {
            let arena = ground.arena.borrow_mut().as_mut_slice();
            Session::new(ground.file.borrow_dependent(), &ground.plan, arena, level).map_err(at)
        })?;
        Ok((Self { running, pool, threads, level, load: start.elapsed() }, found))
    }

    /// The session.
    pub fn session(&self) -> &Session<'_> {
        self.running.borrow_dependent()
    }

    /// The session, and those who work for it, on one token and on several: for loops of other kinds than
    /// [`Generator`](crate::Generator)'s.
    pub fn with_crew<T>(&mut self, work: impl FnOnce(&mut Session<'_>, Team<'_>, Team<'_>) -> T) -> T {
        let [token, batch] = [self.threads.token, self.threads.batch].map(|count| self.pool.with(count));
        self.running.with_dependent_mut(|_, session| work(session, token, batch))
    }

    /// The session, for what this type has no method for.
    pub fn with_session<T>(&mut self, work: impl FnOnce(&mut Session<'_>) -> T) -> T {
        self.running.with_dependent_mut(|_, session| work(session))
    }

    /// The model.
    pub fn model(&self) -> &Model<'_> {
        self.running.borrow_owner().file.borrow_dependent()
    }

    /// The vocabulary.
    pub fn vocabulary(&self) -> &Vocabulary<'_> {
        self.session().vocabulary()
    }

    /// The plan that the session was made by.
    pub fn plan(&self) -> &Plan {
        &self.running.borrow_owner().plan
    }

    /// The model's file.
    pub fn file(&self) -> &MappedFile {
        self.running.borrow_owner().file.borrow_owner()
    }

    /// The instructions in use.
    pub const fn level(&self) -> Level {
        self.level
    }

    /// How many threads work.
    pub const fn threads(&self) -> Threads {
        self.threads
    }

    /// What [`load`](Self::load) took.
    pub const fn load_time(&self) -> Duration {
        self.load
    }

    /// The logits after the last token fed.
    pub fn logits(&self) -> &[f32] {
        self.session().logits()
    }

    /// The number of tokens fed.
    pub fn position(&self) -> usize {
        self.session().position()
    }

    /// Forgets all tokens from `position` on, or all tokens where a recurrent state stands in the way. Returns the position
    /// at which the engine then stands.
    pub fn wind_back(&mut self, position: usize) -> usize {
        self.with_session(|session| {
            if session.rewind(position).is_err() {
                session.forget();
            }
            session.position()
        })
    }

    /// Whether tokens can be forgotten without forgetting all.
    pub fn can_wind_back(&self) -> bool {
        self.session().state().is_empty()
    }

    /// Picks the token that follows, after `history`.
    pub fn pick(&mut self, sampler: &Sampler<'_>, history: &[u32]) -> u32 {
        self.with_session(|session| session.pick(sampler, history))
    }

    /// Feeds tokens: see [`Session::feed`].
    pub fn feed(&mut self, tokens: &[u32]) -> Result<(), Error> {
        self.feed_each(tokens, tokens.len().saturating_sub(1), &mut |_, _| ())
    }

    /// Feeds tokens and hands out the logits from the `from`-th on: see [`Session::feed_each`].
    pub fn feed_each(
        &mut self,
        tokens: &[u32],
        from: usize,
        each: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), Error> {
        let count = if tokens.len() > 1 { self.threads.batch } else { self.threads.token };
        let team = self.pool.with(count);
        let mut failure = None;
        self.running.with_dependent_mut(|_, session| {
            failure = session.feed_each(tokens, from, &team, each).err();
        });
        if let Some(error) = failure {
            return Err(self.failed(error));
        }
        self.file().check()
    }

    /// Feeds several sequences in one batch: see [`Session::feed_together`]. One token of each counts as one token, as far as
    /// the number of threads goes.
    pub fn feed_together(&mut self, stretches: &[Stretch<'_>]) -> Result<(), Error> {
        let reads = stretches.iter().any(|stretch| stretch.tokens.len() > 1);
        let team = self.pool.with(if reads { self.threads.batch } else { self.threads.token });
        let mut failure = None;
        self.running.with_dependent_mut(|_, session| {
            failure = session.feed_together(stretches, &team).err();
        });
        match failure {
            Some(error) => Err(self.failed(error)),
            None => self.file().check(),
        }
    }

    /// Hands out the embeddings of a text: see [`Session::embed`].
    pub fn embed(
        &mut self,
        tokens: &[u32],
        pooling: Pooling,
        each: &mut dyn FnMut(&[f32]),
    ) -> Result<(), Error> {
        let team = self.pool.with(self.threads.batch);
        let mut failure = None;
        self.running.with_dependent_mut(|_, session| {
            failure = session.embed(tokens, pooling, &team, each).err();
        });
        match failure {
            Some(error) => Err(self.failed(error)),
            None => self.file().check(),
        }
    }

    /// A failure of the core; if the file was cut short in the meantime, that is the cause to name.
    pub fn failed(&self, error: impl Into<stonechat_core::Error>) -> Error {
        self.file().check().map_or_else(|cut| cut, |()| Error::model(self.file().path(), error))
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("file", &self.file().path())
            .field("session", self.session())
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}
