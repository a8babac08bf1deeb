//! What operators see.

use async_trait::async_trait;
use protocol::id::LobbyId;

use super::MemoryStore;
use crate::store::StoreError;
use crate::store::overview::{Overview, StoredInstance, StoredSnapshot};

#[async_trait]
impl Overview for MemoryStore {
    async fn snapshots(&self, lobby: LobbyId) -> Result<Vec<StoredSnapshot>, StoreError> {
        Ok(self.tables().snapshots(lobby))
    }

    async fn instances(&self) -> Result<Vec<StoredInstance>, StoreError> {
        Ok(self.tables().instances())
    }
}
