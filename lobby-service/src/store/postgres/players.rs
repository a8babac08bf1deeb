//! Players and their refresh tokens.

use protocol::id::PlayerId;
use protocol::time::Timestamp;
use sqlx::{query, query_as};

use super::PostgresStore;
use crate::store::sql::{FORGOTTEN_AT_ONCE, ROTATE, id, signed, timestamp};
use crate::store::{Player, RefreshHash, StoreError};

impl PostgresStore {
    pub(super) async fn insert_player(
        &self,
        player: &Player,
        token: &RefreshHash,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        let sql = "WITH expired AS MATERIALIZED (
                SELECT player_id FROM refresh_families WHERE expires_at <= $3
                ORDER BY expires_at LIMIT $7 FOR UPDATE SKIP LOCKED
            ), forgotten AS (
                DELETE FROM players USING expired WHERE players.id = expired.player_id
            ), signed_in AS (
                INSERT INTO players (id, name, created_at) VALUES ($1, $2, $3)
            )
            INSERT INTO refresh_families (id, player_id, current_hash, expires_at) VALUES ($4, $1, $5, $6)";
        let query = query(sql)
            .bind(player.id.as_bytes().as_slice())
            .bind(&player.name)
            .bind(signed(player.created_at.0))
            .bind(token.family.as_slice())
            .bind(token.hash.as_slice())
            .bind(signed(expires_at.0))
            .bind(FORGOTTEN_AT_ONCE);
        self.writers.execute(query).await?;
        Ok(())
    }

    pub(super) async fn read_player(&self, id: PlayerId) -> Result<Option<Player>, StoreError> {
        let query = query_as("SELECT name, created_at FROM players WHERE id = $1").bind(id.as_bytes().as_slice());
        let row: Option<(String, i64)> = self.readers.row(query).await?;
        Ok(row.map(|(name, at)| Player { id, name, created_at: timestamp(at) }))
    }

    pub(super) async fn rotate_secret(
        &self,
        presented: &RefreshHash,
        next: [u8; 32],
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Option<PlayerId>, StoreError> {
        let query = query_as(ROTATE)
            .bind(presented.family.as_slice())
            .bind(presented.hash.as_slice())
            .bind(next.as_slice())
            .bind(signed(now.0))
            .bind(signed(expires_at.0));
        let row: Option<(Vec<u8>,)> = self.writers.row(query).await?;
        row.map(|(bytes,)| Ok(PlayerId::from_bytes(id("player id", &bytes)?))).transpose()
    }
}
