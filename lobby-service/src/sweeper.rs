//! Carries out what lobbies have planned: elections, removals, time-outs. Each lobby names its next deadline when it is saved;
//! the sweeper sleeps until the earliest of all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use protocol::id::LobbyId;
use protocol::lobby::Command;
use protocol::time::Timestamp;
use tokio::sync::Notify;

use crate::presence::STALL;
use crate::service::{Error, Service};
use crate::store::StoreError;

/// Deadlines read at a time.
const PAGE: u32 = 64;
/// Longest sleep: another instance may have saved a lobby with an earlier deadline.
const NAP_MAX: Duration = Duration::from_secs(2);
/// Pause after a failure.
const PAUSE: Duration = Duration::from_millis(250);
/// Lobbies whose deadlines cannot be carried out: data that this build cannot read. Past it they are tried at each turn.
const PARKED_MAX: usize = 4096;
/// After this long such a lobby is tried again.
const PARKED_FOR: Duration = Duration::from_secs(60);
/// Time that a closed lobby is kept: its last events explain why it is gone.
const CLOSED_LOBBY_KEPT: Duration = Duration::from_secs(24 * 3600);
/// Time between two looks for such lobbies.
const CLEAN_INTERVAL: Duration = Duration::from_secs(600);

/// What the sweeper waits for.
#[derive(Debug)]
pub(crate) struct Deadlines {
    /// The deadline that it sleeps for, in milliseconds; while it reads, the end of time, so that none is missed.
    planned: AtomicU64,
    earlier: Notify,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { planned: AtomicU64::new(u64::MAX), earlier: Notify::new() }
    }
}

impl Deadlines {
    /// A lobby has a deadline.
    pub(crate) fn add(&self, at: Timestamp) {
        if at.0 < self.planned.load(Ordering::SeqCst) {
            self.earlier.notify_one();
        }
    }
}

/// The sweeper's task.
#[derive(Debug)]
struct Sweeper {
    service: Arc<Service>,
    /// Lobbies whose deadlines could not be carried out, and until when they are passed over.
    parked: BTreeMap<LobbyId, Instant>,
    cleaned_at: Option<Instant>,
}

/// Runs until the service stops.
pub(crate) async fn sweep(service: Arc<Service>) {
    let mut sweeper = Sweeper { service, parked: BTreeMap::new(), cleaned_at: None };
    loop {
        let nap = match sweeper.sweep_once().await {
            Ok(nap) => nap,
            Err(error) => {
                tracing::warn!(%error, "deadlines could not be read or carried out");
                sweeper.service.was_away();
                PAUSE
            }
        };
        let planned = Instant::now() + nap;
        tokio::select! {
            () = tokio::time::sleep(nap) => {}
            () = sweeper.service.deadlines.earlier.notified() => {}
        }
        if Instant::now() > planned + STALL {
            sweeper.service.was_away();
        }
    }
}

impl Sweeper {
    /// Does what is due, and returns how long to sleep.
    async fn sweep_once(&mut self) -> Result<Duration, StoreError> {
        let service = Arc::clone(&self.service);
        self.clean().await?;
        service.deadlines.planned.store(u64::MAX, Ordering::SeqCst);
        let absences = service.absences();
        let began = Instant::now();
        self.parked.retain(|_, until| *until > began);
        let limit = PAGE + self.parked.len() as u32;
        let due = service.store.due(limit).await?;
        let is_last_page = due.len() < limit as usize;
        let mut nap = NAP_MAX;
        for (at, lobby) in due {
            if at > service.clock.now() {
                service.has_resumed(absences);
                service.deadlines.planned.store(at.0, Ordering::SeqCst);
                // A sleep may end within the millisecond before.
                return Ok(nap.min(service.clock.until(at) + Duration::from_millis(1)));
            }
            if !self.parked.contains_key(&lobby) {
                self.carry_out(lobby).await?;
                nap = Duration::ZERO;
            }
        }
        if is_last_page {
            service.has_resumed(absences);
        }
        Ok(nap)
    }

    /// One lobby that cannot be decided keeps none of the others waiting.
    async fn carry_out(&mut self, lobby: LobbyId) -> Result<(), StoreError> {
        match self.service.execute(lobby, Command::Due).await {
            Ok(_) | Err(Error::NotFound) => {}
            Err(Error::Store(error @ StoreError::Unavailable(_))) => return Err(error),
            Err(error) => {
                tracing::error!(%lobby, %error, "a deadline could not be carried out");
                if self.parked.len() < PARKED_MAX {
                    self.parked.insert(lobby, Instant::now() + PARKED_FOR);
                }
            }
        }
        Ok(())
    }

    /// Deletes what nobody needs any more.
    async fn clean(&mut self) -> Result<(), StoreError> {
        if self.cleaned_at.is_none_or(|at| at.elapsed() >= CLEAN_INTERVAL) {
            let now = self.service.clock.now();
            let until = Timestamp(now.0.saturating_sub(CLOSED_LOBBY_KEPT.as_millis() as u64));
            // What is left is deleted at the next turn.
            if self.service.store.delete_closed(until).await? == 0 {
                self.cleaned_at = Some(Instant::now());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use protocol::id::HostEpoch;

    use super::*;
    use crate::auth::random;
    use crate::service::tests::{service, stored_without_host};
    use crate::store::Store;
    use crate::store::sqlite::SqliteStore;

    #[tokio::test]
    async fn lobbies_that_cannot_be_read_stop_no_election() {
        let folder = std::env::temp_dir().join(format!("understudy-{:016x}", u64::from_be_bytes(random())));
        std::fs::create_dir(&folder).unwrap();
        let store = Arc::new(SqliteStore::open(&folder.join("store.db")).await.unwrap());
        let service = service(store.clone());
        for _ in 0..PAGE {
            let lobby = stored_without_host(&*store, &service).await;
            store.spoil(lobby.id()).await;
        }
        let good = stored_without_host(&*store, &service).await.id();
        assert_eq!(store.list(None, 1).await.unwrap().len(), 1, "it is listed behind those that cannot be");
        service.has_resumed(service.absences());
        let mut sweeper = Sweeper { service, parked: BTreeMap::new(), cleaned_at: None };
        sweeper.sweep_once().await.unwrap();
        assert_eq!(sweeper.parked.len(), PAGE as usize);
        sweeper.sweep_once().await.unwrap();
        assert_eq!(store.load(good).await.unwrap().unwrap().0.epoch(), HostEpoch(2));
        store.close().await;
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
