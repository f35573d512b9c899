//! Several texts at once, for those who ask from elsewhere.
#![deny(unsafe_code)]

pub mod scheduler;
