//! Migrations looked at after they have ended: how long their phases took, and a trace of each.
//!
//! Everything is read from the stored events, whichever instances saved them; who saved the last one reports.

mod otlp;

use std::sync::{Arc, OnceLock};

use protocol::id::{ConnectionId, EventSeq, HostEpoch, LobbyId};
use protocol::limits;
use protocol::lobby::{HostState, Lobby};
use protocol::message::{Event, EventBody};
use protocol::snapshot::Generation;
use protocol::time::Timestamp;
use quick_cache::sync::Cache;
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::service::Service;
pub(crate) use otlp::Exporter;

/// Migrations that are looked at at the same time. One more is only counted.
const AT_ONCE: usize = 32;
/// Lobbies of which it is remembered what their elected host has fetched.
const FETCHES_MAX: usize = 1024;
/// The cause of a migration that began without a loss: the lobby had been parked.
const RESUMED: &str = "parked";

/// How a migration ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Another member hosts the game.
    Ready,
    /// The lost host came back in time.
    Returned,
    /// The lost host goes on, on the word of its guests.
    Vouched,
    /// Nobody could be elected.
    Parked,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Returned => "returned",
            Self::Vouched => "vouched",
            Self::Parked => "parked",
        }
    }

    /// What an event ends a migration with.
    fn of(body: &EventBody) -> Option<Self> {
        if matches!(body, EventBody::HostReady { .. }) {
            Some(Self::Ready)
        } else if matches!(body, EventBody::HostReturned { .. }) {
            Some(Self::Returned)
        } else if matches!(body, EventBody::HostVouched { .. }) {
            Some(Self::Vouched)
        } else if matches!(body, EventBody::HostParked { .. }) {
            Some(Self::Parked)
        } else {
            None
        }
    }
}

/// A member that was elected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Election {
    host: ConnectionId,
    epoch: HostEpoch,
    at: Timestamp,
    failed_at: Option<Timestamp>,
}

/// A lost host, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Migration {
    lobby: LobbyId,
    cause: String,
    /// The epoch that ended.
    from: HostEpoch,
    lost_at: Timestamp,
    elections: Vec<Election>,
    ended_at: Timestamp,
    outcome: Outcome,
    /// What the new host has fetched here, if that is known.
    fetch: Option<Fetch>,
}

/// A snapshot on its way to the elected host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fetch {
    /// At which epoch.
    pub(crate) epoch: HostEpoch,
    /// When it was asked for.
    pub(crate) at: Timestamp,
    /// Which.
    pub(crate) generation: Generation,
    /// Its size.
    pub(crate) bytes: usize,
}

/// The last migration in these events of a lobby, if one ended with the last event.
fn last(lobby: LobbyId, events: &[Event]) -> Option<Migration> {
    let mut open: Option<Migration> = None;
    let (end, before) = events.split_last()?;
    let begin = |event: &Event, cause: String, from: HostEpoch| Migration {
        lobby,
        cause,
        from,
        lost_at: event.at,
        elections: Vec::new(),
        ended_at: event.at,
        outcome: Outcome::Ready,
        fetch: None,
    };
    for event in before {
        if let EventBody::HostLost { cause, .. } = &event.body {
            // Said again after an outage: the host was lost when it was said first.
            open.get_or_insert_with(|| begin(event, name(cause), event.epoch));
        } else if let EventBody::HostElected { host, .. } = event.body {
            let from = HostEpoch(event.epoch.0.saturating_sub(1));
            let migration = open.get_or_insert_with(|| begin(event, RESUMED.to_owned(), from));
            migration.elections.push(Election { host, epoch: event.epoch, at: event.at, failed_at: None });
        } else if matches!(event.body, EventBody::ElectionFailed { .. }) {
            let election = open.as_mut().and_then(|migration| migration.elections.last_mut());
            if let Some(election) = election {
                election.failed_at = Some(event.at);
            }
        } else if Outcome::of(&event.body).is_some() {
            open = None;
        }
    }
    let outcome = Outcome::of(&end.body)?;
    open.map(|migration| Migration { ended_at: end.at, outcome, ..migration })
}

/// A value as it stands in JSON.
fn name(value: &impl Serialize) -> String {
    let name = serde_json::to_value(value).ok();
    name.as_ref().and_then(|name| name.as_str()).unwrap_or("other").to_owned()
}

/// Looks at migrations.
#[derive(Debug)]
pub(crate) struct Migrations {
    room: Arc<Semaphore>,
    fetches: Cache<LobbyId, Fetch>,
    exporter: OnceLock<Exporter>,
}

impl Default for Migrations {
    fn default() -> Self {
        let (room, fetches) = (Arc::new(Semaphore::new(AT_ONCE)), Cache::new(FETCHES_MAX));
        Self { room, fetches, exporter: OnceLock::new() }
    }
}

impl Migrations {
    /// From now on traces go to a collector. The first one stays.
    pub(crate) fn export_to(&self, exporter: Exporter) {
        if self.exporter.set(exporter).is_err() {
            tracing::debug!("traces have their collector already");
        }
    }

    /// A member fetches a snapshot. Of interest is what the elected host does.
    pub(crate) fn fetched(&self, lobby: &Lobby, connection: ConnectionId, fetch: Fetch) {
        if matches!(lobby.host(), HostState::Elected { host, .. } if *host == connection) {
            self.fetches.insert(lobby.id(), fetch);
        }
    }
}

impl Service {
    /// This instance has saved these events: if one of them ends a migration, it is looked at, beside everything else.
    pub(crate) fn look_at_migrations(self: &Arc<Self>, lobby: LobbyId, events: &[Event]) {
        for end in events.iter().filter(|event| Outcome::of(&event.body).is_some()).map(|event| event.seq) {
            let Ok(room) = Arc::clone(&self.migrations.room).try_acquire_owned() else {
                self.metrics.migration_unobserved();
                continue;
            };
            let service = Arc::clone(self);
            tokio::spawn(async move {
                service.look_at_migration(lobby, end).await;
                drop(room);
            });
        }
    }

    async fn look_at_migration(&self, lobby: LobbyId, end: EventSeq) {
        let after = EventSeq(end.0.saturating_sub(u64::from(limits::EVENTS_PAGE)));
        let events = self.store.events_after(lobby, after, limits::EVENTS_PAGE).await;
        let mut events = events.ok().flatten().unwrap_or_default();
        events.retain(|event| event.seq <= end);
        let Some(mut migration) = last(lobby, &events) else { return self.metrics.migration_unobserved() };
        let last_epoch = migration.elections.last().map(|election| election.epoch);
        migration.fetch = self.migrations.fetches.get(&lobby).filter(|fetch| Some(fetch.epoch) == last_epoch);
        self.count(&migration);
        if let Some(exporter) = self.migrations.exporter.get().filter(|_| !migration.elections.is_empty())
            && !exporter.send(migration)
        {
            self.metrics.traces_dropped(1);
        }
    }

    fn count(&self, migration: &Migration) {
        let Migration { cause, outcome, elections, .. } = migration;
        self.metrics.migrated(cause, outcome.as_str());
        for failed in elections.iter().filter(|election| election.failed_at.is_some()) {
            tracing::debug!(lobby = %migration.lobby, host = failed.host.0, "an election has failed");
            self.metrics.elected(cause, "failed");
        }
        let (Outcome::Ready, [first, ..], [.., ready]) = (outcome, &elections[..], &elections[..]) else { return };
        self.metrics.elected(cause, "ready");
        self.metrics.migration_phase("delay", first.at.since(migration.lost_at));
        self.metrics.migration_phase("restore", migration.ended_at.since(ready.at));
        self.metrics.migration_phase("total", migration.ended_at.since(migration.lost_at));
    }
}

#[cfg(test)]
mod tests;
