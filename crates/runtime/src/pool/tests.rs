use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use stonechat_kernels::Workers;

use super::{Pool, default_threads};

/// Emulated threads are some fifty times slower.
const ROUNDS: usize = if cfg!(target_arch = "x86_64") { 20_000 } else { 2_000 };

/// Runs jobs in which every one of `items` must be claimed exactly once.
fn count_items(pool: &Pool, rounds: usize, items: usize) {
    for _ in 0..rounds {
        let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        pool.run(&|| {
            while next.fetch_add(1, Ordering::Relaxed) < items {
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
        // `run` has returned: what the threads did is visible, and none of them still counts.
        assert_eq!(done.into_inner(), items);
    }
}

#[test]
fn every_item_is_done_once_by_any_number_of_threads() {
    for threads in [1, 2, 3, 8] {
        count_items(&Pool::new(threads).unwrap(), ROUNDS / threads, 17);
    }
}

#[test]
fn threads_that_sleep_are_woken() {
    let pool = Pool::new(3).unwrap();
    for _ in 0..20 {
        // Longer than their patience.
        thread::sleep(Duration::from_millis(2));
        let barrier = Barrier::new(3);
        pool.run(&|| {
            // All three must be inside at once: the caller cannot do this alone.
            barrier.wait();
        });
    }
}

#[test]
fn the_caller_is_one_of_the_workers_and_each_enters_once() {
    let pool = Pool::new(4).unwrap();
    for _ in 0..ROUNDS / 20 {
        let entered = Mutex::new(Vec::new());
        pool.run(&|| entered.lock().unwrap().push(thread::current().id()));
        let entered = entered.into_inner().unwrap();
        assert!(entered.contains(&thread::current().id()));
        assert!(entered.len() <= pool.count());
        assert_eq!(entered.iter().collect::<HashSet<_>>().len(), entered.len());
    }
}

#[test]
fn a_panic_on_a_thread_reaches_the_caller_and_the_pool_lives_on() {
    let pool = Pool::new(2).unwrap();
    let caller = thread::current().id();
    for _ in 0..10 {
        let barrier = Barrier::new(2);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            pool.run(&|| {
                barrier.wait();
                assert_eq!(thread::current().id(), caller, "only the caller may pass");
            });
        }));
        let payload = outcome.unwrap_err();
        let text = payload.downcast_ref::<String>().unwrap();
        assert!(text.contains("only the caller may pass"), "{text}");
        count_items(&pool, 10, 5);
    }
}

#[test]
fn a_panic_on_the_caller_waits_for_the_threads_inside() {
    let pool = Pool::new(2).unwrap();
    let caller = thread::current().id();
    for _ in 0..10 {
        let barrier = Barrier::new(2);
        let finished = AtomicBool::new(false);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            pool.run(&|| {
                barrier.wait();
                assert_ne!(thread::current().id(), caller, "the caller fails first");
                thread::sleep(Duration::from_millis(5));
                finished.store(true, Ordering::Relaxed);
            });
        }));
        assert!(outcome.is_err());
        assert!(finished.load(Ordering::Relaxed), "run returned while a thread was inside the job");
        count_items(&pool, 10, 5);
    }
}

#[test]
fn a_run_inside_a_run_is_done() {
    let pool = Pool::new(3).unwrap();
    let inner = AtomicUsize::new(0);
    let outer = AtomicUsize::new(0);
    pool.run(&|| {
        outer.fetch_add(1, Ordering::Relaxed);
        pool.run(&|| {
            inner.fetch_add(1, Ordering::Relaxed);
        });
    });
    // Each of the outer calls did its inner one alone.
    assert_eq!(inner.into_inner(), outer.into_inner());
}

#[test]
fn callers_from_many_threads_do_not_disturb_one_another() {
    let pool = Pool::new(2).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| count_items(&pool, ROUNDS / 20, 9));
        }
    });
}

#[test]
fn pools_come_and_go_in_any_state_of_their_threads() {
    for pause_us in [0, 0, 0, 50, 500] {
        for threads in 1..5 {
            let pool = Pool::new(threads).unwrap();
            count_items(&pool, 3, 4);
            thread::sleep(Duration::from_micros(pause_us));
        }
    }
}

#[test]
fn zero_threads_is_the_caller_alone() {
    let pool = Pool::new(0).unwrap();
    assert_eq!(pool.count(), 1);
    count_items(&pool, 3, 4);
}

/// User and system time of this process so far.
#[cfg(target_os = "linux")]
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    // Fields after the name, which may hold spaces: state is the first, utime and stime the 12th and 13th.
    let fields: Vec<_> = stat[stat.rfind(')').unwrap() + 1..].split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

#[cfg(target_os = "linux")]
#[test]
fn an_idle_pool_uses_no_cpu() {
    let pool = Pool::new(2).unwrap();
    let caller = thread::current().id();
    let barrier = Barrier::new(2);
    let times = Mutex::new(Vec::new());
    let measure = || {
        barrier.wait();
        if thread::current().id() != caller {
            times.lock().unwrap().push(cpu_time());
        }
    };
    pool.run(&measure);
    thread::sleep(Duration::from_millis(500));
    pool.run(&measure);
    let times = times.into_inner().unwrap();
    assert!(times[1].saturating_sub(times[0]) <= Duration::from_millis(50), "{times:?}");
}

#[test]
fn the_default_number_of_threads_is_what_the_machine_has() {
    let threads = default_threads();
    assert!(threads >= 1);
    assert!(threads <= thread::available_parallelism().unwrap().get());
}

#[test]
fn a_team_is_as_large_as_asked_for_and_no_larger() {
    let pool = Pool::new(4).unwrap();
    for (asked, given) in [(0, 1), (1, 1), (2, 2), (3, 3), (4, 4), (9, 4)] {
        let team = pool.with(asked);
        assert_eq!(team.count(), given);
        for _ in 0..20 {
            // All of the team must be inside at once.
            let (barrier, entered) = (Barrier::new(given), AtomicUsize::new(0));
            team.run(&|| {
                entered.fetch_add(1, Ordering::Relaxed);
                barrier.wait();
            });
            assert_eq!(entered.into_inner(), given);
        }
    }
}

#[test]
fn teams_of_changing_size_lose_no_item() {
    let pool = Pool::new(4).unwrap();
    for round in 0..ROUNDS / 10 {
        let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        pool.with(1 + round % 4).run(&|| {
            while next.fetch_add(1, Ordering::Relaxed) < 9 {
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
        assert_eq!(done.into_inner(), 9);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn threads_that_a_team_leaves_out_sleep() {
    let pool = Pool::new(3).unwrap();
    let times = Mutex::new(std::collections::HashMap::new());
    let measure = || {
        let barrier = Barrier::new(3);
        pool.run(&|| {
            barrier.wait();
            times.lock().unwrap().entry(thread::current().id()).or_insert_with(Vec::new).push(cpu_time());
        });
    };
    measure();
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(500) {
        pool.with(2).run(&|| ());
    }
    measure();
    let times = times.into_inner().unwrap();
    let least = times.values().map(|times| times[1].saturating_sub(times[0])).min().unwrap();
    assert!(least <= Duration::from_millis(50), "{times:?}");
}

/// Prints, with `--nocapture`, what a fork-join costs: of a trivial body, which the caller has often done before a
/// thread looks up, and of one that all threads must enter. Figures, not verdicts: neighbours on the machine
/// change them.
#[test]
fn figure_cost_of_a_fork_join() {
    let rounds = ROUNDS / 2;
    let cores = thread::available_parallelism().map_or(1, usize::from);
    for threads in [1, 2, 3] {
        let pool = Pool::new(threads).unwrap();
        let median = |job: &dyn Fn()| {
            let mut times: Vec<_> = (0..rounds)
                .map(|_| {
                    let start = Instant::now();
                    job();
                    start.elapsed()
                })
                .collect();
            times.sort_unstable();
            times[rounds / 2]
        };
        let trivial = median(&|| pool.run(&|| {}));
        let together = median(&|| {
            let missing = AtomicUsize::new(threads);
            pool.run(&|| {
                missing.fetch_sub(1, Ordering::Relaxed);
                while missing.load(Ordering::Relaxed) > 0 {
                    // With more threads than cores the missing one may need this core.
                    if threads > cores {
                        thread::yield_now();
                    } else {
                        std::hint::spin_loop();
                    }
                }
            });
        });
        println!("fork-join, {threads} threads: trivial body {trivial:?}, all enter {together:?}");
    }
}
