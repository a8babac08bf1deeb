//! Where lobbies, events, snapshots and players are kept: one trait, and what its implementations share.
//!
//! [`memory`] is the readable definition; one suite of tests runs over all of them. Whatever a method writes, it writes in one
//! transaction, and when it returns `Ok` that is durable.

pub mod memory;
pub mod sqlite;

use async_trait::async_trait;
use bytes::Bytes;
use protocol::commit::{Saved, Version};
use protocol::error::Rejection;
use protocol::id::{ConnectionId, EventSeq, JoinCode, LobbyId, PlayerId};
use protocol::lobby::Lobby;
use protocol::message::Event;
use protocol::snapshot::{Generation, Header, SnapshotError};
use protocol::time::Timestamp;

/// The store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, is full or busy. Trying again later may help.
    #[error("the store is not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
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

/// The join code belongs to another lobby: draw a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the join code is taken")]
pub struct CodeTaken;

/// Why a lobby was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// Draw another join code.
    #[error(transparent)]
    CodeTaken(#[from] CodeTaken),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a snapshot is not taken. What is stored has not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotRefusal {
    /// There is no such lobby.
    #[error("there is no such lobby")]
    NoLobby,
    /// The bytes are no snapshot.
    #[error(transparent)]
    Malformed(#[from] SnapshotError),
    /// The sender is not the host of this epoch.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// A newer one is there.
    #[error("a newer snapshot is stored: epoch {}, number {}", .newest.epoch, .newest.seq)]
    Stale {
        /// The newest.
        newest: Generation,
    },
    /// Another one is there under the same number.
    #[error("another snapshot is stored under this number")]
    Conflict,
}

/// Why a snapshot was not stored.
#[derive(Debug, thiserror::Error)]
pub enum PutSnapshotError {
    /// It may not be.
    #[error(transparent)]
    Refused(#[from] SnapshotRefusal),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A player as it signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Player {
    /// Who.
    pub id: PlayerId,
    /// The name it gave, maybe empty.
    pub name: String,
    /// When.
    pub created_at: Timestamp,
}

/// A refresh token: its family, and the hash of its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshHash {
    /// Given at sign-in, the same over every rotation.
    pub family: [u8; 16],
    /// BLAKE3-256 of the secret.
    pub hash: [u8; 32],
}

impl std::fmt::Debug for RefreshHash {
    /// Without the hash (P18).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RefreshHash").finish_non_exhaustive()
    }
}

/// What every store does.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug {
    /// Adds a lobby at version 1 with its first events.
    async fn create(&self, lobby: &Lobby, events: &[Event]) -> Result<(), CreateError>;

    /// A lobby and its version.
    async fn load(&self, id: LobbyId) -> Result<Option<(Lobby, Version)>, StoreError>;

    /// The lobby that a join code belongs to.
    async fn id_by_code(&self, code: JoinCode) -> Result<Option<LobbyId>, StoreError>;

    /// Public open lobbies with free seats, by id, after the given one. One that cannot be read is left out, here and below.
    async fn list(&self, after: Option<LobbyId>, limit: u32) -> Result<Vec<Lobby>, StoreError>;

    /// Lobbies that have connected members, by id, after the given one.
    async fn connected_lobbies(&self, after: Option<LobbyId>, limit: u32) -> Result<Vec<Lobby>, StoreError>;

    /// The earliest deadlines and whose they are, past or not.
    async fn due(&self, limit: u32) -> Result<Vec<(Timestamp, LobbyId)>, StoreError>;

    /// Saves a lobby with its events if its version still is `expected`. Only [`protocol::limits::EVENTS_KEPT`] events stay,
    /// and no snapshot once it is closed.
    async fn save(&self, expected: Version, lobby: &Lobby, events: &[Event]) -> Result<Saved, StoreError>;

    /// At most `limit` events after a number; `None` if they are not kept any more, or were never there.
    async fn events_after(&self, lobby: LobbyId, after: EventSeq, limit: u32)
    -> Result<Option<Vec<Event>>, StoreError>;

    /// Stores a snapshot record if its sender is host at its epoch *as the lobby is in this transaction*, and it is newer
    /// than the newest. The same record again is `Ok`.
    async fn put_snapshot(
        &self,
        lobby: LobbyId,
        connection: ConnectionId,
        record: Bytes,
    ) -> Result<Header, PutSnapshotError>;

    /// The newest snapshot, checked against its checksum.
    async fn latest_snapshot(&self, lobby: LobbyId) -> Result<Option<(Header, Bytes)>, StoreError>;

    /// Adds a player with its first refresh token, and forgets players whose refresh tokens have expired: nobody can be them.
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

    /// Puts a new refresh secret in the place of the presented one, if that is the current one or the one before; whose it is.
    async fn rotate_refresh(
        &self,
        presented: &RefreshHash,
        next: [u8; 32],
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Option<PlayerId>, StoreError>;

    /// Ends all use. Calls after it fail.
    async fn close(&self);
}

/// What is to be done with a snapshot that may be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Admission {
    Store,
    AlreadyThere,
}

/// Whether a snapshot may be stored, next to the transaction that stores it.
fn admit(
    lobby: &Lobby,
    connection: ConnectionId,
    header: &Header,
    newest: Option<&Header>,
) -> Result<Admission, SnapshotRefusal> {
    lobby.check_host_write(connection, header.generation.epoch)?;
    match newest {
        Some(newest) if newest.generation > header.generation => {
            Err(SnapshotRefusal::Stale { newest: newest.generation })
        }
        Some(newest) if newest.generation == header.generation && newest.checksum == header.checksum => {
            Ok(Admission::AlreadyThere)
        }
        Some(newest) if newest.generation == header.generation => Err(SnapshotRefusal::Conflict),
        Some(_) | None => Ok(Admission::Store),
    }
}

/// Whether a lobby stands in the public list.
fn is_listed(lobby: &Lobby) -> bool {
    lobby.settings().visibility == protocol::lobby::Visibility::Public
        && !lobby.is_closed()
        && lobby.member_count() < lobby.settings().max_members as usize
}

/// When a lobby was closed, if it was closed by the last of these events.
fn closed_at(events: &[Event]) -> Option<Timestamp> {
    events.last().map(|event| event.at)
}
