//! Starting threads that have a name, by code that is there once for all of them.

use std::io;
use std::thread::{Builder, JoinHandle};

/// Starts a thread. The error says why there cannot be another.
pub fn start(name: String, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    start_boxed(name, Box::new(work))
}

fn start_boxed(name: String, work: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name).spawn(work)
}
