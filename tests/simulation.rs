//! Thousands of seeds of the simulated system: P1–P14, P16 and P17 hold after every step, whatever goes wrong.
//!
//! `UNDERSTUDY_SEED=…` replays one seed with its trace, `UNDERSTUDY_SEEDS=…` sets how many are run.

use std::sync::atomic::{AtomicU64, Ordering};

use tests::sim::{self, Stats, Violation};

/// Seeds of a campaign, unless the environment says otherwise.
const SEEDS: u64 = 5000;

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
    assert!(
        never.is_empty() || seeds < SEEDS,
        "these never happened, so the campaign proves nothing about them: {never:?}"
    );
}

/// Runs the seeds on all cores; the first broken promise ends it.
fn campaign(seeds: u64) -> Stats {
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let results: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| work(&next, seeds))).collect();
        workers.into_iter().map(|worker| worker.join().expect("a run does not panic")).collect()
    });
    let mut total = Stats::default();
    for result in results {
        match result {
            Ok(stats) => total.add(&stats),
            Err((seed, violation)) => panic!("seed {seed}: {violation}\nreplay with: cargo xtask sim {seed}"),
        }
    }
    total
}

fn work(next: &AtomicU64, seeds: u64) -> Result<Stats, (u64, Violation)> {
    let mut total = Stats::default();
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= seeds {
            return Ok(total);
        }
        match sim::run(seed, false) {
            Ok(stats) => total.add(&stats),
            Err(violation) => {
                next.store(seeds, Ordering::Relaxed);
                return Err((seed, violation));
            }
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in 0..20 {
        assert_eq!(sim::run(seed, false), sim::run(seed, false), "seed {seed}");
    }
}
