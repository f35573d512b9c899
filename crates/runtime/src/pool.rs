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
//! A pool runs one job at a time. A `run` inside a job, or from a second thread while the pool is taken, is done
//! by its caller alone: the result is the same, and nothing can deadlock.

use std::any::Any;
use std::cell::UnsafeCell;
use std::fmt;
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use stonechat_kernels::Workers;

use crate::Error;

/// How long a thread looks for the next job before it sleeps. Sampling and printing a token take some tens of
/// microseconds; waking a thread takes about as long.
const PATIENCE: Duration = Duration::from_micros(200);

/// How often a waiting thread looks before it begins to let others have the core: some 20 to 60 µs, depending on
/// how long the CPU pauses at a spin hint.
const SPINS: u32 = 1500;

/// A job as the threads see it. The lifetime is a lie that [`Shared`] keeps harmless.
type Job = *const (dyn Fn() + Sync + 'static);

/// A fixed set of threads that run one job together. Dropping the pool ends them.
pub struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What the threads and their callers share.
struct Shared {
    job: Line<Posted>,
    /// Whether a caller has the pool.
    taken: Line<AtomicBool>,
    /// For each thread but the caller, whether it is parked or about to be.
    asleep: Box<[Line<AtomicBool>]>,
    /// How many threads have begun to serve.
    started: AtomicUsize,
    /// The first panic of a job on one of the threads, on its way to the caller.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// [`SPINS`], or 0 where there are more threads than cores and spinning only hinders the one who works.
    spins: u32,
}

/// The job on offer. Both parts are on one cache line: who has fetched the state has fetched the job.
#[derive(Default)]
struct Posted {
    /// The one word that says whether there is a job and who is in it; see [`State`].
    state: AtomicU64,
    /// Written only by the thread that holds `taken`, while `state` is closed with nobody inside; read only by
    /// threads inside.
    job: UnsafeCell<Option<Job>>,
}

/// Keeps its content on cache lines of its own (128 bytes: lines are fetched in pairs on x86, and are that long
/// on some aarch64), so that threads that poll one word do not slow the writers of another.
#[derive(Default)]
#[repr(align(128))]
struct Line<T>(T);

/// The state word: the number of threads inside the job (16 bits), whether it is open, whether the pool is
/// ending, and the number of the job (46 bits).
#[derive(Clone, Copy, PartialEq, Eq)]
struct State(u64);

impl State {
    const INSIDE: u64 = 0xffff;
    const OPEN: u64 = 1 << 16;
    const ENDING: u64 = 1 << 17;
    const JOB: u64 = 1 << 18;

    fn inside(self) -> u64 {
        self.0 & Self::INSIDE
    }

    fn is_open(self) -> bool {
        self.0 & Self::OPEN != 0
    }

    fn is_ending(self) -> bool {
        self.0 & Self::ENDING != 0
    }

    /// The number of the job. It wraps; a thread that sees the same number again merely misses that job.
    fn number(self) -> u64 {
        self.0 / Self::JOB
    }

    /// The next job, open and with nobody inside.
    fn next(self) -> Self {
        Self(self.number().wrapping_add(1).wrapping_mul(Self::JOB) | Self::OPEN)
    }
}

// SAFETY: `Posted::job` is the only field that is not already `Sync` and `Send`. It is written and read under the
// rule at its declaration: the writer holds `taken`, and the readers are counted in `state`, with whose release and
// acquire operations every write happens before the reads that follow and every read before the next write. What
// it points to is `Sync`.
#[allow(unsafe_code)]
unsafe impl Sync for Shared {}
// SAFETY: as above; nothing in it belongs to one thread.
#[allow(unsafe_code)]
unsafe impl Send for Shared {}

const _: () = assert!(Pool::MAX_THREADS as u64 <= State::INSIDE, "the state word counts those inside");

impl Pool {
    /// The most threads a pool may have: more than any machine that this is for has cores. Thousands of threads
    /// would only wait for one another.
    pub const MAX_THREADS: usize = 512;

    /// Starts `threads - 1` threads, and returns when they are ready; the caller of [`run`](Workers::run) is the
    /// last. 0 counts as 1, and more than [`MAX_THREADS`](Self::MAX_THREADS) as that many.
    pub fn new(threads: usize) -> Result<Self, Error> {
        let wanted = threads.clamp(1, Self::MAX_THREADS);
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let shared = Arc::new(Shared {
            job: Line::default(),
            taken: Line::default(),
            asleep: (1..wanted).map(|_| Line::default()).collect(),
            started: AtomicUsize::new(0),
            panic: Mutex::new(None),
            spins: if wanted > cores { 0 } else { SPINS },
        });
        let mut pool = Self { shared, threads: Vec::with_capacity(wanted - 1) };
        for index in 0..wanted - 1 {
            let shared = Arc::clone(&pool.shared);
            let thread = thread::Builder::new()
                .name(format!("stonechat-{}", index + 1))
                .spawn(move || shared.serve(index))
                // Those that have started end as `pool` drops.
                .map_err(|source| Error::Threads { wanted, started: index + 1, source })?;
            pool.threads.push(thread);
        }
        // A thread allocates as it starts (its name, its locals). Nothing may do so once a session runs.
        while pool.shared.started.load(Ordering::Acquire) < pool.threads.len() {
            thread::yield_now();
        }
        Ok(pool)
    }
}

impl Workers for Pool {
    fn count(&self) -> usize {
        self.threads.len() + 1
    }

    /// A panic of `job`, on whichever thread, reaches the caller once every call has returned.
    fn run(&self, job: &(dyn Fn() + Sync)) {
        if self.threads.is_empty() || self.shared.taken.0.swap(true, Ordering::Acquire) {
            return job();
        }
        self.shared.open(job);
        for (Line(asleep), thread) in self.shared.asleep.iter().zip(&self.threads) {
            // Two steps, because the first is cheap and nearly always enough.
            if asleep.load(Ordering::Relaxed) && asleep.swap(false, Ordering::Relaxed) {
                thread.thread().unpark();
            }
        }
        // The threads inside borrow `job`: nothing may leave this function before `close`, a panic neither.
        let own = catch_unwind(AssertUnwindSafe(job));
        self.shared.close();
        // A poisoned lock would mean a panic while a payload was put in its place: the payload is still good.
        let theirs = self.shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.shared.taken.0.store(false, Ordering::Release);
        if let Some(payload) = own.err().or(theirs) {
            resume_unwind(payload);
        }
    }
}

impl Shared {
    /// Makes `job` the job that threads enter. For [`Pool::run`] alone: it holds `taken`, and calls
    /// [`close`](Self::close) before the borrow of `job` ends.
    fn open(&self, job: &(dyn Fn() + Sync)) {
        // SAFETY: only the lifetime changes. The pointer is followed by threads inside the job alone; `close`
        // returns when the job is closed and nobody is inside, and `run` calls it before the borrow ends, even
        // when the job panics.
        #[allow(unsafe_code)]
        let erased = unsafe { std::mem::transmute::<&(dyn Fn() + Sync), &'static (dyn Fn() + Sync)>(job) };
        let state = State(self.job.0.state.load(Ordering::Relaxed));
        debug_assert!(!state.is_open() && state.inside() == 0);
        // SAFETY: this thread holds `taken`, and `state` is closed with nobody inside, as `close` left it.
        #[allow(unsafe_code)]
        unsafe {
            *self.job.0.job.get() = Some(ptr::from_ref(erased));
        }
        self.job.0.state.store(state.next().0, Ordering::Release);
        // Pairs with the fence in `wait`: either the caller sees that a thread sleeps, or the thread sees the job.
        fence(Ordering::SeqCst);
    }

    /// Lets nobody else in, and waits for those inside.
    fn close(&self) {
        let mut state = State(self.job.0.state.fetch_and(!State::OPEN, Ordering::AcqRel));
        let mut spins = self.spins;
        while state.inside() != 0 {
            relax(&mut spins);
            state = State(self.job.0.state.load(Ordering::Acquire));
        }
    }

    /// The life of thread `index`.
    fn serve(&self, index: usize) {
        self.started.fetch_add(1, Ordering::Release);
        let mut last = 0;
        loop {
            let state = self.wait(index, last);
            if state.is_ending() {
                return;
            }
            last = state.number();
            if let Some(entered) = self.enter(state) {
                last = entered.number();
                // SAFETY: this thread is inside, so the pointer is the open job's, and its borrow lasts until this
                // thread has left.
                #[allow(unsafe_code)]
                let job = unsafe { (*self.job.0.job.get()).map(|job| &*job) };
                let outcome = job.map(|job| catch_unwind(AssertUnwindSafe(job)));
                if let Some(Err(payload)) = outcome {
                    let mut first = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
                    first.get_or_insert(payload);
                }
                self.job.0.state.fetch_sub(1, Ordering::Release);
            }
        }
    }

    /// Waits until there is a job other than number `last`, open or already closed, or the pool ends.
    fn wait(&self, index: usize, last: u64) -> State {
        let news = || {
            let state = State(self.job.0.state.load(Ordering::Acquire));
            (state.number() != last || state.is_ending()).then_some(state)
        };
        let mut spins = self.spins;
        let mut since = None;
        loop {
            if let Some(state) = news() {
                return state;
            }
            relax(&mut spins);
            if spins == 0 && since.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                break;
            }
        }
        let Line(asleep) = &self.asleep[index];
        loop {
            asleep.store(true, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if let Some(state) = news() {
                asleep.store(false, Ordering::Relaxed);
                return state;
            }
            thread::park();
        }
    }

    /// Counts this thread in, unless the job is closed. Gives the state that it entered.
    fn enter(&self, mut state: State) -> Option<State> {
        while state.is_open() {
            // Acquire: the job was written before the state that opened it.
            let (success, failure) = (Ordering::Acquire, Ordering::Relaxed);
            match self.job.0.state.compare_exchange_weak(state.0, state.0 + 1, success, failure) {
                Ok(_) => return Some(state),
                Err(now) => state = State(now),
            }
        }
        None
    }
}

/// One look's worth of waiting: a pause of the CPU while `spins` last, then a turn for another thread.
fn relax(spins: &mut u32) {
    if *spins > 0 {
        *spins -= 1;
        spin_loop();
    } else {
        thread::yield_now();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // `&mut self`: no job is running.
        self.shared.job.0.state.fetch_or(State::ENDING, Ordering::Release);
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

/// The number of threads that a model runs best on unless told otherwise: one for each physical core that this
/// process may use (its affinity mask, its cgroup's quota). A second thread on a core shares the arithmetic units
/// that the first keeps busy.
pub fn default_threads() -> usize {
    let allowed = thread::available_parallelism().map_or(1, usize::from);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some(cores) = linux::physical_cores() {
        return allowed.min(cores).max(1);
    }
    allowed
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux {
    use std::collections::HashSet;
    use std::fs;

    /// The distinct cores behind the CPUs of this process's affinity mask; `None` where the kernel does not tell.
    pub fn physical_cores() -> Option<usize> {
        // Each CPU's file names all CPUs of its core, so the set of these texts has one for each core.
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
        let cores = cpus(list)?
            .into_iter()
            .map(|cpu| {
                let topology = format!("/sys/devices/system/cpu/cpu{cpu}/topology");
                fs::read_to_string(format!("{topology}/core_cpus_list"))
                    // Its name before Linux 5.1.
                    .or_else(|_| fs::read_to_string(format!("{topology}/thread_siblings_list")))
                    .ok()
            })
            .collect::<Option<HashSet<_>>>()?;
        Some(cores.len())
    }

    /// The numbers in a list such as `0-3,8`.
    pub fn cpus(list: &str) -> Option<Vec<u16>> {
        let mut cpus = Vec::new();
        for range in list.trim().split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            cpus.extend(first.parse::<u16>().ok()?..=last.parse().ok()?);
        }
        Some(cpus)
    }
}

#[cfg(test)]
mod tests;
