//! Carries out what lobbies have planned: elections, removals, time-outs. Each lobby names its next deadline when it is saved;
//! the sweeper sleeps until the earliest of all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use protocol::id::LobbyId;
use protocol::lobby::Command;
use protocol::time::Timestamp;
use tokio::sync::Notify;

use crate::service::{Error, Service};
use crate::store::StoreError;

/// Deadlines read at a time.
const PAGE: u32 = 64;
/// Longest sleep: another instance may have saved a lobby with an earlier deadline.
const NAP_MAX: Duration = Duration::from_secs(2);
/// Pause after a failure.
const PAUSE: Duration = Duration::from_millis(250);

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

/// Runs until the service stops.
pub(crate) async fn sweep(service: Arc<Service>) {
    loop {
        match sweep_once(&service).await {
            Ok(nap) => tokio::select! {
                () = tokio::time::sleep(nap) => {}
                () = service.deadlines.earlier.notified() => {}
            },
            Err(error) => {
                tracing::warn!(%error, "deadlines could not be read");
                service.leases.renew_all();
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Does what is due, and returns how long to sleep.
async fn sweep_once(service: &Arc<Service>) -> Result<Duration, StoreError> {
    service.deadlines.planned.store(u64::MAX, Ordering::SeqCst);
    let mut nap = NAP_MAX;
    for (at, lobby) in service.store.due(PAGE).await? {
        if at > service.clock.now() {
            service.deadlines.planned.store(at.0, Ordering::SeqCst);
            // A sleep may end within the millisecond before.
            return Ok(nap.min(service.clock.until(at) + Duration::from_millis(1)));
        }
        nap = nap.min(carry_out(service, lobby).await);
    }
    Ok(nap)
}

/// Returns the time after which to look again.
async fn carry_out(service: &Arc<Service>, lobby: LobbyId) -> Duration {
    match service.execute(lobby, Command::Due).await {
        Ok(_) => Duration::ZERO,
        Err(Error::NotFound) => Duration::ZERO,
        Err(error) => {
            tracing::warn!(%lobby, %error, "a deadline could not be carried out");
            PAUSE
        }
    }
}
