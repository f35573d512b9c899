//! Random numbers for the tests: the same in every run.
#![allow(dead_code, reason = "each test target uses a part")]

/// Xorshift64* (Vigna 2016).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.next() as usize % n
    }

    /// A number around 1.
    pub fn plain(&mut self) -> f32 {
        (self.next() as i32) as f32 / (1u32 << 30) as f32
    }

    pub fn many(&mut self, n: usize, mut one: impl FnMut(&mut Self) -> f32) -> Vec<f32> {
        (0..n).map(|_| one(self)).collect()
    }
}
