//! Deltas, many at once.

use std::collections::BTreeSet;

use protocol::limits;
use sqlx::postgres::PgArguments;
use sqlx::query::QueryAs;
use sqlx::{Connection as _, PgConnection, Postgres, query_as};

use super::PostgresStore;
use super::pool::in_time;
use super::snapshots::lock;
use crate::store::sql::snapshots::generation_key;
use crate::store::sql::{lobby_id, signed};
use crate::store::{Admission, NewDelta, SnapshotRefusal, StoreError, admit_delta};

/// - `locked`: the lobbies as they are now. No election can be saved before this statement has ended.
/// - `newest`: those whose sender is host at its epoch and which lead from the newest that is stored. A row that has changed since
///   this statement began is looked at as it is now.
const PUT: &str = "
WITH input AS MATERIALIZED (
    SELECT * FROM UNNEST($1::bytea[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bytea[], $6::bytea[], $7::bytea[])
    AS input (lobby_id, connection, epoch, base, generation, checksum, record)
), locked AS MATERIALIZED (
    SELECT id, epoch, writer FROM lobbies WHERE id = ANY ($1) AND NOT closed ORDER BY id FOR NO KEY UPDATE
), newest AS (
    UPDATE newest_snapshots AS newest SET generation = input.generation, checksum = input.checksum,
        deltas = newest.deltas + 1, delta_bytes = newest.delta_bytes + length(input.record)
    FROM locked JOIN input ON input.lobby_id = locked.id
    WHERE newest.lobby_id = locked.id AND locked.epoch = input.epoch AND locked.writer = input.connection
        AND newest.generation = input.base AND newest.deltas < $8 AND newest.delta_bytes + length(input.record) <= $9
    RETURNING newest.lobby_id, newest.snapshot, input.generation, input.record
), stored AS (
    INSERT INTO snapshot_deltas (lobby_id, snapshot, generation, record)
    SELECT lobby_id, snapshot, generation, record FROM newest
)
SELECT lobby_id FROM newest";

impl PostgresStore {
    pub(super) async fn store_deltas(
        &self,
        deltas: &[NewDelta],
    ) -> Result<Vec<Result<(), SnapshotRefusal>>, StoreError> {
        debug_assert_eq!(
            deltas.iter().map(|new| new.lobby).collect::<BTreeSet<_>>().len(),
            deltas.len(),
            "one delta a lobby"
        );
        let stored = self.writers.rows(put(deltas)).await?;
        let stored = stored.iter().map(|(id,)| lobby_id(id)).collect::<Result<BTreeSet<_>, _>>()?;
        let mut ends = Vec::with_capacity(deltas.len());
        for new in deltas {
            ends.push(if stored.contains(&new.lobby) { Ok(()) } else { self.delta_or_refusal(new).await? });
        }
        Ok(ends)
    }

    /// Stores one delta that the columns do not admit, or tells why it is refused: the lobby itself decides, in a transaction of
    /// several round trips.
    async fn delta_or_refusal(&self, new: &NewDelta) -> Result<Result<(), SnapshotRefusal>, StoreError> {
        let mut leased = self.writers.lease().await?;
        let end = in_time(decide(&mut leased, new)).await??;
        leased.give_back(Ok(()))?;
        Ok(end)
    }
}

async fn decide(connection: &mut PgConnection, new: &NewDelta) -> Result<Result<(), SnapshotRefusal>, StoreError> {
    let mut transaction = connection.begin().await?;
    let end = match lock(&mut transaction, new.lobby).await? {
        Some((lobby, chain)) => match admit_delta(&lobby, new, chain.as_ref()) {
            Ok(Admission::Store) => {
                let stored = put(std::slice::from_ref(new)).fetch_all(&mut *transaction).await?;
                // The columns of a lobby that was saved by a release without them say nothing: it takes whole snapshots.
                let newest = chain.map(|chain| chain.newest);
                if stored.is_empty() { Err(SnapshotRefusal::NoBase { newest }) } else { Ok(()) }
            }
            Ok(Admission::AlreadyThere) => Ok(()),
            Err(refusal) => Err(refusal),
        },
        None => Err(SnapshotRefusal::NoLobby),
    };
    transaction.commit().await?;
    Ok(end)
}

fn put(deltas: &[NewDelta]) -> QueryAs<'_, Postgres, (Vec<u8>,), PgArguments> {
    fn list<'a, T: 'a>(deltas: &'a [NewDelta], read: impl Fn(&'a NewDelta) -> T + 'a) -> Vec<T> {
        deltas.iter().map(read).collect()
    }
    query_as(PUT)
        .bind(list(deltas, |new| new.lobby.as_bytes().as_slice()))
        .bind(list(deltas, |new| i64::from(new.connection.0)))
        .bind(list(deltas, |new| signed(new.header.leads_to.generation.epoch.0)))
        .bind(list(deltas, |new| generation_key(new.header.base)))
        .bind(list(deltas, |new| generation_key(new.header.leads_to.generation)))
        .bind(list(deltas, |new| new.header.leads_to.checksum.as_bytes().as_slice()))
        .bind(list(deltas, |new| &new.record[..]))
        .bind(i64::from(limits::DELTAS_MAX))
        .bind(limits::SNAPSHOT_BYTES_MAX as i64)
}
