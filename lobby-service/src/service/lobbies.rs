//! Making, finding, joining and leaving lobbies.

use std::sync::Arc;

use protocol::commit::Version;
use protocol::id::{ConnectionId, JoinCode, LobbyId, PeerKey, PlayerId};
use protocol::limits;
use protocol::lobby::election::Ranking;
use protocol::lobby::{Command, Lobby, Newcomer, Settings, Visibility};
use protocol::message::LobbyView;

use super::{Error, Service, to_the_end};
use crate::auth::random;
use crate::store::Written;

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
        to_the_end(async move { service.make(new.name, new.settings, creator).await }).await
    }

    async fn make(self: &Arc<Self>, name: String, settings: Settings, creator: Newcomer) -> Result<Joined, Error> {
        let id = LobbyId::from_bytes(random());
        for _ in 0..CODES_DRAWN_MAX {
            let code = JoinCode::from_entropy(u64::from_be_bytes(random()));
            let now = self.clock.now();
            let (lobby, events) = Lobby::create(id, code, name.clone(), settings.clone(), creator.clone(), now)?;
            let (view, connection) = (lobby.view(), lobby.seat_of(creator.player).ok_or(Error::NotFound)?);
            match self.create(lobby, events).await? {
                Written::Done => {
                    self.names.put_code(code, id);
                    self.leases.give((id, connection), creator.peer_key);
                    self.leases.settled((id, connection), Version(1));
                    return Ok(Joined { lobby: view, connection });
                }
                Written::Taken | Written::Stale => {}
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
        if let Some(id) = self.names.lobby(code) {
            match self.join(player, id, profile.clone()).await {
                // It was deleted long ago, and the code may be another's.
                Err(Error::NotFound) => self.names.forget_code(code),
                joined => return joined,
            }
        }
        let id = self.stored(self.store.id_by_code(code).await)?.ok_or(Error::NotFound)?;
        let joined = self.join(player, id, profile).await?;
        self.names.put_code(code, id);
        Ok(joined)
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
        let lobby = self.lobby(id).await?;
        if lobby.settings().visibility == Visibility::Private && lobby.seat_of(player).is_none() {
            return Err(Error::NotFound);
        }
        self.join(player, id, profile).await
    }

    async fn join(self: &Arc<Self>, player: PlayerId, id: LobbyId, profile: Profile) -> Result<Joined, Error> {
        let newcomer = self.newcomer(player, profile).await?;
        let lobby = self.execute(id, Command::Join(newcomer)).await?;
        let connection = lobby.seat_of(player).ok_or(Error::NotFound)?;
        Ok(Joined { lobby: lobby.view(), connection })
    }

    async fn newcomer(&self, player: PlayerId, profile: Profile) -> Result<Newcomer, Error> {
        let Profile { name, peer_key, build_id, can_host, direct_address } = profile;
        let name = match name {
            Some(name) => name,
            None => self.name_of(player).await?,
        };
        let holder = self.leases.instance();
        Ok(Newcomer { player, name, peer_key, build_id, can_host, direct_address, holder })
    }

    /// What a player called itself when it signed in.
    async fn name_of(&self, player: PlayerId) -> Result<String, Error> {
        if let Some(name) = self.names.player(player) {
            return Ok(name.as_ref().to_owned());
        }
        let Some(known) = self.stored(self.store.player(player).await)? else { return Ok(String::new()) };
        self.names.put_player(player, &known.name);
        Ok(known.name)
    }

    /// Gives up the player's seat.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it has none; the store's.
    pub async fn leave(self: &Arc<Self>, player: PlayerId, id: LobbyId) -> Result<(), Error> {
        let connection = self.seat_of(id, player).await?;
        self.execute(id, Command::Leave { connection, player }).await?;
        Ok(())
    }

    /// A sign of life of a member that has no socket. A disconnected one is connected again.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it has no seat; the store's.
    pub async fn heartbeat(self: &Arc<Self>, player: PlayerId, id: LobbyId, peer_key: PeerKey) -> Result<(), Error> {
        let connection = self.seat_of(id, player).await?;
        let seat = (id, connection);
        // Before the lobby is told: a loss that was noticed earlier is moot then.
        self.leases.beat(seat, peer_key);
        let holder = self.leases.instance();
        let connected = self.execute(id, Command::Connect { connection, player, peer_key, holder }).await;
        if let Err(error) = &connected {
            // A failure of ours closes nobody's socket.
            if !matches!(error, Error::Busy | Error::Store(_)) {
                self.leases.forget(seat);
            }
            self.look_after(id, error).await;
        }
        connected.map(|_| ())
    }

    /// A lobby for a caller: whether it is a member, or may only see that the lobby is there.
    ///
    /// # Errors
    /// [`Error::NotFound`] for private lobbies of others; the store's.
    pub async fn show(&self, player: PlayerId, id: LobbyId) -> Result<(Arc<Lobby>, bool), Error> {
        let lobby = self.lobby(id).await?;
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
        Ok(self.stored(self.store.list(after, limit.clamp(1, limits::LIST_PAGE_MAX)).await)?)
    }

    /// The election as it would end now, for a member.
    ///
    /// # Errors
    /// [`Error::NotFound`] for others; the store's.
    pub async fn ranking(&self, player: PlayerId, id: LobbyId) -> Result<Ranking, Error> {
        Ok(self.lobby_of(id, player).await?.0.ranking())
    }
}
