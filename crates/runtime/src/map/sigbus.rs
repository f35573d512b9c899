//! The SIGBUS handler and the list of address ranges that it answers for.
//!
//! The handler runs in the middle of whatever instruction faulted, perhaps inside an allocator or under a lock,
//! so it uses atomics and one system call and nothing else: no allocation, no lock, no std. The ranges stand in a
//! list that only grows and whose entries are used again; each entry is guarded by a sequence number, so the
//! handler never believes a half-written range, and never waits for a writer, which may be the very thread that
//! it interrupted.

use std::io;
use std::mem::MaybeUninit;
use std::ptr::{self, null_mut};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering, fence};

use libc::{c_int, c_void, siginfo_t};

/// A range of addresses under watch, until dropped.
pub struct Watch(&'static Entry);

impl Watch {
    /// Watches the addresses of `bytes`, a file map that outlives the watch.
    pub fn new(bytes: &[u8]) -> io::Result<Self> {
        install()?;
        let entry = claim();
        let start = bytes.as_ptr().addr();
        // To the end of the last page: what lies behind the file's last byte belongs to the map too.
        entry.set(start, start + bytes.len().next_multiple_of(PAGE.load(Ordering::Relaxed)));
        Ok(Self(entry))
    }

    /// Whether a fault in this range was answered with zeros.
    pub fn faulted(&self) -> bool {
        self.0.faulted.load(Ordering::Acquire)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.set(0, 0);
        self.0.faulted.store(false, Ordering::Relaxed);
        self.0.used.store(false, Ordering::Release);
    }
}

/// One place in the list of ranges. Never freed: there are as many as files were ever mapped at the same time.
struct Entry {
    used: AtomicBool,
    /// Odd while the range is being written.
    sequence: AtomicUsize,
    start: AtomicUsize,
    end: AtomicUsize,
    faulted: AtomicBool,
    /// The entry made before this one.
    next: *const Entry,
}

// SAFETY: all fields but `next` are atomics, and `next` is never changed once the entry is shared; what it points
// to lives for ever.
#[allow(unsafe_code)]
unsafe impl Sync for Entry {}

/// The newest entry.
static ENTRIES: AtomicPtr<Entry> = AtomicPtr::new(null_mut());

/// The size of a page (4, 16 or 64 KiB): asked for once, since the handler must not.
static PAGE: AtomicUsize = AtomicUsize::new(4096);

impl Entry {
    /// Writes the range. One writer at a time: the one who holds `used`.
    fn set(&self, start: usize, end: usize) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        self.start.store(start, Ordering::Relaxed);
        self.end.store(end, Ordering::Relaxed);
        self.sequence.store(sequence.wrapping_add(2), Ordering::Release);
    }

    /// Reads the range; `None` while it is being written. A map whose bytes a thread is reading is not being
    /// opened or dropped, so the entry that a fault belongs to is always readable.
    fn range(&self) -> Option<(usize, usize)> {
        let before = self.sequence.load(Ordering::Acquire);
        let range = (self.start.load(Ordering::Relaxed), self.end.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let after = self.sequence.load(Ordering::Relaxed);
        (before == after && before.is_multiple_of(2)).then_some(range)
    }
}

/// All entries, newest first.
fn entries() -> impl Iterator<Item = &'static Entry> {
    #[allow(unsafe_code)]
    fn at(pointer: *const Entry) -> Option<&'static Entry> {
        // SAFETY: only called below, on null or an entry that was leaked and is shared only by reference.
        unsafe { pointer.as_ref() }
    }
    std::iter::successors(at(ENTRIES.load(Ordering::Acquire)), |entry| at(entry.next))
}

/// An entry for the caller alone: an old one that is free, or a new one.
fn claim() -> &'static Entry {
    let take = |entry: &&Entry| {
        entry.used.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    };
    if let Some(entry) = entries().find(take) {
        return entry;
    }
    let entry = Box::leak(Box::new(Entry {
        used: AtomicBool::new(true),
        sequence: AtomicUsize::new(0),
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        faulted: AtomicBool::new(false),
        next: ptr::null(),
    }));
    loop {
        let newest = ENTRIES.load(Ordering::Acquire);
        entry.next = newest;
        let (success, failure) = (Ordering::AcqRel, Ordering::Relaxed);
        if ENTRIES.compare_exchange(newest, entry, success, failure).is_ok() {
            return entry;
        }
    }
}

/// What the process did at SIGBUS before this handler: [`handle`] reads it for faults that are not ours.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

/// Installs the handler, the first time.
fn install() -> io::Result<()> {
    /// The number of the error, if installing failed.
    static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();
    let install = || {
        // SAFETY: a plain question.
        #[allow(unsafe_code)]
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        if let Ok(page) = usize::try_from(page) {
            PAGE.store(page, Ordering::Relaxed);
        }
        // Read first, so that the handler can never run without it.
        let _ = PREVIOUS.set(sigaction(None)?);
        let mut action = default_action();
        action.sa_sigaction = handle as *const () as usize;
        // On the thread's signal stack: std gives every thread one, for its check of stack overflows, and that
        // check is the handler that this one passes other faults on to.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        sigaction(Some(&action))?;
        Ok(())
    };
    INSTALLED
        .get_or_init(|| install().map_err(|error: io::Error| error.raw_os_error().unwrap_or(0)))
        .map_err(io::Error::from_raw_os_error)
}

/// The action that ends the process.
fn default_action() -> libc::sigaction {
    // SAFETY: the structure is plain numbers; all zero is SIG_DFL with an empty mask.
    #[allow(unsafe_code)]
    unsafe {
        MaybeUninit::zeroed().assume_init()
    }
}

/// Sets the action at SIGBUS if one is given, and gives the one before. Async-signal-safe.
fn sigaction(action: Option<&libc::sigaction>) -> io::Result<libc::sigaction> {
    let mut old = default_action();
    let new = action.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: both point to whole structures, or nowhere.
    #[allow(unsafe_code)]
    let outcome = unsafe { libc::sigaction(libc::SIGBUS, new, &raw mut old) };
    if outcome == 0 { Ok(old) } else { Err(io::Error::last_os_error()) }
}

/// Runs on the thread that faulted. Returning repeats the instruction.
extern "C" fn handle(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel gives a valid `info` to a handler with SA_SIGINFO; `errno` belongs to this thread, and is
    // kept for the code that was interrupted.
    #[allow(unsafe_code)]
    let (address, code, errno) =
        unsafe { ((*info).si_addr().addr(), (*info).si_code, *libc::__errno_location()) };
    // A SIGBUS that another process sent carries no address.
    let ours = code > 0 && answer(address);
    // SAFETY: as above.
    #[allow(unsafe_code)]
    unsafe {
        *libc::__errno_location() = errno;
    }
    if !ours {
        pass_on(signal, info, context);
    }
}

/// Turns the watched map that `address` is in, from its page to the end, into zeros. To the end, because in a
/// file that was cut short all of that is gone, and because a map with a hole for each fault could exceed the
/// number of maps that a process may have.
fn answer(address: usize) -> bool {
    for entry in entries() {
        let Some((start, end)) = entry.range() else { continue };
        if !(start..end).contains(&address) {
            continue;
        }
        entry.faulted.store(true, Ordering::Release);
        let page = address & !(PAGE.load(Ordering::Relaxed) - 1);
        // SAFETY: the range lies within a live file map, by its watch, and stays readable with new contents, which
        // its readers expect of a file. `mmap` is a bare system call in the libraries of Linux.
        #[allow(unsafe_code)]
        let zeros = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
            let page = ptr::without_provenance_mut(page);
            libc::mmap(page, end - page.addr(), libc::PROT_READ, flags, -1, 0)
        };
        return zeros != libc::MAP_FAILED;
    }
    false
}

/// Does what would have been done without this handler.
fn pass_on(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let Some(previous) = PREVIOUS.get() else { return };
    let handler = previous.sa_sigaction;
    // The default; or "ignored", which the kernel overrules for a fault.
    if handler == libc::SIG_DFL || handler == libc::SIG_IGN {
        let _ = sigaction(Some(&default_action()));
        // Returning would meet a fault again, but not a signal that was sent.
        // SAFETY: async-signal-safe, and blocked until this handler returns.
        #[allow(unsafe_code)]
        unsafe {
            libc::raise(signal);
        }
    } else if previous.sa_flags & libc::SA_SIGINFO != 0 {
        type Handler = extern "C" fn(c_int, *mut siginfo_t, *mut c_void);
        // SAFETY: the kernel was given this address as a handler of this kind; it gets what the kernel gave here.
        #[allow(unsafe_code)]
        unsafe {
            std::mem::transmute::<usize, Handler>(handler)(signal, info, context);
        }
    } else {
        // SAFETY: as above, of the kind that takes the number alone.
        #[allow(unsafe_code)]
        unsafe {
            std::mem::transmute::<usize, extern "C" fn(c_int)>(handler)(signal);
        }
    }
}
