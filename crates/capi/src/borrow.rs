//! From pointers to references.
//!
//! In: what a program in C passes. Out: references and text, or what is wrong with an argument that is NULL or no UTF-8.

use std::ffi::{CStr, c_char};

use crate::error::Failure;

/// The text at a pointer.
///
/// # Safety
/// It is NULL or points to bytes that end with a zero and that nobody changes during `'a`.
pub unsafe fn text<'a>(pointer: *const c_char, name: &str) -> Result<&'a str, Failure> {
    if pointer.is_null() {
        return Err(null(name));
    }
    // SAFETY: what the caller promises.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map_err(|_| Failure::new(format!("the argument '{name}' is no UTF-8")))
}

/// The value at a pointer.
///
/// # Safety
/// It is NULL or points to a value that nobody changes during `'a`.
pub unsafe fn shared<'a, T>(pointer: *const T, name: &str) -> Result<&'a T, Failure> {
    // SAFETY: what the caller promises.
    unsafe { pointer.as_ref() }.ok_or_else(|| null(name))
}

/// The value at a pointer, to be changed.
///
/// # Safety
/// It is NULL or points to a value that nobody else uses during `'a`.
pub unsafe fn mutable<'a, T>(pointer: *mut T, name: &str) -> Result<&'a mut T, Failure> {
    // SAFETY: what the caller promises.
    unsafe { pointer.as_mut() }.ok_or_else(|| null(name))
}

fn null(name: &str) -> Failure {
    Failure::new(format!("the argument '{name}' is NULL"))
}
