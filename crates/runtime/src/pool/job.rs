//! The job that a pool has on offer, and how threads come to it and leave it.
//!
//! In: a job that borrows from its caller's stack. Out: calls of it, all of which have returned before the borrow ends.
//! This is the one place where the pool is unsafe.

use std::any::Any;
use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a thread looks for the next job before it sleeps. Sampling and printing a token take some tens of
/// microseconds; waking a thread takes about as long.
const PATIENCE: Duration = Duration::from_micros(200);

/// How often a waiting thread looks before it begins to let others have the core: some 20 to 60 µs, depending on
/// how long the CPU pauses at a spin hint.
const SPINS: u32 = 1500;

/// A job as the threads see it. The lifetime is a lie that [`Shared`] keeps harmless.
type Job = *const (dyn Fn() + Sync + 'static);

/// What the threads and their callers share.
pub(super) struct Shared {
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

/// The state word: the number of threads inside the job (16 bits), whether it is open, whether the pool is ending, how
/// many threads may enter (16 bits), and the number of the job (30 bits).
#[derive(Clone, Copy, PartialEq, Eq)]
struct State(u64);

impl State {
    pub const INSIDE: u64 = 0xffff;
    const OPEN: u64 = 1 << 16;
    const ENDING: u64 = 1 << 17;
    const LIMIT: u64 = 1 << 18;
    const JOB: u64 = 1 << 34;

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

    /// Whether thread `index` may enter.
    fn admits(self, index: usize) -> bool {
        (index as u64) < self.0 / Self::LIMIT % (Self::INSIDE + 1)
    }

    /// The next job, open to the first `threads` threads and with nobody inside.
    fn next(self, threads: usize) -> Self {
        let number = self.number().wrapping_add(1).wrapping_mul(Self::JOB);
        Self(number | (threads as u64 * Self::LIMIT) | Self::OPEN)
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

impl Shared {
    /// For `threads` threads beside the caller, on `cores` cores.
    pub(super) fn new(threads: usize, cores: usize) -> Self {
        Self {
            job: Line::default(),
            taken: Line::default(),
            asleep: (0..threads).map(|_| Line::default()).collect(),
            started: AtomicUsize::new(0),
            panic: Mutex::new(None),
            spins: if threads >= cores { 0 } else { SPINS },
        }
    }

    /// How many threads have begun to serve.
    pub(super) fn started(&self) -> usize {
        self.started.load(Ordering::Acquire)
    }

    /// Calls `job` on this thread, and on those of `threads` that are ready in time. A panic of `job`, on whichever
    /// thread, reaches the caller once every call has returned.
    pub(super) fn run(&self, threads: &[JoinHandle<()>], job: &(dyn Fn() + Sync)) {
        if threads.is_empty() || self.taken.0.swap(true, Ordering::Acquire) {
            return job();
        }
        self.open(job, threads.len());
        for (Line(asleep), thread) in self.asleep.iter().zip(threads) {
            // Two steps, because the first is cheap and nearly always enough.
            if asleep.load(Ordering::Relaxed) && asleep.swap(false, Ordering::Relaxed) {
                thread.thread().unpark();
            }
        }
        // The threads inside borrow `job`: nothing may leave this function before `close`, a panic neither.
        let own = catch_unwind(AssertUnwindSafe(job));
        self.close();
        // A poisoned lock would mean a panic while a payload was put in its place: the payload is still good.
        let theirs = self.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.taken.0.store(false, Ordering::Release);
        if let Some(payload) = own.err().or(theirs) {
            resume_unwind(payload);
        }
    }

    /// Tells all threads to end. No job may be running.
    pub(super) fn end(&self) {
        self.job.0.state.fetch_or(State::ENDING, Ordering::Release);
    }

    /// Makes `job` the job that the first `threads` threads enter. For [`run`](Self::run) alone: it holds `taken`, and
    /// calls [`close`](Self::close) before the borrow of `job` ends.
    fn open(&self, job: &(dyn Fn() + Sync), threads: usize) {
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
        self.job.0.state.store(state.next(threads).0, Ordering::Release);
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
    pub(super) fn serve(&self, index: usize) {
        self.started.fetch_add(1, Ordering::Release);
        let mut last = 0;
        loop {
            let state = self.wait(index, last);
            if state.is_ending() {
                return;
            }
            last = state.number();
            if let Some(entered) = self.enter(index, state) {
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

    /// Waits until there is a job for thread `index` other than number `last`, open or already closed, or the pool ends.
    fn wait(&self, index: usize, last: u64) -> State {
        let news = || {
            let state = State(self.job.0.state.load(Ordering::Acquire));
            let new = state.number() != last && state.admits(index);
            (new || state.is_ending()).then_some(state)
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

    /// Counts thread `index` in, unless the job is closed or not for it. Gives the state that it entered.
    fn enter(&self, index: usize, mut state: State) -> Option<State> {
        while state.is_open() && state.admits(index) {
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

/// The most threads that the state word can count.
pub(super) const MOST: usize = State::INSIDE as usize;
