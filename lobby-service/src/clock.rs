//! The one clock of a process: the wall's time at the start, carried on by the monotonic clock. When somebody sets the wall
//! clock, nothing here jumps.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use protocol::time::Timestamp;

/// The clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    base: Timestamp,
    origin: Instant,
}

impl Clock {
    /// Reads the wall clock once.
    #[must_use]
    pub fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { base: Timestamp(0).after(since_epoch), origin: Instant::now() }
    }

    /// Now, as lobbies count it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.base.after(self.origin.elapsed())
    }

    /// How long it is until `at`; zero if that is past.
    #[must_use]
    pub fn until(&self, at: Timestamp) -> Duration {
        at.since(self.now())
    }
}
