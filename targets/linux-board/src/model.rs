//! The model: its file, a plan that the board has room for, and how prompts are put to it.
//!
//! In: a [`Config`] and a [`Board`]. Out: an [`Engine`], and the words around a prompt.

use std::path::PathBuf;

use serde_json::json;
use stonechat_core::Model;
use stonechat_runtime::engine::{DEFAULT_CONTEXT, Engine, Options, Threads};
use stonechat_runtime::manifest::{self, Manifest};
use stonechat_runtime::template;
use stonechat_runtime::{Board, ChatTemplate, Error, Home, MappedFile, ThoughtTags, built_in};

use crate::Failure;
use crate::config::{Config, Source};

/// Stands for the prompt while the template is asked what it writes around it: a character that is for private use.
const PROMPT: &str = "\u{f8ff}";

/// What stands around a prompt.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Around {
    /// Before it.
    pub before: String,
    /// Behind it.
    pub after: String,
    /// How the model marks thoughts.
    pub thoughts: Option<ThoughtTags>,
}

/// Loads the model that the configuration names. `tell` is told what takes long.
pub fn load(
    config: &Config,
    source: &Source<'_>,
    board: &Board,
    tell: &mut dyn FnMut(&str),
) -> Result<Engine, Failure> {
    let own = board.profile.map(|profile| profile.model);
    let name = config.model.as_deref().or(own.map(|(name, _)| name));
    let file = file(name, tell)?;
    let advised = board.threads(board.cores());
    let given = |threads: &Option<toml::Spanned<usize>>| threads.as_ref().map(|threads| *threads.get_ref());
    let token = given(&config.threads);
    let batch = given(&config.threads_batch).or(token).unwrap_or(advised.batch);
    let threads = Threads { token: token.unwrap_or(advised.token), batch };
    let mut options = Options { batch: *config.batch.get_ref(), threads, ..Options::default() };
    let plan = |file: &MappedFile, model: &Model<'_>| {
        let most = model.hyperparameters().context;
        options.context = match &config.context {
            Some(context) if *context.get_ref() > most => {
                let reason = format!("{} has a context of {most} tokens at most", file.path().display());
                return Err(Failure::Config(source.mistake(context.span(), reason)));
            }
            Some(context) => Some(*context.get_ref()),
            None => Some(own.map_or(DEFAULT_CONTEXT, |(_, context)| context).min(most)),
        };
        if !model.hyperparameters().causal {
            let error = Box::new(stonechat_core::Error::LooksAhead);
            return Err(Error::Model { path: file.path().to_path_buf(), error }.into());
        }
        let plan = options.plan(file.path(), model)?;
        board
            .check(file.len() as u64, model, &plan)
            .map_err(|problem| Error::TooLarge { path: file.path().to_path_buf(), problem })?;
        Ok((plan, ()))
    };
    let level = stonechat_kernels::Level::detect();
    Engine::load_planned(file, level, threads, plan).map(|(engine, ())| engine)
}

/// The file of a model: at a path, the one in the program, or one with a name.
fn file(name: Option<&str>, tell: &mut dyn FnMut(&str)) -> Result<MappedFile, Failure> {
    let manifest = match name {
        Some(name) if name.contains('/') || PathBuf::from(name).exists() => {
            return Ok(MappedFile::open(name)?);
        }
        Some(name) if name.eq_ignore_ascii_case(built_in::NAME) => return Ok(built_in::file()),
        Some(name) => manifest::find(name)?,
        None => manifest::default_model(),
    };
    let home = Home::locate()?;
    if let Some(path) = home.pulled(manifest) {
        return Ok(MappedFile::open(path)?);
    }
    match pull(manifest, &home, tell) {
        Ok(path) => Ok(MappedFile::open(path)?),
        // An appliance without a network answers as well as it can, and says so.
        Err(error @ Error::NoSource { .. }) => {
            tell(&format!(
                "{error}; the built-in model '{}' answers instead, which only tells simple stories",
                built_in::NAME
            ));
            Ok(built_in::file())
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(feature = "pull")]
fn pull(manifest: &Manifest, home: &Home, tell: &mut dyn FnMut(&str)) -> Result<PathBuf, Error> {
    use stonechat_runtime::pull::{Event, pull};

    let mut tenths = 0;
    pull(manifest, home, &|| false, &mut |event| match event {
        Event::Trying { source } => tell(&format!("{}: trying {source}", manifest.name)),
        Event::Progress { done, total } => {
            let now = done * 10 / total.max(1);
            if now != tenths {
                tenths = now;
                tell(&format!("{}: {} % fetched", manifest.name, now * 10));
            }
            crate::watchdog::busy("fetching the model");
        }
        Event::Retrying { reason } => tell(&format!("{}: trying again: {reason}", manifest.name)),
        Event::Failed { error } => tell(&error.to_string()),
        Event::Waiting | Event::Unpacking => {}
    })
}

#[cfg(not(feature = "pull"))]
fn pull(manifest: &Manifest, home: &Home, _: &mut dyn FnMut(&str)) -> Result<PathBuf, Error> {
    let reason = format!("this build cannot; put the file at {}", home.model(manifest).display());
    let failure = Error::Source { source: manifest.sources[0].to_string(), reason };
    Err(Error::NoSource { name: manifest.name.clone(), failures: vec![failure] })
}

/// What the model's template writes around a prompt.
pub fn around(engine: &Engine, config: &Config) -> Result<Around, Error> {
    if config.raw {
        return Ok(Around::default());
    }
    let template = ChatTemplate::of_model(engine)?;
    let mut messages = Vec::new();
    if let Some(words) = &config.system {
        messages.push(json!({ "role": "system", "content": words }));
    }
    messages.push(json!({ "role": "user", "content": PROMPT }));
    let prompt = engine.encode_chat(&template, &messages, template::Options::default())?;
    // A template that writes no prompt could not be answered by any.
    let (before, after) = prompt.text.split_once(PROMPT).unwrap_or((&prompt.text, ""));
    Ok(Around { before: before.to_owned(), after: after.to_owned(), thoughts: template.manner().thoughts })
}
