//! What the benchmarks share: every level, the workers, weights and activations of a plausible size.
//!
//! `cargo bench` measures everything; `cargo bench --bench matmul -- Q4_0/avx512` what the words match;
//! `cargo bench -- --test` runs each benchmark once, to see that it works. `STONECHAT_THREADS`
//! says how many threads (one for each core, if not set).
#![allow(dead_code, reason = "no benchmark uses all of it")]

use std::time::Duration;

use criterion::Criterion;
use stonechat_kernels::activations::{Activations, Quantized, QuantizedMut};
use stonechat_kernels::{Format, Level, elementwise};
use stonechat_runtime::Pool;
use stonechat_runtime::pool::default_threads;

/// Few samples of each: there are hundreds of benchmarks, and the machine is no quieter for waiting.
pub fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args()
}

/// The levels that this CPU has, without the reference: that one is to be read, not to be fast.
pub fn levels() -> impl Iterator<Item = Level> {
    Level::available().filter(|level| *level != Level::REFERENCE)
}

/// The workers that everything runs on.
pub fn pool() -> Pool {
    let threads = std::env::var("STONECHAT_THREADS").ok();
    let threads =
        threads.map_or_else(default_threads, |text| text.parse().expect("STONECHAT_THREADS is a number"));
    Pool::new(threads).expect("threads")
}

/// Xorshift64* (Vigna 2016): the same numbers in every run.
pub struct Random(u64);

impl Random {
    /// The one sequence.
    pub const fn new() -> Self {
        Self(0x5eed)
    }

    fn next(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }

    /// Numbers in -1..1.
    pub fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.next().cast_signed() as f32 / (1u32 << 31) as f32).collect()
    }

    /// A half-precision number in 2^-6..2^-2, of either sign.
    fn half(&mut self) -> u16 {
        0x2400 + (self.next() as u16 & 0x8fff)
    }

    /// The bytes of `values` weights: random integers, and scales that are neither subnormal nor infinite.
    pub fn weights(&mut self, format: Format, values: usize) -> Vec<u8> {
        let mut bytes = vec![0; values / format.block_len() * format.block_bytes()];
        for word in bytes.chunks_mut(4) {
            word.copy_from_slice(&self.next().to_le_bytes()[..word.len()]);
        }
        for block in bytes.chunks_exact_mut(format.block_bytes()) {
            match format {
                // The upper half of an f32 has its exponent.
                Format::F32 | Format::BF16 => {
                    let at = format.block_bytes() - 2;
                    let scale = 0x3c00 | self.next() as u16 & 0x83ff;
                    block[at..].copy_from_slice(&scale.to_le_bytes());
                }
                // Powers of two and E4M3 in the same range; of IQ1_M, four of the bits of a half.
                Format::MXFP4 => block[0] = 122 + block[0] % 4,
                Format::NVFP4 => block[..4].iter_mut().for_each(|scale| *scale = 8 + *scale % 32),
                Format::IQ1_M => block[55] = block[55] & 0x8f | 0x20,
                _ => {}
            }
            for at in format.halves() {
                block[*at..at + 2].copy_from_slice(&self.half().to_le_bytes());
            }
        }
        bytes
    }
}

/// Rows of activations in both forms.
pub struct Rows {
    cols: usize,
    values: Vec<f32>,
    q: Vec<i8>,
    d: Vec<f32>,
    sums: Vec<i16>,
}

impl Rows {
    /// `tokens` random rows of `cols`.
    pub fn new(random: &mut Random, tokens: usize, cols: usize) -> Self {
        let n = tokens * cols;
        let values = random.floats(n);
        let (mut q, mut d, mut sums) = (vec![0; n], vec![0.0; n / 32], vec![0; n / 16]);
        let mut out = QuantizedMut { q: &mut q, d: &mut d, sums: &mut sums };
        elementwise::quantize(Level::detect(), &values, &mut out).expect("finite numbers");
        Self { cols, values, q, d, sums }
    }

    /// What a matrix multiplies.
    pub fn activations(&self) -> Activations<'_> {
        let quantized = Quantized { q: &self.q, d: &self.d, sums: &self.sums };
        Activations { cols: self.cols, f32: &self.values, quantized: Some(quantized) }
    }
}
