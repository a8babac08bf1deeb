//! What hosts write, and what members and hosts show to the relays.

use std::sync::Arc;

use bytes::Bytes;
use protocol::id::{HostEpoch, LobbyId, PlayerId};
use protocol::lobby::Command;
use protocol::snapshot::Header;
use tokio::sync::SemaphorePermit;

use super::{Error, Service};
use crate::store::PutSnapshotError;

/// What a member shows to a relay, and which relays there are.
#[derive(Debug, Clone)]
pub struct RelayPass {
    /// UDP addresses.
    pub relays: Vec<String>,
    /// The member's token.
    pub token: String,
}

impl Service {
    /// The elected host runs the game. Said again, the answer is the same.
    ///
    /// # Errors
    /// A stale epoch before anything else; not the host; the store's.
    pub async fn ready(self: &Arc<Self>, player: PlayerId, id: LobbyId, epoch: HostEpoch) -> Result<HostEpoch, Error> {
        let (_, connection) = self.lobby_of(id, player).await?;
        Ok(self.execute(id, Command::Ready { connection, epoch }).await?.epoch())
    }

    /// Makes room for a snapshot before it is received, if the caller is a member.
    ///
    /// # Errors
    /// [`Error::NotFound`], or [`Error::Busy`] while too many are received.
    pub async fn expect_snapshot(&self, player: PlayerId, id: LobbyId) -> Result<SemaphorePermit<'_>, Error> {
        self.lobby_of(id, player).await?;
        self.uploads.try_acquire().map_err(|_| Error::Busy)
    }

    /// Stores a host's snapshot.
    ///
    /// # Errors
    /// Why it is refused; the store's.
    pub async fn put_snapshot(&self, player: PlayerId, id: LobbyId, record: Bytes) -> Result<Header, Error> {
        let (_, connection) = self.lobby_of(id, player).await?;
        match self.store.put_snapshot(id, connection, record).await {
            Ok(header) => Ok(header),
            Err(PutSnapshotError::Refused(refusal)) => Err(refusal.into()),
            Err(PutSnapshotError::Store(error)) => self.stored(Err(error)),
        }
    }

    /// The newest snapshot, for a member.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none, and for others; the store's.
    pub async fn snapshot(&self, player: PlayerId, id: LobbyId) -> Result<(Header, Bytes), Error> {
        self.lobby_of(id, player).await?;
        self.store.latest_snapshot(id).await?.ok_or(Error::NotFound)
    }

    /// A member's token for the relays.
    ///
    /// # Errors
    /// [`Error::NotFound`] for others; the store's.
    pub async fn relay_pass(&self, player: PlayerId, id: LobbyId) -> Result<RelayPass, Error> {
        let (_, connection) = self.lobby_of(id, player).await?;
        let token = self.auth.relay_token(player, id, connection, self.clock.now()).map_err(Error::Sign)?;
        Ok(RelayPass { relays: self.relays.addresses(id), token })
    }

    /// A host's grant for the relays.
    ///
    /// # Errors
    /// A stale epoch, or not the host; the store's.
    pub async fn host_grant(&self, player: PlayerId, id: LobbyId, epoch: HostEpoch) -> Result<String, Error> {
        let (lobby, connection) = self.lobby_of(id, player).await?;
        lobby.check_host_write(connection, epoch)?;
        self.auth.host_grant(player, id, connection, epoch, self.clock.now()).map_err(Error::Sign)
    }
}
