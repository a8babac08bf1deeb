//! Snapshots. Those of a closed lobby are not read: see `write.rs`.

use std::collections::BTreeSet;

use bytes::Bytes;
use protocol::id::{Checksum, LobbyId};
use protocol::limits;
use protocol::lobby::Lobby;
use protocol::snapshot::{Generation, Header};
use sqlx::postgres::PgArguments;
use sqlx::query::QueryAs;
use sqlx::{Connection as _, PgConnection, Postgres, query, query_as};

use super::PostgresStore;
use super::pool::in_time;
use crate::store::sql::snapshots::{NEWEST, RECORDS, generation_key, read_newest, read_records};
use crate::store::sql::{lobby_id, read_lobby, signed};
use crate::store::{Admission, Chain, NewSnapshot, SnapshotRefusal, StoreError, admit};

/// - `locked`: the lobbies as they are now. No election can be saved before this statement has ended.
/// - `newest`: those whose sender is host at its epoch and which are newer than the newest. A conflict with a row means that the row
///   is locked and looked at as it is now.
/// - The newest of those that are there are kept beside the new one.
const PUT: &str = "
WITH input AS MATERIALIZED (
    SELECT * FROM UNNEST($1::bytea[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bytea[], $6::bytea[])
    AS input (lobby_id, connection, epoch, generation, checksum, record)
), locked AS MATERIALIZED (
    SELECT id, epoch, writer FROM lobbies WHERE id = ANY ($1) AND NOT closed ORDER BY id FOR NO KEY UPDATE
), newest AS (
    INSERT INTO newest_snapshots (lobby_id, generation, checksum, snapshot)
    SELECT input.lobby_id, input.generation, input.checksum, input.generation
    FROM locked JOIN input ON input.lobby_id = locked.id
    WHERE locked.epoch = input.epoch AND locked.writer = input.connection
    ORDER BY input.lobby_id
    ON CONFLICT (lobby_id) DO UPDATE SET generation = excluded.generation, checksum = excluded.checksum,
        snapshot = excluded.snapshot, deltas = 0, delta_bytes = 0
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
    RETURNING snapshots.lobby_id, snapshots.generation
), forgotten_deltas AS (
    DELETE FROM snapshot_deltas USING forgotten
    WHERE snapshot_deltas.lobby_id = forgotten.lobby_id AND snapshot_deltas.snapshot = forgotten.generation
)
SELECT lobby_id FROM newest";

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
        let row = self.readers.row(query_as(NEWEST).bind(lobby.as_bytes().as_slice())).await?;
        Ok(read_newest(row)?.map(|chain| (chain.newest, chain.checksum)))
    }

    pub(super) async fn newest_records(&self, lobby: LobbyId) -> Result<Option<(Header, Bytes)>, StoreError> {
        read_records(self.readers.rows(query_as(RECORDS).bind(lobby.as_bytes().as_slice())).await?)
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
    let admission = match lock(&mut transaction, new.lobby).await? {
        Some((lobby, chain)) => admit(&lobby, new, chain.as_ref()),
        None => Err(SnapshotRefusal::NoLobby),
    };
    if admission == Ok(Admission::Store) {
        insert(&mut transaction, new).await?;
    }
    transaction.commit().await?;
    Ok(admission.map(|_| ()))
}

/// A lobby, locked until the transaction ends, and the newest that is stored of it.
pub(super) async fn lock(
    connection: &mut PgConnection,
    lobby: LobbyId,
) -> Result<Option<(Lobby, Option<Chain>)>, StoreError> {
    let sql = "SELECT body_format, body FROM lobbies WHERE id = $1 FOR NO KEY UPDATE";
    let id = lobby.as_bytes().as_slice();
    let locked: Option<(i32, String)> = query_as(sql).bind(id).fetch_optional(&mut *connection).await?;
    let Some((format, body)) = locked else { return Ok(None) };
    // A statement of its own, which begins with the lock taken.
    let newest = query_as(NEWEST).bind(id).fetch_optional(connection).await?;
    Ok(Some((read_lobby(format, &body)?, read_newest(newest)?)))
}

async fn insert(connection: &mut PgConnection, new: &NewSnapshot) -> Result<(), StoreError> {
    query(
        "WITH newest AS (
            INSERT INTO newest_snapshots (lobby_id, generation, checksum, snapshot) VALUES ($1, $2, $3, $2)
            ON CONFLICT (lobby_id) DO UPDATE SET generation = excluded.generation, checksum = excluded.checksum,
                snapshot = excluded.snapshot, deltas = 0, delta_bytes = 0
        ), forgotten AS (
            DELETE FROM snapshots WHERE lobby_id = $1 AND generation NOT IN
                (SELECT generation FROM snapshots WHERE lobby_id = $1 ORDER BY generation DESC LIMIT $5)
            RETURNING generation
        ), forgotten_deltas AS (
            DELETE FROM snapshot_deltas USING forgotten
            WHERE snapshot_deltas.lobby_id = $1 AND snapshot_deltas.snapshot = forgotten.generation
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
