//! What took how long in a migration, as this peer saw it.

use std::time::{Duration, Instant};

use protocol::id::{ConnectionId, HostEpoch};
use protocol::snapshot::Generation;

/// Where a new host's state came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateSource {
    /// Held by itself.
    Warm,
    /// Fetched from the lobby.
    Lobby,
    /// Sent by another member.
    Member,
    /// There was none.
    Nothing,
}

/// One migration, as one peer saw it. All times are counted from the last sign of the old host that this peer had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationTrace {
    /// Who was host.
    pub from: Option<ConnectionId>,
    /// Who is now.
    pub to: ConnectionId,
    /// At which epoch.
    pub epoch: HostEpoch,
    /// The old host handed over.
    pub planned: bool,
    /// This peer was told, or noticed, that the old host is lost.
    pub noticed: Option<Duration>,
    /// It was told who is elected.
    pub elected: Option<Duration>,
    /// The new host only: it had found the newest state.
    pub found: Option<Duration>,
    /// The new host only: its game had restored it.
    pub restored: Option<Duration>,
    /// It was in the new host's game; the new host: it ran the game.
    pub resumed: Duration,
    /// The new host only: where its state came from.
    pub source: Option<StateSource>,
    /// The new host only: which state.
    pub generation: Option<Generation>,
    /// The new host only: ticks that the old host had announced and that are lost.
    pub ticks_lost: u64,
    /// Reliable messages that were said again, by this peer to the new host, or by the new host to itself.
    pub said_again: u64,
}

/// What is known so far of the migration under way.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    from: Option<ConnectionId>,
    heard_at: Option<Instant>,
    planned: bool,
    noticed_at: Option<Instant>,
    elected_at: Option<Instant>,
    found_at: Option<Instant>,
    restored_at: Option<Instant>,
    pub(crate) source: Option<StateSource>,
    pub(crate) generation: Option<Generation>,
    pub(crate) ticks_lost: u64,
    pub(crate) said_again: u64,
}

impl Timeline {
    /// The host was heard, or is this peer: nothing is under way.
    pub(crate) fn heard(&mut self, host: ConnectionId, now: Instant) {
        *self = Self { from: Some(host), heard_at: Some(now), ..Self::default() };
    }

    pub(crate) fn noticed(&mut self, now: Instant) {
        self.noticed_at.get_or_insert(now);
    }

    pub(crate) fn elected(&mut self, planned: bool, now: Instant) {
        self.noticed(now);
        // Another election, because the one before has failed, counts from its own.
        self.elected_at = Some(now);
        self.planned = planned;
    }

    pub(crate) const fn found(&mut self, source: StateSource, generation: Option<Generation>, now: Instant) {
        (self.source, self.generation, self.found_at) = (Some(source), generation, Some(now));
    }

    pub(crate) const fn restored(&mut self, now: Instant) {
        self.restored_at = Some(now);
    }

    /// The migration is over. `None`: there was none.
    pub(crate) fn finish(&mut self, to: ConnectionId, epoch: HostEpoch, now: Instant) -> Option<MigrationTrace> {
        let known = std::mem::take(self);
        let began = known.heard_at.or(known.noticed_at)?;
        known.elected_at?;
        let since = |at: Option<Instant>| at.map(|at| at.saturating_duration_since(began));
        Some(MigrationTrace {
            from: known.from,
            to,
            epoch,
            planned: known.planned,
            noticed: since(known.noticed_at),
            elected: since(known.elected_at),
            found: since(known.found_at),
            restored: since(known.restored_at),
            resumed: now.saturating_duration_since(began),
            source: known.source,
            generation: known.generation,
            ticks_lost: known.ticks_lost,
            said_again: known.said_again,
        })
    }
}
