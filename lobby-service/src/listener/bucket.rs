//! Token buckets: so many a second on average, and some at once.

use std::time::Instant;

/// How often something may be done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rate {
    per_s: f64,
    burst: f64,
}

impl Rate {
    /// `None` if there is no limit; a burst holds one at least.
    pub(crate) fn new(per_s: u32, burst: u32) -> Option<Self> {
        (per_s > 0).then(|| Self { per_s: per_s.into(), burst: burst.max(1).into() })
    }
}

/// What is left of a rate at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    /// A full one.
    pub(crate) const fn new(rate: Rate, now: Instant) -> Self {
        Self { left: rate.burst, at: now }
    }

    /// Whether it may be done once more now; if so, it counts.
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let refilled = now.saturating_duration_since(self.at).as_secs_f64() * rate.per_s;
        self.left = (self.left + refilled).min(rate.burst);
        self.at = now;
        let is_left = self.left >= 1.0;
        if is_left {
            self.left -= 1.0;
        }
        is_left
    }

    /// What was taken last does not count.
    pub(crate) const fn give_back(&mut self, rate: Rate) {
        self.left = (self.left + 1.0).min(rate.burst);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate_and_no_more_is_saved_up_than_a_burst() {
        let rate = Rate::new(10, 3).unwrap();
        let start = Instant::now();
        let mut bucket = Bucket::new(rate, start);
        let mut passed_at = |ms| {
            let now = start + Duration::from_millis(ms);
            (0..10).filter(|_| bucket.take(rate, now)).count()
        };
        assert_eq!([0, 50, 100, 10_000].map(&mut passed_at), [3, 0, 1, 3]);
        assert_eq!(Rate::new(0, 3), None);
    }
}
