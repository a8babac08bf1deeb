//! The store in one SQLite file.
//!
//! One connection writes, each transaction `BEGIN IMMEDIATE`: a transaction that starts as a reader and then writes fails
//! under load. A few others read, each a consistent state of the file (WAL). `synchronous=FULL`: what was answered is on disk.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use protocol::commit::{Saved, Version};
use protocol::id::{ConnectionId, EventSeq, JoinCode, LobbyId, PlayerId};
use protocol::limits;
use protocol::lobby::Lobby;
use protocol::message::Event;
use protocol::snapshot::{Generation, Header};
use protocol::time::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{SqliteConnection, SqlitePool};

use super::{
    Admission, CodeTaken, CreateError, Player, PutSnapshotError, RefreshHash, SnapshotRefusal, Store, StoreError,
    admit, closed_at, is_listed,
};

/// Connections that read at the same time. Reading a lobby takes tens of microseconds.
const READERS: u32 = 4;
/// How long one process waits for another that holds the file's lock (a backup, a second service by mistake).
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a request waits for a connection before it is answered "unavailable".
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Unreadable rows whose ids are kept. Past it no more are logged.
const UNREADABLE_MAX: usize = 4096;
/// Closed lobbies that are deleted in one transaction, each with up to a thousand events: others wait for it.
const DELETED_AT_ONCE: i64 = 20;
/// The format of `lobbies.body` that this build writes and reads.
const BODY_FORMAT: i64 = 1;
/// The transaction of every write.
const BEGIN: &str = "BEGIN IMMEDIATE";

/// The store in a file.
#[derive(Debug)]
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
    /// Rows that cannot be read: each is logged once.
    unreadable: Mutex<BTreeSet<Vec<u8>>>,
}

impl SqliteStore {
    /// Opens the file, makes it if it is not there, and brings its tables up to date.
    ///
    /// # Errors
    /// [`StoreError`], if the file cannot be opened or is of a newer version.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true);
        let pool = |connections| SqlitePoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE_TIMEOUT);
        let writer = pool(1).connect_with(options.clone()).await?;
        sqlx::migrate!("../migrations/sqlite").run(&writer).await.map_err(|error| unavailable(error.into()))?;
        let readers = pool(READERS).connect_with(options).await?;
        Ok(Self { writer, readers, unreadable: Mutex::default() })
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)) {
            corrupt("row", error)
        } else {
            unavailable(error.into())
        }
    }
}

impl From<sqlx::Error> for CreateError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<sqlx::Error> for PutSnapshotError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

fn unavailable(error: Box<dyn std::error::Error + Send + Sync>) -> StoreError {
    StoreError::Unavailable(error)
}

fn corrupt(what: &'static str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Corrupt { what, source: error.into() }
}

/// SQLite's integers are signed. Ours count milliseconds, events and saves: none comes near the end.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn timestamp(number: i64) -> Timestamp {
    Timestamp(u64::try_from(number).unwrap_or_default())
}

fn id<const N: usize>(what: &'static str, bytes: &[u8]) -> Result<[u8; N], StoreError> {
    bytes.try_into().map_err(|error: std::array::TryFromSliceError| corrupt(what, error))
}

fn write_json<T: serde::Serialize>(what: &'static str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| corrupt(what, error))
}

fn read_lobby(format: i64, body: &str) -> Result<Lobby, StoreError> {
    if format != BODY_FORMAT {
        return Err(corrupt("lobby", format!("format {format} is not known to this build")));
    }
    serde_json::from_str(body).map_err(|error| corrupt("lobby", error))
}

fn generation_key(generation: Generation) -> Vec<u8> {
    [generation.epoch.0.to_be_bytes(), generation.seq.to_be_bytes()].concat()
}

/// A page of lobbies starts after this key: every id is longer than nothing, and so comes after it.
fn page_start(after: Option<&LobbyId>) -> &[u8] {
    after.map_or(&[], |id| id.as_bytes())
}

const INSERT_LOBBY: &str = "INSERT INTO lobbies (id, version, join_code, public, name, members, max_members, connected,
         created_at, due_at, closed, last_event, body_format, body)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
     ON CONFLICT (join_code) DO NOTHING";
const UPDATE_LOBBY: &str = "UPDATE lobbies SET version = version + 1, join_code = $3, public = $4, name = $5, members = $6,
         max_members = $7, connected = $8, created_at = $9, due_at = $10, closed = $11, last_event = $12, body_format = $13,
         body = $14
     WHERE id = $1 AND version = $2";

/// Runs [`INSERT_LOBBY`] or [`UPDATE_LOBBY`], whose parameters are the same. Returns whether a row was written.
async fn write_lobby(
    connection: &mut SqliteConnection,
    sql: &'static str,
    version: Version,
    lobby: &Lobby,
) -> Result<bool, StoreError> {
    let settings = lobby.settings();
    let done = sqlx::query(sql)
        .bind(lobby.id().as_bytes().as_slice())
        .bind(signed(version.0))
        .bind(lobby.join_code().as_str())
        .bind(settings.visibility == protocol::lobby::Visibility::Public)
        .bind(lobby.name())
        .bind(signed(lobby.member_count() as u64))
        .bind(settings.max_members)
        .bind(signed(lobby.connected().count() as u64))
        .bind(signed(lobby.created_at().0))
        .bind(lobby.due_at().map(|at| signed(at.0)))
        .bind(lobby.is_closed())
        .bind(signed(lobby.last_event().0))
        .bind(BODY_FORMAT)
        .bind(write_json("lobby", lobby)?)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}

async fn append_events(connection: &mut SqliteConnection, lobby: &Lobby, events: &[Event]) -> Result<(), StoreError> {
    for event in events {
        sqlx::query("INSERT INTO events (lobby_id, seq, body) VALUES ($1, $2, $3)")
            .bind(lobby.id().as_bytes().as_slice())
            .bind(signed(event.seq.0))
            .bind(write_json("event", event)?)
            .execute(&mut *connection)
            .await?;
    }
    let Some(oldest) = lobby.last_event().0.checked_sub(limits::EVENTS_KEPT) else { return Ok(()) };
    sqlx::query("DELETE FROM events WHERE lobby_id = $1 AND seq <= $2")
        .bind(lobby.id().as_bytes().as_slice())
        .bind(signed(oldest))
        .execute(connection)
        .await?;
    Ok(())
}

async fn lobby_row(connection: &mut SqliteConnection, id: LobbyId) -> Result<Option<(Lobby, Version)>, StoreError> {
    let row: Option<(i64, i64, String)> =
        sqlx::query_as("SELECT version, body_format, body FROM lobbies WHERE id = $1")
            .bind(id.as_bytes().as_slice())
            .fetch_optional(connection)
            .await?;
    row.map(|(version, format, body)| {
        let version = Version(u64::try_from(version).map_err(|error| corrupt("version", error))?);
        Ok((read_lobby(format, &body)?, version))
    })
    .transpose()
}

async fn newest_record(connection: &mut SqliteConnection, lobby: LobbyId) -> Result<Option<Vec<u8>>, StoreError> {
    let sql = "SELECT record FROM snapshots WHERE lobby_id = $1 ORDER BY generation DESC LIMIT 1";
    let record = sqlx::query_scalar(sql).bind(lobby.as_bytes().as_slice()).fetch_optional(connection).await?;
    Ok(record)
}

/// The newest snapshot's place and checksum, without its bytes.
async fn newest_generation(
    connection: &mut SqliteConnection,
    lobby: LobbyId,
    like: &Header,
) -> Result<Option<Header>, StoreError> {
    let row: Option<(Vec<u8>, Vec<u8>)> = sqlx::query_as(
        "SELECT generation, checksum FROM snapshots WHERE lobby_id = $1 ORDER BY generation DESC LIMIT 1",
    )
    .bind(lobby.as_bytes().as_slice())
    .fetch_optional(connection)
    .await?;
    row.map(|(generation, checksum)| {
        let key = u128::from_be_bytes(id("snapshot", &generation)?);
        let generation = Generation { epoch: protocol::id::HostEpoch((key >> 64) as u64), seq: key as u64 };
        Ok(Header { generation, checksum: protocol::id::Checksum::from_bytes(id("snapshot", &checksum)?), ..*like })
    })
    .transpose()
}

async fn insert_snapshot(
    connection: &mut SqliteConnection,
    lobby: LobbyId,
    header: &Header,
    record: &[u8],
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO snapshots (lobby_id, generation, checksum, record) VALUES ($1, $2, $3, $4)")
        .bind(lobby.as_bytes().as_slice())
        .bind(generation_key(header.generation))
        .bind(header.checksum.as_bytes().as_slice())
        .bind(record)
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "DELETE FROM snapshots WHERE lobby_id = $1 AND generation NOT IN
             (SELECT generation FROM snapshots WHERE lobby_id = $1 ORDER BY generation DESC LIMIT $2)",
    )
    .bind(lobby.as_bytes().as_slice())
    .bind(limits::SNAPSHOT_GENERATIONS)
    .execute(connection)
    .await?;
    Ok(())
}

#[cfg(test)]
impl SqliteStore {
    /// Makes a row one that this build cannot read.
    pub(crate) async fn spoil(&self, lobby: LobbyId) {
        let query = sqlx::query("UPDATE lobbies SET body_format = 99 WHERE id = $1");
        query.bind(lobby.as_bytes().as_slice()).execute(&self.writer).await.expect("the file can be written");
    }
}

impl SqliteStore {
    async fn lobbies(&self, sql: &'static str, after: Option<LobbyId>, limit: u32) -> Result<Vec<Lobby>, StoreError> {
        let (mut lobbies, mut after) = (Vec::new(), page_start(after.as_ref()).to_vec());
        loop {
            let missing = limit as usize - lobbies.len();
            let rows: Vec<(Vec<u8>, i64, String)> =
                sqlx::query_as(sql).bind(&after).bind(missing as i64).fetch_all(&self.readers).await?;
            let is_last = rows.len() < missing;
            for (id, format, body) in rows {
                match read_lobby(format, &body) {
                    Ok(lobby) => lobbies.push(lobby),
                    Err(error) => self.skip(&id, &error),
                }
                after = id;
            }
            if is_last || lobbies.len() >= limit as usize {
                return Ok(lobbies);
            }
        }
    }

    /// One row that cannot be read keeps nobody from the others.
    fn skip(&self, id: &[u8], error: &StoreError) {
        let mut logged = self.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.len() < UNREADABLE_MAX && logged.insert(id.to_vec()) {
            tracing::error!(?id, error = error as &dyn std::error::Error, "a lobby is skipped");
        }
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn create(&self, lobby: &Lobby, events: &[Event]) -> Result<(), CreateError> {
        let mut transaction = self.writer.begin_with(BEGIN).await?;
        if !write_lobby(&mut transaction, INSERT_LOBBY, Version(1), lobby).await? {
            return Err(CodeTaken.into());
        }
        append_events(&mut transaction, lobby, events).await?;
        Ok(transaction.commit().await?)
    }

    async fn load(&self, id: LobbyId) -> Result<Option<(Lobby, Version)>, StoreError> {
        lobby_row(&mut *self.readers.acquire().await?, id).await
    }

    async fn id_by_code(&self, code: JoinCode) -> Result<Option<LobbyId>, StoreError> {
        let bytes: Option<Vec<u8>> = sqlx::query_scalar("SELECT id FROM lobbies WHERE join_code = $1")
            .bind(code.as_str())
            .fetch_optional(&self.readers)
            .await?;
        bytes.map(|bytes| id("lobby id", &bytes).map(LobbyId::from_bytes)).transpose()
    }

    async fn list(&self, after: Option<LobbyId>, limit: u32) -> Result<Vec<Lobby>, StoreError> {
        let sql = "SELECT id, body_format, body FROM lobbies
            WHERE id > $1 AND public = 1 AND closed = 0 AND members < max_members ORDER BY id LIMIT $2";
        let mut lobbies = self.lobbies(sql, after, limit).await?;
        lobbies.retain(is_listed);
        Ok(lobbies)
    }

    async fn connected_lobbies(&self, after: Option<LobbyId>, limit: u32) -> Result<Vec<Lobby>, StoreError> {
        let sql = "SELECT id, body_format, body FROM lobbies WHERE id > $1 AND connected > 0 ORDER BY id LIMIT $2";
        self.lobbies(sql, after, limit).await
    }

    async fn due(&self, limit: u32) -> Result<Vec<(Timestamp, LobbyId)>, StoreError> {
        let rows: Vec<(i64, Vec<u8>)> =
            sqlx::query_as("SELECT due_at, id FROM lobbies WHERE due_at IS NOT NULL ORDER BY due_at LIMIT $1")
                .bind(limit)
                .fetch_all(&self.readers)
                .await?;
        let read = |(at, bytes): &(i64, Vec<u8>)| match id("lobby id", bytes) {
            Ok(id) => Some((timestamp(*at), LobbyId::from_bytes(id))),
            Err(error) => {
                self.skip(bytes, &error);
                None
            }
        };
        Ok(rows.iter().filter_map(read).collect())
    }

    async fn save(&self, expected: Version, lobby: &Lobby, events: &[Event]) -> Result<Saved, StoreError> {
        let mut transaction = self.writer.begin_with(BEGIN).await?;
        if !write_lobby(&mut transaction, UPDATE_LOBBY, expected, lobby).await? {
            return Ok(Saved::Stale);
        }
        append_events(&mut transaction, lobby, events).await?;
        if lobby.is_closed() {
            sqlx::query("DELETE FROM snapshots WHERE lobby_id = $1")
                .bind(lobby.id().as_bytes().as_slice())
                .execute(&mut *transaction)
                .await?;
            sqlx::query("UPDATE lobbies SET closed_at = $2 WHERE id = $1")
                .bind(lobby.id().as_bytes().as_slice())
                .bind(closed_at(events).map(|at| signed(at.0)))
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(Saved::Done)
    }

    async fn events_after(
        &self,
        lobby: LobbyId,
        after: EventSeq,
        limit: u32,
    ) -> Result<Option<Vec<Event>>, StoreError> {
        // Both reads see the same state of the file.
        let mut transaction = self.readers.begin().await?;
        let last: Option<i64> = sqlx::query_scalar("SELECT last_event FROM lobbies WHERE id = $1")
            .bind(lobby.as_bytes().as_slice())
            .fetch_optional(&mut *transaction)
            .await?;
        let rows: Vec<(i64, String)> =
            sqlx::query_as("SELECT seq, body FROM events WHERE lobby_id = $1 AND seq > $2 ORDER BY seq LIMIT $3")
                .bind(lobby.as_bytes().as_slice())
                .bind(signed(after.0))
                .bind(limit)
                .fetch_all(&mut *transaction)
                .await?;
        let follows = match rows.first() {
            Some((seq, _)) => *seq - 1 == signed(after.0),
            None => last == Some(signed(after.0)),
        };
        if !follows {
            return Ok(None);
        }
        let read = |(_, body): &(i64, String)| serde_json::from_str(body).map_err(|error| corrupt("event", error));
        rows.iter().map(read).collect::<Result<_, _>>().map(Some)
    }

    async fn put_snapshot(
        &self,
        lobby: LobbyId,
        connection: ConnectionId,
        record: Bytes,
    ) -> Result<Header, PutSnapshotError> {
        let header = Header::check(&record).map_err(SnapshotRefusal::from)?;
        let mut transaction = self.writer.begin_with(BEGIN).await?;
        let Some((row, _)) = lobby_row(&mut transaction, lobby).await? else {
            return Err(SnapshotRefusal::NoLobby.into());
        };
        let newest = newest_generation(&mut transaction, lobby, &header).await?;
        if admit(&row, connection, &header, newest.as_ref())? == Admission::Store {
            insert_snapshot(&mut transaction, lobby, &header, &record).await?;
            transaction.commit().await?;
        }
        Ok(header)
    }

    async fn latest_snapshot(&self, lobby: LobbyId) -> Result<Option<(Header, Bytes)>, StoreError> {
        let Some(record) = newest_record(&mut *self.readers.acquire().await?, lobby).await? else { return Ok(None) };
        let header = Header::check(&record).map_err(|error| corrupt("snapshot", error))?;
        Ok(Some((header, record.into())))
    }

    async fn create_player(
        &self,
        player: &Player,
        token: &RefreshHash,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        let mut transaction = self.writer.begin_with(BEGIN).await?;
        sqlx::query("DELETE FROM players WHERE id IN (SELECT player_id FROM refresh_families WHERE expires_at <= $1)")
            .bind(signed(player.created_at.0))
            .execute(&mut *transaction)
            .await?;
        sqlx::query("INSERT INTO players (id, name, created_at) VALUES ($1, $2, $3)")
            .bind(player.id.as_bytes().as_slice())
            .bind(&player.name)
            .bind(signed(player.created_at.0))
            .execute(&mut *transaction)
            .await?;
        sqlx::query("INSERT INTO refresh_families (id, player_id, current_hash, expires_at) VALUES ($1, $2, $3, $4)")
            .bind(token.family.as_slice())
            .bind(player.id.as_bytes().as_slice())
            .bind(token.hash.as_slice())
            .bind(signed(expires_at.0))
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }

    async fn delete_closed(&self, until: Timestamp) -> Result<u64, StoreError> {
        let sql = "DELETE FROM lobbies WHERE id IN (SELECT id FROM lobbies WHERE closed_at <= $1 LIMIT $2)";
        let done = sqlx::query(sql).bind(signed(until.0)).bind(DELETED_AT_ONCE).execute(&self.writer).await?;
        Ok(done.rows_affected())
    }

    async fn player(&self, id: PlayerId) -> Result<Option<Player>, StoreError> {
        let row: Option<(String, i64)> = sqlx::query_as("SELECT name, created_at FROM players WHERE id = $1")
            .bind(id.as_bytes().as_slice())
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.map(|(name, at)| Player { id, name, created_at: timestamp(at) }))
    }

    async fn rotate_refresh(
        &self,
        presented: &RefreshHash,
        next: [u8; 32],
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Option<PlayerId>, StoreError> {
        // One statement is one transaction.
        let player: Option<Vec<u8>> = sqlx::query_scalar(
            "UPDATE refresh_families SET current_hash = $3, previous_hash = $2, expires_at = $5
             WHERE id = $1 AND expires_at > $4 AND (current_hash = $2 OR previous_hash = $2) RETURNING player_id",
        )
        .bind(presented.family.as_slice())
        .bind(presented.hash.as_slice())
        .bind(next.as_slice())
        .bind(signed(now.0))
        .bind(signed(expires_at.0))
        .fetch_optional(&self.writer)
        .await?;
        player.map(|bytes| id("player id", &bytes).map(PlayerId::from_bytes)).transpose()
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}
