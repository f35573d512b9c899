//! The kernels of 32-bit Arm: Cortex-M with the DSP extension (M4, M7, M33), and Armv7 with an operating system.
//!
//! In: matrices and caches as every level gets them. Out: the bits of the reference. What is different is how it gets there:
//! two products of 16 bits by one instruction (`smlad`), and loops over floats written out in assembly, because stable Rust
//! has no name for these instructions. Its compiler knows inline assembly with integer registers, but none with those of an
//! FPU that has single precision only, so that loops over floats are functions that are called.

mod attention;
pub mod dsp;
mod elementwise;
mod float;
mod integers;
pub mod probe;
mod rows;
