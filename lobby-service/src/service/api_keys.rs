//! Keys of game servers: made, listed, revoked, and looked up at each request.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use protocol::error::Rejection;
use protocol::limits;
use protocol::time::Timestamp;

use super::{Error, Service};
use crate::auth::api_key::{ApiKey, ApiKeyId, PresentedKey, Scope, StoredApiKey, draw};
use crate::clock::wall;

/// For how long the keys that were read count: so long a key that another instance has revoked may still open. All are read
/// at once, so that ids that somebody makes up cost nothing.
const READ_FOR: Duration = Duration::from_secs(2);
/// Milliseconds of a day.
const DAY_MS: u64 = 24 * 3600 * 1000;

type Keys = Arc<BTreeMap<ApiKeyId, StoredApiKey>>;

/// The keys as they were read last.
#[derive(Debug, Default)]
pub(super) struct ApiKeys {
    read: Mutex<Option<(Instant, Keys)>>,
    /// Held while they are read: once, whoever waits.
    reading: tokio::sync::Mutex<()>,
}

impl ApiKeys {
    fn recent(&self) -> Option<Keys> {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.as_ref().filter(|(at, _)| at.elapsed() < READ_FOR).map(|(_, keys)| Arc::clone(keys))
    }

    fn put(&self, read: Option<(Instant, Keys)>) {
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = read;
    }
}

impl Service {
    /// Makes a key. Returns it, and what its owner presents, which nobody can see again.
    ///
    /// # Errors
    /// [`Rejection::Invalid`] for the name, no scope, an end that is past, or too many keys; the store's.
    pub async fn create_api_key(
        &self,
        name: String,
        scopes: BTreeSet<Scope>,
        expires_at: Option<Timestamp>,
    ) -> Result<(ApiKey, String), Error> {
        let invalid = |field, rule| Err(Rejection::Invalid { field, rule }.into());
        let now = wall();
        if name.is_empty() || name.chars().count() > limits::NAME_CHARS_MAX || name.chars().any(char::is_control) {
            return invalid("name", "1 to 128 characters, without control characters");
        }
        if scopes.is_empty() {
            return invalid("scopes", "at least one");
        }
        if expires_at.is_some_and(|at| at <= now) {
            return invalid("expires_at", "not in the past");
        }
        let (id, hash, secret) = draw();
        let key = ApiKey { id, name, scopes, created_at: now, expires_at, last_used_day: None };
        if !self.stored(self.store.add_api_key(&StoredApiKey { key: key.clone(), hash }).await)? {
            return invalid("name", "there are 1,000 keys already: revoke some");
        }
        self.api_keys.put(None);
        Ok((key, secret))
    }

    /// All keys, oldest first, without their secrets.
    ///
    /// # Errors
    /// The store's.
    pub async fn list_api_keys(&self) -> Result<Vec<ApiKey>, Error> {
        let keys = self.stored(self.store.api_keys().await)?;
        Ok(keys.into_iter().map(|stored| stored.key).collect())
    }

    /// Removes a key: it opens nothing any more, here at once and at other instances within two seconds.
    ///
    /// # Errors
    /// [`Error::NotFound`], or the store's.
    pub async fn revoke_api_key(&self, id: ApiKeyId) -> Result<(), Error> {
        let was_there = self.stored(self.store.remove_api_key(id).await)?;
        self.api_keys.put(None);
        if was_there { Ok(()) } else { Err(Error::NotFound) }
    }

    /// The key that a caller presents.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`], or the store's.
    pub(crate) async fn open_with(&self, presented: &str) -> Result<ApiKey, Error> {
        let presented = PresentedKey::parse(presented).ok_or(Error::Unauthenticated)?;
        let now = wall();
        let keys = self.known_api_keys().await?;
        let stored = keys.get(&presented.id).filter(|stored| presented.opens(stored, now));
        let key = stored.ok_or(Error::Unauthenticated)?.key.clone();
        self.note_use(&key, Timestamp(now.0 / DAY_MS * DAY_MS)).await;
        Ok(key)
    }

    async fn known_api_keys(&self) -> Result<Keys, Error> {
        if let Some(keys) = self.api_keys.recent() {
            return Ok(keys);
        }
        let _one = self.api_keys.reading.lock().await;
        if let Some(keys) = self.api_keys.recent() {
            return Ok(keys);
        }
        // What is revoked while they are read may be among them: they count from before.
        let asked_at = Instant::now();
        let read = self.stored(self.store.api_keys().await)?;
        let keys: Keys = Arc::new(read.into_iter().map(|stored| (stored.key.id, stored)).collect());
        self.api_keys.put(Some((asked_at, Arc::clone(&keys))));
        Ok(keys)
    }

    /// Notes the day of a key's use, once a day. It is not worth a failed request.
    async fn note_use(&self, key: &ApiKey, day: Timestamp) {
        if key.last_used_day.is_some_and(|last| last >= day) {
            return;
        }
        match self.stored(self.store.note_api_key_used(key.id, day).await) {
            Ok(()) => self.api_keys.put(None),
            Err(error) => tracing::warn!(id = %key.id, %error, "the use of a key was not noted"),
        }
    }
}
