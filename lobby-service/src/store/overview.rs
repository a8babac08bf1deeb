//! What operators see of a store.

use async_trait::async_trait;
use protocol::id::{Checksum, InstanceId, LobbyId};
use protocol::snapshot::Generation;
use protocol::time::Timestamp;

use super::StoreError;

/// A snapshot that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredSnapshot {
    /// Its place.
    pub generation: Generation,
    /// Of its record.
    pub checksum: Checksum,
    /// The size of its record.
    pub bytes: u64,
    /// Deltas on it.
    pub deltas: u64,
    /// The size of their records together.
    pub delta_bytes: u64,
}

/// An instance that lives, or whose members somebody still has to look after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredInstance {
    /// Which.
    pub id: InstanceId,
    /// The end of its lease, if it is not renewed.
    pub expires_at: Timestamp,
    /// Who has taken over its members.
    pub heir: Option<InstanceId>,
}

/// What operators see.
#[async_trait]
pub trait Overview {
    /// The snapshots that are kept of a lobby, newest first.
    async fn snapshots(&self, lobby: LobbyId) -> Result<Vec<StoredSnapshot>, StoreError>;

    /// All instances, by id.
    async fn instances(&self) -> Result<Vec<StoredInstance>, StoreError>;
}
