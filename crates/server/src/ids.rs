//! Numbers and names that nobody has guessed.

use std::hash::{BuildHasher, RandomState};

/// A number that is another one each time.
pub fn random() -> u64 {
    // The keys of a hash table's hasher are random, so that nobody can make them collide.
    RandomState::new().hash_one(0_u8)
}

/// A name that is another one each time: `chatcmpl-` and 24 hexadecimal digits.
pub fn name(prefix: &str) -> String {
    format!("{prefix}{:016x}{:08x}", random(), random() as u32)
}

/// The name of a call: nine letters and digits, which every template takes.
pub fn call() -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut number = random();
    let mut digit = || {
        let digit = DIGITS[(number % 36) as usize];
        number /= 36;
        digit as char
    };
    (0..9).map(|_| digit()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_repeat() {
        let names: std::collections::HashSet<String> = (0..1000).map(|_| name("x-")).collect();
        assert_eq!(names.len(), 1000);
        assert!(names.iter().all(|name| name.len() == 26));
        assert!(call() != call() && call().len() == 9);
    }
}
