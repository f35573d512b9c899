//! What a server is started with, beside the model.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::keys::Keys;

/// See the module.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen. Port 0 lets the system choose.
    pub address: SocketAddr,
    /// The keys of those who may ask; none where all may.
    pub keys: Keys,
    /// Whether others than this machine's own programs may ask without a key.
    pub open: bool,
    /// The origins of pages, other than this server's own, that may ask: `https://example.org`, or `*` for all.
    pub origins: Vec<String>,
    /// The certificate and its key, where connections are to be encrypted.
    pub certificate: Option<Certificate>,
    /// Connections at the same time at most.
    pub connections: usize,
    /// Bytes of a body at most.
    pub body_limit: usize,
    /// How long the head of a request may take, and a connection be idle.
    pub head_timeout: Duration,
    /// How long a body may take.
    pub body_timeout: Duration,
    /// How long a client may not take what is sent to it.
    pub write_timeout: Duration,
    /// How long answers may take to end once the server is to end.
    pub drain_timeout: Duration,
}

/// Files in PEM format.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificate {
    /// The certificate, and those that lead to it.
    pub chain: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Bytes of the head of a request at most.
pub const HEAD_LIMIT: usize = 32 << 10;
/// Headers of a request at most.
pub const HEADERS: usize = 64;

impl Default for Settings {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 8080)),
            keys: Keys::default(),
            open: false,
            origins: Vec::new(),
            certificate: None,
            connections: 256,
            body_limit: 4 << 20,
            head_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(30),
        }
    }
}
