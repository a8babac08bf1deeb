//! The store in memory: the definition of what a store does. Nothing survives the process.

mod identity;
mod instances;
mod overview;
mod tables;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use protocol::commit::Version;
use protocol::id::{Checksum, EventSeq, InstanceId, JoinCode, LobbyId, PlayerId};
use protocol::lobby::Lobby;
use protocol::lobby::listing::Query;
use protocol::message::Event;
use protocol::snapshot::{Generation, Header};
use protocol::time::Timestamp;

use super::{
    Change, Membership, NewDelta, NewSnapshot, Newer, Player, RefreshHash, Renewal, Rotation, SnapshotRefusal, Store,
    StoreError, Written,
};
use crate::auth::api_key::{ApiKeyId, StoredApiKey};
use crate::clock::wall;
pub use tables::Tables;

/// The tables behind a lock.
#[derive(Debug, Default)]
pub struct MemoryStore {
    tables: Mutex<Tables>,
    is_shared: bool,
}

impl MemoryStore {
    /// A store that several services in one process use, each as an instance of its own.
    #[must_use]
    pub fn shared() -> Self {
        Self { is_shared: true, ..Self::default() }
    }

    /// No method of the tables panics half way, so that a poisoned lock guards whole tables.
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn is_shared(&self) -> bool {
        self.is_shared
    }

    async fn write(&self, changes: &[Change]) -> Result<Vec<Written>, StoreError> {
        let mut tables = self.tables();
        Ok(changes.iter().map(|change| tables.write(change.clone())).collect())
    }

    async fn load(&self, id: LobbyId) -> Result<Option<(Lobby, Version)>, StoreError> {
        Ok(self.tables().load(id))
    }

    async fn load_newer(&self, id: LobbyId, known: Version) -> Result<Newer, StoreError> {
        Ok(self.tables().load_newer(id, known))
    }

    async fn versions(&self, ids: &[LobbyId]) -> Result<Vec<(LobbyId, Version)>, StoreError> {
        Ok(self.tables().versions(ids))
    }

    async fn id_by_code(&self, code: JoinCode) -> Result<Option<LobbyId>, StoreError> {
        Ok(self.tables().id_by_code(code))
    }

    async fn query(&self, query: &Query) -> Result<Vec<Lobby>, StoreError> {
        Ok(self.tables().query(query))
    }

    async fn lobbies(&self, after: Option<LobbyId>, limit: u32) -> Result<Vec<(Lobby, Version)>, StoreError> {
        Ok(self.tables().lobbies(after, limit))
    }

    async fn memberships(&self, player: PlayerId) -> Result<Vec<Membership>, StoreError> {
        Ok(self.tables().memberships(player))
    }

    async fn use_up(&self, what: [u8; 16], now: Timestamp, until: Timestamp) -> Result<bool, StoreError> {
        Ok(self.tables().use_up(what, now, until))
    }

    async fn connected_lobbies(&self, after: Option<LobbyId>, limit: u32) -> Result<Vec<Lobby>, StoreError> {
        Ok(self.tables().connected_lobbies(after, limit))
    }

    async fn due(&self, limit: u32) -> Result<Vec<(Timestamp, LobbyId)>, StoreError> {
        Ok(self.tables().due(limit))
    }

    async fn events_after(
        &self,
        lobby: LobbyId,
        after: EventSeq,
        limit: u32,
    ) -> Result<Option<Vec<Event>>, StoreError> {
        Ok(self.tables().events_after(lobby, after, limit))
    }

    async fn put_snapshots(&self, snapshots: &[NewSnapshot]) -> Result<Vec<Result<(), SnapshotRefusal>>, StoreError> {
        let mut tables = self.tables();
        Ok(snapshots.iter().map(|snapshot| tables.put_snapshot(snapshot)).collect())
    }

    async fn put_deltas(&self, deltas: &[NewDelta]) -> Result<Vec<Result<(), SnapshotRefusal>>, StoreError> {
        let mut tables = self.tables();
        Ok(deltas.iter().map(|delta| tables.put_delta(delta)).collect())
    }

    async fn newest_snapshot(&self, lobby: LobbyId) -> Result<Option<(Generation, Checksum)>, StoreError> {
        Ok(self.tables().newest_snapshot(lobby))
    }

    async fn latest_snapshot(&self, lobby: LobbyId) -> Result<Option<(Header, Bytes)>, StoreError> {
        Ok(self.tables().latest_snapshot(lobby))
    }

    async fn register(&self, instance: InstanceId, term: Duration) -> Result<Renewal, StoreError> {
        let mut tables = self.tables();
        if !self.is_shared {
            tables.keep_only(instance);
        }
        Ok(tables.register(instance, term, wall()))
    }

    async fn renew(&self, instance: InstanceId, term: Duration) -> Result<Renewal, StoreError> {
        Ok(self.tables().renew(instance, term, wall()))
    }

    async fn retire(&self, instance: InstanceId) -> Result<(), StoreError> {
        self.tables().retire(instance);
        Ok(())
    }

    async fn bury(&self, instance: InstanceId) -> Result<(), StoreError> {
        self.tables().bury(instance);
        Ok(())
    }

    async fn create_player(
        &self,
        player: &Player,
        token: &RefreshHash,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        self.tables().create_player(player, token, expires_at);
        Ok(())
    }

    async fn delete_closed(&self, until: Timestamp) -> Result<u64, StoreError> {
        Ok(self.tables().delete_closed(until))
    }

    async fn player(&self, id: PlayerId) -> Result<Option<Player>, StoreError> {
        Ok(self.tables().player(id))
    }

    async fn rotate_refresh(
        &self,
        presented: &RefreshHash,
        next: [u8; 32],
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Rotation, StoreError> {
        Ok(self.tables().rotate_refresh(presented, next, now, expires_at))
    }

    async fn add_api_key(&self, key: &StoredApiKey) -> Result<bool, StoreError> {
        Ok(self.tables().add_api_key(key))
    }

    async fn api_keys(&self) -> Result<Vec<StoredApiKey>, StoreError> {
        Ok(self.tables().api_keys())
    }

    async fn note_api_key_used(&self, id: ApiKeyId, day: Timestamp) -> Result<(), StoreError> {
        self.tables().note_api_key_used(id, day);
        Ok(())
    }

    async fn remove_api_key(&self, id: ApiKeyId) -> Result<bool, StoreError> {
        Ok(self.tables().remove_api_key(id))
    }

    async fn close(&self) {}
}
