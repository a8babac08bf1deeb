//! Players and their refresh tokens.

use protocol::id::PlayerId;
use protocol::time::Timestamp;
use sqlx::{query, query_as, query_scalar};

use super::SqliteStore;
use crate::store::sql::{FORGOTTEN_AT_ONCE, ROTATE, id, signed, timestamp};
use crate::store::{Player, RefreshHash, StoreError};

impl SqliteStore {
    pub(super) async fn insert_player(
        &self,
        player: &Player,
        token: &RefreshHash,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        query(
            "DELETE FROM players WHERE id IN
                 (SELECT player_id FROM refresh_families WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)",
        )
        .bind(signed(player.created_at.0))
        .bind(FORGOTTEN_AT_ONCE)
        .execute(&mut *transaction)
        .await?;
        query("INSERT INTO players (id, name, created_at) VALUES ($1, $2, $3)")
            .bind(player.id.as_bytes().as_slice())
            .bind(&player.name)
            .bind(signed(player.created_at.0))
            .execute(&mut *transaction)
            .await?;
        query("INSERT INTO refresh_families (id, player_id, current_hash, expires_at) VALUES ($1, $2, $3, $4)")
            .bind(token.family.as_slice())
            .bind(player.id.as_bytes().as_slice())
            .bind(token.hash.as_slice())
            .bind(signed(expires_at.0))
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await
    }

    pub(super) async fn read_player(&self, id: PlayerId) -> Result<Option<Player>, StoreError> {
        let row: Option<(String, i64)> = query_as("SELECT name, created_at FROM players WHERE id = $1")
            .bind(id.as_bytes().as_slice())
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.map(|(name, at)| Player { id, name, created_at: timestamp(at) }))
    }

    pub(super) async fn rotate_secret(
        &self,
        presented: &RefreshHash,
        next: [u8; 32],
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Option<PlayerId>, StoreError> {
        // All rows are asked for, though there is one at most: the transaction ends with the last.
        let players: Vec<Vec<u8>> = query_scalar(ROTATE)
            .bind(presented.family.as_slice())
            .bind(presented.hash.as_slice())
            .bind(next.as_slice())
            .bind(signed(now.0))
            .bind(signed(expires_at.0))
            .fetch_all(&self.writer)
            .await?;
        players.first().map(|bytes| Ok(PlayerId::from_bytes(id("player id", bytes)?))).transpose()
    }
}
