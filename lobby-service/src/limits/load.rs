//! How many requests are handled at a time. When there are too many, those that matter least to running games are turned away at
//! once: nobody waits in a queue whose end comes too late.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::class::Priority;

/// Requests that are being handled.
#[derive(Debug)]
pub(super) struct Load {
    max: usize,
    handled: Arc<AtomicUsize>,
}

/// One of them. It ends with this.
#[derive(Debug)]
pub(crate) struct Slot(Arc<AtomicUsize>);

impl Load {
    /// At most so many; zero: any number.
    pub(super) fn new(max: usize) -> Self {
        Self { max: if max == 0 { usize::MAX } else { max }, handled: Arc::default() }
    }

    /// Room for one more, unless there is none for what matters so much.
    pub(super) fn enter(&self, priority: Priority) -> Option<Slot> {
        let before = self.handled.fetch_add(1, Ordering::Relaxed);
        // Dropping it gives the place back.
        let slot = Slot(Arc::clone(&self.handled));
        (before < priority.share_of(self.max)).then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Priority {
    /// Requests in all with which one of this priority is still taken.
    const fn share_of(self, max: usize) -> usize {
        let tenth = max.div_ceil(10);
        match self {
            Self::Search => tenth * 5,
            Self::Create => tenth * 6,
            Self::Join => tenth * 7,
            Self::Member => tenth * 9,
            Self::Hosting => max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Priority; 5] =
        [Priority::Search, Priority::Create, Priority::Join, Priority::Member, Priority::Hosting];

    #[test]
    fn what_matters_least_is_turned_away_first_and_what_ends_makes_room() {
        let load = Load::new(100);
        let mut slots = Vec::new();
        for (full, taken) in [(50, 4), (60, 3), (70, 2), (90, 1), (100, 0)] {
            slots.extend(std::iter::from_fn(|| load.enter(Priority::Hosting)).take(full - slots.len()));
            let admitted: Vec<_> = ALL.into_iter().filter(|&priority| load.enter(priority).is_some()).collect();
            assert_eq!(admitted, ALL[ALL.len() - taken..], "with {full}");
        }
        slots.truncate(49);
        assert!(ALL.into_iter().all(|priority| load.enter(priority).is_some()));
        drop(slots);
        assert_eq!(load.handled.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn without_a_limit_everything_is_taken() {
        let load = Load::new(0);
        let slots: Vec<_> = (0..1000).map(|_| load.enter(Priority::Search)).collect();
        assert!(slots.iter().all(Option::is_some));
    }
}
