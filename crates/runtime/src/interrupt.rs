//! Ctrl-C: the first asks, the second ends.
//!
//! Out comes a flag that long work looks at, so that generation and pulling stop where they can be taken up again,
//! and the terminal is left as it was. A second Ctrl-C, for those who do not wait, ends the process at once with
//! code 130, as a shell expects.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::SIGINT;
use signal_hook::flag;

use crate::Error;

/// What a process returns that Ctrl-C ended: 128 and the number of the signal.
pub const EXIT_CODE: i32 = 128 + SIGINT;

/// Whether somebody has pressed Ctrl-C. Clones share the answer.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Takes Ctrl-C over from the operating system, from here to the end of the process. To be called once.
    pub fn catch() -> Result<Self, Error> {
        let interrupt = Self::default();
        // In this order: the first Ctrl-C finds the flag down, passes, and raises it.
        flag::register_conditional_shutdown(SIGINT, EXIT_CODE, Arc::clone(&interrupt.0))
            .and_then(|_| flag::register(SIGINT, Arc::clone(&interrupt.0)))
            .map_err(|source| Error::Signals { source })?;
        Ok(interrupt)
    }

    /// Whether Ctrl-C was pressed since the start or the last [`clear`](Self::clear).
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Puts the flag down again, once the work that it stopped has stopped: the next Ctrl-C is a first one.
    pub fn clear(&self) {
        self.0.store(false, Ordering::Release);
    }
}

#[cfg(all(test, unix))]
mod tests {
    use signal_hook::low_level::raise;

    use super::*;

    #[test]
    fn the_first_is_a_flag_and_the_second_ends_the_process_with_130() {
        let interrupt = Interrupt::catch().unwrap();
        for _ in 0..2 {
            assert!(!interrupt.is_raised());
            raise(SIGINT).unwrap();
            assert!(interrupt.is_raised());
            interrupt.clear();
        }

        // SAFETY: the child raises two signals and ends: no lock, no allocation.
        #[allow(unsafe_code)]
        let child = unsafe { libc::fork() };
        if child == 0 {
            let survived = raise(SIGINT).is_ok() && raise(SIGINT).is_ok();
            // SAFETY: always is.
            #[allow(unsafe_code)]
            unsafe {
                libc::_exit(i32::from(survived))
            }
        }
        let mut status = 0;
        // SAFETY: `status` is an integer of the kind it writes.
        #[allow(unsafe_code)]
        let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!(waited, child);
        assert!(libc::WIFEXITED(status), "{status:#x}");
        assert_eq!(libc::WEXITSTATUS(status), 130);
    }
}
