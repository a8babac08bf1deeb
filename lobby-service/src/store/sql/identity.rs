//! Players, refresh tokens and keys of game servers, as both databases keep them.

use std::collections::BTreeSet;

use protocol::id::PlayerId;

use super::{corrupt, id, timestamp};
use crate::auth::api_key::{ApiKey, ApiKeyId, Scope, SecretHash, StoredApiKey};
use crate::store::{Rotation, StoreError};

/// Families that are forgotten in one transaction, which adds one.
pub(in crate::store) const FORGOTTEN_AT_ONCE: i64 = 100;

/// Parameters: the family, the hash presented, the next one, now, the next end. A family that ends expires at 0.
pub(in crate::store) const ROTATE: &str = "UPDATE refresh_families SET
        current_hash = CASE WHEN current_hash = $2 OR previous_hash = $2 THEN $3 ELSE current_hash END,
        previous_hash = CASE WHEN current_hash = $2 OR previous_hash = $2 THEN $2 ELSE previous_hash END,
        expires_at = CASE WHEN current_hash = $2 OR previous_hash = $2 THEN $5 ELSE 0 END
    WHERE id = $1 AND expires_at > $4 RETURNING player_id, expires_at";

/// Reads the row of [`ROTATE`].
pub(in crate::store) fn rotation(row: Option<&(Vec<u8>, i64)>) -> Result<Rotation, StoreError> {
    match row {
        None => Ok(Rotation::Unknown),
        Some((_, 0)) => Ok(Rotation::Reused),
        Some((player, _)) => Ok(Rotation::Rotated(PlayerId::from_bytes(id("player id", player)?))),
    }
}

/// Parameters: id, hash, name, scopes, when made, its end, how many there may be.
pub(in crate::store) const ADD_API_KEY: &str = "INSERT INTO api_keys (id, hash, name, scopes, created_at, expires_at)
    SELECT $1, $2, $3, $4, $5, $6 WHERE (SELECT count(*) FROM api_keys) < $7";

pub(in crate::store) const API_KEYS: &str =
    "SELECT id, hash, name, scopes, created_at, expires_at, last_used_day FROM api_keys ORDER BY created_at, id";

/// Parameters: the key, the day.
pub(in crate::store) const NOTE_API_KEY_USED: &str =
    "UPDATE api_keys SET last_used_day = $2 WHERE id = $1 AND (last_used_day IS NULL OR last_used_day < $2)";

/// Parameters: the key.
pub(in crate::store) const REMOVE_API_KEY: &str = "DELETE FROM api_keys WHERE id = $1";

/// A row of [`API_KEYS`].
pub(in crate::store) type ApiKeyRow = (Vec<u8>, Vec<u8>, String, String, i64, Option<i64>, Option<i64>);

pub(in crate::store) fn read_api_key(row: ApiKeyRow) -> Result<StoredApiKey, StoreError> {
    let (key_id, hash, name, scopes, created_at, expires_at, last_used_day) = row;
    let scope = |text: &str| text.parse::<Scope>().map_err(|error| corrupt("scope", error));
    let key = ApiKey {
        id: ApiKeyId::from_bytes(id("api key", &key_id)?),
        name,
        scopes: scopes.split_whitespace().map(scope).collect::<Result<_, _>>()?,
        created_at: timestamp(created_at),
        expires_at: expires_at.map(timestamp),
        last_used_day: last_used_day.map(timestamp),
    };
    Ok(StoredApiKey { key, hash: SecretHash(id("api key", &hash)?) })
}

/// Scopes as they stand in a column.
pub(in crate::store) fn scopes(scopes: &BTreeSet<Scope>) -> String {
    scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" ")
}
