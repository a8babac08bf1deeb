//! Players and their refresh tokens.

use protocol::id::PlayerId;
use protocol::time::Timestamp;
use sqlx::{query, query_as};

use super::PostgresStore;
use crate::store::sql::identity::{FORGOTTEN_AT_ONCE, ROTATE, rotation};
use crate::store::sql::{signed, timestamp};
use crate::store::{FAMILIES_MAX, Player, RefreshHash, Rotation, StoreError};

/// Parameters: player, name, now, family, its hash, its end, how many are forgotten at most, how many families the player may keep.
///
/// One statement at a time forgets (the advisory lock), and only players all of whose families it has locked: so nobody waits for
/// it in a circle. A player who signs in again takes its old families first, which keeps it from being forgotten meanwhile.
const SIGN_IN: &str = "WITH expired AS MATERIALIZED (
        SELECT id, player_id FROM refresh_families
        WHERE expires_at <= $3 AND player_id <> $1 AND (SELECT pg_try_advisory_xact_lock(7310020114))
        ORDER BY expires_at LIMIT $7 FOR UPDATE SKIP LOCKED
    ), ended AS (
        DELETE FROM refresh_families USING expired WHERE refresh_families.id = expired.id
    ), forgotten AS (
        DELETE FROM players WHERE id IN (SELECT player_id FROM expired) AND NOT EXISTS (
            SELECT 1 FROM refresh_families AS other
            WHERE other.player_id = players.id AND other.id NOT IN (SELECT id FROM expired)
        )
    ), own AS (
        DELETE FROM refresh_families WHERE player_id = $1 AND (expires_at <= $3 OR id IN (
            SELECT id FROM refresh_families WHERE player_id = $1 ORDER BY expires_at DESC OFFSET $8
        )) RETURNING id
    ), signed_in AS (
        INSERT INTO players (id, name, created_at)
        SELECT $1, $2, $3 WHERE (SELECT count(*) FROM own) >= 0 ON CONFLICT (id) DO NOTHING
    )
    INSERT INTO refresh_families (id, player_id, current_hash, expires_at) VALUES ($4, $1, $5, $6)";

impl PostgresStore {
    pub(super) async fn insert_player(
        &self,
        player: &Player,
        token: &RefreshHash,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        let query = query(SIGN_IN)
            .bind(player.id.as_bytes().as_slice())
            .bind(&player.name)
            .bind(signed(player.created_at.0))
            .bind(token.family.as_slice())
            .bind(token.hash.as_slice())
            .bind(signed(expires_at.0))
            .bind(FORGOTTEN_AT_ONCE)
            .bind(signed(FAMILIES_MAX as u64 - 1));
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
    ) -> Result<Rotation, StoreError> {
        let query = query_as(ROTATE)
            .bind(presented.family.as_slice())
            .bind(presented.hash.as_slice())
            .bind(next.as_slice())
            .bind(signed(now.0))
            .bind(signed(expires_at.0));
        rotation(self.writers.row(query).await?.as_ref())
    }
}
