//! How snapshots and deltas stand in both databases.

use bytes::Bytes;
use protocol::id::{Checksum, HostEpoch};
use protocol::snapshot::{DeltaHeader, Generation, Header};

use super::{corrupt, id};
use crate::store::overview::StoredSnapshot;
use crate::store::{Chain, StoreError};

/// Parameters: the lobby. Those of a closed one are not read.
pub(in crate::store) const NEWEST: &str =
    "SELECT generation, checksum, CAST(deltas AS bigint), CAST(delta_bytes AS bigint) FROM newest_snapshots
    WHERE lobby_id = $1 AND NOT (SELECT closed FROM lobbies WHERE id = $1)";

/// A row of [`NEWEST`].
pub(in crate::store) type NewestRow = (Vec<u8>, Vec<u8>, i64, i64);

/// Parameters: the lobby. The newest snapshot and its deltas, as they are at one time.
pub(in crate::store) const RECORDS: &str = "
WITH newest AS (
    SELECT snapshot FROM newest_snapshots WHERE lobby_id = $1 AND NOT (SELECT closed FROM lobbies WHERE id = $1)
)
SELECT generation, record FROM snapshots WHERE lobby_id = $1 AND generation = (SELECT snapshot FROM newest)
UNION ALL
SELECT generation, record FROM snapshot_deltas WHERE lobby_id = $1 AND snapshot = (SELECT snapshot FROM newest)
ORDER BY generation";

/// A row of [`RECORDS`].
pub(in crate::store) type RecordRow = (Vec<u8>, Vec<u8>);

/// Parameters: the lobby.
pub(in crate::store) const SNAPSHOTS: &str = "
SELECT generation, checksum, CAST(length(record) AS bigint),
    (SELECT count(*) FROM snapshot_deltas AS delta
        WHERE delta.lobby_id = snapshots.lobby_id AND delta.snapshot = snapshots.generation),
    (SELECT CAST(coalesce(sum(length(record)), 0) AS bigint) FROM snapshot_deltas AS delta
        WHERE delta.lobby_id = snapshots.lobby_id AND delta.snapshot = snapshots.generation)
FROM snapshots WHERE lobby_id = $1 ORDER BY generation DESC";

/// A row of [`SNAPSHOTS`].
pub(in crate::store) type SnapshotRow = (Vec<u8>, Vec<u8>, i64, i64, i64);

/// Epoch and number, each 8 bytes big-endian, so that newer ones sort behind older ones.
pub(in crate::store) fn generation_key(generation: Generation) -> [u8; 16] {
    (u128::from(generation.epoch.0) << 64 | u128::from(generation.seq)).to_be_bytes()
}

fn read_generation(key: &[u8], checksum: &[u8]) -> Result<(Generation, Checksum), StoreError> {
    let key = u128::from_be_bytes(id("snapshot", key)?);
    let generation = Generation { epoch: HostEpoch((key >> 64) as u64), seq: key as u64 };
    Ok((generation, Checksum::from_bytes(id("snapshot", checksum)?)))
}

/// Reads the row of [`NEWEST`].
pub(in crate::store) fn read_newest(row: Option<NewestRow>) -> Result<Option<Chain>, StoreError> {
    let Some((generation, checksum, deltas, delta_bytes)) = row else { return Ok(None) };
    let (newest, checksum) = read_generation(&generation, &checksum)?;
    let deltas = u32::try_from(deltas).map_err(|error| corrupt("snapshot", error))?;
    let delta_bytes = u64::try_from(delta_bytes).map_err(|error| corrupt("snapshot", error))?;
    Ok(Some(Chain { newest, checksum, deltas, delta_bytes }))
}

/// Reads the rows of [`RECORDS`]: each record is checked as it was when it came, and that it leads from the one before.
pub(in crate::store) fn read_records(rows: Vec<RecordRow>) -> Result<Option<(Header, Bytes)>, StoreError> {
    let mut rows = rows.into_iter();
    let Some((_, mut records)) = rows.next() else { return Ok(None) };
    let mut newest = Header::check(&records).map_err(|error| corrupt("snapshot", error))?;
    for (_, record) in rows {
        let delta = DeltaHeader::check(&record).map_err(|error| corrupt("delta", error))?;
        if delta.base != newest.generation {
            return Err(corrupt("delta", "it does not lead from the one before"));
        }
        newest = delta.leads_to;
        records.extend_from_slice(&record);
    }
    Ok(Some((newest, records.into())))
}

/// Reads a row of [`SNAPSHOTS`].
pub(in crate::store) fn stored_snapshot(row: &SnapshotRow) -> Result<StoredSnapshot, StoreError> {
    let (generation, checksum) = read_generation(&row.0, &row.1)?;
    let [bytes, deltas, delta_bytes] = [row.2, row.3, row.4].map(|number| u64::try_from(number).unwrap_or_default());
    Ok(StoredSnapshot { generation, checksum, bytes, deltas, delta_bytes })
}
