//! Reading lobbies and their events, and deleting closed ones.

use protocol::commit::Version;
use protocol::id::{EventSeq, JoinCode, LobbyId, PlayerId};
use protocol::lobby::Lobby;
use protocol::lobby::listing::Query;
use protocol::message::Event;
use protocol::time::Timestamp;
use sqlx::{Postgres, query, query_as};

use super::PostgresStore;
use crate::store::find::Select;
use crate::store::sql::identity::FORGOTTEN_AT_ONCE;
use crate::store::sql::{
    EVENTS_AFTER, LOAD, LOAD_NEWER, LOBBIES, LobbyRow, MEMBERSHIPS, MEMBERSHIPS_LIMIT, following, lobby_id, membership,
    newer, page_start, read_lobby, signed, timestamp, version,
};
use crate::store::{DELETED_AT_ONCE, Membership, Newer, StoreError};

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

    pub(super) async fn query_lobbies(&self, query: &Query) -> Result<Vec<Lobby>, StoreError> {
        let (mut lobbies, mut seen) = (Vec::new(), 0);
        loop {
            let missing = query.count as usize - lobbies.len();
            let mut select = Select::<Postgres>::rows(query, "strpos", seen, missing);
            let rows: Vec<LobbyRow> = self.finders.rows(select.build_query_as()).await?;
            seen += rows.len();
            lobbies.extend(rows.iter().filter_map(|row| self.unreadable.read(row)).map(|(lobby, _)| lobby));
            if rows.len() < missing || lobbies.len() >= query.count as usize {
                return Ok(lobbies);
            }
        }
    }

    pub(super) async fn all_lobbies(
        &self,
        after: Option<LobbyId>,
        limit: u32,
    ) -> Result<Vec<(Lobby, Version)>, StoreError> {
        self.page(LOBBIES, after, limit).await
    }

    pub(super) async fn seats_of(&self, player: PlayerId) -> Result<Vec<Membership>, StoreError> {
        let query = query_as(MEMBERSHIPS).bind(player.as_bytes().as_slice()).bind(MEMBERSHIPS_LIMIT);
        self.readers.rows(query).await?.into_iter().map(membership).collect()
    }

    pub(super) async fn lobbies_with_connected(
        &self,
        after: Option<LobbyId>,
        limit: u32,
    ) -> Result<Vec<Lobby>, StoreError> {
        let sql = "SELECT id, version, body_format, body FROM lobbies WHERE id > $1 AND connected ORDER BY id LIMIT $2";
        Ok(self.page(sql, after, limit).await?.into_iter().map(|(lobby, _)| lobby).collect())
    }

    /// Lobbies by id, without those that cannot be read.
    pub(super) async fn page(
        &self,
        sql: &'static str,
        after: Option<LobbyId>,
        limit: u32,
    ) -> Result<Vec<(Lobby, Version)>, StoreError> {
        let (mut lobbies, mut after) = (Vec::new(), page_start(after));
        loop {
            let missing = limit as usize - lobbies.len();
            let rows: Vec<LobbyRow> = self.readers.rows(query_as(sql).bind(after).bind(missing as i64)).await?;
            lobbies.extend(rows.iter().filter_map(|row| self.unreadable.read(row)));
            let is_last = rows.len() < missing;
            match rows.into_iter().last() {
                Some((id, ..)) if !is_last && lobbies.len() < limit as usize => after = id,
                Some(_) | None => return Ok(lobbies),
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
            ), forgotten AS (
                DELETE FROM snapshot_deltas USING locked WHERE snapshot_deltas.lobby_id = locked.id
            )
            DELETE FROM lobbies USING locked WHERE lobbies.id = locked.id";
        self.writers.execute(query(sql).bind(signed(until.0)).bind(DELETED_AT_ONCE as i64)).await
    }

    /// What is used up is written before anything is forgotten, and nobody waits to forget: two of these never wait for each other.
    pub(super) async fn note_use(&self, what: [u8; 16], now: Timestamp, until: Timestamp) -> Result<bool, StoreError> {
        let sql = "WITH expired AS MATERIALIZED (
                SELECT what FROM used_up WHERE until <= $2 AND what <> $1
                ORDER BY until LIMIT $4 FOR UPDATE SKIP LOCKED
            ), forgotten AS (
                DELETE FROM used_up USING expired WHERE used_up.what = expired.what
            )
            INSERT INTO used_up (what, until) VALUES ($1, $3)
            ON CONFLICT (what) DO UPDATE SET until = excluded.until WHERE used_up.until <= $2";
        let query = query(sql).bind(what.as_slice()).bind(signed(now.0)).bind(signed(until.0)).bind(FORGOTTEN_AT_ONCE);
        Ok(self.writers.execute(query).await? == 1)
    }
}
