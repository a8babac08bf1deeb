//! The simulation would notice: each deliberate bug, planted in the real code, is caught by the checks that every seed passes.

use protocol::planted::{self, Bug};
use tests::sim;

/// A bug that so many seeds do not show would be missed.
const SEEDS: u64 = 6000;

#[test]
fn every_planted_bug_is_caught_by_a_broken_promise() {
    let mut missed = Vec::new();
    for bug in Bug::ALL {
        planted::plant(Some(bug));
        match (0..SEEDS).find_map(|seed| Some((seed, sim::run(seed, false).err()?))) {
            Some((seed, violation)) => println!("{bug:?}: caught at seed {seed}: {violation}"),
            None => missed.push(bug),
        }
    }
    planted::plant(None);
    assert!(missed.is_empty(), "not caught in {SEEDS} seeds: {missed:?}");
}
