//! The leases of the instances, by the clock of the database.

use std::time::Duration;

use protocol::id::InstanceId;
use sqlx::{query, query_as};

use super::PostgresStore;
use crate::store::sql::{id, signed, timestamp, unavailable};
use crate::store::{Renewal, StoreError};

/// - `known`: all instances as they are now, locked, so that one renewal is decided after the other. Only one that has registered
///   since this statement began is not among them: where it is an heir already, it lives.
/// - `clock`: what it shows once they are locked.
/// - `decided`: what becomes of each. Only who holds its own lease takes over anybody's members.
const RENEW: &str = "
WITH known AS MATERIALIZED (
    SELECT id, expires_at, heir FROM instances ORDER BY id FOR UPDATE
), clock AS MATERIALIZED (
    SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now, is_held
    FROM (SELECT count(*) FILTER (WHERE id = $1 AND heir IS NULL) = 1 AS is_held FROM known) AS mine
), live AS MATERIALIZED (
    SELECT id FROM known, clock WHERE heir IS NULL AND (id = $1 OR expires_at > now)
), decided AS MATERIALIZED (
    SELECT id, CASE WHEN id = $1 THEN now + $2 ELSE expires_at END AS expires_at, CASE
            WHEN id IN (SELECT id FROM live) THEN NULL
            WHEN heir IN (SELECT id FROM live) THEN heir
            WHEN heir NOT IN (SELECT id FROM known) THEN heir
            ELSE $1
        END AS heir
    FROM known, clock WHERE is_held
), saved AS (
    UPDATE instances SET expires_at = decided.expires_at, heir = decided.heir
    FROM decided WHERE instances.id = decided.id AND (decided.id = $1 OR decided.heir = $1)
)
SELECT now, is_held, ARRAY (SELECT id FROM live ORDER BY id), ARRAY (SELECT id FROM decided WHERE heir = $1 ORDER BY id)
FROM clock";

/// The time, whether the lease is held, who lives, who is inherited.
type Row = (i64, bool, Vec<Vec<u8>>, Vec<Vec<u8>>);

impl PostgresStore {
    pub(super) async fn register_instance(&self, instance: InstanceId, term: Duration) -> Result<Renewal, StoreError> {
        let sql = "INSERT INTO instances (id, expires_at)
            VALUES ($1, (extract(epoch FROM clock_timestamp()) * 1000)::bigint + $2) ON CONFLICT DO NOTHING";
        self.writers.execute(query(sql).bind(instance.as_bytes().as_slice()).bind(millis(term))).await?;
        self.renew_instance(instance, term).await
    }

    pub(super) async fn renew_instance(&self, instance: InstanceId, term: Duration) -> Result<Renewal, StoreError> {
        let query = query_as(RENEW).bind(instance.as_bytes().as_slice()).bind(millis(term));
        let row: Option<Row> = self.writers.row(query).await?;
        let (now, is_held, live, inherited) = row.ok_or_else(|| unavailable("no answer"))?;
        Ok(Renewal { now: timestamp(now), is_held, live: instances(&live)?, inherited: instances(&inherited)? })
    }

    pub(super) async fn retire_instance(&self, instance: InstanceId) -> Result<(), StoreError> {
        let retire = query("UPDATE instances SET expires_at = 0 WHERE id = $1").bind(instance.as_bytes().as_slice());
        self.writers.execute(retire).await?;
        Ok(())
    }

    pub(super) async fn bury_instance(&self, instance: InstanceId) -> Result<(), StoreError> {
        // Rows whose heir it was are written too: all are locked in the order in which a renewal locks them.
        let sql = "WITH known AS MATERIALIZED (SELECT id FROM instances ORDER BY id FOR UPDATE)
            DELETE FROM instances USING known WHERE instances.id = known.id AND known.id = $1";
        self.writers.execute(query(sql).bind(instance.as_bytes().as_slice())).await?;
        Ok(())
    }
}

fn instances(ids: &[Vec<u8>]) -> Result<Vec<InstanceId>, StoreError> {
    ids.iter().map(|bytes| Ok(InstanceId::from_bytes(id("instance id", bytes)?))).collect()
}

fn millis(term: Duration) -> i64 {
    signed(u64::try_from(term.as_millis()).unwrap_or(u64::MAX))
}
