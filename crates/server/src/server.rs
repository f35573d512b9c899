//! A server: the socket, its connections, and when it ends.
//!
//! In: settings, a model, and signals. SIGTERM and Ctrl-C let it end once its answers have, SIGHUP lets it load its model anew.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use stonechat_runtime::error::reason;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;

use crate::http;
use crate::metrics::Metrics;
use crate::model::{Offer, Served};
use crate::sandbox::Sandbox;
use crate::scheduler::Alarm;
use crate::settings::{HEAD_LIMIT, HEADERS, Settings};
use crate::state::{Shared, State};
use crate::{supervisor, tls};

/// Threads that read requests and send answers: the cores are for the model.
const THREADS: usize = 2;
/// Threads that write templates out and read grammars.
const BLOCKING_THREADS: usize = 4;
/// How long the others' answers may take to hear that nothing comes any more, after a panic.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// After an error of the system, for instance of too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// Why there is no server.
#[derive(Debug)]
pub enum Error {
    /// It would be open to everybody.
    NoKey(SocketAddr),
    /// The address cannot be had.
    Address {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The certificate cannot be used.
    Certificate(String),
    /// The system gives no threads or signals.
    System(io::Error),
    /// The model cannot be served.
    Model(stonechat_runtime::Error),
    /// The thread that computes has panicked.
    Fallen,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKey(address) => write!(
                f,
                "{} can be reached from elsewhere, and there is no key; give one (--api-key-file FILE), or let everybody ask \
                 (--no-key)",
                address.ip()
            ),
            Self::Address { address, source } if source.kind() == io::ErrorKind::AddrInUse => {
                write!(f, "{address} is in use by another program; choose another port (--port)")
            }
            Self::Address { address, source } => {
                write!(f, "cannot listen at {address}: {}; choose another (--host, --port)", reason(source))
            }
            Self::Certificate(sentence) => f.write_str(sentence),
            Self::System(source) => write!(f, "cannot start the server: {}", reason(source)),
            Self::Model(error) => error.fmt(f),
            Self::Fallen => f.write_str(
                "the thread that computes has panicked, which is a mistake in this program; start the server again, and report what \
                 it said above",
            ),
        }
    }
}

impl std::error::Error for Error {}

/// Loads a model anew: what takes its place, or a sentence that says why nothing does.
pub type Reload = Box<dyn Fn() -> Result<Offer, String> + Send + Sync>;

/// A server that listens. See the module.
pub struct Server {
    settings: Settings,
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Server {
    /// Refuses settings that cannot be served with.
    pub fn check(settings: &Settings) -> Result<(), Error> {
        if settings.keys.is_empty() && !settings.open && !settings.address.ip().is_loopback() {
            return Err(Error::NoKey(settings.address));
        }
        settings.certificate.as_ref().map(tls::acceptor).transpose().map_err(Error::Certificate)?;
        Ok(())
    }

    /// Listens. Who connects waits until [`run`](Self::run).
    pub fn bind(settings: Settings) -> Result<Self, Error> {
        Self::check(&settings)?;
        let acceptor =
            settings.certificate.as_ref().map(tls::acceptor).transpose().map_err(Error::Certificate)?;
        let address = settings.address;
        let listener = TcpListener::bind(address).map_err(|source| Error::Address { address, source })?;
        listener.set_nonblocking(true).map_err(Error::System)?;
        Ok(Self { settings, listener, acceptor })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap_or(self.settings.address)
    }

    /// Answers until it is told to end. The sandbox is the one that the process is in; `ready` is called once signals are heard.
    pub fn run(
        self,
        offer: Offer,
        reload: Option<Reload>,
        sandbox: Arc<Sandbox>,
        ready: impl FnOnce(SocketAddr),
    ) -> Result<(), Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_name("http")
            .enable_all()
            .build()
            .map_err(Error::System)?;
        let result = runtime.block_on(async {
            let state = self.state(offer, sandbox)?;
            self.serve(&state, reload, ready).await
        });
        // Answers that did not end in time are dropped here.
        runtime.shutdown_timeout(Duration::from_secs(1));
        result
    }

    /// What requests will share: the model begins to be served.
    fn state(&self, offer: Offer, sandbox: Arc<Sandbox>) -> Result<Shared, Error> {
        let metrics = Arc::new(Metrics::new(sandbox));
        let alarm = Alarm::default();
        let served = Served::new(offer, Arc::clone(&metrics), alarm.clone()).map_err(Error::Model)?;
        let settings = Settings { address: self.address(), ..self.settings.clone() };
        Ok(Arc::new(State::new(settings, served, metrics, alarm)))
    }

    async fn serve(
        self,
        state: &Shared,
        reload: Option<Reload>,
        ready: impl FnOnce(SocketAddr),
    ) -> Result<(), Error> {
        let address = self.address();
        let listener = tokio::net::TcpListener::from_std(self.listener).map_err(Error::System)?;
        let mut signals = Signals::listen().map_err(Error::System)?;
        let connections = Connections::new(state, self.acceptor);
        supervisor::ready();
        ready(address);
        let watchdog = tokio::spawn(supervisor::watch(Arc::clone(state)));
        tracing::info!(%address, model = state.served().name(), "ready");
        let reload = reload.map(Arc::new);
        let graceful = GracefulShutdown::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => connections.take(accepted, Some(graceful.watcher())).await,
                () = state.alarm.rung() => break,
                signal = signals.next() => match signal {
                    Signal::End => break,
                    Signal::Reload => load_anew(state, reload.as_ref()),
                },
            }
        }
        supervisor::stopping();
        state.drain();
        let limit = if state.alarm.has_rung() { LAST_WORDS } else { state.settings.drain_timeout };
        tracing::info!(seconds = limit.as_secs(), "takes nothing new, and ends once its answers have");
        let mut drained = std::pin::pin!(tokio::time::timeout(limit, graceful.shutdown()));
        // Who connects now is told so.
        let result = loop {
            tokio::select! {
                result = &mut drained => break result,
                accepted = listener.accept() => connections.take(accepted, None).await,
                Signal::End = signals.next() => break Ok(()),
            }
        };
        if result.is_err() {
            tracing::warn!("some answers were cut off, because they took too long");
        }
        watchdog.abort();
        if state.alarm.has_rung() {
            return Err(Error::Fallen);
        }
        tracing::info!("ended");
        Ok(())
    }
}

/// Loads the model anew, while the old one goes on until the new one is there.
fn load_anew(state: &Shared, reload: Option<&Arc<Reload>>) {
    let Some(reload) = reload.map(Arc::clone) else { return };
    let state = Arc::clone(state);
    supervisor::reloading();
    tokio::spawn(async move {
        let (metrics, alarm) = (Arc::clone(&state.metrics), state.alarm.clone());
        let made = tokio::task::spawn_blocking(move || {
            let served = reload().map(|offer| Served::new(offer, metrics, alarm));
            served.and_then(|served| served.map_err(|error| error.to_string()))
        });
        // A panic there is no reason to leave those unanswered who are served by the old model.
        match made.await.unwrap_or_else(|_| Err("loading panicked, as is said above".into())) {
            Ok(served) => {
                tracing::info!(model = served.name(), "another model is served from now on");
                let old = state.serve(served);
                // Its last answer may take a while, and it waits for that.
                drop(tokio::task::spawn_blocking(move || drop(old)));
            }
            Err(error) => {
                tracing::error!(error, "the model could not be loaded anew; the old one is served on");
            }
        }
        supervisor::ready();
    });
}

/// Makes connections of sockets.
struct Connections {
    http: http1::Builder,
    service: Router,
    acceptor: Option<TlsAcceptor>,
    places: Arc<Semaphore>,
    head_timeout: Duration,
    write_timeout: Duration,
}

impl Connections {
    fn new(state: &Shared, acceptor: Option<TlsAcceptor>) -> Self {
        let settings = &state.settings;
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(settings.head_timeout);
        http.max_buf_size(HEAD_LIMIT).max_headers(HEADERS);
        Self {
            http,
            service: http::service(Arc::clone(state)),
            acceptor,
            places: Arc::new(Semaphore::new(settings.connections)),
            head_timeout: settings.head_timeout,
            write_timeout: settings.write_timeout,
        }
    }

    /// Serves a connection on a task of its own, if there is a place. With a watcher, it ends when the server does.
    async fn take(&self, accepted: io::Result<(TcpStream, SocketAddr)>, watcher: Option<Watcher>) {
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(error = reason(&error), "a connection could not be taken");
                return tokio::time::sleep(PAUSE).await;
            }
        };
        // Tokens are short, and each is waited for.
        let _ = stream.set_nodelay(true);
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            // Dropped: whoever has too many connections is not to hold up those who have one.
            tracing::warn!("there are too many connections; one was closed");
            return;
        };
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.write_timeout));
        let stream = Box::pin(stream);
        let (http, service, limit) = (self.http.clone(), self.service.clone(), self.head_timeout);
        let acceptor = self.acceptor.clone();
        tokio::spawn(async move {
            let served = match acceptor {
                None => serve(&http, service, stream, watcher).await,
                Some(acceptor) => match tokio::time::timeout(limit, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => serve(&http, service, stream, watcher).await,
                    Ok(Err(error)) => return tracing::debug!(%error, "no handshake"),
                    Err(_) => return tracing::debug!("a handshake took too long"),
                },
            };
            if let Err(error) = served {
                tracing::debug!(%error, "a connection broke off");
            }
            drop(place);
        });
    }
}

/// Answers what comes on a connection.
async fn serve(
    http: &http1::Builder,
    service: Router,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    watcher: Option<Watcher>,
) -> hyper::Result<()> {
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    match watcher {
        Some(watcher) => watcher.watch(connection).await,
        None => connection.await,
    }
}

/// What the server is told.
enum Signal {
    End,
    Reload,
}

/// Signals of the system.
#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::End,
            _ = self.interrupt.recv() => Signal::End,
            _ = self.hang_up.recv() => Signal::Reload,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> Signal {
        let _ = tokio::signal::ctrl_c().await;
        Signal::End
    }
}

#[cfg(test)]
mod tests;
