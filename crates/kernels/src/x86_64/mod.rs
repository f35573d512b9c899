//! The kernels of `x86_64` levels.
//!
//! Each level is a module with a function for each kernel; a level re-exports what the level below does as well.

pub mod amx;
pub mod avx2;
pub mod avx512;
mod formats;
mod matmul;
