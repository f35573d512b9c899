//! The threads: a fork-join pool made for the two hundred short steps of one token.
//!
//! In goes a job, any `Fn() + Sync` that takes its share of the work by claiming ranges
//! ([`stonechat_kernels::Workers`]); the pool calls it on the calling thread and on every other thread that is
//! ready in time, and returns when all those calls have returned. Nothing is allocated in
//! [`run`](Workers::run).
//!
//! Two decisions make it quick:
//!
//! - **Nobody waits for a thread that has not begun.** The caller works too, and when it has found no more work
//!   it closes the job: threads that were still asleep, or that the operating system had put aside, missed it,
//!   and the caller waits only for those inside. So three threads on two cores, a busy neighbour or an emulator
//!   cost their share and nothing more.
//! - **Spin, then yield, then park.** A waiting thread looks for the next job for a fifth of a millisecond, which
//!   bridges the gaps between steps and between tokens, and then sleeps: an idle pool uses no CPU.
//!
//! [`Pool::with`] gives fewer workers than there are: reading a prompt and writing an answer may use different numbers.
//! The threads that are left out sleep.
//!
//! A pool runs one job at a time. A `run` inside a job, or from a second thread while the pool is taken, is done
//! by its caller alone: the result is the same, and nothing can deadlock.

mod cores;
mod job;

use std::fmt;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use stonechat_kernels::Workers;

use crate::Error;
use crate::system::Root;
use crate::threads;
use cores::Cores;
use job::Shared;

/// A fixed set of threads that run one job together. Dropping the pool ends them.
pub struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

const _: () = assert!(Pool::MAX_THREADS <= job::MOST, "the state word counts those inside");

/// Some of a pool's workers. See [`Pool::with`].
#[derive(Clone, Copy)]
pub struct Team<'p> {
    shared: &'p Shared,
    threads: &'p [JoinHandle<()>],
}

impl Pool {
    /// The most threads a pool may have: more than any machine that this is for has cores. Thousands of threads
    /// would only wait for one another.
    pub const MAX_THREADS: usize = 512;

    /// Starts `threads - 1` threads, and returns when they are ready; the caller of [`run`](Workers::run) is the
    /// last. 0 counts as 1, and more than [`MAX_THREADS`](Self::MAX_THREADS) as that many. Where cores differ in
    /// speed, the threads keep to the fastest that are enough for all.
    pub fn new(threads: usize) -> Result<Self, Error> {
        let wanted = threads.clamp(1, Self::MAX_THREADS);
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let shared = Arc::new(Shared::new(wanted - 1, cores));
        let place = Cores::of_this_machine().and_then(|cores| cores.fastest(wanted));
        let mut pool = Self { shared, threads: Vec::with_capacity(wanted - 1) };
        for index in 0..wanted - 1 {
            let (shared, place) = (Arc::clone(&pool.shared), place.clone());
            let work = move || {
                if let Some(cpus) = place {
                    cores::stay_on(&cpus);
                }
                shared.serve(index);
            };
            let thread = threads::start(format!("stonechat-{}", index + 1), work)
                // Those that have started end as `pool` drops.
                .map_err(|source| Error::Threads { wanted, started: index + 1, source })?;
            pool.threads.push(thread);
        }
        // A thread allocates as it starts (its name, its locals). Nothing may do so once a session runs.
        while pool.shared.started() < pool.threads.len() {
            thread::yield_now();
        }
        Ok(pool)
    }

    /// Keeps the calling thread, the last of the workers, to the same cores as the others.
    pub fn place_caller(&self) {
        if let Some(cpus) = Cores::of_this_machine().and_then(|cores| cores.fastest(self.count())) {
            cores::stay_on(&cpus);
        }
    }

    /// The first `count` workers, the caller included; all where there are not so many, and 0 counts as 1.
    pub fn with(&self, count: usize) -> Team<'_> {
        let threads = count.clamp(1, self.count()) - 1;
        Team { shared: &self.shared, threads: &self.threads[..threads] }
    }
}

impl Workers for Pool {
    fn count(&self) -> usize {
        self.threads.len() + 1
    }

    /// A panic of `job`, on whichever thread, reaches the caller once every call has returned.
    fn run(&self, job: &(dyn Fn() + Sync)) {
        self.shared.run(&self.threads, job);
    }
}

impl Workers for Team<'_> {
    fn count(&self) -> usize {
        self.threads.len() + 1
    }

    fn run(&self, job: &(dyn Fn() + Sync)) {
        self.shared.run(self.threads, job);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // `&mut self`: no job is running.
        self.shared.end();
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            // A thread ends by its loop alone: jobs' panics are caught.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("threads", &self.count()).finish()
    }
}

impl fmt::Debug for Team<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Team").field("threads", &self.count()).finish_non_exhaustive()
    }
}

/// The number of threads that arithmetic runs best on: one for each physical core that this process may use (its
/// affinity mask, its cgroup's quota), slow ones beside fast ones left out. A second thread on a core shares the
/// arithmetic units that the first keeps busy. How many a model runs best on, [`Board::threads`](crate::Board::threads)
/// decides.
pub fn default_threads() -> usize {
    let allowed = thread::available_parallelism().map_or(1, usize::from);
    Cores::of_this_machine().map_or(allowed, |cores| allowed.min(cores.worth_using())).max(1)
}

/// That of a machine whose files these are, where they tell.
pub(crate) fn cores_in(root: &Root) -> Option<usize> {
    Cores::of(root).map(|cores| cores.worth_using().max(1))
}

#[cfg(test)]
mod tests;
