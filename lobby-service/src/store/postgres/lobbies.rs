//! Reading lobbies and their events, and deleting closed ones.

use protocol::commit::Version;
use protocol::id::{EventSeq, JoinCode, LobbyId};
use protocol::lobby::Lobby;
use protocol::message::Event;
use protocol::time::Timestamp;
use sqlx::{query, query_as};

use super::PostgresStore;
use crate::store::sql::{
    EVENTS_AFTER, LOAD, LOAD_NEWER, following, lobby_id, newer, page_start, read_lobby, signed, timestamp, version,
};
use crate::store::{DELETED_AT_ONCE, Newer, StoreError, is_listed};

impl PostgresStore {
    pub(super) async fn load_lobby(&self, id: LobbyId) -> Result<Option<(Lobby, Version)>, StoreError> {
        let row: Option<(i64, i32, String)> = self.readers.row(query_as(LOAD).bind(id.as_bytes().as_slice())).await?;
        row.map(|(number, format, body)| Ok((read_lobby(format, &body)?, version(number)?))).transpose()
    }

    pub(super) async fn load_newer_lobby(&self, id: LobbyId, known: Version) -> Result<Newer, StoreError> {
        let query = query_as(LOAD_NEWER).bind(id.as_bytes().as_slice()).bind(signed(known.0));
        newer(self.readers.row(query).await?)
    }

    pub(super) async fn lobby_versions(&self, ids: &[LobbyId]) -> Result<Vec<(LobbyId, Version)>, StoreError> {
        let ids: Vec<_> = ids.iter().map(|id| id.as_bytes().as_slice()).collect();
        let rows: Vec<(Vec<u8>, i64)> =
            self.readers.rows(query_as("SELECT id, version FROM lobbies WHERE id = ANY ($1)").bind(ids)).await?;
        rows.iter().map(|(id, number)| Ok((lobby_id(id)?, version(*number)?))).collect()
    }

    pub(super) async fn lobby_by_code(&self, code: JoinCode) -> Result<Option<LobbyId>, StoreError> {
        let query = query_as("SELECT id FROM lobbies WHERE join_code = $1").bind(code.as_str());
        let row: Option<(Vec<u8>,)> = self.readers.row(query).await?;
        row.map(|(id,)| lobby_id(&id)).transpose()
    }

    pub(super) async fn open_lobbies(&self, after: Option<LobbyId>, limit: u32) -> Result<Vec<Lobby>, StoreError> {
        let sql = "SELECT id, body_format, body FROM lobbies
            WHERE id > $1 AND public AND NOT closed AND members < max_members ORDER BY id LIMIT $2";
        let mut lobbies = self.page(sql, after, limit).await?;
        lobbies.retain(is_listed);
        Ok(lobbies)
    }

    pub(super) async fn lobbies_with_connected(
        &self,
        after: Option<LobbyId>,
        limit: u32,
    ) -> Result<Vec<Lobby>, StoreError> {
        let sql = "SELECT id, body_format, body FROM lobbies WHERE id > $1 AND connected > 0 ORDER BY id LIMIT $2";
        self.page(sql, after, limit).await
    }

    /// Lobbies by id, without those that cannot be read.
    async fn page(&self, sql: &'static str, after: Option<LobbyId>, limit: u32) -> Result<Vec<Lobby>, StoreError> {
        let (mut lobbies, mut after) = (Vec::new(), page_start(after));
        loop {
            let missing = limit as usize - lobbies.len();
            let rows: Vec<(Vec<u8>, i32, String)> =
                self.readers.rows(query_as(sql).bind(after.clone()).bind(missing as i64)).await?;
            let is_last = rows.len() < missing;
            for (id, format, body) in rows {
                match read_lobby(format, &body) {
                    Ok(lobby) => lobbies.push(lobby),
                    Err(error) => self.unreadable.skip(&id, &error),
                }
                after = id;
            }
            if is_last || lobbies.len() >= limit as usize {
                return Ok(lobbies);
            }
        }
    }

    pub(super) async fn earliest_due(&self, limit: u32) -> Result<Vec<(Timestamp, LobbyId)>, StoreError> {
        let sql = "SELECT due_at, id FROM lobbies WHERE due_at IS NOT NULL ORDER BY due_at, id LIMIT $1";
        let rows: Vec<(i64, Vec<u8>)> = self.readers.rows(query_as(sql).bind(i64::from(limit))).await?;
        let read = |(at, id): &(i64, Vec<u8>)| match lobby_id(id) {
            Ok(lobby) => Some((timestamp(*at), lobby)),
            Err(error) => {
                self.unreadable.skip(id, &error);
                None
            }
        };
        Ok(rows.iter().filter_map(read).collect())
    }

    pub(super) async fn read_events(
        &self,
        lobby: LobbyId,
        after: EventSeq,
        limit: u32,
    ) -> Result<Option<Vec<Event>>, StoreError> {
        let query =
            query_as(EVENTS_AFTER).bind(lobby.as_bytes().as_slice()).bind(signed(after.0)).bind(i64::from(limit));
        following(after, &self.readers.rows(query).await?)
    }

    /// Those that another instance is deleting are left to it.
    pub(super) async fn delete_closed_lobbies(&self, until: Timestamp) -> Result<u64, StoreError> {
        let sql = "WITH locked AS MATERIALIZED (
                SELECT id FROM lobbies WHERE closed_at <= $1 ORDER BY closed_at LIMIT $2 FOR UPDATE SKIP LOCKED
            )
            DELETE FROM lobbies USING locked WHERE lobbies.id = locked.id";
        self.writers.execute(query(sql).bind(signed(until.0)).bind(DELETED_AT_ONCE as i64)).await
    }
}
