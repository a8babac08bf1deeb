//! Carries out what lobbies have planned: elections, removals, time-outs. Each lobby names its next deadline when it is saved;
//! the sweeper sleeps until the earliest of all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};
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
/// Longest time between two looks for closed lobbies that are not kept any more; for those that are kept for a short time it is a
/// tenth of that.
const CLEAN_INTERVAL_MAX: Duration = Duration::from_secs(600);
const CLEAN_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// Deadlines carried out at the same time: they are saved together.
const AT_ONCE: usize = 64;

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
    /// How long closed lobbies are kept.
    closed_kept: Duration,
}

/// Runs until the service stops. Closed lobbies are deleted after a time.
pub(crate) async fn sweep(service: Arc<Service>, closed_kept: Duration) {
    let mut sweeper = Sweeper { service, parked: BTreeMap::new(), cleaned_at: None, closed_kept };
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
        let now = service.clock.now();
        let next = due.iter().map(|&(at, _)| at).find(|&at| at > now);
        let past = due.iter().filter(|&&(at, lobby)| at <= now && !self.parked.contains_key(&lobby));
        let past: Vec<_> = past.map(|&(_, lobby)| lobby).collect();
        let is_idle = past.is_empty();
        self.carry_out(past).await?;
        if is_last_page || next.is_some() {
            service.has_resumed(absences);
        }
        match next {
            _ if !is_idle => Ok(Duration::ZERO),
            Some(at) => {
                service.deadlines.planned.store(at.0, Ordering::SeqCst);
                // A sleep may end within the millisecond before.
                Ok(NAP_MAX.min(service.clock.until(at) + Duration::from_millis(1)))
            }
            None => Ok(NAP_MAX),
        }
    }

    /// One lobby that cannot be decided keeps none of the others waiting.
    async fn carry_out(&mut self, lobbies: Vec<LobbyId>) -> Result<(), StoreError> {
        let service = &self.service;
        let decide = |lobby| async move { (lobby, service.execute(lobby, Command::Due).await) };
        let decided: Vec<_> = stream::iter(lobbies).map(decide).buffer_unordered(AT_ONCE).collect().await;
        let mut away = Ok(());
        for (lobby, decided) in decided {
            match decided {
                Ok(_) | Err(Error::NotFound | Error::Busy) => {}
                Err(Error::Store(error @ StoreError::Unavailable(_))) => away = Err(error),
                Err(error) => {
                    tracing::error!(%lobby, %error, "a deadline could not be carried out");
                    if self.parked.len() < PARKED_MAX {
                        self.parked.insert(lobby, Instant::now() + PARKED_FOR);
                    }
                }
            }
        }
        away
    }

    /// Deletes what nobody needs any more.
    async fn clean(&mut self) -> Result<(), StoreError> {
        let interval = (self.closed_kept / 10).clamp(CLEAN_INTERVAL_MIN, CLEAN_INTERVAL_MAX);
        if self.cleaned_at.is_none_or(|at| at.elapsed() >= interval) {
            let now = self.service.clock.now();
            let until = Timestamp(now.0.saturating_sub(self.closed_kept.as_millis() as u64));
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
    use protocol::id::{ConnectionId, HostEpoch};
    use protocol::limits;
    use protocol::lobby::listing::Query;

    use super::*;
    use crate::auth::random;
    use crate::service::tests::{newcomer, save, service, stored, stored_without_host};
    use crate::store::Store;
    use crate::store::memory::MemoryStore;
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
        assert_eq!(store.lobbies(None, 1).await.unwrap().len(), 1, "those that cannot be read hide it from nobody");
        let query = Query { count: 1, ..Query::new(&[], Vec::new(), None).unwrap() };
        assert_eq!(store.query(&query).await.unwrap().len(), 1, "nor here");
        service.has_resumed(service.absences());
        let mut sweeper = Sweeper { service, parked: BTreeMap::new(), cleaned_at: None, closed_kept: Duration::ZERO };
        sweeper.sweep_once().await.unwrap();
        assert_eq!(sweeper.parked.len(), PAGE as usize);
        sweeper.sweep_once().await.unwrap();
        assert_eq!(store.load(good).await.unwrap().unwrap().0.epoch(), HostEpoch(2));
        store.close().await;
        std::fs::remove_dir_all(&folder).unwrap();
    }

    /// P15: what nobody comes back to is gone within a bound, with all that was its own.
    #[tokio::test]
    async fn lobbies_that_everybody_has_left_are_closed_and_then_deleted() {
        let store = Arc::new(MemoryStore::default());
        let service = service(store.clone());
        let long_ago = Timestamp(service.clock.now().0 - 2 * limits::EMPTY_LOBBY_KEPT.as_millis() as u64);
        let mut lobbies = Vec::new();
        for _ in 0..2 * PAGE {
            lobbies.push(stored(&*store, long_ago).await.id());
        }
        let kept = lobbies.pop().unwrap();
        service.has_resumed(service.absences());
        for &lobby in &lobbies {
            for number in 1..=2 {
                let left =
                    Command::Leave { connection: ConnectionId(number - 1), player: newcomer(number as u8).player };
                let (lobby, version) = store.load(lobby).await.unwrap().unwrap();
                save(&*store, lobby, version, left, long_ago).await;
            }
        }
        let mut sweeper =
            Sweeper { service, parked: BTreeMap::new(), cleaned_at: None, closed_kept: Duration::from_secs(3600) };
        while sweeper.sweep_once().await.unwrap() == Duration::ZERO {}
        for &lobby in &lobbies {
            assert!(store.load(lobby).await.unwrap().unwrap().0.is_closed());
        }
        (sweeper.cleaned_at, sweeper.closed_kept) = (None, Duration::ZERO);
        while sweeper.cleaned_at.is_none() {
            sweeper.sweep_once().await.unwrap();
        }
        for &lobby in &lobbies {
            assert!(store.load(lobby).await.unwrap().is_none());
            assert_eq!(store.events_after(lobby, protocol::id::EventSeq(0), 1).await.unwrap(), None);
        }
        assert!(store.load(kept).await.unwrap().is_some());
    }
}
