//! The store in a Postgres database, which several instances of the service share.
//!
//! Each call is one statement, which is one transaction and one round trip; where it is not, it says so. The isolation is READ
//! COMMITTED, whose rules all of them rest on: a statement sees what was committed when it began, except for rows that it locks,
//! which it sees as they are once it has the lock. So whatever is decided is decided on locked rows, and rows are locked in the
//! order of their ids, that no two statements wait for each other.

mod api_keys;
mod connect;
mod deltas;
mod instances;
mod lobbies;
mod notify;
mod overview;
mod players;
mod pool;
mod snapshots;
mod write;

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

use super::sql::Unreadable;
use super::{
    Change, Listener, Membership, NewDelta, NewSnapshot, Newer, Player, RefreshHash, Renewal, Rotation,
    SnapshotRefusal, Store, StoreError, Written,
};
use crate::auth::api_key::{ApiKeyId, StoredApiKey};
pub use connect::Options;
use pool::Pool;

/// The store in a database.
#[derive(Debug)]
pub struct PostgresStore {
    /// For what is saved: it does not wait behind what is read.
    writers: Pool,
    readers: Pool,
    /// For queries: the worst of them look at all lobbies that are listed, and nothing else waits for those.
    finders: Pool,
    /// For what the instances tell each other.
    news: Pool,
    unreadable: Unreadable,
}

#[async_trait]
impl Store for PostgresStore {
    fn is_shared(&self) -> bool {
        true
    }

    async fn write(&self, changes: &[Change]) -> Result<Vec<Written>, StoreError> {
        self.write_changes(changes).await
    }

    async fn load(&self, id: LobbyId) -> Result<Option<(Lobby, Version)>, StoreError> {
        self.load_lobby(id).await
    }

    async fn load_newer(&self, id: LobbyId, known: Version) -> Result<Newer, StoreError> {
        self.load_newer_lobby(id, known).await
    }

    async fn versions(&self, ids: &[LobbyId]) -> Result<Vec<(LobbyId, Version)>, StoreError> {
        self.lobby_versions(ids).await
    }

    async fn id_by_code(&self, code: JoinCode) -> Result<Option<LobbyId>, StoreError> {
        self.lobby_by_code(code).await
    }

    async fn query(&self, query: &Query) -> Result<Vec<Lobby>, StoreError> {
        self.query_lobbies(query).await
    }

    async fn lobbies(&self, after: Option<LobbyId>, limit: u32) -> Result<Vec<(Lobby, Version)>, StoreError> {
        self.all_lobbies(after, limit).await
    }

    async fn memberships(&self, player: PlayerId) -> Result<Vec<Membership>, StoreError> {
        self.seats_of(player).await
    }

    async fn use_up(&self, what: [u8; 16], now: Timestamp, until: Timestamp) -> Result<bool, StoreError> {
        self.note_use(what, now, until).await
    }

    async fn connected_lobbies(&self, after: Option<LobbyId>, limit: u32) -> Result<Vec<Lobby>, StoreError> {
        self.lobbies_with_connected(after, limit).await
    }

    async fn due(&self, limit: u32) -> Result<Vec<(Timestamp, LobbyId)>, StoreError> {
        self.earliest_due(limit).await
    }

    async fn events_after(
        &self,
        lobby: LobbyId,
        after: EventSeq,
        limit: u32,
    ) -> Result<Option<Vec<Event>>, StoreError> {
        self.read_events(lobby, after, limit).await
    }

    async fn put_snapshots(&self, snapshots: &[NewSnapshot]) -> Result<Vec<Result<(), SnapshotRefusal>>, StoreError> {
        self.store_snapshots(snapshots).await
    }

    async fn put_deltas(&self, deltas: &[NewDelta]) -> Result<Vec<Result<(), SnapshotRefusal>>, StoreError> {
        self.store_deltas(deltas).await
    }

    async fn newest_snapshot(&self, lobby: LobbyId) -> Result<Option<(Generation, Checksum)>, StoreError> {
        self.newest_generation(lobby).await
    }

    async fn latest_snapshot(&self, lobby: LobbyId) -> Result<Option<(Header, Bytes)>, StoreError> {
        self.newest_records(lobby).await
    }

    async fn register(&self, instance: InstanceId, term: Duration) -> Result<Renewal, StoreError> {
        self.register_instance(instance, term).await
    }

    async fn renew(&self, instance: InstanceId, term: Duration) -> Result<Renewal, StoreError> {
        self.renew_instance(instance, term).await
    }

    async fn retire(&self, instance: InstanceId) -> Result<(), StoreError> {
        self.retire_instance(instance).await
    }

    async fn bury(&self, instance: InstanceId) -> Result<(), StoreError> {
        self.bury_instance(instance).await
    }

    async fn create_player(
        &self,
        player: &Player,
        token: &RefreshHash,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        self.insert_player(player, token, expires_at).await
    }

    async fn delete_closed(&self, until: Timestamp) -> Result<u64, StoreError> {
        self.delete_closed_lobbies(until).await
    }

    async fn player(&self, id: PlayerId) -> Result<Option<Player>, StoreError> {
        self.read_player(id).await
    }

    async fn rotate_refresh(
        &self,
        presented: &RefreshHash,
        next: [u8; 32],
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Rotation, StoreError> {
        self.rotate_secret(presented, next, now, expires_at).await
    }

    async fn add_api_key(&self, key: &StoredApiKey) -> Result<bool, StoreError> {
        self.insert_api_key(key).await
    }

    async fn api_keys(&self) -> Result<Vec<StoredApiKey>, StoreError> {
        self.read_api_keys().await
    }

    async fn note_api_key_used(&self, id: ApiKeyId, day: Timestamp) -> Result<(), StoreError> {
        self.update_api_key_day(id, day).await
    }

    async fn remove_api_key(&self, id: ApiKeyId) -> Result<bool, StoreError> {
        self.delete_api_key(id).await
    }

    async fn notify(&self, text: &str) -> Result<(), StoreError> {
        self.send_note(text).await
    }

    async fn listen(&self) -> Result<Option<Box<dyn Listener>>, StoreError> {
        Ok(Some(Box::new(self.hear_notes().await?)))
    }

    async fn close(&self) {
        self.news.close().await;
        self.finders.close().await;
        self.readers.close().await;
        self.writers.close().await;
    }
}
