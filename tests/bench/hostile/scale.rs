//! How much of everything.

use std::time::Duration;

/// Sizes of the mix and of the attacks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// How often each attack, and the quiet before it, is measured.
    pub(crate) rounds: usize,
    /// How long each.
    pub(crate) lasting: Duration,
    /// Requests of well-behaved clients in a second.
    pub(crate) requests_a_second: usize,
    /// Requests that are never finished, at any time.
    pub(crate) half_open: usize,
    /// Time between two lines of such a request.
    pub(crate) line: Duration,
    /// Lobbies with members who never read.
    pub(crate) deaf_lobbies: usize,
    /// Those members, of all lobbies.
    pub(crate) deaf: usize,
    /// Events in each of these lobbies in a second.
    pub(crate) deaf_events_a_second: u32,
    /// Who sends bodies that are too large.
    pub(crate) senders: usize,
    /// Time between two bodies of a sender.
    pub(crate) body: Duration,
    /// What the service is told beside its defaults.
    pub(crate) flags: &'static [&'static str],
}

impl Scale {
    /// The figures that are aimed at.
    pub(crate) const FULL: Self = Self {
        rounds: 2,
        lasting: Duration::from_secs(10),
        requests_a_second: 400,
        half_open: 2000,
        line: Duration::from_secs(1),
        deaf_lobbies: 10,
        deaf: 500,
        deaf_events_a_second: 20,
        senders: 16,
        body: Duration::from_millis(100),
        flags: &["--connections-per-address-max", "0"],
    };
    /// A few of everything, to see that the benchmark works. Its figures mean nothing.
    pub(crate) const QUICK: Self = Self {
        rounds: 1,
        lasting: Duration::from_secs(2),
        requests_a_second: 100,
        half_open: 50,
        line: Duration::from_millis(100),
        deaf_lobbies: 2,
        deaf: 10,
        deaf_events_a_second: 100,
        senders: 2,
        flags: &["--connections-per-address-max", "0", "--header-timeout-ms", "500"],
        ..Self::FULL
    };

    /// Players of attackers: those who never read, and one in each of their lobbies who comes and goes.
    pub(crate) const fn attackers(&self) -> usize {
        self.deaf + self.deaf_lobbies
    }
}
