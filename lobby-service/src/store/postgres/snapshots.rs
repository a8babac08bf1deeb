//! Snapshots. Those of a closed lobby are not read: see `write.rs`.

use std::collections::BTreeSet;

use bytes::Bytes;
use protocol::id::{Checksum, LobbyId};
use protocol::limits;
use protocol::snapshot::{Generation, Header};
use sqlx::postgres::PgArguments;
use sqlx::query::QueryAs;
use sqlx::{Connection as _, PgConnection, Postgres, query, query_as};

use super::PostgresStore;
use super::pool::in_time;
use crate::store::sql::{generation_key, lobby_id, read_generation, read_lobby, read_record, signed};
use crate::store::{Admission, NewSnapshot, SnapshotRefusal, StoreError, admit};

/// - `locked`: the lobbies as they are now. No election can be saved before this statement has ended.
/// - `newest`: those whose sender is host at its epoch and which are newer than the newest. A conflict with a row means that the row
///   is locked and looked at as it is now.
/// - The newest of those that are there are kept beside the new one.
const PUT: &str = "
WITH input AS MATERIALIZED (
    SELECT * FROM UNNEST($1::bytea[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bytea[], $6::bytea[])
    AS input (lobby_id, connection, epoch, generation, checksum, record)
), locked AS MATERIALIZED (
    SELECT id, epoch, writer FROM lobbies WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE
), newest AS (
    INSERT INTO newest_snapshots (lobby_id, generation)
    SELECT input.lobby_id, input.generation
    FROM locked JOIN input ON input.lobby_id = locked.id
    WHERE locked.epoch = input.epoch AND locked.writer = input.connection
    ORDER BY input.lobby_id
    ON CONFLICT (lobby_id) DO UPDATE SET generation = excluded.generation
        WHERE newest_snapshots.generation < excluded.generation
    RETURNING lobby_id
), stored AS (
    INSERT INTO snapshots (lobby_id, generation, checksum, record)
    SELECT input.lobby_id, input.generation, input.checksum, input.record
    FROM input JOIN newest ON newest.lobby_id = input.lobby_id
), forgotten AS (
    DELETE FROM snapshots USING newest
    WHERE snapshots.lobby_id = newest.lobby_id AND snapshots.generation NOT IN (
        SELECT kept.generation FROM snapshots AS kept
        WHERE kept.lobby_id = newest.lobby_id ORDER BY kept.generation DESC LIMIT $7
    )
)
SELECT lobby_id FROM newest";

const NEWEST: &str = "SELECT generation, checksum FROM snapshots
    WHERE lobby_id = $1 AND NOT (SELECT closed FROM lobbies WHERE id = $1) ORDER BY generation DESC LIMIT 1";

impl PostgresStore {
    pub(super) async fn store_snapshots(
        &self,
        snapshots: &[NewSnapshot],
    ) -> Result<Vec<Result<(), SnapshotRefusal>>, StoreError> {
        debug_assert_eq!(
            snapshots.iter().map(|new| new.lobby).collect::<BTreeSet<_>>().len(),
            snapshots.len(),
            "one snapshot a lobby"
        );
        let stored = self.writers.rows(put(snapshots)).await?;
        let stored = stored.iter().map(|(id,)| lobby_id(id)).collect::<Result<BTreeSet<_>, _>>()?;
        let mut ends = Vec::with_capacity(snapshots.len());
        for new in snapshots {
            ends.push(if stored.contains(&new.lobby) { Ok(()) } else { self.store_or_refuse(new).await? });
        }
        Ok(ends)
    }

    /// Stores one snapshot that the columns do not admit, or tells why it is refused: the lobby itself decides, in a transaction of
    /// several round trips.
    async fn store_or_refuse(&self, new: &NewSnapshot) -> Result<Result<(), SnapshotRefusal>, StoreError> {
        let mut leased = self.writers.lease().await?;
        match in_time(decide(&mut leased, new)).await? {
            Ok(end) => {
                leased.give_back(Ok(()))?;
                Ok(end)
            }
            // The connection is closed, and with it the transaction.
            Err(error) => Err(error),
        }
    }

    pub(super) async fn newest_generation(&self, lobby: LobbyId) -> Result<Option<(Generation, Checksum)>, StoreError> {
        let row: Option<(Vec<u8>, Vec<u8>)> =
            self.readers.row(query_as(NEWEST).bind(lobby.as_bytes().as_slice())).await?;
        row.map(|(generation, checksum)| read_generation(&generation, &checksum)).transpose()
    }

    pub(super) async fn newest_record(&self, lobby: LobbyId) -> Result<Option<(Header, Bytes)>, StoreError> {
        let sql = "SELECT record FROM snapshots
            WHERE lobby_id = $1 AND NOT (SELECT closed FROM lobbies WHERE id = $1) ORDER BY generation DESC LIMIT 1";
        let row: Option<(Vec<u8>,)> = self.readers.row(query_as(sql).bind(lobby.as_bytes().as_slice())).await?;
        row.map(|(record,)| read_record(record)).transpose()
    }
}

fn put<'q>(snapshots: &'q [NewSnapshot]) -> QueryAs<'q, Postgres, (Vec<u8>,), PgArguments> {
    fn list<'a, T: 'a>(snapshots: &'a [NewSnapshot], read: impl Fn(&'a NewSnapshot) -> T + 'a) -> Vec<T> {
        snapshots.iter().map(read).collect()
    }
    query_as(PUT)
        .bind(list(snapshots, |new| new.lobby.as_bytes().as_slice()))
        .bind(list(snapshots, |new| i64::from(new.connection.0)))
        .bind(list(snapshots, |new| signed(new.header.generation.epoch.0)))
        .bind(list(snapshots, |new| generation_key(new.header.generation)))
        .bind(list(snapshots, |new| new.header.checksum.as_bytes().as_slice()))
        .bind(list(snapshots, |new| &new.record[..]))
        .bind(i64::from(limits::SNAPSHOT_GENERATIONS - 1))
}

async fn decide(connection: &mut PgConnection, new: &NewSnapshot) -> Result<Result<(), SnapshotRefusal>, StoreError> {
    let mut transaction = connection.begin().await?;
    let lobby: Option<(i32, String)> =
        query_as("SELECT body_format, body FROM lobbies WHERE id = $1 FOR NO KEY UPDATE")
            .bind(new.lobby.as_bytes().as_slice())
            .fetch_optional(&mut *transaction)
            .await?;
    let end = match lobby {
        None => Err(SnapshotRefusal::NoLobby),
        Some((format, body)) => {
            // A statement of its own, which begins with the lock taken.
            let newest: Option<(Vec<u8>, Vec<u8>)> =
                query_as(NEWEST).bind(new.lobby.as_bytes().as_slice()).fetch_optional(&mut *transaction).await?;
            let newest = newest.map(|(generation, checksum)| read_generation(&generation, &checksum)).transpose()?;
            admit(&read_lobby(format, &body)?, new.connection, &new.header, newest)
        }
    };
    match end {
        Ok(Admission::Store) => {
            insert(&mut transaction, new).await?;
            transaction.commit().await?;
            Ok(Ok(()))
        }
        Ok(Admission::AlreadyThere) => Ok(transaction.rollback().await.map(Ok)?),
        Err(refusal) => Ok(transaction.rollback().await.map(|()| Err(refusal))?),
    }
}

async fn insert(connection: &mut PgConnection, new: &NewSnapshot) -> Result<(), StoreError> {
    query(
        "WITH newest AS (
            INSERT INTO newest_snapshots (lobby_id, generation) VALUES ($1, $2)
            ON CONFLICT (lobby_id) DO UPDATE SET generation = excluded.generation
        ), forgotten AS (
            DELETE FROM snapshots WHERE lobby_id = $1 AND generation NOT IN
                (SELECT generation FROM snapshots WHERE lobby_id = $1 ORDER BY generation DESC LIMIT $5)
        )
        INSERT INTO snapshots (lobby_id, generation, checksum, record) VALUES ($1, $2, $3, $4)",
    )
    .bind(new.lobby.as_bytes().as_slice())
    .bind(generation_key(new.header.generation))
    .bind(new.header.checksum.as_bytes().as_slice())
    .bind(&new.record[..])
    .bind(i64::from(limits::SNAPSHOT_GENERATIONS - 1))
    .execute(connection)
    .await?;
    Ok(())
}
