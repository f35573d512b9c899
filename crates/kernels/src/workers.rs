//! How the kernels ask for helping hands, without knowing what a thread is.
//!
//! A desktop gives a thread pool, a bare-metal board its other cores, a microcontroller [`Alone`]. The results
//! never depend on which: every job splits its output into ranges that are claimed at most once
//! (see [`crate::split`]), and what is computed for a range does not depend on who computes it.

/// A fixed set of workers that can run one job together.
pub trait Workers: Sync {
    /// The number of workers, the caller included; at least 1. Only a hint for splitting work.
    fn count(&self) -> usize;

    /// Calls `job` on up to [`count`](Self::count) workers at once, the caller among them, and returns when
    /// every call has returned. `job` takes its share of the work by claiming ranges; calling it once, twice or
    /// a thousand times gives the same result, so no implementation can break soundness or change a bit.
    fn run(&self, job: &(dyn Fn() + Sync));
}

/// No helpers: the calling thread does everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Workers for Alone {
    fn count(&self) -> usize {
        1
    }

    fn run(&self, job: &(dyn Fn() + Sync)) {
        job();
    }
}
