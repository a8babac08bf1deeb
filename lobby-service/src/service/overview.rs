//! What operators see, and what they do to an instance.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use protocol::commit::Version;
use protocol::id::{InstanceId, LobbyId};
use protocol::limits;
use protocol::lobby::{HostState, Lobby};
use protocol::message::CloseReason;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Error, Service};
use crate::metrics::Now;
use crate::store::overview::{StoredInstance, StoredSnapshot};

/// Lobbies that are looked at for one page: what is looked for may be rare.
const LOOKED_AT_MAX: usize = 2000;
/// Time between two closings while an instance is drained.
const DRAIN_TICK: Duration = Duration::from_millis(100);

/// Which lobbies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LobbyState {
    /// Not closed.
    Open,
    /// Not closed, and without a host until somebody eligible comes.
    Parked,
    /// Closed, and not deleted yet.
    Closed,
}

impl LobbyState {
    const fn fits(self, lobby: &Lobby) -> bool {
        match self {
            Self::Open => !lobby.is_closed(),
            Self::Parked => !lobby.is_closed() && matches!(lobby.host(), HostState::Parked { .. }),
            Self::Closed => lobby.is_closed(),
        }
    }
}

/// Whether the instance is being drained: odd while it is, one more with every change.
#[derive(Debug, Default)]
pub(super) struct Draining(AtomicU64);

impl Draining {
    fn turn(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    /// Returns the turn that has begun, if another was there before.
    fn set(&self, wished: bool) -> Option<u64> {
        let change = |turn: u64| (is_on(turn) != wished).then_some(turn + 1);
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, change).ok().map(|before| before + 1)
    }
}

const fn is_on(turn: u64) -> bool {
    turn % 2 == 1
}

impl Service {
    /// The name of this instance.
    #[must_use]
    pub fn instance(&self) -> InstanceId {
        self.leases.instance()
    }

    /// Open event sockets.
    #[must_use]
    pub fn socket_count(&self) -> usize {
        self.leases.socket_count()
    }

    /// What it has counted, as text for Prometheus.
    #[must_use]
    pub fn metrics_text(&self) -> String {
        self.metrics.text(Now {
            sockets: self.leases.socket_count(),
            lobbies: self.rooms.count(),
            members: self.leases.seat_count(),
            relays: self.relays.count(),
            is_draining: self.is_draining(),
        })
    }

    /// Why no client should be sent here now; empty if all is well.
    pub(crate) async fn unready(&self) -> Vec<&'static str> {
        let mut missing = Vec::new();
        if self.store.due(1).await.is_err() {
            missing.push("store");
        }
        if self.is_draining() || self.is_stopping() {
            missing.push("not_draining");
        }
        missing
    }

    /// A page of all lobbies, by id, and where the next one begins.
    ///
    /// # Errors
    /// The store's.
    pub async fn all_lobbies(
        &self,
        state: Option<LobbyState>,
        mut after: Option<LobbyId>,
        limit: u32,
    ) -> Result<(Vec<Lobby>, Option<LobbyId>), Error> {
        let limit = limit.clamp(1, limits::LIST_PAGE_MAX) as usize;
        let (mut found, mut looked_at) = (Vec::new(), 0);
        while looked_at < LOOKED_AT_MAX {
            let page = self.stored(self.store.lobbies(after, limits::LIST_PAGE_MAX).await)?;
            let is_last = page.len() < limits::LIST_PAGE_MAX as usize;
            looked_at += page.len();
            for (lobby, _) in page {
                if found.len() == limit {
                    return Ok((found, after));
                }
                after = Some(lobby.id());
                if state.is_none_or(|state| state.fits(&lobby)) {
                    found.push(lobby);
                }
            }
            if is_last {
                return Ok((found, None));
            }
        }
        Ok((found, after))
    }

    /// A lobby as it is stored, whosever it is.
    ///
    /// # Errors
    /// [`Error::NotFound`]; the store's.
    pub async fn stored_lobby(&self, id: LobbyId) -> Result<(Lobby, Version), Error> {
        self.stored(self.store.load(id).await)?.ok_or(Error::NotFound)
    }

    /// The snapshots that are kept of a lobby, newest first.
    ///
    /// # Errors
    /// The store's.
    pub async fn stored_snapshots(&self, id: LobbyId) -> Result<Vec<StoredSnapshot>, Error> {
        Ok(self.stored(self.store.snapshots(id).await)?)
    }

    /// All instances.
    ///
    /// # Errors
    /// The store's.
    pub async fn stored_instances(&self) -> Result<Vec<StoredInstance>, Error> {
        Ok(self.stored(self.store.instances().await)?)
    }

    /// Whether clients are sent elsewhere.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        is_on(self.draining.turn())
    }

    /// Takes no new sockets, and closes those that are open over this time: their members have a term to come back elsewhere.
    pub fn drain(self: &Arc<Self>, spread: Duration) {
        if let Some(turn) = self.draining.set(true) {
            tracing::info!(sockets = self.socket_count(), "this instance is drained");
            tokio::spawn(Arc::clone(self).send_away(turn, spread));
        }
    }

    /// Takes sockets again.
    pub fn end_drain(&self) {
        if self.draining.set(false).is_some() {
            tracing::info!("this instance is not drained any more");
        }
    }

    async fn send_away(self: Arc<Self>, turn: u64, spread: Duration) {
        let mut ticks = (spread.as_millis() / DRAIN_TICK.as_millis()).max(1) as usize;
        while self.draining.turn() == turn && !self.is_stopping() && self.socket_count() > 0 {
            self.leases.close_some(self.socket_count().div_ceil(ticks), CloseReason::GoingAway);
            ticks = (ticks - 1).max(1);
            tokio::time::sleep(DRAIN_TICK).await;
        }
    }
}
