//! Errors in the manner of errno: one for each thread, told when asked.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

thread_local! {
    static LAST: RefCell<Option<CString>> = const { RefCell::new(None) };
}

/// Why something failed, in one sentence.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    pub const fn new(sentence: String) -> Self {
        Self(sentence)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// Why this thread's last call of a function that can fail did, in one sentence of UTF-8; NULL if it did not.
/// The text lives until this thread's next call of a function of this library.
#[unsafe(no_mangle)]
pub extern "C" fn stonechat_last_error() -> *const c_char {
    LAST.with_borrow(|last| last.as_ref().map_or(ptr::null(), |sentence| sentence.as_ptr()))
}

/// Does what may fail; notes why it did. A panic is a mistake of this library and ends here: unwinding into C has no meaning.
pub fn guarded<T>(failed: T, work: impl FnOnce() -> Result<T, Failure>) -> T {
    let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(internal(&*panic)));
    let (value, sentence) = match result {
        Ok(value) => (value, None),
        // A zero within would cut the sentence.
        Err(Failure(sentence)) => (failed, CString::new(sentence.replace('\0', "\u{fffd}")).ok()),
    };
    LAST.set(sentence);
    value
}

fn internal(panic: &(dyn Any + Send)) -> Failure {
    let words = panic.downcast_ref::<&str>().copied();
    let words = words.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Failure(format!("a mistake in stonechat itself, please report it: {}", words.unwrap_or("no words")))
}
