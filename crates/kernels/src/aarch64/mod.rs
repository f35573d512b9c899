//! The kernels of aarch64 levels.
//!
//! Each level is a module with a function for each kernel; a level re-exports what the level below does as well.
//! The algorithms are written once, for a format ([`blocks::Packed`]), a place where rows lie ([`source::Source`])
//! and a way to multiply bytes ([`dot::Dot`]).
#![allow(clippy::wildcard_imports, reason = "a kernel uses dozens of intrinsics")]
#![allow(non_camel_case_types, reason = "formats are named as the field names them")]

mod attention;
mod blocks;
mod dot;
pub mod dotprod;
mod elementwise;
mod float;
pub mod fours;
pub mod i8mm;
mod lookup;
pub mod neon;
mod panel;
pub mod probe;
mod recurrent;
mod rows;
mod source;
