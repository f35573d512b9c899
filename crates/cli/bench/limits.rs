//! What this machine can do at most, at a level and with a number of threads: the measure for what a model reaches.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use stonechat_kernels::{Level, LevelName, Workers, probe};
use stonechat_runtime::{Arena, Pool, system};

use crate::engine;
use crate::failure::Failure;

/// The limits of one level and number of threads.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes that all threads together read from memory in a second.
    pub bytes_s: f64,
    /// Products of int8 that they form in a second.
    pub products_s: f64,
}

/// Limits that were measured once in this run.
#[derive(Debug, Default)]
pub struct Known(Vec<(LevelName, usize, Limits)>);

impl Known {
    /// The limits; measured if they are not known yet.
    pub fn get(&mut self, level: LevelName, threads: usize) -> Result<Limits, Failure> {
        if let Some((_, _, limits)) = self.0.iter().find(|(l, t, _)| (*l, *t) == (level, threads)) {
            return Ok(*limits);
        }
        let pool = Pool::new(threads)?;
        let permit = engine::level(Some(level))?;
        let limits = Limits { bytes_s: reading(permit, &pool)?, products_s: multiplying(permit, &pool) };
        self.0.push((level, threads, limits));
        Ok(limits)
    }
}

/// Repeated at least this often; the best counts, since nothing but a disturbance makes a limit look lower.
const PASSES: usize = 5;
/// And for at least this long.
const LONG_ENOUGH: Duration = Duration::from_millis(250);

/// What the best of several passes over `amount` gives in a second.
fn best(amount: f64, mut pass: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut least = Duration::MAX;
    for n in 0.. {
        if n >= PASSES && start.elapsed() > LONG_ENOUGH {
            break;
        }
        let begin = Instant::now();
        pass();
        least = least.min(begin.elapsed());
    }
    amount / least.as_secs_f64().max(1e-9)
}

/// A cache that nobody told of is no larger than this.
const LARGE_CACHE: u64 = 16 << 20;
/// The words of 8 bytes that a thread takes at a time.
const SHARE: usize = 1 << 17;

/// The bytes to read: several times the largest cache, so that next to nothing of one pass is left there for the
/// next; no more than a quarter of what memory there is.
fn buffer_bytes() -> usize {
    let cache = system::last_level_cache().unwrap_or(LARGE_CACHE);
    let wanted = (4 * cache).clamp(64 << 20, 1 << 30);
    let most = system::available_memory().map_or(wanted, |bytes| bytes / 4);
    wanted.min(most).max(1 << 20) as usize
}

fn reading(level: Level, pool: &Pool) -> Result<f64, Failure> {
    let mut arena = Arena::new(buffer_bytes())?;
    // Memory that was never written is all one page of zeros, which no cache ever loses.
    arena.as_mut_slice().fill(1);
    let words: &[u64] = bytemuck::cast_slice(&arena[..arena.len() / 8 * 8]);
    let expected = (words.len() as u64).wrapping_mul(0x0101_0101_0101_0101);
    Ok(best(size_of_val(words) as f64, || {
        let (next, sum) = (AtomicUsize::new(0), AtomicU64::new(0));
        pool.run(&|| {
            while let Some(share) = words.chunks(SHARE).nth(next.fetch_add(1, Ordering::Relaxed)) {
                sum.fetch_add(probe::read(level, share), Ordering::Relaxed);
            }
        });
        assert_eq!(sum.into_inner(), expected, "every word is read");
    }))
}

/// How long one share of multiplications takes at least: far longer than a thread needs to wake up.
const SHARE_OF_TIME: Duration = Duration::from_millis(5);
/// Shares for each thread in one pass.
const SHARES: usize = 4;
/// The factors: any two that the probe takes.
const FACTORS: (u8, i8) = (3, 5);

fn multiplying(level: Level, pool: &Pool) -> f64 {
    let (w, x) = FACTORS;
    let mut rounds = 1 << 8;
    let share = loop {
        let start = Instant::now();
        let products = probe::multiply(level, rounds, w, x);
        if start.elapsed() > SHARE_OF_TIME {
            break products;
        }
        rounds *= 2;
    };
    let shares = SHARES * pool.count();
    best(share.count as f64 * shares as f64, || {
        let next = AtomicUsize::new(0);
        pool.run(&|| {
            while next.fetch_add(1, Ordering::Relaxed) < shares {
                assert_eq!(probe::multiply(level, rounds, w, x), share, "every product is formed");
            }
        });
    })
}
