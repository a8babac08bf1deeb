//! Making, joining and leaving lobbies.

use std::sync::Arc;

use protocol::commit::Version;
use protocol::error::Rejection;
use protocol::id::{Checksum, ConnectionId, EventSeq, JoinCode, LobbyId, PeerKey, PlayerId, RequestKey, SecretHash};
use protocol::lobby::data::DataPatch;
use protocol::lobby::election::Ranking;
use protocol::lobby::{Admission, Command, Lobby, NewLobby, Newcomer, PasswordHash, Return, Settings, Viewer};
use protocol::message::LobbyView;

use super::manage::only_if;
use super::{Error, Service, to_the_end};
use crate::auth::random;
use crate::limits::Quota;
use crate::store::Written;

/// Join codes drawn for one lobby. Two of 2^50 are the same once in a hundred million lobbies.
pub(super) const CODES_DRAWN_MAX: usize = 8;
/// What hashes are made for, so that none of one purpose is one of another.
const REQUEST: &str = "understudy 2026 request key";
const LOBBY_OF_REQUEST: &str = "understudy 2026 lobby of a request";
const SECRET: &str = "understudy 2026 reconnect secret";

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
    /// It runs in a browser: WebRTC is the only way to it.
    pub browser: bool,
    /// What it tells of itself.
    pub data: DataPatch,
    /// What is to take its seat again; without one the service draws it.
    pub secret: Option<ReconnectSecret>,
}

/// What another process of a player brings to take its seat again.
#[derive(Debug, Clone)]
pub struct Returning {
    /// What came with the seat.
    pub secret: ReconnectSecret,
    /// What is to take it the next time; without one the service draws it.
    pub next: Option<ReconnectSecret>,
    /// The certificate of the process.
    pub peer_key: PeerKey,
    /// Where it can be reached without the relay.
    pub direct_address: Option<String>,
    /// It runs in a browser: WebRTC is the only way to it.
    pub browser: bool,
}

/// What takes a seat again: 256 bits, which only its owner has. What is kept is a hash of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ReconnectSecret([u8; 32]);

impl ReconnectSecret {
    fn draw() -> Self {
        Self(random())
    }

    fn hash(&self) -> SecretHash {
        SecretHash::from_bytes(digest(SECRET, &[&self.0]))
    }
}

impl std::fmt::Display for ReconnectSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::str::FromStr for ReconnectSecret {
    type Err = protocol::id::ParseIdError;

    /// From 64 hexadecimal digits, as keys are written.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(|key: Checksum| Self(*key.as_bytes()))
    }
}

impl std::fmt::Debug for ReconnectSecret {
    /// Without it (P18).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReconnectSecret")
    }
}

/// What a lobby is made of, beside its creator.
#[derive(Clone)]
pub struct Foundation {
    /// Its name.
    pub name: String,
    /// Its settings.
    pub settings: Settings,
    /// What newcomers have to know.
    pub password: Option<String>,
    /// Its data.
    pub data: DataPatch,
}

impl std::fmt::Debug for Foundation {
    /// Without the password and the data (P18).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Foundation").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A request that is one request however often it is sent, by the key that its sender gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    key: [u8; 16],
    body: [u8; 8],
}

impl Request {
    /// One with this key and this body.
    #[must_use]
    pub fn new(key: &str, body: &[u8]) -> Self {
        Self { key: digest(REQUEST, &[b"key", key.as_bytes()]), body: digest(REQUEST, &[b"body", body]) }
    }

    /// What is kept of it: eight bytes of whose it is and of its key, and eight of what it asks.
    fn stored(&self, player: PlayerId) -> RequestKey {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&digest::<8>(REQUEST, &[player.as_bytes(), &self.key]));
        bytes[8..].copy_from_slice(&self.body);
        RequestKey::from_bytes(bytes)
    }

    /// Where a lobby is that was made by it: a repetition finds it, whatever became of the first answer.
    fn lobby(&self, player: PlayerId) -> LobbyId {
        LobbyId::from_bytes(digest(LOBBY_OF_REQUEST, &[player.as_bytes(), &self.key]))
    }
}

/// Whether two keys were given to one request; `Err` if the key is the same and the request is not.
fn is_same(known: RequestKey, asked: RequestKey) -> Result<bool, Error> {
    let ((key, body), (other_key, other_body)) = (known.as_bytes().split_at(8), asked.as_bytes().split_at(8));
    match (key == other_key, body == other_body) {
        (true, false) => Err(Error::KeyReused),
        (same, _) => Ok(same),
    }
}

/// A seat taken.
#[derive(Clone)]
pub struct Joined {
    /// The lobby with the new member in it, as that sees it.
    pub lobby: LobbyView,
    /// The seat.
    pub connection: ConnectionId,
    /// What takes the seat again, once.
    pub secret: ReconnectSecret,
    /// Nobody had a seat there before.
    pub is_new: bool,
}

impl std::fmt::Debug for Joined {
    /// Without the secret (P18).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Joined")
            .field("lobby", &self.lobby.id)
            .field("connection", &self.connection)
            .finish_non_exhaustive()
    }
}

impl Service {
    /// Makes a lobby whose creator hosts it. Asked again with the same key, it is the same lobby.
    ///
    /// # Errors
    /// A name, text, setting or value out of its bounds, [`Error::KeyReused`], or the store's.
    pub async fn create_lobby(
        self: &Arc<Self>,
        player: PlayerId,
        new: Foundation,
        creator: Profile,
        request: Option<Request>,
    ) -> Result<Joined, Error> {
        let id = request.map_or_else(|| LobbyId::from_bytes(random()), |request| request.lobby(player));
        match self.found(player, id, false, new, creator.clone(), request).await? {
            Some(joined) => Ok(joined),
            None => self.again(player, id, creator, request).await,
        }
    }

    /// Makes a lobby under an id that the game chose, or joins the one that has it.
    ///
    /// # Errors
    /// As [`Self::create_lobby`] and [`Self::join_by_id`].
    pub async fn create_or_join(
        self: &Arc<Self>,
        player: PlayerId,
        id: LobbyId,
        new: Foundation,
        profile: Profile,
        request: Option<Request>,
    ) -> Result<Joined, Error> {
        let password = new.password.clone();
        if self.stored(self.store.load(id).await)?.is_none()
            && let Some(joined) = self.found(player, id, true, new, profile.clone(), request).await?
        {
            return Ok(joined);
        }
        self.join(player, id, Admission::ChosenId, profile, password, request).await
    }

    /// Returns nothing if the id is taken.
    async fn found(
        self: &Arc<Self>,
        player: PlayerId,
        id: LobbyId,
        is_id_chosen: bool,
        new: Foundation,
        creator: Profile,
        request: Option<Request>,
    ) -> Result<Option<Joined>, Error> {
        self.check_quota(player, id, true).await?;
        let service = Arc::clone(self);
        let Foundation { name, settings, password, data } = new;
        let password = match password {
            Some(password) => Some(self.passwords.hash(password).await?),
            None => None,
        };
        let secret = creator.secret.unwrap_or_else(ReconnectSecret::draw);
        let mut creator = self.newcomer(player, Admission::ChosenId, creator).await?;
        (creator.secret, creator.request) = (Some(secret.hash()), request.map(|request| request.stored(player)));
        let new =
            NewLobby { is_id_chosen, password, data, ..NewLobby::new(id, JoinCode::from_entropy(0), name, settings) };
        to_the_end(async move { service.make(new, creator, secret).await }).await
    }

    async fn make(
        self: &Arc<Self>,
        new: NewLobby,
        creator: Newcomer,
        secret: ReconnectSecret,
    ) -> Result<Option<Joined>, Error> {
        let id = new.id;
        for _ in 0..CODES_DRAWN_MAX {
            let join_code = new_code();
            let (lobby, events) =
                Lobby::create(NewLobby { join_code, ..new.clone() }, creator.clone(), self.clock.now())?;
            let connection = lobby.seat_of(creator.player).ok_or(Error::NotFound)?;
            let view = lobby.view(Viewer::Member(connection));
            match self.create(lobby, events).await? {
                Written::Done => {
                    self.names.put_code(join_code, id);
                    self.leases.give((id, connection), creator.peer_key);
                    self.leases.settled((id, connection), Version(1));
                    return Ok(Some(Joined { lobby: view, connection, secret, is_new: true }));
                }
                Written::Taken | Written::Stale => {}
            }
            if self.stored(self.store.load(id).await)?.is_some() {
                return Ok(None);
            }
        }
        Err(Error::Busy)
    }

    /// The lobby that an earlier request with this key has made.
    async fn again(
        self: &Arc<Self>,
        player: PlayerId,
        id: LobbyId,
        creator: Profile,
        request: Option<Request>,
    ) -> Result<Joined, Error> {
        let asked = request.ok_or(Error::Busy)?.stored(player);
        let found = self.lobby_of(id, player).await;
        // Its creator has left since: the request is not what brings it back.
        let (lobby, connection) =
            found.map_err(|error| if matches!(error, Error::NotFound) { Error::KeyReused } else { error })?;
        if !lobby.request_of(connection).map_or(Ok(false), |known| is_same(known, asked))? {
            return Err(Error::KeyReused);
        }
        let joined = self.sit(player, id, Admission::Id, creator, None, request).await?;
        Ok(Joined { is_new: true, ..joined })
    }

    /// Takes a seat in the lobby of a join code.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown code; the lobby's rejection; [`Error::KeyReused`]; the store's.
    pub async fn join_by_code(
        self: &Arc<Self>,
        player: PlayerId,
        code: JoinCode,
        profile: Profile,
        password: Option<String>,
        request: Option<Request>,
    ) -> Result<Joined, Error> {
        let admission = Admission::Code(code);
        if let Some(id) = self.names.lobby(code) {
            match self.join(player, id, admission, profile.clone(), password.clone(), request).await {
                // It was deleted long ago, or has another code, and this one may be another's.
                Err(Error::NotFound) => self.names.forget_code(code),
                joined => return joined,
            }
        }
        let id = self.stored(self.store.id_by_code(code).await)?.ok_or(Error::NotFound)?;
        let joined = self.join(player, id, admission, profile, password, request).await?;
        self.names.put_code(code, id);
        Ok(joined)
    }

    /// Takes a seat in a public lobby, or its own seat again in any.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a private lobby too; the lobby's rejection; [`Error::KeyReused`]; the store's.
    pub async fn join_by_id(
        self: &Arc<Self>,
        player: PlayerId,
        id: LobbyId,
        profile: Profile,
        password: Option<String>,
        request: Option<Request>,
    ) -> Result<Joined, Error> {
        self.join(player, id, Admission::Id, profile, password, request).await
    }

    pub(super) async fn join(
        self: &Arc<Self>,
        player: PlayerId,
        id: LobbyId,
        admission: Admission,
        profile: Profile,
        password: Option<String>,
        request: Option<Request>,
    ) -> Result<Joined, Error> {
        if let Some(before) = self.carried_out(player, request).await? {
            return self.sit(player, before, admission, profile, None, request).await;
        }
        self.check_quota(player, id, false).await?;
        let password = match password {
            Some(password) => self.matching(player, id, admission, password).await?,
            None => None,
        };
        self.sit(player, id, admission, profile, password, request).await
    }

    /// Whether a player may have one more lobby; it may always have this one again. Two that are asked for at once may both be taken.
    async fn check_quota(&self, player: PlayerId, id: LobbyId, as_host: bool) -> Result<(), Error> {
        let quota = self.limiter.limits().quota;
        if quota == Quota::NONE {
            return Ok(());
        }
        let memberships = self.stored(self.store.memberships(player).await)?;
        if memberships.iter().any(|membership| membership.lobby == id) {
            return Ok(());
        }
        let hosted = memberships.iter().filter(|membership| membership.is_host).count();
        let allowed =
            if as_host { quota.check_create(hosted, memberships.len()) } else { quota.check_join(memberships.len()) };
        Ok(allowed?)
    }

    /// The lobby in which a request with this key has taken a seat before. The key is remembered for as long as the seat is kept.
    pub(super) async fn carried_out(
        &self,
        player: PlayerId,
        request: Option<Request>,
    ) -> Result<Option<LobbyId>, Error> {
        let Some(asked) = request.map(|request| request.stored(player)) else { return Ok(None) };
        for membership in self.stored(self.store.memberships(player).await)? {
            if let Some(known) = membership.request
                && is_same(known, asked)?
            {
                return Ok(Some(membership.lobby));
            }
        }
        Ok(None)
    }

    /// The lobby's password, if it is this one. Whoever may not know of the lobby learns nothing from how long it takes.
    async fn matching(
        &self,
        player: PlayerId,
        id: LobbyId,
        admission: Admission,
        password: String,
    ) -> Result<Option<PasswordHash>, Error> {
        let lobby = self.lobby(id).await?;
        let Some(hash) = lobby.password().filter(|_| lobby.is_known_to(player, admission, self.clock.now())) else {
            return Ok(None);
        };
        Ok(self.passwords.verify(password, hash).await?.then(|| hash.clone()))
    }

    async fn sit(
        self: &Arc<Self>,
        player: PlayerId,
        id: LobbyId,
        admission: Admission,
        profile: Profile,
        password: Option<PasswordHash>,
        request: Option<Request>,
    ) -> Result<Joined, Error> {
        let secret = profile.secret.unwrap_or_else(ReconnectSecret::draw);
        let mut newcomer = self.newcomer(player, admission, profile).await?;
        (newcomer.password, newcomer.secret) = (password, Some(secret.hash()));
        newcomer.request = request.map(|request| request.stored(player));
        let lobby = self.execute(id, Command::Join(newcomer)).await?;
        seated(&lobby, player, secret)
    }

    /// Another process of a player takes its seat with the secret that it saved.
    ///
    /// # Errors
    /// [`Rejection::WrongSecret`], also if there is no such lobby or seat; the lobby's rejection; the store's.
    pub async fn reconnect(
        self: &Arc<Self>,
        player: PlayerId,
        id: LobbyId,
        returning: Returning,
    ) -> Result<Joined, Error> {
        let Returning { secret, next, peer_key, direct_address, browser } = returning;
        let next = next.unwrap_or_else(ReconnectSecret::draw);
        let returning = Return {
            player,
            presented: secret.hash(),
            next: next.hash(),
            peer_key,
            direct_address,
            browser,
            holder: self.leases.instance(),
        };
        let wrong = |error| if matches!(error, Error::NotFound) { Rejection::WrongSecret.into() } else { error };
        let lobby = self.execute(id, Command::Reconnect(returning)).await.map_err(wrong)?;
        seated(&lobby, player, next)
    }

    async fn newcomer(&self, player: PlayerId, admission: Admission, profile: Profile) -> Result<Newcomer, Error> {
        let Profile { name, peer_key, build_id, can_host, direct_address, browser, data, secret: _ } = profile;
        let name = match name {
            Some(name) => name,
            None => self.name_of(player).await?,
        };
        let new = Newcomer::new(player, peer_key, self.leases.instance());
        Ok(Newcomer { name, build_id, can_host, direct_address, browser, data, admission, ..new })
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
    pub async fn leave(
        self: &Arc<Self>,
        player: PlayerId,
        id: LobbyId,
        if_match: Option<EventSeq>,
    ) -> Result<(), Error> {
        let connection = self.seat_of(id, player).await?;
        self.execute(id, only_if(if_match, Command::Leave { connection, player })).await?;
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

    /// The election as it would end now, for a member.
    ///
    /// # Errors
    /// [`Error::NotFound`] for others; the store's.
    pub async fn ranking(&self, player: PlayerId, id: LobbyId) -> Result<Ranking, Error> {
        Ok(self.lobby_of(id, player).await?.0.ranking())
    }
}

pub(super) fn new_code() -> JoinCode {
    JoinCode::from_entropy(u64::from_be_bytes(random()))
}

fn seated(lobby: &Lobby, player: PlayerId, secret: ReconnectSecret) -> Result<Joined, Error> {
    let connection = lobby.seat_of(player).ok_or(Error::NotFound)?;
    Ok(Joined { lobby: lobby.view(Viewer::Member(connection)), connection, secret, is_new: false })
}

/// A hash of some bytes for one purpose, cut to a length.
fn digest<const N: usize>(purpose: &str, parts: &[&[u8]]) -> [u8; N] {
    let mut hasher = blake3::Hasher::new_derive_key(purpose);
    for part in parts {
        hasher.update(&(part.len() as u64).to_be_bytes()).update(part);
    }
    let mut bytes = [0; N];
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}
