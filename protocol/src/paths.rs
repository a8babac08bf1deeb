//! Which of two links to the same peer carries the game.
//!
//! A pair has one link that carries it, the *primary*, and may have a second one, the *spare*, on which both only show that they are
//! there. The one that dialled decides; moving is a [`crate::frame::Hello`] on the spare, and costs a round trip.

use std::time::{Duration, Instant};

use crate::limits;

/// A link to a peer, as far as the choice needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// It goes from machine to machine, through nobody's relay.
    pub is_straight: bool,
    /// When something came on it last.
    pub heard_at: Instant,
    /// Since when nothing was missing on it.
    pub steady_since: Instant,
    /// As measured, if it was yet.
    pub round_trip: Option<Duration>,
}

impl Way {
    /// One that has just come up.
    #[must_use]
    pub const fn new(is_straight: bool, now: Instant) -> Self {
        Self { is_straight, heard_at: now, steady_since: now, round_trip: None }
    }

    /// Something came on it.
    pub fn heard(&mut self, now: Instant) {
        if self.is_silent(now) {
            self.steady_since = now;
        }
        self.heard_at = now;
    }

    /// Nothing came for longer than on a link that carries.
    #[must_use]
    pub fn is_silent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.heard_at) >= limits::PATH_SUSPICION
    }

    /// Whether the game is to move from this link to the spare one.
    #[must_use]
    pub fn gives_way_to(&self, spare: &Self, now: Instant) -> bool {
        if spare.is_silent(now) {
            return false;
        }
        if self.is_silent(now) {
            return true;
        }
        let is_steady = now.saturating_duration_since(spare.steady_since) >= limits::PATH_STEADY;
        spare.is_straight && !self.is_straight && is_steady && self.is_not_clearly_faster_than(spare)
    }

    /// A straight way that takes longer than the one through a relay is not the better one: some networks lead around the world.
    #[must_use]
    pub fn is_not_clearly_faster_than(&self, other: &Self) -> bool {
        match (self.round_trip, other.round_trip) {
            (Some(mine), Some(others)) => others <= mine + limits::PATH_SLACK,
            (None, _) | (_, None) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn ways() -> (Way, Way, Instant) {
        let now = crate::tests::start();
        (Way::new(false, now), Way::new(true, now), now + limits::PATH_STEADY)
    }

    fn heard(mut way: Way, now: Instant) -> Way {
        way.heard_at = now;
        way
    }

    #[test]
    fn a_straight_way_that_has_been_steady_is_taken_and_a_relayed_one_is_not() {
        let (relayed, straight, now) = ways();
        let (relayed, straight) = (heard(relayed, now), heard(straight, now));
        assert!(relayed.gives_way_to(&straight, now));
        assert!(!straight.gives_way_to(&relayed, now));
        let young = Way { steady_since: now - limits::PATH_STEADY + MS, ..straight };
        assert!(!relayed.gives_way_to(&young, now));
    }

    #[test]
    fn a_silent_link_gives_way_to_any_that_is_heard_and_to_none_that_is_silent_too() {
        let (relayed, straight, now) = ways();
        let silent = heard(straight, now - limits::PATH_SUSPICION);
        assert!(silent.gives_way_to(&heard(relayed, now - 100 * MS), now));
        assert!(!silent.gives_way_to(&heard(relayed, now - limits::PATH_SUSPICION), now));
        let late = heard(straight, now - limits::PATH_SUSPICION + MS);
        assert!(!late.gives_way_to(&heard(relayed, now), now), "one heartbeat may be lost");
    }

    #[test]
    fn a_straight_way_around_the_world_is_not_taken() {
        let (relayed, straight, now) = ways();
        let relayed = Way { round_trip: Some(20 * MS), ..heard(relayed, now) };
        let straight = heard(straight, now);
        assert!(relayed.gives_way_to(&Way { round_trip: Some(20 * MS + limits::PATH_SLACK), ..straight }, now));
        assert!(!relayed.gives_way_to(&Way { round_trip: Some(21 * MS + limits::PATH_SLACK), ..straight }, now));
    }

    #[test]
    fn a_link_that_was_silent_has_to_be_steady_again() {
        let (_, mut straight, now) = ways();
        straight.heard(now);
        assert_eq!(straight.steady_since, now, "it was silent from its beginning until now");
        straight.heard(now + 100 * MS);
        assert_eq!((straight.heard_at, straight.steady_since), (now + 100 * MS, now));
    }
}
