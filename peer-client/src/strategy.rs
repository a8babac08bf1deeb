//! How a host keeps its state safe between durable snapshots.

use std::time::Duration;

/// How a host keeps its state safe. [`Strategy::Automatic`] chooses by size and rate, and tells ([`crate::Event::StrategyChosen`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Strategy {
    /// A replica where the differences fit into the budget; else base and deltas, where they are much smaller than the state; else
    /// snapshots.
    #[default]
    Automatic,
    /// Each state that the game gives goes to the successor, who goes on from it at once. The lobby gets one at each interval.
    Replica,
    /// Nothing goes to the successor. The lobby gets the difference to the one before as often as the game gives its state, at most
    /// each [`protocol::limits::SNAPSHOT_INTERVAL_MIN`].
    BaseAndDeltas,
    /// Nothing goes to the successor. The lobby gets a whole state at each interval.
    Snapshot,
}

/// A host looks at its states for this long before it changes its mind.
const LOOK: Duration = Duration::from_secs(2);
/// A difference is worth it if it is so many times smaller.
const WORTH: u64 = 4;

/// What a host sees of its states.
#[derive(Debug, Default)]
pub(crate) struct Chooser {
    wish: Strategy,
    chosen: Option<Strategy>,
    since: Duration,
    /// Since the last choice: bytes of states, and of what was sent for them.
    whole_bytes: u64,
    difference_bytes: u64,
    differences: u64,
}

impl Chooser {
    pub(crate) fn new(wish: Strategy) -> Self {
        Self { wish, ..Self::default() }
    }

    /// What counts now.
    pub(crate) fn strategy(&self) -> Strategy {
        match self.wish {
            Strategy::Automatic => self.chosen.unwrap_or(Strategy::Replica),
            Strategy::Replica | Strategy::BaseAndDeltas | Strategy::Snapshot => self.wish,
        }
    }

    /// A difference was made.
    pub(crate) const fn saw(&mut self, whole: usize, difference: usize) {
        self.whole_bytes += whole as u64;
        self.difference_bytes += difference as u64;
        self.differences += 1;
    }

    /// Looks at what was seen in the time since the last look. Returns the choice and its reason, if it is news.
    pub(crate) fn choose(&mut self, passed: Duration, budget: u64) -> Option<(Strategy, &'static str)> {
        self.since += passed;
        if self.chosen.is_some() && self.since < LOOK {
            return None;
        }
        let (strategy, reason) = match self.wish {
            Strategy::Automatic => self.automatic(budget),
            wish @ (Strategy::Replica | Strategy::BaseAndDeltas | Strategy::Snapshot) => (wish, "as configured"),
        };
        let news = self.chosen != Some(strategy);
        self.chosen = Some(strategy);
        (self.since, self.whole_bytes, self.difference_bytes, self.differences) = (Duration::ZERO, 0, 0, 0);
        news.then_some((strategy, reason))
    }

    fn automatic(&self, budget: u64) -> (Strategy, &'static str) {
        if self.differences == 0 {
            return (self.strategy_before(), "no state was given");
        }
        let seconds = self.since.as_secs_f64().max(0.1);
        let rate = (self.difference_bytes as f64 / seconds) as u64;
        if rate <= budget {
            (Strategy::Replica, "the differences fit into the budget")
        } else if WORTH * self.difference_bytes <= self.whole_bytes {
            (Strategy::BaseAndDeltas, "the differences are too many for the successor, and small beside the state")
        } else {
            (Strategy::Snapshot, "the differences are nearly as large as the state")
        }
    }

    fn strategy_before(&self) -> Strategy {
        self.chosen.unwrap_or(Strategy::Replica)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: u64 = 1_000_000;

    fn chosen(whole: usize, difference: usize, times: usize) -> Strategy {
        let mut chooser = Chooser::new(Strategy::Automatic);
        assert!(chooser.choose(Duration::ZERO, BUDGET).is_some());
        (0..times).for_each(|_| chooser.saw(whole, difference));
        chooser.choose(LOOK, BUDGET);
        chooser.strategy()
    }

    #[test]
    fn size_and_rate_choose() {
        assert_eq!(chosen(100_000, 2000, 60), Strategy::Replica);
        assert_eq!(chosen(1_000_000, 100_000, 60), Strategy::BaseAndDeltas);
        assert_eq!(chosen(1_000_000, 900_000, 60), Strategy::Snapshot);
        assert_eq!(chosen(1_000_000, 900_000, 2), Strategy::Replica, "large and rare");
    }

    #[test]
    fn a_choice_is_told_once_and_what_is_configured_stays() {
        let mut chooser = Chooser::new(Strategy::Snapshot);
        assert_eq!(chooser.choose(Duration::ZERO, BUDGET), Some((Strategy::Snapshot, "as configured")));
        chooser.saw(10, 1);
        assert_eq!(chooser.choose(LOOK, BUDGET), None);
        assert_eq!(chooser.strategy(), Strategy::Snapshot);
    }
}
