//! A model for embeddings, beside the one that writes: a thread of its own, which takes one text after the other.
//!
//! In: texts or tokens. Out: a vector of length 1 for each, pooled as the model's file says (by their mean where it says
//! nothing). Each text is computed alone, so that its vector does not depend on the others. Requests wait in a queue as long as
//! that for answers; where it is full, they are told to come again.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime};

use stonechat_core::{Pooling, embedding};
use stonechat_runtime::prompt::encode_raw;
use stonechat_runtime::{Engine, Error, Tokenizer};
use tokio::sync::oneshot;

use crate::error::ApiError;
use crate::model::seconds;
use crate::scheduler::{Alarm, Busy};

/// When to come again: embeddings of a few texts are soon done.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A model for embeddings, before it is served.
#[derive(Debug)]
pub struct EmbeddingOffer {
    /// The model. Its context says how long texts may be.
    pub engine: Engine,
    /// Its name.
    pub name: String,
}

/// See the [module](self). Dropped, it finishes the text that it is at.
#[derive(Debug)]
pub struct Embedder {
    /// The model's name.
    pub name: String,
    /// Numbers of a vector.
    pub len: usize,
    /// Tokens of a text at most.
    pub context: usize,
    /// When it was loaded, in seconds since 1970.
    pub created: u64,
    tokenizer: Tokenizer,
    jobs: SyncSender<Job>,
}

/// Texts as tokens, and who waits for their vectors.
#[derive(Debug)]
struct Job {
    texts: Vec<Vec<u32>>,
    answer: oneshot::Sender<Result<Vec<Vec<f32>>, Error>>,
}

impl Embedder {
    /// Starts the thread. `queue` requests may wait. The alarm rings when it panics.
    pub fn start(offer: EmbeddingOffer, queue: usize, alarm: Alarm) -> Result<Self, Error> {
        let EmbeddingOffer { engine, name } = offer;
        let stated = engine.model().pooling().map_err(|error| engine.failed(error))?;
        // A vector for each token is no vector for a text.
        let pooling = stated.filter(|pooling| *pooling != Pooling::None).unwrap_or(Pooling::Mean);
        let (len, context) = (engine.model().embedding_len(pooling), engine.session().context());
        let tokenizer = Tokenizer::new(engine.file())?;
        let (jobs, received) = sync_channel(queue.max(1));
        std::thread::Builder::new()
            .name("embedder".into())
            .spawn(move || {
                let _watched = Watched(alarm);
                work(engine, pooling, &received);
            })
            .map_err(|source| Error::Threads { wanted: 1, started: 0, source })?;
        Ok(Self { name, len, context, created: seconds(SystemTime::now()), tokenizer, jobs })
    }

    /// Whether this is its name.
    pub fn is_called(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// The tokens of a text, which is called `name` where it is wrong.
    pub fn encode(&self, name: &str, text: &str) -> Result<Vec<u32>, ApiError> {
        // Tokens that begin and end a text are no text.
        if text.is_empty() {
            return self.checked(name, Vec::new());
        }
        let vocabulary = self.tokenizer.vocabulary();
        let mut tokens = encode_raw(vocabulary, text.as_bytes())
            .map_err(|error| ApiError::param(name, format!("{name}: {error}")))?;
        tokens.extend(vocabulary.ending());
        self.checked(name, tokens)
    }

    /// Tokens as they were given, if there can be a vector for them.
    pub fn checked(&self, name: &str, tokens: Vec<u32>) -> Result<Vec<u32>, ApiError> {
        let known = self.tokenizer.vocabulary().len();
        if let Some(id) = tokens.iter().find(|id| **id as usize >= known) {
            let message = format!("{name}: {id} is no token; {} has 0 to {}", self.name, known - 1);
            return Err(ApiError::param(name, message));
        }
        match tokens.len() {
            0 => Err(ApiError::param(name, format!("{name} is empty; leave it out"))),
            len if len > self.context => {
                let message = format!(
                    "{name} has {len} tokens, but {} takes at most {}; shorten it, or split it",
                    self.name, self.context
                );
                Err(ApiError::param(name, message).with_code("context_length_exceeded"))
            }
            _ => Ok(tokens),
        }
    }

    /// The vectors of texts, in their order.
    pub async fn embed(&self, texts: Vec<Vec<u32>>) -> Result<Vec<Vec<f32>>, ApiError> {
        let (answer, vectors) = oneshot::channel();
        self.jobs.try_send(Job { texts, answer }).map_err(|error| match error {
            TrySendError::Full(_) => Busy { retry_after: RETRY_AFTER }.into(),
            TrySendError::Disconnected(_) => gone(),
        })?;
        Ok(vectors.await.map_err(|_| gone())??)
    }
}

fn gone() -> ApiError {
    ApiError::internal("the thread that makes embeddings has ended; the server has to be started anew")
}

/// Rings when the thread that has it panics.
struct Watched(Alarm);

impl Drop for Watched {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.ring();
        }
    }
}

/// Takes jobs until nobody is left to give some. A job whose asker has gone is left at its next text.
fn work(mut engine: Engine, pooling: Pooling, jobs: &Receiver<Job>) {
    for Job { texts, answer } in jobs {
        let mut vectors = Vec::with_capacity(texts.len());
        let mut failure = None;
        for tokens in &texts {
            if answer.is_closed() {
                break;
            }
            let made = engine.embed(tokens, pooling, &mut |row| vectors.push(row.to_vec()));
            if let Err(error) = made {
                failure = Some(error);
                break;
            }
        }
        vectors.iter_mut().for_each(|vector| embedding::normalize(vector));
        let _ = answer.send(failure.map_or(Ok(vectors), Err));
    }
}
