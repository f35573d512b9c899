//! What a test computes: which tokens, at which depth, on which threads and level.
//!
//! The tokens are the same for every level, thread count and machine, so that the logits must be too.

use std::fmt;

use stonechat_kernels::LevelName;
use stonechat_runtime::engine::Threads;

use super::args::{BenchArgs, Numbers};
use crate::args::EngineArgs;
use crate::failure::Failure;

/// The work of one test: a prompt or a number of generated tokens, after some context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Tokens that are read together; 0 where the test generates.
    pub prompt: usize,
    /// Tokens that are fed one by one; 0 where the test reads.
    pub generate: usize,
    /// Tokens that are there before.
    pub depth: usize,
}

impl Work {
    /// The tokens that count.
    pub const fn tokens(&self) -> usize {
        self.prompt + self.generate
    }

    /// The tokens that are fed at once: a prompt as a whole, generated tokens one by one.
    pub const fn step(&self) -> usize {
        if self.prompt > 0 { self.prompt } else { 1 }
    }

    /// The tokens of context that the test needs.
    pub const fn context(&self) -> usize {
        self.depth.saturating_add(self.prompt).saturating_add(self.generate)
    }
}

/// As llama-bench names its tests: `pp512`, `tg128 @ d4096`.
impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prompt {
            0 => write!(f, "tg{}", self.generate)?,
            prompt => write!(f, "pp{prompt}")?,
        }
        if self.depth > 0 {
            write!(f, " @ d{}", self.depth)?;
        }
        Ok(())
    }
}

/// One test of one model.
#[derive(Clone, Copy, Debug)]
pub struct Test {
    pub work: Work,
    pub threads: usize,
    pub batch: usize,
    pub level: LevelName,
}

impl Test {
    /// The flags with which a session for this test is made.
    pub fn engine_args(&self, args: &BenchArgs) -> EngineArgs {
        EngineArgs {
            ctx: Some(args.ctx.unwrap_or(self.work.context())),
            batch: self.batch,
            threads: Some(self.threads),
            threads_batch: None,
            kv: args.kv.clone(),
            activations: args.activations,
            memory: args.memory,
        }
    }
}

/// All tests that the flags ask for, those of one level and thread count side by side.
pub fn tests(args: &BenchArgs, levels: &[LevelName], threads: &[Threads]) -> Result<Vec<Test>, Failure> {
    let flat = |lists: &[Numbers]| lists.concat();
    let prompts = flat(&args.prompt).into_iter().map(|n| (n, 0));
    let generations = flat(&args.generate).into_iter().map(|n| (0, n));
    let works: Vec<_> = prompts.chain(generations).filter(|work| *work != (0, 0)).collect();
    if works.is_empty() {
        return Err(Failure::Usage(
            "-p and -n are both 0, which leaves nothing to measure; give one of them".into(),
        ));
    }
    let batches = flat(&args.batch);
    if batches.contains(&0) {
        return Err(Failure::Usage("-b must be at least 1".into()));
    }
    let mut tests = Vec::new();
    for &level in levels {
        for &threads in threads {
            for &batch in &batches {
                for &depth in &flat(&args.depth) {
                    tests.extend(works.iter().map(|&(prompt, generate)| Test {
                        work: Work { prompt, generate, depth },
                        // As a session would.
                        threads: if prompt > 0 { threads.batch } else { threads.token },
                        batch,
                        level,
                    }));
                }
            }
        }
    }
    Ok(tests)
}

/// The token at a position: the output number `position` of `SplitMix64` (Steele, Lea, Flood 2014) with this seed,
/// modulo the number of tokens.
pub fn token(seed: u64, position: usize, vocabulary: usize) -> u32 {
    let mut z = seed.wrapping_add((position as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    (z % vocabulary as u64) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first outputs for the seed 1234567, as the generator's reference implementation prints them.
    #[test]
    fn tokens_are_splitmix64s() {
        let expected: [u64; 5] = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        for (position, expected) in expected.into_iter().enumerate() {
            assert_eq!(token(1_234_567, position, 49152), (expected % 49152) as u32);
        }
    }

    #[test]
    fn tests_are_named_as_llama_bench_names_them() {
        let of = |prompt, generate, depth| Work { prompt, generate, depth }.to_string();
        assert_eq!(of(512, 0, 0), "pp512");
        assert_eq!(of(0, 128, 4096), "tg128 @ d4096");
    }
}
