//! The simulation would notice: each deliberate bug, planted in the real code, is caught by the checks that every seed passes.

#![expect(clippy::print_stdout, reason = "it tells which seed caught what")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use protocol::planted::{self, Bug};
use tests::sim;

/// A bug that so many seeds do not show would be missed.
const SEEDS: u64 = 6000;
/// Seeds that showed bugs which few show: they are tried first, and if they do not show them any more, all are.
const SHOWN_BY: [(Bug, u64); 3] =
    [(Bug::LostAnswerIsForgotten, 5008), (Bug::HostButNotEpoch, 501), (Bug::NobodyInherits, 90)];

#[test]
fn every_planted_bug_is_caught_by_a_broken_promise() {
    let (next, missed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(&bug) = Bug::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if !is_caught(bug) {
                        missed.lock().expect("no thread panics").push(bug);
                    }
                }
            });
        }
    });
    let missed = missed.into_inner().expect("no thread panics");
    assert!(missed.is_empty(), "not caught in {SEEDS} seeds: {missed:?}");
}

/// Runs seeds with the bug planted for this thread, until one breaks a promise.
fn is_caught(bug: Bug) -> bool {
    planted::plant(Some(bug));
    let first = SHOWN_BY.into_iter().filter(|(shown, _)| *shown == bug).map(|(_, seed)| seed);
    let caught = first.chain(0..SEEDS).find_map(|seed| Some((seed, sim::run(seed, false).err()?)));
    planted::plant(None);
    match &caught {
        Some((seed, violation)) => println!("{bug:?}: caught at seed {seed}: {violation}"),
        None => println!("{bug:?}: not caught"),
    }
    caught.is_some()
}
