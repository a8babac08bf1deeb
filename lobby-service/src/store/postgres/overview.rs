//! What operators see.

use async_trait::async_trait;
use protocol::id::LobbyId;
use sqlx::query_as;

use super::PostgresStore;
use crate::store::StoreError;
use crate::store::overview::{Overview, StoredInstance, StoredSnapshot};
use crate::store::sql::snapshots::{SNAPSHOTS, SnapshotRow, stored_snapshot};
use crate::store::sql::{INSTANCES, stored_instance};

#[async_trait]
impl Overview for PostgresStore {
    async fn snapshots(&self, lobby: LobbyId) -> Result<Vec<StoredSnapshot>, StoreError> {
        let query = query_as(SNAPSHOTS).bind(lobby.as_bytes().as_slice());
        let rows: Vec<SnapshotRow> = self.readers.rows(query).await?;
        rows.iter().map(stored_snapshot).collect()
    }

    async fn instances(&self) -> Result<Vec<StoredInstance>, StoreError> {
        let rows: Vec<(Vec<u8>, i64, Option<Vec<u8>>)> = self.readers.rows(query_as(INSTANCES)).await?;
        rows.iter().map(stored_instance).collect()
    }
}
