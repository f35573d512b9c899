//! The kernels of `x86_64` levels.
//!
//! Each level is a module with a function for each kernel; a level re-exports what the level below does as well.

pub mod amx;
pub mod avx2;
pub mod avx512;
pub mod avx_vnni;
pub mod float_tiles;
mod formats;
mod kinds;
mod matmul;
pub mod probe;
mod source;
#[cfg(all(test, feature = "std"))]
mod test_products;
mod unpacked;

pub use unpacked::lines;
