//! The other cores as workers: one job at a time, which all of them run.
//!
//! In: a job. Out: it has run on each core that has started. Core 0 writes down where the job is and counts up; the others,
//! which sleep until an event, see the number, run the job and count themselves done.

use core::arch::asm;
use core::cell::UnsafeCell;
use core::fmt::Write as _;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use stonechat_kernels::Workers;

use crate::uart::Uart;
use crate::{hertz, ticks};

/// Cores of the chip.
const CORES: u32 = 4;
/// Where the firmware of a board lets cores wait for an address, 8 bytes each.
const SPIN_TABLE: usize = 0xd8;

/// What `boot.s` lets the other cores wait for. Not among what is cleared: they may look before that.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data")]
static RELEASED: AtomicU32 = AtomicU32::new(0);

/// A bit for each core that has come, and [`CLOSED`].
static PRESENT: AtomicU32 = AtomicU32::new(1);
/// Nobody is waited for any more.
const CLOSED: u32 = 1 << 31;
/// How many jobs there have been.
static JOBS: AtomicU32 = AtomicU32::new(0);
/// How many cores are done with the last one.
static DONE: AtomicU32 = AtomicU32::new(0);
/// Whether one is at work.
static BUSY: AtomicBool = AtomicBool::new(false);
static JOB: Job = Job(UnsafeCell::new(None));

/// The job. Its lifetime is a lie that [`Cores::run`] makes true, which returns once nobody can see it any more.
struct Job(UnsafeCell<Option<&'static (dyn Fn() + Sync)>>);

// SAFETY: it is written by the one core that has set `BUSY`, before it counts `JOBS` up, and read by others after they have
// seen that and before they count `DONE` up, which that core waits for.
unsafe impl Sync for Job {}

/// The cores that have started.
pub struct Cores {
    count: u32,
}

impl Cores {
    /// Lets the other cores go, and waits a moment for each.
    pub fn start(uart: &mut Uart) -> Self {
        if !cfg!(feature = "mmu") {
            return Self { count: 1 };
        }
        release();
        let begin = ticks();
        let all = (1 << CORES) - 1;
        while PRESENT.load(Ordering::Acquire) != all && ticks().wrapping_sub(begin) < hertz() / 4 {}
        let present = PRESENT.fetch_or(CLOSED, Ordering::AcqRel);
        for core in (0..CORES).filter(|core| present & 1 << core == 0) {
            let _ = writeln!(uart, "# core {core} did not start; going on without it\r");
        }
        Self { count: present.count_ones() }
    }
}

impl Workers for Cores {
    fn count(&self) -> usize {
        self.count as usize
    }

    fn run(&self, job: &(dyn Fn() + Sync)) {
        // A job within a job has no helpers; nor has one that has none to help.
        if self.count == 1 || BUSY.swap(true, Ordering::Acquire) {
            return job();
        }
        DONE.store(0, Ordering::Relaxed);
        // SAFETY: this core alone is here, since it set `BUSY`, and the others are done with the job before. The reference
        // is gone before this function returns, and with it what it points to may go.
        unsafe {
            *JOB.0.get() = Some(core::mem::transmute::<&(dyn Fn() + Sync), &'static (dyn Fn() + Sync)>(job));
        }
        JOBS.fetch_add(1, Ordering::Release);
        wake();
        job();
        while DONE.load(Ordering::Acquire) != self.count - 1 {
            sleep();
        }
        BUSY.store(false, Ordering::Release);
    }
}

/// Where the other cores come to from `boot.s`.
#[unsafe(no_mangle)]
extern "C" fn help(core: u64) -> ! {
    let mut seen = JOBS.load(Ordering::Acquire);
    // One that comes too late is not counted, and so must not take part.
    while PRESENT.fetch_or(1 << core, Ordering::AcqRel) & CLOSED != 0 {
        sleep();
    }
    loop {
        while JOBS.load(Ordering::Acquire) == seen {
            sleep();
        }
        seen = seen.wrapping_add(1);
        // SAFETY: a job has been counted that this core is not done with, so that nobody writes.
        if let Some(job) = unsafe { *JOB.0.get() } {
            job();
        }
        DONE.fetch_add(1, Ordering::Release);
        wake();
    }
}

/// Lets the other cores go: from where `boot.s` lets them wait, and from where the firmware does.
fn release() {
    unsafe extern "C" {
        /// Where cores begin.
        safe fn _start() -> !;
    }
    RELEASED.store(1, Ordering::Release);
    flush(RELEASED.as_ptr() as usize);
    for core in 1..CORES as usize {
        let place = SPIN_TABLE + 8 * core;
        // SAFETY: the firmware keeps this place for that; Rust has no memory there.
        unsafe { (place as *mut usize).write_volatile(_start as *const () as usize) };
        flush(place);
    }
    wake();
}

/// Writes a cache line back to memory, where cores see it whose caches are still off.
fn flush(address: usize) {
    // SAFETY: changes where bytes are, and no byte.
    unsafe { asm!("dc civac, {}", "dsb sy", in(reg) address, options(nostack)) };
}

/// Tells the other cores that something has changed.
fn wake() {
    // SAFETY: an event, once all that was written before can be seen.
    unsafe { asm!("dsb ish", "sev", options(nostack)) };
}

/// Waits until something may have changed.
fn sleep() {
    // SAFETY: sleeps.
    unsafe { asm!("wfe", options(nostack)) };
}
