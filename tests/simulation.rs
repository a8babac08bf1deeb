//! Thousands of seeds of the simulated system: P1–P4, P6–P10 and P13 hold after every step, whatever goes wrong.
//!
//! `UNDERSTUDY_SEED=…` replays one seed with its trace, `UNDERSTUDY_SEEDS=…` sets how many are run.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tests::sim::{self, Stats};

/// Seeds of a campaign, unless the environment says otherwise.
const SEEDS: u64 = 2000;

#[test]
fn no_promise_is_broken_in_thousands_of_faulty_histories() {
    if let Ok(seed) = std::env::var("UNDERSTUDY_SEED") {
        let seed = seed.parse().expect("UNDERSTUDY_SEED is a number");
        let stats = sim::run(seed, true).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        println!("seed {seed}: no promise broken\n{stats:#?}");
        return;
    }
    let seeds = std::env::var("UNDERSTUDY_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    let stats = campaign(seeds);
    println!("{seeds} seeds of {} virtual seconds:", sim::RUN.as_secs());
    stats.all().iter().for_each(|(name, count)| println!("  {count:>10}  {}", name.replace('_', " ")));
    let never: Vec<_> = stats.all().into_iter().filter(|(_, count)| *count == 0).collect();
    assert!(never.is_empty() || seeds < SEEDS, "these never happened, so the campaign proves nothing about them: {never:?}");
}

/// Runs the seeds on all cores; stops at the first broken promise.
fn campaign(seeds: u64) -> Stats {
    let (next, total) = (AtomicU64::new(0), Mutex::new(Stats::default()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    match sim::run(seed, false) {
                        Ok(stats) => total.lock().unwrap().add(&stats),
                        Err(violation) => panic!("seed {seed}: {violation}\nreplay with: cargo xtask sim {seed}"),
                    }
                }
            });
        }
    });
    total.into_inner().unwrap()
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in 0..20 {
        assert_eq!(sim::run(seed, false), sim::run(seed, false), "seed {seed}");
    }
}
