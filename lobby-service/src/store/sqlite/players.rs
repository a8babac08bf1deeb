//! Players and their refresh tokens.

use protocol::id::PlayerId;
use protocol::time::Timestamp;
use sqlx::{query, query_as};

use super::SqliteStore;
use crate::store::sql::identity::{FORGOTTEN_AT_ONCE, ROTATE, rotation};
use crate::store::sql::{signed, timestamp};
use crate::store::{FAMILIES_MAX, Player, RefreshHash, Rotation, StoreError};

/// Parameters: now, how many at most, a player who stays.
const FORGET_PLAYERS: &str = "DELETE FROM players WHERE id <> $3
    AND id IN (SELECT player_id FROM refresh_families WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)
    AND NOT EXISTS (SELECT 1 FROM refresh_families WHERE player_id = players.id AND expires_at > $1)";

/// Parameters: now, how many at most, a player, how many families it may keep.
const END_FAMILIES: &str = "DELETE FROM refresh_families
    WHERE id IN (SELECT id FROM refresh_families WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)
    OR id IN (SELECT id FROM refresh_families WHERE player_id = $3 ORDER BY expires_at DESC LIMIT -1 OFFSET $4)";

impl SqliteStore {
    pub(super) async fn insert_player(
        &self,
        player: &Player,
        token: &RefreshHash,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        let (now, id) = (signed(player.created_at.0), player.id.as_bytes().as_slice());
        query(FORGET_PLAYERS).bind(now).bind(FORGOTTEN_AT_ONCE).bind(id).execute(&mut *transaction).await?;
        query(END_FAMILIES)
            .bind(now)
            .bind(FORGOTTEN_AT_ONCE)
            .bind(id)
            .bind(signed(FAMILIES_MAX as u64 - 1))
            .execute(&mut *transaction)
            .await?;
        query("INSERT INTO players (id, name, created_at) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING")
            .bind(id)
            .bind(&player.name)
            .bind(now)
            .execute(&mut *transaction)
            .await?;
        query("INSERT INTO refresh_families (id, player_id, current_hash, expires_at) VALUES ($1, $2, $3, $4)")
            .bind(token.family.as_slice())
            .bind(id)
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
    ) -> Result<Rotation, StoreError> {
        // All rows are asked for, though there is one at most: the transaction ends with the last.
        let rows: Vec<(Vec<u8>, i64)> = query_as(ROTATE)
            .bind(presented.family.as_slice())
            .bind(presented.hash.as_slice())
            .bind(next.as_slice())
            .bind(signed(now.0))
            .bind(signed(expires_at.0))
            .fetch_all(&self.writer)
            .await?;
        rotation(rows.first())
    }
}
