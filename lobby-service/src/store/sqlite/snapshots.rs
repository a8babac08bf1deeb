//! Snapshots.

use bytes::Bytes;
use protocol::id::{Checksum, LobbyId};
use protocol::limits;
use protocol::snapshot::{Generation, Header};
use sqlx::{SqliteConnection, query, query_as, query_scalar};

use super::SqliteStore;
use crate::store::sql::{generation_key, read_generation, read_lobby, read_record, signed};
use crate::store::{Admission, NewSnapshot, SnapshotRefusal, StoreError, admit};

/// Keeps the newest three. A bound LIMIT would have it planned anew each time.
const FORGET: &str = "DELETE FROM snapshots WHERE lobby_id = $1 AND generation <
    (SELECT generation FROM snapshots WHERE lobby_id = $1 ORDER BY generation DESC LIMIT 1 OFFSET 2)";
const _: () = assert!(limits::SNAPSHOT_GENERATIONS == 3, "as many as the statement keeps");

/// A lobby's writer and its newest snapshot: what admits the next one.
type Guard = (Option<i64>, Option<i64>, Option<Vec<u8>>);

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
        newest(&mut *self.readers.acquire().await?, lobby).await
    }

    pub(super) async fn newest_record(&self, lobby: LobbyId) -> Result<Option<(Header, Bytes)>, StoreError> {
        let sql = "SELECT record FROM snapshots WHERE lobby_id = $1 ORDER BY generation DESC LIMIT 1";
        let record = query_scalar(sql).bind(lobby.as_bytes().as_slice()).fetch_optional(&self.readers).await?;
        record.map(read_record).transpose()
    }
}

async fn newest(
    connection: &mut SqliteConnection,
    lobby: LobbyId,
) -> Result<Option<(Generation, Checksum)>, StoreError> {
    let sql = "SELECT generation, checksum FROM snapshots WHERE lobby_id = $1 ORDER BY generation DESC LIMIT 1";
    let row: Option<(Vec<u8>, Vec<u8>)> =
        query_as(sql).bind(lobby.as_bytes().as_slice()).fetch_optional(connection).await?;
    row.map(|(generation, checksum)| read_generation(&generation, &checksum)).transpose()
}

/// Most are admitted by the columns of the lobby's row; where these say no, the lobby says why.
async fn admit_here(
    connection: &mut SqliteConnection,
    new: &NewSnapshot,
) -> Result<Result<Admission, SnapshotRefusal>, StoreError> {
    let guard: Option<Guard> = query_as(
        "SELECT epoch, writer, (SELECT max(generation) FROM snapshots WHERE lobby_id = id) FROM lobbies WHERE id = $1",
    )
    .bind(new.lobby.as_bytes().as_slice())
    .fetch_optional(&mut *connection)
    .await?;
    let Some((epoch, writer, generation)) = guard else { return Ok(Err(SnapshotRefusal::NoLobby)) };
    let is_writer = epoch == Some(signed(new.header.generation.epoch.0)) && writer == Some(i64::from(new.connection.0));
    let is_newer = generation.is_none_or(|newest| newest.as_slice() < &generation_key(new.header.generation)[..]);
    if is_writer && is_newer {
        return Ok(Ok(Admission::Store));
    }
    let (format, body): (i32, String) = query_as("SELECT body_format, body FROM lobbies WHERE id = $1")
        .bind(new.lobby.as_bytes().as_slice())
        .fetch_one(&mut *connection)
        .await?;
    let newest = newest(connection, new.lobby).await?;
    Ok(admit(&read_lobby(format, &body)?, new.connection, &new.header, newest))
}

async fn insert(connection: &mut SqliteConnection, new: &NewSnapshot) -> Result<(), StoreError> {
    query("INSERT INTO snapshots (lobby_id, generation, checksum, record) VALUES ($1, $2, $3, $4)")
        .bind(new.lobby.as_bytes().as_slice())
        .bind(generation_key(new.header.generation).as_slice())
        .bind(new.header.checksum.as_bytes().as_slice())
        .bind(&new.record[..])
        .execute(&mut *connection)
        .await?;
    query(FORGET).bind(new.lobby.as_bytes().as_slice()).execute(connection).await?;
    Ok(())
}
