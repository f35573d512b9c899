//! What all requests share: the model that is served now, the settings, and what is counted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use tokio::sync::Semaphore;

use crate::error::ApiError;
use crate::fields::Fields;
use crate::metrics::Metrics;
use crate::model::Served;
use crate::progress::Progress;
use crate::scheduler::Alarm;
use crate::settings::Settings;

/// Prompts that are tokenized at the same time: the cores are for the model.
const PREPARED_TOGETHER: usize = 2;

/// See the [module](self).
#[derive(Debug)]
pub struct State {
    /// What the server was started with.
    pub settings: Settings,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Rings when a thread that computes has panicked, whichever model's.
    pub alarm: Alarm,
    served: RwLock<Arc<Served>>,
    progress: Mutex<Progress>,
    draining: AtomicBool,
    preparing: Semaphore,
}

/// The state as requests hold it.
pub type Shared = Arc<State>;

impl State {
    /// Of a server that has just been started.
    pub fn new(settings: Settings, served: Served, metrics: Arc<Metrics>, alarm: Alarm) -> Self {
        Self {
            settings,
            metrics,
            alarm,
            served: RwLock::new(Arc::new(served)),
            progress: Mutex::new(Progress::new(Instant::now())),
            draining: AtomicBool::new(false),
            preparing: Semaphore::new(PREPARED_TOGETHER),
        }
    }

    /// The model that is served now. Who holds it goes on with it, whatever takes its place.
    pub fn served(&self) -> Arc<Served> {
        Arc::clone(&self.served.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Serves another model from now on. The old one ends once the last of its answers has.
    pub fn serve(&self, served: Served) -> Arc<Served> {
        let mut current = self.served.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut current, Arc::new(served))
    }

    /// Takes no new questions from now on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether the server is about to end.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Refuses what is asked where nothing can be answered any more.
    pub fn check_alive(&self) -> Result<(), ApiError> {
        if self.alarm.has_rung() {
            return Err(ApiError { status: StatusCode::SERVICE_UNAVAILABLE, ..ApiError::fallen() });
        }
        if self.is_draining() { Err(ApiError::draining()) } else { Ok(()) }
    }

    /// For how long what is asked was not gone on with, as far as those have looked who asked for this before.
    pub fn stuck(&self) -> Duration {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.look(Instant::now(), &self.served().scheduler)
    }

    /// Does what takes a while where it holds up nobody: templates, tokens, grammars.
    pub async fn prepare<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Arc<Served>) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<(Arc<Served>, T), ApiError> {
        self.check_alive()?;
        let gone = |_| ApiError::internal("the server is shutting down");
        let permit = self.preparing.acquire().await.map_err(gone)?;
        let served = self.served();
        let own = Arc::clone(&served);
        let done = tokio::task::spawn_blocking(move || work(&own)).await;
        drop(permit);
        done.map_err(|error| ApiError::internal(format!("the request could not be prepared: {error}")))?
            .map(|prepared| (served, prepared))
    }
}

/// The fields of a request's body, which has to come in time.
impl FromRequest<Shared> for Fields {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &Shared) -> Result<Self, ApiError> {
        let limit = state.settings.body_limit;
        let slow = state.settings.body_timeout;
        let body = tokio::time::timeout(slow, Bytes::from_request(request, state)).await;
        match body {
            Ok(Ok(body)) => Self::read(&body),
            Ok(Err(rejected)) if rejected.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                let message = format!("the body has more than {limit} bytes; send less");
                Err(ApiError::request(rejected.status(), message).with_code("body_too_large"))
            }
            Ok(Err(_)) => Err(ApiError::bad("the body could not be read; send it again")),
            Err(_) => {
                let message = format!("the body took longer than {} s; send it faster", slow.as_secs());
                Err(ApiError::request(StatusCode::REQUEST_TIMEOUT, message))
            }
        }
    }
}
