//! `stonechat serve`: answers over HTTP, until it is told to end.

pub mod args;
mod config;

use std::io::{Write, stdout};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use stonechat_core::{Model, Sampling};
use stonechat_kernels::LevelName;
use stonechat_runtime::engine::{Options, Threads};
use stonechat_runtime::error::reason;
use stonechat_runtime::{Engine, MappedFile, manifest};
use stonechat_server::sandbox::{Sandbox, list};
use stonechat_server::{
    Certificate, EmbeddingOffer, Keys, LogFormat, Offer, Reload, Server, Settings, start_log,
};

use self::args::{AccessArgs, ServeArgs};
use crate::args::{Command, Program};
use crate::engine::Place;
use crate::failure::{Failure, read_text};
use crate::{engine, prompt};

/// Tokens of a text to embed at most.
const LONGEST_TEXT: usize = 2048;

/// Runs the verb.
pub fn run(args: &ServeArgs, cpu: Option<LevelName>) -> Result<(), Failure> {
    let given = args.clone();
    let args = with_config(args)?;
    let settings = settings(&args)?;
    if args.check {
        Server::check(&settings)?;
        let wanted = wanted(&args, cpu)?;
        let files = Files::open(&args)?;
        // What is in its way shows here, too.
        let sandbox = sandbox(&args, &files);
        let offer = offer(&args, wanted, files)?;
        let address = SocketAddr::new(args.host, args.port);
        writeln!(stdout(), "{} would be served at {address}", offer.names[0])?;
        return Ok(writeln!(stdout(), "sandbox: {sandbox}")?);
    }
    start_log(match args.limits.log_format {
        args::LogFormat::Text => LogFormat::Text,
        args::LogFormat::Json => LogFormat::Json,
    });
    let scheme = if settings.certificate.is_some() { "https" } else { "http" };
    // What is in use is said before a model is loaded.
    let server = Server::bind(settings)?;
    let wanted = wanted(&args, cpu)?;
    let files = Files::open(&args)?;
    let sandbox = Arc::new(sandbox(&args, &files));
    sandbox.note();
    let offer = offer(&args, wanted, files)?;
    let own = Arc::clone(&sandbox);
    let reload: Reload = Box::new(move || {
        anew(&given, cpu, &own).map_err(|failure| match failure {
            Failure::Failed(sentence) | Failure::NoModel(sentence) | Failure::Usage(sentence) => sentence,
            Failure::Interrupted(_) | Failure::ReaderGone => "loading was stopped".into(),
        })
    });
    // For those who start this program and chose no port; whoever is not there to read it does not hold it up.
    let ready = |address| {
        let _ = writeln!(stdout(), "{scheme}://{address}");
        let _ = stdout().flush();
    };
    Ok(server.run(offer, Some(reload), sandbox, ready)?)
}

/// The models' files.
struct Files {
    model: MappedFile,
    embedding: Option<MappedFile>,
}

impl Files {
    /// Opens them. What is not there is pulled.
    fn open(args: &ServeArgs) -> Result<Self, Failure> {
        let model = engine::answering(args.model.model.as_deref())?;
        let embedding = args.embedding_model.as_deref().map(|model| engine::file(Some(model))).transpose()?;
        Ok(Self { model, embedding })
    }

    /// Where they are, but for one that is in the program.
    fn paths(&self) -> impl Iterator<Item = &Path> {
        let files = [Some(&self.model), self.embedding.as_ref()].into_iter().flatten();
        files.filter(|file| !file.is_built_in()).map(MappedFile::path)
    }
}

/// Restricts the process, unless that is not wanted: behind this, what the model is loaded with and what answers are made with has to do
/// with the files that it was started with.
fn sandbox(args: &ServeArgs, files: &Files) -> Sandbox {
    if args.no_sandbox {
        return Sandbox::off();
    }
    // Certificates and keys are not among them: they have been read.
    let others = [args.config.as_deref(), template_file(args)].into_iter().flatten();
    Sandbox::enter(files.paths().chain(others))
}

/// The file of the chat template, where it is in one.
fn template_file(args: &ServeArgs) -> Option<&Path> {
    args.chat_template.as_deref().filter(|file| *file != Path::new("chatml"))
}

/// What is to be served from now on, by the flags of the command line and those that the config file has now.
fn anew(given: &ServeArgs, cpu: Option<LevelName>, sandbox: &Sandbox) -> Result<Offer, Failure> {
    let args = with_config(given)?;
    let wanted = wanted(&args, cpu)?;
    let mut read: Vec<PathBuf> = template_file(&args).map(Path::to_owned).into_iter().collect();
    let embedding = args.embedding_model.as_deref().map(Some);
    for model in [Some(args.model.model.as_deref()), embedding].into_iter().flatten() {
        match engine::place(model)? {
            Place::File(path) => read.push(path),
            #[cfg(feature = "built-in")]
            Place::Program => {}
            Place::Elsewhere(manifest) if sandbox.holds() => {
                return Err(Failure::NoModel(format!(
                    "the model {0} is not here, and the sandbox lets the server fetch nothing; run 'stonechat pull {0}', \
                     and start the server again",
                    manifest.name
                )));
            }
            Place::Elsewhere(_) => {}
        }
    }
    if let Some(path) = read.iter().find(|path| !sandbox.lets_read(path)) {
        return Err(Failure::at(
            path.display(),
            match sandbox.folders() {
                None | Some([]) => "the sandbox lets the server read no files; start the server again".into(),
                Some(folders) => format!(
                    "the sandbox lets the server read in {} alone; put the file there, or start the server again",
                    list(folders)
                ),
            },
        ));
    }
    offer(&args, wanted, Files::open(&args)?)
}

/// The flags of the command line, and of the file that it names.
fn with_config(args: &ServeArgs) -> Result<ServeArgs, Failure> {
    let Some(path) = &args.config else { return Ok(args.clone()) };
    let mut words: Vec<std::ffi::OsString> = std::env::args_os().collect();
    let verb = words.iter().position(|word| word == "serve").map_or(words.len(), |at| at + 1);
    // In front of the command line's own, so that these win.
    words.splice(verb..verb, config::read(path)?.into_iter().map(Into::into));
    match Program::try_parse_from(words)?.command {
        Command::Serve(args) => Ok(args),
        _ => Ok(args.clone()),
    }
}

fn settings(args: &ServeArgs) -> Result<Settings, Failure> {
    let limit = Duration::from_secs(args.limits.timeout.max(1));
    let certificate = args.access.tls_cert.clone().zip(args.access.tls_key.clone());
    if args.limits.connections == 0 {
        return Err(Failure::Usage("--connections must be at least 1".into()));
    }
    Ok(Settings {
        address: SocketAddr::new(args.host, args.port),
        keys: keys(&args.access)?,
        open: args.access.no_key,
        origins: args.access.cors.iter().map(|origin| checked_origin(origin)).collect::<Result<_, _>>()?,
        certificate: certificate.map(|(chain, key)| Certificate { chain, key }),
        connections: args.limits.connections,
        body_limit: args.limits.body_limit,
        head_timeout: limit,
        body_timeout: limit,
        write_timeout: limit,
        drain_timeout: Duration::from_secs(args.limits.drain_timeout),
    })
}

fn keys(access: &AccessArgs) -> Result<Keys, Failure> {
    let mut keys = Keys::default();
    for key in &access.api_key {
        keys.add(key).map_err(|reason| Failure::Usage(format!("--api-key: {reason}")))?;
    }
    let Some(path) = &access.api_key_file else { return Ok(keys) };
    let text = read_text(path)?;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if !line.is_empty() && !line.starts_with('#') {
            let at = format!("{}, line {}", path.display(), number + 1);
            keys.add(line).map_err(|reason| Failure::at(at, reason))?;
        }
    }
    if keys.is_empty() {
        return Err(Failure::at(path.display(), "there is no key in it; write one on each line"));
    }
    Ok(keys)
}

/// An origin as browsers send it: a scheme and a host, and nothing behind it.
fn checked_origin(origin: &str) -> Result<String, Failure> {
    let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    let plain = host.is_some_and(|host| {
        !host.is_empty()
            && host.bytes().all(|byte| byte.is_ascii_graphic())
            && !host.contains(['/', '?', '#'])
    });
    if origin == "*" || plain {
        return Ok(origin.to_owned());
    }
    Err(Failure::Usage(format!("--cors {origin} is no origin; write for instance https://example.org, or *")))
}

/// What flags say of the model, whichever it is: what is asked wrongly is said before anything is fetched.
fn wanted(args: &ServeArgs, cpu: Option<LevelName>) -> Result<(Sampling, Options), Failure> {
    let sampling = args.sampling.settings()?;
    if args.predict == Some(0) {
        return Err(Failure::Usage("-n must be at least 1".into()));
    }
    if args.parallel == 0 {
        return Err(Failure::Usage("--parallel must be at least 1".into()));
    }
    Ok((sampling, Options { sequences: args.parallel, ..args.engine.options(args.parallel, cpu)? }))
}

/// What is to be served. The engine is made on a thread of its own: the one that makes it may be bound to cores, and those
/// that it starts would be, too.
fn offer(args: &ServeArgs, wanted: (Sampling, Options), files: Files) -> Result<Offer, Failure> {
    std::thread::scope(|scope| {
        let made = std::thread::Builder::new().spawn_scoped(scope, || offer_here(args, wanted, files));
        let made =
            made.map_err(|error| Failure::Failed(format!("cannot start a thread: {}", reason(&error))))?;
        made.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn offer_here(
    args: &ServeArgs,
    (sampling, options): (Sampling, Options),
    files: Files,
) -> Result<Offer, Failure> {
    let names = if args.alias.is_empty() { vec![name(files.model.path())] } else { args.alias.clone() };
    let embedding = files.embedding.map(|file| embedding(file, &options)).transpose()?;
    let engine = Engine::load_file(files.model, &options)?;
    Ok(Offer {
        engine,
        names,
        template: prompt::template(args.chat_template.as_deref())?,
        variables: args.chat_template_kwargs.as_deref().cloned().unwrap_or_default(),
        think: args.think,
        sampling,
        most: args.predict,
        queue: args.queue,
        embedding,
    })
}

/// The model for embeddings. It computes on one thread: the others are for answers.
fn embedding(file: MappedFile, answering: &Options) -> Result<EmbeddingOffer, Failure> {
    let name = name(file.path());
    let threads = Threads { token: 1, batch: 1 };
    let plan = |file: &MappedFile, model: &Model<'_>| -> Result<_, Failure> {
        // The longest text that it was made for, or else a page.
        let context = Some(model.hyperparameters().context.min(LONGEST_TEXT));
        let options = Options { context, threads, sequences: 1, outputs: 0, ..answering.clone() };
        Ok((options.plan(file.path(), model)?, ()))
    };
    let (engine, ()) = Engine::load_planned(file, answering.level, threads, plan)?;
    Ok(EmbeddingOffer { engine, name })
}

/// The name of a model that was given none: its manifest's, or its file's.
fn name(path: &Path) -> String {
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let known = manifest::all().iter().find(|known| known.file == file);
    let stem = || path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    known.map_or_else(stem, |known| known.name.clone())
}

impl From<stonechat_server::Error> for Failure {
    fn from(error: stonechat_server::Error) -> Self {
        match error {
            stonechat_server::Error::Model(error) => error.into(),
            error @ stonechat_server::Error::NoKey(_) => Self::Usage(error.to_string()),
            error => Self::Failed(error.to_string()),
        }
    }
}
