//! The lease of the one instance that uses the file. Nobody inherits: whoever comes next registers, which ends this one.

use std::time::Duration;

use protocol::id::InstanceId;
use sqlx::{query, query_scalar};

use super::SqliteStore;
use crate::clock::wall;
use crate::store::sql::{id, signed};
use crate::store::{Renewal, StoreError};

impl SqliteStore {
    pub(super) async fn register_instance(&self, instance: InstanceId, term: Duration) -> Result<Renewal, StoreError> {
        let mut transaction = self.begin().await?;
        query("DELETE FROM instances WHERE id <> $1")
            .bind(instance.as_bytes().as_slice())
            .execute(&mut *transaction)
            .await?;
        query("INSERT INTO instances (id, expires_at) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(instance.as_bytes().as_slice())
            .bind(signed(wall().after(term).0))
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        self.renew_instance(instance, term).await
    }

    pub(super) async fn renew_instance(&self, instance: InstanceId, term: Duration) -> Result<Renewal, StoreError> {
        let now = wall();
        let renewed = query("UPDATE instances SET expires_at = $2 WHERE id = $1 AND heir IS NULL")
            .bind(instance.as_bytes().as_slice())
            .bind(signed(now.after(term).0))
            .execute(&self.writer)
            .await?;
        let live: Vec<Vec<u8>> = query_scalar("SELECT id FROM instances WHERE expires_at > $1 AND heir IS NULL")
            .bind(signed(now.0))
            .fetch_all(&self.writer)
            .await?;
        let live = live.iter().map(|bytes| Ok(InstanceId::from_bytes(id("instance id", bytes)?)));
        let is_held = renewed.rows_affected() == 1;
        Ok(Renewal { now, is_held, live: live.collect::<Result<_, StoreError>>()?, inherited: Vec::new() })
    }

    pub(super) async fn retire_instance(&self, instance: InstanceId) -> Result<(), StoreError> {
        let retire = query("UPDATE instances SET expires_at = 0 WHERE id = $1");
        retire.bind(instance.as_bytes().as_slice()).execute(&self.writer).await?;
        Ok(())
    }

    pub(super) async fn bury_instance(&self, instance: InstanceId) -> Result<(), StoreError> {
        let bury = query("DELETE FROM instances WHERE id = $1");
        bury.bind(instance.as_bytes().as_slice()).execute(&self.writer).await?;
        Ok(())
    }
}
