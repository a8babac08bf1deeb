//! Reading lobbies and their events.

use protocol::commit::Version;
use protocol::id::{EventSeq, JoinCode, LobbyId, PlayerId};
use protocol::lobby::Lobby;
use protocol::lobby::listing::Query;
use protocol::message::Event;
use protocol::time::Timestamp;
use sqlx::{Sqlite, query, query_as, query_scalar};

use super::SqliteStore;
use crate::store::find::Select;
use crate::store::sql::identity::FORGOTTEN_AT_ONCE;
use crate::store::sql::{
    EVENTS_AFTER, LOAD, LOAD_NEWER, LOBBIES, LobbyRow, MEMBERSHIPS, MEMBERSHIPS_LIMIT, corrupt, following, lobby_id,
    membership, newer, page_start, read_lobby, signed, timestamp, version,
};
use crate::store::{DELETED_AT_ONCE, Membership, Newer, StoreError};

impl SqliteStore {
    pub(super) async fn load_lobby(&self, id: LobbyId) -> Result<Option<(Lobby, Version)>, StoreError> {
        let row: Option<(i64, i32, String)> =
            query_as(LOAD).bind(id.as_bytes().as_slice()).fetch_optional(&self.readers).await?;
        row.map(|(number, format, body)| Ok((read_lobby(format, &body)?, version(number)?))).transpose()
    }

    pub(super) async fn load_newer_lobby(&self, id: LobbyId, known: Version) -> Result<Newer, StoreError> {
        let query = query_as(LOAD_NEWER).bind(id.as_bytes().as_slice()).bind(signed(known.0));
        newer(query.fetch_optional(&self.readers).await?)
    }

    pub(super) async fn lobby_versions(&self, ids: &[LobbyId]) -> Result<Vec<(LobbyId, Version)>, StoreError> {
        let ids = serde_json::to_string(ids).map_err(|error| corrupt("lobby id", error))?;
        let sql = "SELECT id, version FROM lobbies WHERE id IN (SELECT unhex(value) FROM json_each($1))";
        let rows: Vec<(Vec<u8>, i64)> = query_as(sql).bind(ids).fetch_all(&self.readers).await?;
        rows.iter().map(|(id, number)| Ok((lobby_id(id)?, version(*number)?))).collect()
    }

    pub(super) async fn lobby_by_code(&self, code: JoinCode) -> Result<Option<LobbyId>, StoreError> {
        let id: Option<Vec<u8>> = query_scalar("SELECT id FROM lobbies WHERE join_code = $1")
            .bind(code.as_str())
            .fetch_optional(&self.readers)
            .await?;
        id.map(|id| lobby_id(&id)).transpose()
    }

    pub(super) async fn query_lobbies(&self, query: &Query) -> Result<Vec<Lobby>, StoreError> {
        let (mut lobbies, mut seen) = (Vec::new(), 0);
        loop {
            let missing = query.count as usize - lobbies.len();
            let mut select = Select::<Sqlite>::rows(query, "instr", seen, missing);
            let rows: Vec<LobbyRow> = select.build_query_as().fetch_all(&self.readers).await?;
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
        query.fetch_all(&self.readers).await?.into_iter().map(membership).collect()
    }

    pub(super) async fn lobbies_with_connected(
        &self,
        after: Option<LobbyId>,
        limit: u32,
    ) -> Result<Vec<Lobby>, StoreError> {
        let sql =
            "SELECT id, version, body_format, body FROM lobbies WHERE id > $1 AND connected > 0 ORDER BY id LIMIT $2";
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
            let rows: Vec<LobbyRow> = query_as(sql).bind(&after).bind(missing as i64).fetch_all(&self.readers).await?;
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
        let rows: Vec<(i64, Vec<u8>)> = query_as(sql).bind(limit).fetch_all(&self.readers).await?;
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
        let query = query_as(EVENTS_AFTER).bind(lobby.as_bytes().as_slice()).bind(signed(after.0)).bind(limit);
        following(after, &query.fetch_all(&self.readers).await?)
    }

    pub(super) async fn delete_closed_lobbies(&self, until: Timestamp) -> Result<u64, StoreError> {
        let sql = "DELETE FROM lobbies WHERE id IN (SELECT id FROM lobbies WHERE closed_at <= $1 LIMIT $2)";
        let done = query(sql).bind(signed(until.0)).bind(DELETED_AT_ONCE as i64).execute(&self.writer).await?;
        Ok(done.rows_affected())
    }

    pub(super) async fn note_use(&self, what: [u8; 16], now: Timestamp, until: Timestamp) -> Result<bool, StoreError> {
        let mut transaction = self.begin().await?;
        let forget = query(
            "DELETE FROM used_up WHERE what IN (SELECT what FROM used_up WHERE until <= $1 ORDER BY until LIMIT $2)",
        );
        forget.bind(signed(now.0)).bind(FORGOTTEN_AT_ONCE).execute(&mut *transaction).await?;
        let insert = query(
            "INSERT INTO used_up (what, until) VALUES ($1, $3)
             ON CONFLICT DO UPDATE SET until = excluded.until WHERE used_up.until <= $2",
        );
        let insert = insert.bind(what.as_slice()).bind(signed(now.0)).bind(signed(until.0));
        let done = insert.execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(done.rows_affected() == 1)
    }
}
