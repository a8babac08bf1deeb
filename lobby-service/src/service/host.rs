//! What hosts write, and what members and hosts show to the relays.

use std::sync::Arc;
use std::time::Instant;

use protocol::error::Rejection;
use protocol::id::{HostEpoch, LobbyId, PlayerId};
use protocol::limits;
use protocol::lobby::{Command, Lobby};

use super::{Error, Service};
use crate::auth::TurnPass;
use crate::clock::wall;
use crate::relays::GONE_KEPT;

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

/// Relays that members are told as STUN servers: one will do, and each more costs a browser time.
const STUN_SERVERS_MAX: usize = 2;

/// What a member makes WebRTC links with.
#[derive(Debug, Clone)]
pub struct Ice {
    /// UDP addresses of relays, which answer STUN's binding requests.
    pub stun: Vec<String>,
    /// The TURN servers, if there are any.
    pub turn: Option<TurnPass>,
    /// Nobody is to learn another's address.
    pub relay_only: bool,
    /// Seconds for which this is good.
    pub life_s: u64,
}

impl Service {
    /// The elected host runs the game. Said again, the answer is the same.
    ///
    /// # Errors
    /// A stale epoch before anything else; not the host; the store's.
    pub async fn ready(self: &Arc<Self>, player: PlayerId, id: LobbyId, epoch: HostEpoch) -> Result<HostEpoch, Error> {
        let connection = self.seat_of(id, player).await?;
        Ok(self.execute(id, Command::Ready { connection, epoch }).await?.epoch())
    }

    /// A member's token for the relays.
    ///
    /// # Errors
    /// [`Error::NotFound`] for others; [`Rejection::Closed`]; the store's.
    pub async fn relay_pass(self: &Arc<Self>, player: PlayerId, id: LobbyId) -> Result<RelayPass, Error> {
        let (lobby, connection) = self.lobby_of(id, player).await?;
        if lobby.is_closed() {
            return Err(Rejection::Closed.into());
        }
        let relays = self.meeting(lobby).await?;
        let token = self.auth.relay_token(player, id, connection, wall()).map_err(Error::Sign)?;
        Ok(RelayPass { relays, token })
    }

    /// Servers for a member's WebRTC links.
    ///
    /// # Errors
    /// [`Error::NotFound`] for others; [`Rejection::Closed`]; the store's.
    pub async fn ice(self: &Arc<Self>, player: PlayerId, id: LobbyId) -> Result<Ice, Error> {
        let (lobby, _) = self.lobby_of(id, player).await?;
        if lobby.is_closed() {
            return Err(Rejection::Closed.into());
        }
        let relay_only = lobby.settings().relay_only;
        // Whoever may not tell its address need not know it.
        let mut stun = if relay_only { Vec::new() } else { self.meeting(lobby).await? };
        stun.truncate(STUN_SERVERS_MAX);
        let turn = self.auth.turn_pass(player, wall());
        let life_s = turn.as_ref().map_or(limits::TURN_CREDENTIAL_LIFE.as_secs(), |pass| pass.life_s);
        Ok(Ice { stun, turn, relay_only, life_s })
    }

    /// The relays, first the one where the lobby's members meet. If they have none yet, or it is gone, the lobby is given one.
    async fn meeting(self: &Arc<Self>, lobby: Arc<Lobby>) -> Result<Vec<String>, Error> {
        let (id, met) = (lobby.id(), lobby.relay());
        let relays = self.relays.addresses(id, met, Instant::now());
        let Some(first) = relays.first().filter(|&first| Some(&**first) != met) else { return Ok(relays) };
        // After a start the relays have not all registered here yet.
        if let Some(met) = met.filter(|_| self.clock.runs_for() < GONE_KEPT) {
            return Ok(std::iter::once(met.to_owned()).chain(relays).collect());
        }
        let command = Command::Meet { relay: first.clone(), instead_of: met.map(str::to_owned) };
        let lobby = self.execute(id, command).await?;
        Ok(self.relays.addresses(id, lobby.relay(), Instant::now()))
    }

    /// A host's grant for the relays.
    ///
    /// # Errors
    /// A stale epoch, or not the host; [`Rejection::Closed`]; the store's.
    pub async fn host_grant(&self, player: PlayerId, id: LobbyId, epoch: HostEpoch) -> Result<String, Error> {
        let (lobby, connection) = self.lobby_of(id, player).await?;
        lobby.check_host_write(connection, epoch)?;
        if lobby.is_closed() {
            return Err(Rejection::Closed.into());
        }
        self.auth.host_grant(player, id, connection, epoch, wall()).map_err(Error::Sign)
    }
}
