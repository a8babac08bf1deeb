//! How much of everything is measured.

use std::time::Duration;

use protocol::limits;

/// Members of each lobby.
pub(crate) const MEMBERS: usize = 4;

/// Sizes of all measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scale {
    /// How often each measurement is made on each server; the table shows medians.
    pub(crate) rounds: usize,
    /// Lobbies that come before anything is measured on a server.
    pub(crate) warm_up: usize,
    /// Lobbies that are filled with members and their sockets.
    pub(crate) filled: usize,
    /// Sockets that then idle; more lobbies are filled until there are so many.
    pub(crate) idle: usize,
    /// Time that idle sockets are watched: pings go every 2 s.
    pub(crate) watched: Duration,
    /// Lobbies that are created without sockets.
    pub(crate) created: usize,
    /// Lobbies in which events happen, with listeners, and as many without.
    pub(crate) lively: usize,
    /// Events of all lobbies in a second.
    pub(crate) events_a_second: usize,
    /// Time that events happen.
    pub(crate) lasting: Duration,
    /// Time until members without sockets are known to be gone, so that it is not measured.
    pub(crate) lapse: Duration,
    /// Lobbies whose snapshots are saved without a server before the store.
    pub(crate) durable: usize,
    /// Time that snapshots are uploaded.
    pub(crate) uploading: Duration,
}

impl Scale {
    /// The figures that are compared.
    pub(crate) const FULL: Self = Self {
        rounds: 3,
        warm_up: 50,
        filled: 1000,
        idle: 10_000,
        watched: Duration::from_secs(4),
        created: 5000,
        lively: 1000,
        events_a_second: 6000,
        lasting: Duration::from_secs(5),
        lapse: Duration::from_millis(limits::LEASE.as_millis() as u64 + 1000),
        durable: 1000,
        uploading: Duration::from_secs(3),
    };
    /// Less of everything, once.
    pub(crate) const QUICK: Self = Self {
        rounds: 1,
        filled: 300,
        idle: 2000,
        created: 1000,
        lively: 250,
        lasting: Duration::from_secs(2),
        uploading: Duration::from_secs(1),
        ..Self::FULL
    };
    /// A few of everything, to see that the benchmark works. Its figures mean nothing.
    pub(crate) const TINY: Self = Self {
        warm_up: 1,
        filled: 2,
        idle: 12,
        watched: Duration::from_millis(300),
        created: 8,
        lively: 4,
        events_a_second: 60,
        lasting: Duration::from_millis(500),
        lapse: Duration::ZERO,
        durable: 6,
        uploading: Duration::from_millis(300),
        ..Self::QUICK
    };

    /// Players that one server sees at most.
    pub(crate) const fn players(&self) -> usize {
        let sockets = MEMBERS * (self.warm_up + self.filled) + self.idle;
        let events = MEMBERS * 2 * self.lively;
        if sockets > events { sockets } else { events }
    }
}
