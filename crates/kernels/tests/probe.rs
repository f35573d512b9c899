//! The probes do all of the work that they are timed for, at every level.
#![cfg(feature = "std")]

use stonechat_kernels::{Level, probe};

#[test]
fn every_level_reads_every_word() {
    for len in [0, 1, 7, 31, 64, 65, 1000] {
        let words: Vec<u64> = (0..len).map(|n: u64| (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        let expected = words.iter().fold(0u64, |sum, word| sum.wrapping_add(*word));
        for level in Level::available() {
            assert_eq!(probe::read(level, &words), expected, "{} words at level {}", len, level.name());
        }
    }
}

#[test]
fn every_level_forms_every_product() {
    for (w, x) in [(15, -8), (15, 7), (3, 5), (0, 7)] {
        for level in Level::available() {
            for rounds in [0, 1, 1000, 100_000] {
                let products = probe::multiply(level, rounds, w, x);
                let all = (products.count as i64).wrapping_mul(i64::from(w) * i64::from(x));
                assert_eq!(
                    products.sum,
                    all as i32,
                    "{rounds} rounds of {w} x {x} at level {}",
                    level.name()
                );
                assert_eq!(products.count == 0, rounds == 0);
            }
        }
    }
}
