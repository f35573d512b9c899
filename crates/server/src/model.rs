//! A model that is served: the scheduler that computes, and what the threads of HTTP need beside it.
//!
//! In: an engine and what was asked on the command line. Out: a [`Served`], which is shared by all requests; another one takes its
//! place when the model is swapped.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use serde_json::{Map, Value};
use stonechat_core::sampler::Sampling;
use stonechat_core::vocabulary::{Encode, Utf8Stream};
use stonechat_runtime::grammar::{Grammars, Language};
use stonechat_runtime::{ChatTemplate, Engine, Error, Grammar, Tokenizer};

use crate::embedder::{Embedder, EmbeddingOffer};
use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::scheduler::{Alarm, Scheduler, SchedulerOptions};

/// What is to be served, and how requests are answered that do not say it.
#[derive(Debug)]
pub struct Offer {
    /// The model.
    pub engine: Engine,
    /// The names by which it may be asked for, the first of which is told.
    pub names: Vec<String>,
    /// The template to use in place of the model's own.
    pub template: Option<ChatTemplate>,
    /// Further variables for it.
    pub variables: Map<String, Value>,
    /// Tokens of a thought at most.
    pub think: Option<usize>,
    /// How tokens are picked.
    pub sampling: Sampling,
    /// Tokens of an answer at most, whatever is asked.
    pub most: Option<usize>,
    /// Requests that may wait.
    pub queue: usize,
    /// A model for embeddings beside it.
    pub embedding: Option<EmbeddingOffer>,
}

/// A model that is served. See the [module](self).
#[derive(Debug)]
pub struct Served {
    /// Who computes.
    pub scheduler: Scheduler,
    /// The names by which it may be asked for.
    pub names: Vec<String>,
    /// How conversations become prompts.
    pub template: ChatTemplate,
    /// Further variables for it.
    pub variables: Map<String, Value>,
    /// Tokens of a thought at most.
    pub think: Option<usize>,
    /// How tokens are picked where a request does not say it.
    pub sampling: Sampling,
    /// Tokens of an answer at most.
    pub most: Option<usize>,
    /// Who makes embeddings.
    pub embedder: Option<Arc<Embedder>>,
    /// What there is to tell of it.
    pub facts: Facts,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    tokenizer: Arc<Tokenizer>,
    /// Made when the first grammar is asked for.
    grammars: Mutex<Option<Arc<Grammars>>>,
}

/// What there is to tell of a model.
#[derive(Clone, Debug)]
pub struct Facts {
    /// When it was loaded, in seconds since 1970.
    pub created: u64,
    /// When its file was changed.
    pub modified: SystemTime,
    /// The bytes of its file.
    pub bytes: usize,
    /// By GGUF's name.
    pub architecture: &'static str,
    /// Weights.
    pub parameters: u64,
    /// The format of most of its bytes.
    pub format: &'static str,
    /// Tokens of a context.
    pub context: usize,
    /// Tokens of the context that it was trained for.
    pub trained_context: usize,
    /// Numbers of a token's vector.
    pub embedding: usize,
    /// Bytes that everything takes that was planned.
    pub planned: usize,
    /// The template's text, where the file has one.
    pub template: Option<String>,
}

impl Facts {
    fn of(engine: &Engine) -> Result<Self, Error> {
        let (model, gguf) = (engine.model(), engine.model().gguf());
        let mut formats: BTreeMap<&'static str, usize> = BTreeMap::new();
        let mut parameters: u64 = 0;
        for tensor in gguf.tensors() {
            *formats.entry(tensor.ty.name()).or_default() += tensor.data.len();
            parameters = parameters.saturating_add(tensor.dims.elements().unwrap_or(0));
        }
        let modified = std::fs::metadata(engine.file().path()).and_then(|file| file.modified());
        let template = gguf.opt_str("tokenizer.chat_template").ok().flatten().map(str::to_owned);
        engine.file().check()?;
        Ok(Self {
            created: seconds(SystemTime::now()),
            modified: modified.unwrap_or(SystemTime::UNIX_EPOCH),
            bytes: engine.file().len(),
            architecture: model.spec().name,
            parameters,
            format: formats.into_iter().max_by_key(|(_, bytes)| *bytes).map_or("", |(name, _)| name),
            context: engine.session().context(),
            trained_context: model.hyperparameters().context,
            embedding: model.hyperparameters().embedding,
            planned: engine.plan().bytes(),
            template,
        })
    }
}

/// Seconds since 1970.
pub fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Served {
    /// Begins to serve. The alarm rings when that ends in a panic.
    pub fn new(offer: Offer, metrics: Arc<Metrics>, alarm: Alarm) -> Result<Self, Error> {
        let Offer { engine, names, template, mut variables, think, sampling, most, queue, embedding } = offer;
        let template = template.map_or_else(|| ChatTemplate::of_model(&engine), Ok)?;
        template.let_think(think, &mut variables);
        let facts = Facts::of(&engine)?;
        let tokenizer = Arc::new(Tokenizer::new(engine.file())?);
        let embedder =
            embedding.map(|offer| Embedder::start(offer, queue, alarm.clone())).transpose()?.map(Arc::new);
        let scheduler = Scheduler::start(engine, SchedulerOptions { queue, cache: None, alarm })?;
        Ok(Self {
            scheduler,
            names,
            template,
            variables,
            think,
            sampling,
            most,
            embedder,
            facts,
            metrics,
            tokenizer,
            grammars: Mutex::new(None),
        })
    }

    /// The name that is told.
    pub fn name(&self) -> &str {
        &self.names[0]
    }

    /// Refuses another model's name.
    pub fn check_name(&self, asked: Option<&str>) -> Result<(), ApiError> {
        match asked {
            Some(name) if !self.names.iter().any(|known| known.eq_ignore_ascii_case(name)) => {
                Err(ApiError::no_model(name, &self.names))
            }
            _ => Ok(()),
        }
    }

    /// Text to tokens and back.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// A grammar for answers.
    pub fn grammar(&self, language: Language, text: &str) -> Result<Grammar, ApiError> {
        let mut grammars = self.grammars.lock().unwrap_or_else(PoisonError::into_inner);
        let made = match &*grammars {
            Some(made) => Arc::clone(made),
            None => Arc::clone(grammars.insert(Arc::new(Grammars::of(Arc::clone(&self.tokenizer))?))),
        };
        drop(grammars);
        Ok(made.read(language, text)?)
    }

    /// The tokens of a text.
    pub fn encode(&self, text: &str, options: Encode) -> Result<Vec<u32>, ApiError> {
        Ok(self.tokenizer.encode(text.as_bytes(), options)?)
    }

    /// The tokens of a text that is taken as it is, after the token that the file asks for.
    pub fn encode_raw(&self, text: &str) -> Result<Vec<u32>, ApiError> {
        let bos = self.tokenizer.vocabulary().add_bos();
        self.encode(text, Encode { bos, special: false })
    }

    /// Refuses ids that are no tokens.
    pub fn check_ids(&self, name: &str, ids: &[u32]) -> Result<(), ApiError> {
        let tokens = self.tokenizer.vocabulary().len();
        match ids.iter().find(|id| **id as usize >= tokens) {
            Some(id) => {
                Err(ApiError::param(name, format!("{id} is no token; the model has 0 to {}", tokens - 1)))
            }
            None => Ok(()),
        }
    }

    /// The bytes of a token, control tokens spelled out.
    pub fn piece(&self, token: u32) -> Vec<u8> {
        let vocabulary = self.tokenizer.vocabulary();
        let mut buffer = vec![0; vocabulary.max_piece_len()];
        vocabulary.piece(token, true, &mut buffer).unwrap_or_default().to_vec()
    }

    /// The text of tokens.
    pub fn decode(&self, tokens: &[u32]) -> String {
        let (mut stream, mut text) = (Utf8Stream::new(), String::new());
        for token in tokens {
            stream.push(&self.piece(*token), &mut |part| text.push_str(part));
        }
        stream.finish(&mut |part| text.push_str(part));
        text
    }
}
