//! Keys of game servers.

use protocol::time::Timestamp;
use sqlx::{query, query_as};

use super::PostgresStore;
use crate::auth::api_key::{ApiKeyId, StoredApiKey};
use crate::store::sql::identity::{
    ADD_API_KEY, API_KEYS, ApiKeyRow, NOTE_API_KEY_USED, REMOVE_API_KEY, read_api_key, scopes,
};
use crate::store::sql::signed;
use crate::store::{API_KEYS_MAX, StoreError};

impl PostgresStore {
    pub(super) async fn insert_api_key(&self, stored: &StoredApiKey) -> Result<bool, StoreError> {
        let query = query(ADD_API_KEY)
            .bind(stored.key.id.as_bytes().as_slice())
            .bind(stored.hash.0.as_slice())
            .bind(&stored.key.name)
            .bind(scopes(&stored.key.scopes))
            .bind(signed(stored.key.created_at.0))
            .bind(stored.key.expires_at.map(|at| signed(at.0)))
            .bind(signed(API_KEYS_MAX as u64));
        Ok(self.writers.execute(query).await? > 0)
    }

    pub(super) async fn read_api_keys(&self) -> Result<Vec<StoredApiKey>, StoreError> {
        let rows: Vec<ApiKeyRow> = self.readers.rows(query_as(API_KEYS)).await?;
        rows.into_iter().map(read_api_key).collect()
    }

    pub(super) async fn update_api_key_day(&self, id: ApiKeyId, day: Timestamp) -> Result<(), StoreError> {
        let query = query(NOTE_API_KEY_USED).bind(id.as_bytes().as_slice()).bind(signed(day.0));
        self.writers.execute(query).await?;
        Ok(())
    }

    pub(super) async fn delete_api_key(&self, id: ApiKeyId) -> Result<bool, StoreError> {
        let query = query(REMOVE_API_KEY).bind(id.as_bytes().as_slice());
        Ok(self.writers.execute(query).await? > 0)
    }
}
