//! Snapshots.

use bytes::Bytes;
use protocol::id::{Checksum, LobbyId};
use protocol::limits;
use protocol::lobby::Lobby;
use protocol::snapshot::{Generation, Header};
use sqlx::{SqliteConnection, query, query_as};

use super::SqliteStore;
use crate::store::sql::snapshots::{NEWEST, RECORDS, generation_key, read_newest, read_records};
use crate::store::sql::{read_lobby, signed};
use crate::store::{Admission, Chain, NewSnapshot, SnapshotRefusal, StoreError, admit};

/// Keeps the newest three. A bound LIMIT would have it planned anew each time.
const FORGET: &str = "DELETE FROM snapshots WHERE lobby_id = $1 AND generation <
    (SELECT generation FROM snapshots WHERE lobby_id = $1 ORDER BY generation DESC LIMIT 1 OFFSET 2)";
/// The deltas of those that are not kept.
const FORGET_DELTAS: &str = "DELETE FROM snapshot_deltas WHERE lobby_id = $1 AND snapshot <
    (SELECT generation FROM snapshots WHERE lobby_id = $1 ORDER BY generation DESC LIMIT 1 OFFSET 2)";
const REPLACE_NEWEST: &str = "INSERT OR REPLACE INTO newest_snapshots (lobby_id, generation, checksum, snapshot)
    VALUES ($1, $2, $3, $2)";
const _: () = assert!(limits::SNAPSHOT_GENERATIONS == 3, "as many as the statement keeps");

/// A lobby's writer, whether it is closed, and its newest generation: what admits the next one.
type Guard = (Option<i64>, Option<i64>, bool, Option<Vec<u8>>);

impl SqliteStore {
    pub(super) async fn store_snapshots(
        &self,
        snapshots: &[NewSnapshot],
    ) -> Result<Vec<Result<(), SnapshotRefusal>>, StoreError> {
        let mut transaction = self.begin().await?;
        let mut ends = Vec::with_capacity(snapshots.len());
        for new in snapshots {
            let end = match admit_here(&mut transaction, new).await? {
                Ok(Admission::Store) => Ok(insert(&mut transaction, new).await?),
                Ok(Admission::AlreadyThere) => Ok(()),
                Err(refusal) => Err(refusal),
            };
            ends.push(end);
        }
        transaction.commit().await?;
        Ok(ends)
    }

    pub(super) async fn newest_generation(&self, lobby: LobbyId) -> Result<Option<(Generation, Checksum)>, StoreError> {
        let chain = newest(&mut *self.readers.acquire().await?, lobby).await?;
        Ok(chain.map(|chain| (chain.newest, chain.checksum)))
    }

    pub(super) async fn newest_records(&self, lobby: LobbyId) -> Result<Option<(Header, Bytes)>, StoreError> {
        read_records(query_as(RECORDS).bind(lobby.as_bytes().as_slice()).fetch_all(&self.readers).await?)
    }
}

async fn newest(connection: &mut SqliteConnection, lobby: LobbyId) -> Result<Option<Chain>, StoreError> {
    read_newest(query_as(NEWEST).bind(lobby.as_bytes().as_slice()).fetch_optional(connection).await?)
}

/// A lobby, and the newest that is stored of it.
pub(super) async fn lobby_and_newest(
    connection: &mut SqliteConnection,
    lobby: LobbyId,
) -> Result<Option<(Lobby, Option<Chain>)>, StoreError> {
    let sql = "SELECT body_format, body FROM lobbies WHERE id = $1";
    let row: Option<(i32, String)> =
        query_as(sql).bind(lobby.as_bytes().as_slice()).fetch_optional(&mut *connection).await?;
    let Some((format, body)) = row else { return Ok(None) };
    Ok(Some((read_lobby(format, &body)?, newest(connection, lobby).await?)))
}

/// Most are admitted by the columns of the lobby's row; where these say no, the lobby says why.
async fn admit_here(
    connection: &mut SqliteConnection,
    new: &NewSnapshot,
) -> Result<Result<Admission, SnapshotRefusal>, StoreError> {
    let guard: Option<Guard> = query_as(
        "SELECT epoch, writer, closed, generation FROM lobbies LEFT JOIN newest_snapshots ON lobby_id = id WHERE id = $1",
    )
    .bind(new.lobby.as_bytes().as_slice())
    .fetch_optional(&mut *connection)
    .await?;
    let Some((epoch, writer, is_closed, generation)) = guard else { return Ok(Err(SnapshotRefusal::NoLobby)) };
    let is_writer = epoch == Some(signed(new.header.generation.epoch.0)) && writer == Some(i64::from(new.connection.0));
    let is_newer = generation.is_none_or(|newest| newest.as_slice() < &generation_key(new.header.generation)[..]);
    if is_writer && is_newer && !is_closed {
        return Ok(Ok(Admission::Store));
    }
    Ok(match lobby_and_newest(connection, new.lobby).await? {
        Some((lobby, chain)) => admit(&lobby, new, chain.as_ref()),
        None => Err(SnapshotRefusal::NoLobby),
    })
}

async fn insert(connection: &mut SqliteConnection, new: &NewSnapshot) -> Result<(), StoreError> {
    query("INSERT INTO snapshots (lobby_id, generation, checksum, record) VALUES ($1, $2, $3, $4)")
        .bind(new.lobby.as_bytes().as_slice())
        .bind(generation_key(new.header.generation).as_slice())
        .bind(new.header.checksum.as_bytes().as_slice())
        .bind(&new.record[..])
        .execute(&mut *connection)
        .await?;
    query(REPLACE_NEWEST)
        .bind(new.lobby.as_bytes().as_slice())
        .bind(generation_key(new.header.generation).as_slice())
        .bind(new.header.checksum.as_bytes().as_slice())
        .execute(&mut *connection)
        .await?;
    for sql in [FORGET_DELTAS, FORGET] {
        query(sql).bind(new.lobby.as_bytes().as_slice()).execute(&mut *connection).await?;
    }
    Ok(())
}
