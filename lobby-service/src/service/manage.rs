//! What hosts and servers of the game change, and what members change of themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::id::{ConnectionId, EventSeq, HostEpoch, JoinCode, LobbyId, PlayerId};
use protocol::lobby::data::DataPatch;
use protocol::lobby::{Actor, Ban, Bulk, Command, Lobby, LobbyPatch, MemberPatch, SettingsPatch};
use protocol::time::Timestamp;

use super::lobbies::{CODES_DRAWN_MAX, new_code};
use super::{Error, Service};

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// A player, who may do what its seat allows.
    Player(PlayerId),
    /// A server of the game whose key allows this, or an operator.
    Server,
}

/// What becomes of a lobby, with a password that is not hashed yet.
#[derive(Clone, Default)]
pub struct Patch {
    /// Another name.
    pub name: Option<String>,
    /// Other settings.
    pub settings: SettingsPatch,
    /// Another password, or none.
    pub password: Option<Option<String>>,
    /// Other data.
    pub data: DataPatch,
}

impl std::fmt::Debug for Patch {
    /// Without the password and the data (P18).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Patch").field("name", &self.name).field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// A command that is carried out only if the lobby is as its caller knows it, if that matters.
pub(super) fn only_if(seq: Option<EventSeq>, command: Command) -> Command {
    match seq {
        Some(seq) => Command::If { seq, command: Box::new(command) },
        None => command,
    }
}

impl Service {
    /// Who a lobby is to believe to ask: a player as the host that it says it is.
    async fn actor(&self, asker: Asker, id: LobbyId, epoch: Option<HostEpoch>) -> Result<Actor, Error> {
        match asker {
            Asker::Server => Ok(Actor::Server),
            Asker::Player(player) => {
                let connection = self.seat_of(id, player).await?;
                Ok(Actor::Host { connection, epoch: epoch.ok_or(Error::EpochRequired)? })
            }
        }
    }

    /// Changes a lobby.
    ///
    /// # Errors
    /// [`Error::EpochRequired`]; the lobby's rejection; the store's. All methods of hosts and servers fail like that.
    pub async fn update(
        self: &Arc<Self>,
        asker: Asker,
        id: LobbyId,
        epoch: Option<HostEpoch>,
        if_match: Option<EventSeq>,
        patch: Patch,
    ) -> Result<Arc<Lobby>, Error> {
        let by = self.actor(asker, id, epoch).await?;
        let patch = self.hashed(patch).await?;
        self.execute(id, only_if(if_match, Command::Update { by, patch })).await
    }

    async fn hashed(&self, patch: Patch) -> Result<LobbyPatch, Error> {
        let Patch { name, settings, password, data } = patch;
        let password = match password {
            Some(Some(password)) => Some(Some(self.passwords.hash(password).await?)),
            Some(None) => Some(None),
            None => None,
        };
        Ok(LobbyPatch { name, settings, password, data })
    }

    /// Changes a member: itself, or a server does it.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the seat of another; the lobby's rejection; the store's.
    pub async fn update_member(
        self: &Arc<Self>,
        asker: Asker,
        id: LobbyId,
        connection: ConnectionId,
        if_match: Option<EventSeq>,
        patch: MemberPatch,
    ) -> Result<Arc<Lobby>, Error> {
        if let Asker::Player(player) = asker
            && self.seat_of(id, player).await? != connection
        {
            return Err(Error::NotFound);
        }
        self.execute(id, only_if(if_match, Command::UpdateMember { connection, patch })).await
    }

    /// Takes a member's seat. A member that names its own leaves.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub async fn kick(
        self: &Arc<Self>,
        asker: Asker,
        id: LobbyId,
        connection: ConnectionId,
        epoch: Option<HostEpoch>,
        if_match: Option<EventSeq>,
    ) -> Result<(), Error> {
        if let Asker::Player(player) = asker
            && self.seat_of(id, player).await? == connection
        {
            return self.leave(player, id, if_match).await;
        }
        let by = self.actor(asker, id, epoch).await?;
        self.execute(id, only_if(if_match, Command::Kick { by, connection })).await?;
        Ok(())
    }

    /// Keeps a player out, and takes its seat if it has one.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub async fn ban(
        self: &Arc<Self>,
        asker: Asker,
        id: LobbyId,
        epoch: Option<HostEpoch>,
        player: PlayerId,
        until: Option<Timestamp>,
        reason: String,
    ) -> Result<Ban, Error> {
        let by = self.actor(asker, id, epoch).await?;
        let ban = Ban { since: self.clock.now(), until, reason };
        self.execute(id, Command::Ban { by, player, ban: ban.clone() }).await?;
        Ok(ban)
    }

    /// Lifts a ban.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none; as [`Self::update`].
    pub async fn unban(
        self: &Arc<Self>,
        asker: Asker,
        id: LobbyId,
        epoch: Option<HostEpoch>,
        player: PlayerId,
    ) -> Result<(), Error> {
        let by = self.actor(asker, id, epoch).await?;
        self.execute(id, Command::Unban { by, player }).await?;
        Ok(())
    }

    /// The bans that have not ended, for the host or a server.
    ///
    /// # Errors
    /// [`protocol::error::Rejection::NotHost`] for other members; [`Error::NotFound`] for others; the store's.
    pub async fn bans(&self, asker: Asker, id: LobbyId) -> Result<BTreeMap<PlayerId, Ban>, Error> {
        let lobby = match asker {
            Asker::Server => self.lobby(id).await?,
            Asker::Player(player) => {
                let (lobby, connection) = self.lobby_of(id, player).await?;
                lobby.check_host_write(connection, lobby.epoch())?;
                lobby
            }
        };
        let now = self.clock.now();
        let mut bans = lobby.bans().clone();
        bans.retain(|&player, _| lobby.is_banned(player, now));
        Ok(bans)
    }

    /// Makes another member host, at the next epoch.
    ///
    /// # Errors
    /// [`protocol::error::Rejection::NotEligible`]; as [`Self::update`].
    pub async fn replace_host(
        self: &Arc<Self>,
        asker: Asker,
        id: LobbyId,
        epoch: Option<HostEpoch>,
        to: Option<ConnectionId>,
    ) -> Result<Arc<Lobby>, Error> {
        let by = self.actor(asker, id, epoch).await?;
        self.execute(id, Command::Replace { by, to }).await
    }

    /// Asks the host to prepare another member and to make it host.
    ///
    /// # Errors
    /// [`protocol::error::Rejection::NotEligible`]; [`protocol::error::Rejection::NoHost`]; as [`Self::update`].
    pub async fn ask_hand_over(
        self: &Arc<Self>,
        asker: Asker,
        id: LobbyId,
        epoch: Option<HostEpoch>,
        to: Option<ConnectionId>,
    ) -> Result<Arc<Lobby>, Error> {
        let by = self.actor(asker, id, epoch).await?;
        self.execute(id, Command::AskHandOver { by, to }).await
    }

    /// Gives a lobby another join code.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub async fn rotate_code(
        self: &Arc<Self>,
        asker: Asker,
        id: LobbyId,
        epoch: Option<HostEpoch>,
    ) -> Result<JoinCode, Error> {
        let by = self.actor(asker, id, epoch).await?;
        for _ in 0..CODES_DRAWN_MAX {
            let code = new_code();
            match self.execute(id, Command::RotateCode { by, code }).await {
                // Another lobby has this one, or the lobby is busy.
                Err(Error::Busy) => {}
                Ok(lobby) => return Ok(lobby.join_code()),
                Err(error) => return Err(error),
            }
        }
        Err(Error::Busy)
    }

    /// Ends a lobby.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub async fn close_lobby(
        self: &Arc<Self>,
        asker: Asker,
        id: LobbyId,
        epoch: Option<HostEpoch>,
        if_match: Option<EventSeq>,
    ) -> Result<(), Error> {
        let by = self.actor(asker, id, epoch).await?;
        self.execute(id, only_if(if_match, Command::Close { by })).await?;
        Ok(())
    }

    /// Changes several things at once, for a server: all of it, or nothing.
    ///
    /// # Errors
    /// The lobby's rejection; the store's.
    pub async fn bulk(
        self: &Arc<Self>,
        id: LobbyId,
        if_match: Option<EventSeq>,
        patch: Patch,
        bulk: Bulk,
    ) -> Result<Arc<Lobby>, Error> {
        let lobby = self.hashed(patch).await?;
        self.execute(id, only_if(if_match, Command::Bulk(Bulk { lobby, ..bulk }))).await
    }
}
