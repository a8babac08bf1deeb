//! Where lobbies, events, snapshots and players are kept: one trait, and what its implementations share.
//!
//! [`memory`] is the readable definition; one suite of tests runs over all of them. Whatever a method writes, it writes in one
//! transaction, and when it returns `Ok` that is durable.

mod find;
mod identity;
pub mod memory;
pub mod overview;
pub mod postgres;
mod snapshots;
mod sql;
pub mod sqlite;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use protocol::commit::Version;
use protocol::id::{Checksum, ConnectionId, EventSeq, InstanceId, JoinCode, LobbyId, PlayerId, RequestKey};
use protocol::lobby::Lobby;
#[cfg(doc)]
use protocol::lobby::listing::Listing;
use protocol::lobby::listing::Query;
use protocol::message::{Event, EventBody};
use protocol::snapshot::{Generation, Header};
use protocol::time::Timestamp;

use crate::auth::api_key::{ApiKeyId, StoredApiKey};
pub use identity::{API_KEYS_MAX, FAMILIES_MAX, Player, RefreshHash, Rotation};
use snapshots::{Admission, Chain, admit, admit_delta};
pub use snapshots::{NewDelta, NewSnapshot, SnapshotRefusal};

/// Seats of one player that are told.
pub const MEMBERSHIPS_MAX: usize = 1000;

/// Closed lobbies that are deleted in one transaction, each with up to a thousand events: others wait for it.
const DELETED_AT_ONCE: usize = 20;

/// The store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, is full or busy. Trying again later may help.
    #[error("the store is not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It may lose what it has acknowledged.
    #[error("the database may lose what it has acknowledged: {setting} is off")]
    Unsafe {
        /// Which of its settings makes it so.
        setting: &'static str,
    },
    /// What it holds cannot be read.
    #[error("the store holds a {what} that cannot be read")]
    Corrupt {
        /// Of which kind.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    /// The same failure, for one more of those who wait for what has failed.
    pub(crate) fn again(self: &Arc<Self>) -> Self {
        let source = Box::new(Arc::clone(self));
        match **self {
            Self::Corrupt { what, .. } => Self::Corrupt { what, source },
            Self::Unavailable(_) | Self::Unsafe { .. } => Self::Unavailable(source),
        }
    }
}

/// What is to be saved of one lobby: the lobby with the events that made it so.
#[derive(Debug, Clone)]
pub struct Change {
    /// The version that was changed; `None` for a new lobby.
    pub expected: Option<Version>,
    /// What to save.
    pub lobby: Arc<Lobby>,
    /// Its new events.
    pub events: Vec<Event>,
}

/// A player's seat in an open lobby.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// Where.
    pub lobby: LobbyId,
    /// Its seat.
    pub connection: ConnectionId,
    /// It may write as host.
    pub is_host: bool,
    /// The key of the request that made it a member, if it had one.
    pub request: Option<RequestKey>,
}

/// Who has a seat now that had none before, or has none any more, by what has happened; the last word on each player counts.
fn moves(lobby: &Lobby, events: &[Event]) -> BTreeMap<PlayerId, Option<Membership>> {
    let mut moves = BTreeMap::new();
    for event in events {
        if let EventBody::MemberJoined { member } = &event.body {
            let connection = member.connection;
            let request = lobby.request_of(connection);
            let membership = Membership { lobby: lobby.id(), connection, is_host: false, request };
            moves.insert(member.player, Some(membership));
        } else if let EventBody::MemberLeft { player, .. } = &event.body {
            moves.insert(*player, None);
        }
    }
    moves
}

/// How a change ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is durable, under the version after the expected one; a new lobby under version 1.
    Done,
    /// Another version is there, or nothing. Nothing was written.
    Stale,
    /// Its join code, or the new lobby's id, belongs to another one: draw a new one. Nothing was written.
    Taken,
}

/// What became of a lobby since a version.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once")]
pub enum Newer {
    /// Nothing: that version is the newest.
    Same,
    /// It is not there.
    Gone,
    /// It is at this version now.
    Newest(Lobby, Version),
}

/// The lease of an instance, renewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    /// The time of the database: of all its instances.
    pub now: Timestamp,
    /// Whether the lease still was this instance's. If not, it had run out and another instance has taken over its members.
    pub is_held: bool,
    /// Instances whose leases have not run out, this one among them if `is_held`.
    pub live: Vec<InstanceId>,
    /// Instances that are gone and whose members this one is to take over, now or still.
    pub inherited: Vec<InstanceId>,
}

/// What every store does.
#[async_trait]
pub trait Store: overview::Overview + Send + Sync + std::fmt::Debug {
    /// Whether other processes may write to it too.
    fn is_shared(&self) -> bool;

    /// Saves changes of different lobbies in one transaction, and tells how each ended: one that is refused disturbs none of the
    /// others. Only [`protocol::limits::EVENTS_KEPT`] events of a lobby stay, and no snapshot once it is closed.
    ///
    /// On an error nothing is known of any of them.
    async fn write(&self, changes: &[Change]) -> Result<Vec<Written>, StoreError>;

    /// A lobby and its version.
    async fn load(&self, id: LobbyId) -> Result<Option<(Lobby, Version)>, StoreError>;

    /// What became of a lobby since a version, without reading it if nothing has.
    async fn load_newer(&self, id: LobbyId, known: Version) -> Result<Newer, StoreError>;

    /// The versions of those of these lobbies that are there, in any order.
    async fn versions(&self, ids: &[LobbyId]) -> Result<Vec<(LobbyId, Version)>, StoreError>;

    /// The lobby that a join code belongs to.
    async fn id_by_code(&self, code: JoinCode) -> Result<Option<LobbyId>, StoreError>;

    /// The lobbies that a query looks for, among those that stand in the public list ([`Listing::is_listed`]), in its order: after
    /// its position, without those that it skips, at most its count. One that cannot be read is left out, here and below.
    async fn query(&self, query: &Query) -> Result<Vec<Lobby>, StoreError>;

    /// All lobbies, also closed ones, by id, after the given one.
    async fn lobbies(&self, after: Option<LobbyId>, limit: u32) -> Result<Vec<(Lobby, Version)>, StoreError>;

    /// The open lobbies in which a player has a seat, by id: at most [`MEMBERSHIPS_MAX`].
    async fn memberships(&self, player: PlayerId) -> Result<Vec<Membership>, StoreError>;

    /// Notes that something is used up, and forgets what is not asked for any more: what was noted until `now` or before.
    /// Returns whether it was not used up yet. Of several who ask at once exactly one is told so.
    async fn use_up(&self, what: [u8; 16], now: Timestamp, until: Timestamp) -> Result<bool, StoreError>;

    /// Lobbies that have connected members, by id, after the given one.
    async fn connected_lobbies(&self, after: Option<LobbyId>, limit: u32) -> Result<Vec<Lobby>, StoreError>;

    /// The earliest deadlines and whose they are, past or not.
    async fn due(&self, limit: u32) -> Result<Vec<(Timestamp, LobbyId)>, StoreError>;

    /// At most `limit` events after a number; `None` if they are not kept any more, or were never there.
    async fn events_after(&self, lobby: LobbyId, after: EventSeq, limit: u32)
    -> Result<Option<Vec<Event>>, StoreError>;

    /// Stores snapshots of different lobbies in one transaction, each if its sender is host at its epoch *as the lobby is in this
    /// transaction*, whose row is locked until it ends, and if it is newer than the newest. The same record again is `Ok`. The
    /// newest [`protocol::limits::SNAPSHOT_GENERATIONS`] of a lobby are kept, with their deltas.
    ///
    /// On an error nothing is known: all were stored, or none.
    async fn put_snapshots(&self, snapshots: &[NewSnapshot]) -> Result<Vec<Result<(), SnapshotRefusal>>, StoreError>;

    /// Stores deltas of different lobbies in one transaction, each as a snapshot is stored, if it leads from the newest that is
    /// stored of its lobby, be that a snapshot or a delta; at most [`protocol::limits::DELTAS_MAX`] on a snapshot. They are kept for
    /// as long as it is.
    ///
    /// On an error nothing is known: all were stored, or none.
    async fn put_deltas(&self, deltas: &[NewDelta]) -> Result<Vec<Result<(), SnapshotRefusal>>, StoreError>;

    /// The place and checksum of the newest snapshot or delta, without reading it.
    async fn newest_snapshot(&self, lobby: LobbyId) -> Result<Option<(Generation, Checksum)>, StoreError>;

    /// The newest snapshot and its deltas in order, one record after the other, each checked against its checksum; and what the last
    /// of them says of itself.
    async fn latest_snapshot(&self, lobby: LobbyId) -> Result<Option<(Header, Bytes)>, StoreError>;

    /// Begins the lease of an instance that has just started. A store that only one process can use ends all others'.
    async fn register(&self, instance: InstanceId, term: Duration) -> Result<Renewal, StoreError>;

    /// Renews an instance's lease for a term from now, and names the instances that it is to take over: those whose lease has
    /// run out, unless a live instance already is their heir.
    async fn renew(&self, instance: InstanceId, term: Duration) -> Result<Renewal, StoreError>;

    /// Ends an instance's lease: its members are to be taken over now.
    async fn retire(&self, instance: InstanceId) -> Result<(), StoreError>;

    /// Forgets an instance that is gone and hears nobody any more.
    async fn bury(&self, instance: InstanceId) -> Result<(), StoreError>;

    /// Adds a player with its first refresh token; if the player is there, just the token, so that it has at most [`FAMILIES_MAX`].
    /// Forgets players whose refresh tokens have all expired: nobody can be them.
    async fn create_player(
        &self,
        player: &Player,
        token: &RefreshHash,
        expires_at: Timestamp,
    ) -> Result<(), StoreError>;

    /// Deletes some lobbies that were closed at this time or before, with all that is theirs. Returns how many.
    async fn delete_closed(&self, until: Timestamp) -> Result<u64, StoreError>;

    /// A player.
    async fn player(&self, id: PlayerId) -> Result<Option<Player>, StoreError>;

    /// Puts a new refresh secret in the place of the presented one, if that is the current one or the one before. Any other ends
    /// the whole family: whoever has it has kept a secret that somebody else has used.
    async fn rotate_refresh(
        &self,
        presented: &RefreshHash,
        next: [u8; 32],
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Rotation, StoreError>;

    /// Adds a key of a game server. False if there are [`API_KEYS_MAX`] already.
    async fn add_api_key(&self, key: &StoredApiKey) -> Result<bool, StoreError>;

    /// All keys of game servers, oldest first.
    async fn api_keys(&self) -> Result<Vec<StoredApiKey>, StoreError>;

    /// Notes that a key was used on the day that begins at this time.
    async fn note_api_key_used(&self, id: ApiKeyId, day: Timestamp) -> Result<(), StoreError>;

    /// Removes a key. False if there is none.
    async fn remove_api_key(&self, id: ApiKeyId) -> Result<bool, StoreError>;

    /// Sends a text of less than 8,000 bytes to whoever listens in the other processes that use this store. It may be lost.
    async fn notify(&self, _text: &str) -> Result<(), StoreError> {
        Ok(())
    }

    /// Listens to what others send; `None` if there can be no others.
    async fn listen(&self) -> Result<Option<Box<dyn Listener>>, StoreError> {
        Ok(None)
    }

    /// Ends all use. Calls after it fail.
    async fn close(&self);
}

/// Hears what other processes send by [`Store::notify`].
#[async_trait]
pub trait Listener: Send {
    /// Waits for the next text. After an error something may have been missed, and nothing more comes.
    async fn next(&mut self) -> Result<String, StoreError>;
}

/// When a lobby was closed, if it was closed by the last of these events.
fn closed_at(events: &[Event]) -> Option<Timestamp> {
    events.last().map(|event| event.at)
}
