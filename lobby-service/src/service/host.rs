//! What hosts write, and what members and hosts show to the relays.

use std::sync::Arc;
use std::time::Instant;

use protocol::id::{HostEpoch, LobbyId, PlayerId};
use protocol::lobby::Command;

use super::{Error, Service};
use crate::clock::wall;

/// What a member shows to a relay, and which relays there are.
#[derive(Clone)]
pub struct RelayPass {
    /// UDP addresses.
    pub relays: Vec<String>,
    /// The member's token.
    pub token: String,
}

impl std::fmt::Debug for RelayPass {
    /// Without the token (P18).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RelayPass").field("relays", &self.relays).finish_non_exhaustive()
    }
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

    /// A member's token for the relays.
    ///
    /// # Errors
    /// [`Error::NotFound`] for others; the store's.
    pub async fn relay_pass(&self, player: PlayerId, id: LobbyId) -> Result<RelayPass, Error> {
        let (_, connection) = self.lobby_of(id, player).await?;
        let token = self.auth.relay_token(player, id, connection, wall()).map_err(Error::Sign)?;
        Ok(RelayPass { relays: self.relays.addresses(id, Instant::now()), token })
    }

    /// A host's grant for the relays.
    ///
    /// # Errors
    /// A stale epoch, or not the host; the store's.
    pub async fn host_grant(&self, player: PlayerId, id: LobbyId, epoch: HostEpoch) -> Result<String, Error> {
        let (lobby, connection) = self.lobby_of(id, player).await?;
        lobby.check_host_write(connection, epoch)?;
        self.auth.host_grant(player, id, connection, epoch, wall()).map_err(Error::Sign)
    }
}
