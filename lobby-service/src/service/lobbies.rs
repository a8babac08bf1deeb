//! Making, finding, joining and leaving lobbies.

use std::sync::Arc;

use protocol::id::{ConnectionId, JoinCode, LobbyId, PeerKey, PlayerId};
use protocol::limits;
use protocol::lobby::election::Ranking;
use protocol::lobby::{Command, Lobby, Newcomer, Settings, Visibility};
use protocol::message::LobbyView;

use super::{Error, Service, to_the_end};
use crate::auth::random;
use crate::store::CreateError;

/// Join codes drawn for one lobby. Two of 2^50 are the same once in a hundred million lobbies.
const CODES_DRAWN_MAX: usize = 8;

/// What a player brings to a lobby.
#[derive(Debug, Clone)]
pub struct Profile {
    /// Shown to the others; without it the name that the player signed in with.
    pub name: Option<String>,
    /// The certificate of its process.
    pub peer_key: PeerKey,
    /// The game's build.
    pub build_id: String,
    /// It consents to being host.
    pub can_host: bool,
    /// Where it can be reached without the relay.
    pub direct_address: Option<String>,
}

/// What a lobby is made of.
#[derive(Debug, Clone)]
pub struct NewLobby {
    /// Its name.
    pub name: String,
    /// Its settings.
    pub settings: Settings,
    /// Its creator.
    pub creator: Profile,
}

/// A seat taken.
#[derive(Debug, Clone)]
pub struct Joined {
    /// The lobby with the new member in it.
    pub lobby: LobbyView,
    /// The seat.
    pub connection: ConnectionId,
}

impl Service {
    /// Makes a lobby whose creator hosts it.
    ///
    /// # Errors
    /// A name, text or setting out of its bounds, or the store's.
    pub async fn create_lobby(self: &Arc<Self>, player: PlayerId, new: NewLobby) -> Result<Joined, Error> {
        let service = Arc::clone(self);
        let creator = self.newcomer(player, new.creator).await?;
        to_the_end(async move { service.create(new.name, new.settings, creator).await }).await
    }

    async fn create(self: &Arc<Self>, name: String, settings: Settings, creator: Newcomer) -> Result<Joined, Error> {
        let id = LobbyId::from_bytes(random());
        let _turn = self.turn(id).await;
        for _ in 0..CODES_DRAWN_MAX {
            let code = JoinCode::from_entropy(u64::from_be_bytes(random()));
            let now = self.clock.now();
            let (lobby, events) = Lobby::create(id, code, name.clone(), settings.clone(), creator.clone(), now)?;
            match self.store.create(&lobby, &events).await {
                Ok(()) => {
                    self.publish(&lobby, &events);
                    self.settled(&lobby);
                    return self.joined(&lobby, &creator);
                }
                Err(CreateError::CodeTaken(_)) => {}
                Err(CreateError::Store(error)) => return self.stored(Err(error)),
            }
        }
        Err(Error::Busy)
    }

    /// Takes a seat in the lobby of a join code.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown code; the lobby's rejection; the store's.
    pub async fn join_by_code(
        self: &Arc<Self>,
        player: PlayerId,
        code: JoinCode,
        profile: Profile,
    ) -> Result<Joined, Error> {
        let id = self.store.id_by_code(code).await?.ok_or(Error::NotFound)?;
        self.join(player, id, profile).await
    }

    /// Takes a seat in a public lobby, or its own seat again in any.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a private lobby too; the lobby's rejection; the store's.
    pub async fn join_by_id(
        self: &Arc<Self>,
        player: PlayerId,
        id: LobbyId,
        profile: Profile,
    ) -> Result<Joined, Error> {
        let (lobby, _) = self.store.load(id).await?.ok_or(Error::NotFound)?;
        if lobby.settings().visibility == Visibility::Private && lobby.seat_of(player).is_none() {
            return Err(Error::NotFound);
        }
        self.join(player, id, profile).await
    }

    async fn join(self: &Arc<Self>, player: PlayerId, id: LobbyId, profile: Profile) -> Result<Joined, Error> {
        let service = Arc::clone(self);
        let newcomer = self.newcomer(player, profile).await?;
        to_the_end(async move {
            let _turn = service.turn(id).await;
            let lobby = service.decide(id, Command::Join(newcomer.clone())).await?;
            service.joined(&lobby, &newcomer)
        })
        .await
    }

    /// The join itself counts as the first sign of life.
    fn joined(&self, lobby: &Lobby, newcomer: &Newcomer) -> Result<Joined, Error> {
        let connection = lobby.seat_of(newcomer.player).ok_or(Error::NotFound)?;
        self.leases.give((lobby.id(), connection), newcomer.peer_key);
        Ok(Joined { lobby: lobby.view(), connection })
    }

    async fn newcomer(&self, player: PlayerId, profile: Profile) -> Result<Newcomer, Error> {
        let Profile { name, peer_key, build_id, can_host, direct_address } = profile;
        let name = match name {
            Some(name) => name,
            None => self.store.player(player).await?.map(|player| player.name).unwrap_or_default(),
        };
        Ok(Newcomer { player, name, peer_key, build_id, can_host, direct_address })
    }

    /// Gives up the player's seat.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it has none; the store's.
    pub async fn leave(self: &Arc<Self>, player: PlayerId, id: LobbyId) -> Result<(), Error> {
        let (_, connection) = self.lobby_of(id, player).await?;
        self.execute(id, Command::Leave { connection, player }).await?;
        Ok(())
    }

    /// A sign of life of a member that has no socket. A disconnected one is connected again.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it has no seat; the store's.
    pub async fn heartbeat(self: &Arc<Self>, player: PlayerId, id: LobbyId, peer_key: PeerKey) -> Result<(), Error> {
        let (_, connection) = self.lobby_of(id, player).await?;
        let service = Arc::clone(self);
        to_the_end(async move {
            let _turn = service.turn(id).await;
            service.decide(id, Command::Connect { connection, player, peer_key }).await?;
            service.leases.beat((id, connection), peer_key);
            Ok(())
        })
        .await
    }

    /// A lobby for a caller: whether it is a member, or may only see that the lobby is there.
    ///
    /// # Errors
    /// [`Error::NotFound`] for private lobbies of others; the store's.
    pub async fn show(&self, player: PlayerId, id: LobbyId) -> Result<(Lobby, bool), Error> {
        let (lobby, _) = self.store.load(id).await?.ok_or(Error::NotFound)?;
        let is_member = lobby.seat_of(player).is_some();
        if is_member || lobby.settings().visibility == Visibility::Public {
            Ok((lobby, is_member))
        } else {
            Err(Error::NotFound)
        }
    }

    /// A page of the public lobbies with free seats, by id.
    ///
    /// # Errors
    /// The store's.
    pub async fn list(&self, after: Option<LobbyId>, limit: u32) -> Result<Vec<Lobby>, Error> {
        Ok(self.store.list(after, limit.clamp(1, limits::LIST_PAGE_MAX)).await?)
    }

    /// The election as it would end now, for a member.
    ///
    /// # Errors
    /// [`Error::NotFound`] for others; the store's.
    pub async fn ranking(&self, player: PlayerId, id: LobbyId) -> Result<Ranking, Error> {
        Ok(self.lobby_of(id, player).await?.0.ranking())
    }
}
