//! The clock of all lobbies: the wall's time at the start, carried on by the monotonic clock. When somebody sets the wall clock,
//! no deadline jumps. Tokens are judged by other machines too: their time is the wall's.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use protocol::limits;
use protocol::time::Timestamp;

/// What the wall clock shows: the time of tokens.
#[must_use]
pub fn wall() -> Timestamp {
    Timestamp(0).after(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// The clock of lobbies.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    base: Timestamp,
    origin: Instant,
}

impl Clock {
    /// Reads the wall clock once.
    #[must_use]
    pub fn start() -> Self {
        Self { base: wall(), origin: Instant::now() }
    }

    /// Now, as lobbies count it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.base.after(self.origin.elapsed())
    }

    /// Until when the members of a lobby that is older than this process have time to come back.
    #[must_use]
    pub fn back_by(&self, created_at: Timestamp) -> Option<Instant> {
        (created_at < self.base).then(|| self.origin + limits::LEASE)
    }

    /// How long it is until `at`; zero if that is past.
    #[must_use]
    pub fn until(&self, at: Timestamp) -> Duration {
        at.since(self.now())
    }
}
