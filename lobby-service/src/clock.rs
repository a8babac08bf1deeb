//! The clock of all lobbies: the wall's time at the start, carried on by the monotonic clock; with a shared database that one's time.
//! When somebody sets the wall clock, no deadline jumps. Tokens are judged by other machines too: their time is the wall's.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use protocol::limits;
use protocol::time::Timestamp;

/// What the wall clock shows: the time of tokens.
#[must_use]
pub fn wall() -> Timestamp {
    Timestamp(0).after(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// A difference to the database's clock that is no drift: somebody has set a clock.
const JUMP: Duration = Duration::from_secs(1);
/// A difference that the way to the database explains.
const NOISE: Duration = Duration::from_millis(2);

/// The clock of lobbies. Instances that share a database follow its clock, so that a deadline is the same for all of them.
#[derive(Debug)]
pub struct Clock {
    /// When it started, as it counted then.
    base: Timestamp,
    origin: Instant,
    /// Milliseconds by which the database's clock is ahead of the count since the start.
    ahead_ms: AtomicI64,
}

impl Clock {
    /// Reads the wall clock once.
    #[must_use]
    pub fn start() -> Self {
        Self { base: wall(), origin: Instant::now(), ahead_ms: AtomicI64::new(0) }
    }

    /// Now, as lobbies count it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    fn at(&self, instant: Instant) -> Timestamp {
        let counted = self.base.after(instant.saturating_duration_since(self.origin));
        Timestamp(counted.0.saturating_add_signed(self.ahead_ms.load(Ordering::Relaxed)))
    }

    /// Follows the database's clock, which showed `theirs` at some time between `asked` and now. Returns whether that is a jump:
    /// then nobody is to be judged by the time between.
    pub fn follow(&self, theirs: Timestamp, asked: Instant) -> bool {
        let ours = self.at(asked + asked.elapsed() / 2);
        let difference = i64::try_from(theirs.0).unwrap_or(i64::MAX) - i64::try_from(ours.0).unwrap_or(i64::MAX);
        let size = Duration::from_millis(difference.unsigned_abs());
        // A slow answer says little.
        if size > NOISE + asked.elapsed() {
            self.ahead_ms.fetch_add(difference, Ordering::Relaxed);
        }
        size > JUMP
    }

    /// How long ago it was started.
    #[must_use]
    pub fn runs_for(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Until when the members of a lobby that is older than this process have time to come back.
    #[must_use]
    pub fn back_by(&self, created_at: Timestamp) -> Option<Instant> {
        let started = Timestamp(self.base.0.saturating_add_signed(self.ahead_ms.load(Ordering::Relaxed)));
        (created_at < started).then(|| self.origin + limits::LEASE)
    }

    /// How long it is until `at`; zero if that is past.
    #[must_use]
    pub fn until(&self, at: Timestamp) -> Duration {
        at.since(self.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_the_databases_clock_and_tells_a_jump_from_drift() {
        let (clock, asked) = (Clock::start(), Instant::now());
        assert!(!clock.follow(clock.now(), asked));
        let drifted = clock.now().after(Duration::from_millis(300));
        assert!(!clock.follow(drifted, Instant::now()));
        assert!(clock.now() >= drifted);
        let hour = Duration::from_secs(3600);
        let set_back = Timestamp(clock.now().0 - hour.as_millis() as u64);
        assert!(clock.follow(set_back, Instant::now()));
        assert!(clock.now().since(set_back) < Duration::from_secs(60));
        assert!(!clock.follow(clock.now(), Instant::now()), "once is enough");
    }
}
