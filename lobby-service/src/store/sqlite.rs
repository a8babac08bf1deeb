//! The store in one SQLite file.
//!
//! One connection writes, each transaction `BEGIN IMMEDIATE`: a transaction that starts as a reader and then writes fails
//! under load. A few others read, each a consistent state of the file (WAL). `synchronous=FULL`: what was answered is on disk.
//! One process uses the file at a time: another could save what this one does not hear of.

mod api_keys;
mod deltas;
mod instances;
mod lobbies;
mod lock;
mod overview;
mod players;
mod snapshots;
mod write;

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use protocol::commit::Version;
use protocol::id::{Checksum, EventSeq, InstanceId, JoinCode, LobbyId, PlayerId};
use protocol::lobby::Lobby;
use protocol::lobby::listing::Query;
use protocol::message::Event;
use protocol::snapshot::{Generation, Header};
use protocol::time::Timestamp;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite, SqliteConnection, SqlitePool, query};

use super::sql::{Unreadable, unavailable};
use super::{
    Change, Membership, NewDelta, NewSnapshot, Newer, Player, RefreshHash, Renewal, Rotation, SnapshotRefusal, Store,
    StoreError, Written,
};
use crate::auth::api_key::{ApiKeyId, StoredApiKey};
use lock::FileLock;

/// Connections that read at the same time. Reading a lobby takes tens of microseconds.
const READERS: u32 = 4;
/// How long a transaction waits for another program that holds the file's lock (a backup).
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a request waits for a connection before it is answered "unavailable".
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// The transaction of every write.
const BEGIN: &str = "BEGIN IMMEDIATE";

/// The store in a file.
#[derive(Debug)]
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
    unreadable: Unreadable,
    lock: FileLock,
}

impl SqliteStore {
    /// Opens the file, makes it if it is not there, and brings its tables up to date.
    ///
    /// # Errors
    /// [`StoreError`], if the file cannot be opened, is of a newer version, or is in use by another process.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let lock = FileLock::beside(path).await?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true);
        let pool = |connections| SqlitePoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE_TIMEOUT);
        let writer = pool(1).connect_with(options.clone()).await?;
        sqlx::migrate!("../migrations/sqlite").run(&writer).await.map_err(unavailable)?;
        let readers = pool(READERS).connect_with(options).await?;
        Ok(Self { writer, readers, unreadable: Unreadable::default(), lock })
    }

    async fn begin(&self) -> Result<Writing, StoreError> {
        let mut writing = Writing(Some(self.writer.acquire().await?));
        query(BEGIN).execute(&mut *writing).await?;
        Ok(writing)
    }
}

/// A transaction that writes. Without a commit its connection is closed, which undoes it: after an error of the disk nobody knows
/// in which state the connection is, and the pool would hand it out again.
#[derive(Debug)]
struct Writing(Option<PoolConnection<Sqlite>>);

impl Writing {
    async fn commit(mut self) -> Result<(), StoreError> {
        query("COMMIT").execute(&mut *self).await?;
        drop(self.0.take());
        Ok(())
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(connection.detach());
        }
    }
}

impl Deref for Writing {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        self.0.as_ref().expect("it is taken out only at the end")
    }
}

impl DerefMut for Writing {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        self.0.as_mut().expect("it is taken out only at the end")
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn is_shared(&self) -> bool {
        false
    }

    async fn write(&self, changes: &[Change]) -> Result<Vec<Written>, StoreError> {
        self.write_changes(changes).await
    }

    async fn load(&self, id: LobbyId) -> Result<Option<(Lobby, Version)>, StoreError> {
        self.load_lobby(id).await
    }

    async fn load_newer(&self, id: LobbyId, known: Version) -> Result<Newer, StoreError> {
        self.load_newer_lobby(id, known).await
    }

    async fn versions(&self, ids: &[LobbyId]) -> Result<Vec<(LobbyId, Version)>, StoreError> {
        self.lobby_versions(ids).await
    }

    async fn id_by_code(&self, code: JoinCode) -> Result<Option<LobbyId>, StoreError> {
        self.lobby_by_code(code).await
    }

    async fn query(&self, query: &Query) -> Result<Vec<Lobby>, StoreError> {
        self.query_lobbies(query).await
    }

    async fn lobbies(&self, after: Option<LobbyId>, limit: u32) -> Result<Vec<(Lobby, Version)>, StoreError> {
        self.all_lobbies(after, limit).await
    }

    async fn memberships(&self, player: PlayerId) -> Result<Vec<Membership>, StoreError> {
        self.seats_of(player).await
    }

    async fn use_up(&self, what: [u8; 16], now: Timestamp, until: Timestamp) -> Result<bool, StoreError> {
        self.note_use(what, now, until).await
    }

    async fn connected_lobbies(&self, after: Option<LobbyId>, limit: u32) -> Result<Vec<Lobby>, StoreError> {
        self.lobbies_with_connected(after, limit).await
    }

    async fn due(&self, limit: u32) -> Result<Vec<(Timestamp, LobbyId)>, StoreError> {
        self.earliest_due(limit).await
    }

    async fn events_after(
        &self,
        lobby: LobbyId,
        after: EventSeq,
        limit: u32,
    ) -> Result<Option<Vec<Event>>, StoreError> {
        self.read_events(lobby, after, limit).await
    }

    async fn put_snapshots(&self, snapshots: &[NewSnapshot]) -> Result<Vec<Result<(), SnapshotRefusal>>, StoreError> {
        self.store_snapshots(snapshots).await
    }

    async fn put_deltas(&self, deltas: &[NewDelta]) -> Result<Vec<Result<(), SnapshotRefusal>>, StoreError> {
        self.store_deltas(deltas).await
    }

    async fn newest_snapshot(&self, lobby: LobbyId) -> Result<Option<(Generation, Checksum)>, StoreError> {
        self.newest_generation(lobby).await
    }

    async fn latest_snapshot(&self, lobby: LobbyId) -> Result<Option<(Header, Bytes)>, StoreError> {
        self.newest_records(lobby).await
    }

    async fn register(&self, instance: InstanceId, term: Duration) -> Result<Renewal, StoreError> {
        self.register_instance(instance, term).await
    }

    async fn renew(&self, instance: InstanceId, term: Duration) -> Result<Renewal, StoreError> {
        self.renew_instance(instance, term).await
    }

    async fn retire(&self, instance: InstanceId) -> Result<(), StoreError> {
        self.retire_instance(instance).await
    }

    async fn bury(&self, instance: InstanceId) -> Result<(), StoreError> {
        self.bury_instance(instance).await
    }

    async fn create_player(
        &self,
        player: &Player,
        token: &RefreshHash,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        self.insert_player(player, token, expires_at).await
    }

    async fn delete_closed(&self, until: Timestamp) -> Result<u64, StoreError> {
        self.delete_closed_lobbies(until).await
    }

    async fn player(&self, id: PlayerId) -> Result<Option<Player>, StoreError> {
        self.read_player(id).await
    }

    async fn rotate_refresh(
        &self,
        presented: &RefreshHash,
        next: [u8; 32],
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Rotation, StoreError> {
        self.rotate_secret(presented, next, now, expires_at).await
    }

    async fn add_api_key(&self, key: &StoredApiKey) -> Result<bool, StoreError> {
        self.insert_api_key(key).await
    }

    async fn api_keys(&self) -> Result<Vec<StoredApiKey>, StoreError> {
        self.read_api_keys().await
    }

    async fn note_api_key_used(&self, id: ApiKeyId, day: Timestamp) -> Result<(), StoreError> {
        self.update_api_key_day(id, day).await
    }

    async fn remove_api_key(&self, id: ApiKeyId) -> Result<bool, StoreError> {
        self.delete_api_key(id).await
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
        self.lock.release();
    }
}

#[cfg(test)]
pub(crate) mod tests;
