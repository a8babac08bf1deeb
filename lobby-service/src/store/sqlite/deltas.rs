//! Deltas, many at once: two statements for all that are admitted.

use std::collections::BTreeMap;

use protocol::id::LobbyId;
use protocol::limits;
use serde::Serialize;
use sqlx::{SqliteConnection, query, query_as};

use super::SqliteStore;
use super::snapshots::lobby_and_newest;
use crate::store::sql::snapshots::generation_key;
use crate::store::sql::{corrupt, lobby_id, signed};
use crate::store::{Admission, NewDelta, SnapshotRefusal, StoreError, admit_delta};

/// Parameters: rows as a JSON array, the most deltas, the most bytes of them. Those are admitted whose sender is host at its epoch
/// and which lead from the newest that is stored; returned are their lobbies, with the snapshots that they stand on.
const ADMIT: &str = "
INSERT INTO newest_snapshots (lobby_id, generation, checksum, snapshot, deltas, delta_bytes)
SELECT known.lobby_id, unhex(input.value ->> 4), unhex(input.value ->> 5), known.snapshot, known.deltas + 1,
    known.delta_bytes + (input.value ->> 6)
FROM json_each($1) AS input
    CROSS JOIN lobbies ON lobbies.id = unhex(input.value ->> 0)
    CROSS JOIN newest_snapshots AS known ON known.lobby_id = lobbies.id
WHERE lobbies.writer = input.value ->> 1 AND lobbies.epoch = input.value ->> 2 AND NOT lobbies.closed
    AND known.generation = unhex(input.value ->> 3) AND known.deltas < $2
    AND known.delta_bytes + (input.value ->> 6) <= $3
ON CONFLICT (lobby_id) DO UPDATE SET generation = excluded.generation, checksum = excluded.checksum,
    deltas = excluded.deltas, delta_bytes = excluded.delta_bytes
RETURNING lobby_id, snapshot";

/// Parameters: rows as a JSON array, the records of all, one after the other.
const INSERT: &str = "
INSERT INTO snapshot_deltas (lobby_id, snapshot, generation, record)
SELECT unhex(value ->> 0), unhex(value ->> 1), unhex(value ->> 2), substr($2, value ->> 3, value ->> 4) FROM json_each($1)";

/// Bytes, in a row.
struct Hex<'a>(&'a [u8]);

impl Serialize for Hex<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(self.0))
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

impl SqliteStore {
    pub(super) async fn store_deltas(
        &self,
        deltas: &[NewDelta],
    ) -> Result<Vec<Result<(), SnapshotRefusal>>, StoreError> {
        let rows = deltas.iter().map(|new| {
            let leads_to = &new.header.leads_to;
            (
                new.lobby,
                new.connection,
                signed(leads_to.generation.epoch.0),
                hex(&generation_key(new.header.base)),
                hex(&generation_key(leads_to.generation)),
                leads_to.checksum,
                new.record.len(),
            )
        });
        let rows = json(&rows.collect::<Vec<_>>())?;
        let mut transaction = self.begin().await?;
        let admitted: Vec<(Vec<u8>, Vec<u8>)> = query_as(ADMIT)
            .bind(rows)
            .bind(limits::DELTAS_MAX)
            .bind(limits::SNAPSHOT_BYTES_MAX as i64)
            .fetch_all(&mut *transaction)
            .await?;
        let admitted = admitted.into_iter().map(|(id, snapshot)| Ok((lobby_id(&id)?, snapshot)));
        let admitted = admitted.collect::<Result<BTreeMap<_, _>, StoreError>>()?;
        insert(&mut transaction, deltas, &admitted).await?;
        let mut ends = Vec::with_capacity(deltas.len());
        for new in deltas {
            ends.push(match admitted.get(&new.lobby) {
                Some(_) => Ok(()),
                None => refusal(&mut transaction, new).await?,
            });
        }
        transaction.commit().await?;
        Ok(ends)
    }
}

fn json<T: Serialize>(rows: &[T]) -> Result<String, StoreError> {
    serde_json::to_string(rows).map_err(|error| corrupt("row", error))
}

async fn insert(
    connection: &mut SqliteConnection,
    deltas: &[NewDelta],
    admitted: &BTreeMap<LobbyId, Vec<u8>>,
) -> Result<(), StoreError> {
    let (mut rows, mut records) = (Vec::with_capacity(deltas.len()), Vec::new());
    for new in deltas {
        if let Some(snapshot) = admitted.get(&new.lobby) {
            // SQL counts from one.
            let at = records.len() + 1;
            let generation = hex(&generation_key(new.header.leads_to.generation));
            rows.push((new.lobby, Hex(snapshot), generation, at, new.record.len()));
            records.extend_from_slice(&new.record);
        }
    }
    if !rows.is_empty() {
        query(INSERT).bind(json(&rows)?).bind(records).execute(connection).await?;
    }
    Ok(())
}

/// Where the columns say no, the lobby says why; or that the same delta is there already.
async fn refusal(connection: &mut SqliteConnection, new: &NewDelta) -> Result<Result<(), SnapshotRefusal>, StoreError> {
    let Some((lobby, chain)) = lobby_and_newest(connection, new.lobby).await? else {
        return Ok(Err(SnapshotRefusal::NoLobby));
    };
    Ok(match admit_delta(&lobby, new, chain.as_ref()) {
        Ok(Admission::AlreadyThere) => Ok(()),
        // The columns of a lobby that was saved by a release without them say nothing: it takes whole snapshots.
        Ok(Admission::Store) => Err(SnapshotRefusal::NoBase { newest: chain.map(|chain| chain.newest) }),
        Err(refusal) => Err(refusal),
    })
}
