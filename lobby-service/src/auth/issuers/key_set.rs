//! The keys of one issuer: fetched when they are needed, kept, and kept on when the issuer cannot be reached.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jsonwebtoken::DecodingKey;
use protocol::jws::is_key_name;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::AsyncReadExt;

use super::settings::{IssuerSettings, KeySource, PublicKey};

/// Bytes of a key set: 32 RSA keys with certificates have less.
const BYTES_MAX: usize = 256 * 1024;
/// Keys of a set. What has more is no issuer.
const KEYS_MAX: usize = 64;

/// When keys are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refresh {
    /// For how long nobody looks whether they have changed.
    pub fresh_for: Duration,
    /// The shortest time between two attempts, whatever names tokens make up.
    pub pause: Duration,
    /// Time for one attempt.
    pub timeout: Duration,
    /// For how long they count while the issuer cannot be reached.
    pub stale_for: Duration,
}

impl Default for Refresh {
    fn default() -> Self {
        Self {
            fresh_for: Duration::from_secs(600),
            pause: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
            stale_for: Duration::from_secs(24 * 3600),
        }
    }
}

/// The keys cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreachable;

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("the request failed")]
    Request(#[from] reqwest::Error),
    #[error("the file cannot be read")]
    File(#[from] std::io::Error),
    #[error("there are more than {BYTES_MAX} bytes or {KEYS_MAX} keys")]
    TooLarge,
    #[error("this is no key set")]
    NoKeySet(#[from] serde_json::Error),
    #[error("none of the keys is for the configured algorithm")]
    NoKeys,
}

/// The keys by their names.
type Keys = BTreeMap<String, DecodingKey>;

/// The keys of one issuer.
pub(super) struct KeySet {
    settings: IssuerSettings,
    refresh: Refresh,
    client: reqwest::Client,
    state: RwLock<State>,
    /// Held while they are fetched: once, whoever waits.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    keys: Keys,
    fetched_at: Option<Instant>,
    tried_at: Option<Instant>,
}

impl State {
    fn age(&self, now: Instant) -> Option<Duration> {
        self.fetched_at.map(|at| now.saturating_duration_since(at))
    }

    /// Whether the last attempt failed, or there was none.
    fn has_failed(&self) -> bool {
        self.fetched_at.is_none() || self.fetched_at < self.tried_at
    }
}

impl KeySet {
    pub(super) fn new(settings: &IssuerSettings, refresh: Refresh) -> Result<Arc<Self>, reqwest::Error> {
        // A redirect could lead anywhere, also into the operator's own network.
        let redirect = reqwest::redirect::Policy::none();
        let client = reqwest::Client::builder().timeout(refresh.timeout).redirect(redirect).build()?;
        let (settings, state, fetching) = (settings.clone(), RwLock::default(), tokio::sync::Mutex::default());
        Ok(Arc::new(Self { settings, refresh, client, state, fetching }))
    }

    /// The key of this name, if the issuer has it. Fetches the keys if that is due.
    pub(super) async fn key(self: Arc<Self>, kid: &str) -> Result<Option<DecodingKey>, Unreachable> {
        let (known, is_due) = self.find(kid);
        if !is_due {
            return self.judge(known);
        }
        // Whoever has a key does not wait for a slow issuer that somebody else waits for.
        let one = match known {
            Some(known) => match self.fetching.try_lock() {
                Ok(one) => one,
                Err(_) => return Ok(Some(known)),
            },
            None => self.fetching.lock().await,
        };
        // Somebody may have fetched them meanwhile.
        if self.find(kid).1 {
            self.state.write().unwrap_or_else(PoisonError::into_inner).tried_at = Some(Instant::now());
            // On a task of its own: a caller that goes away must not undo what others will wait for.
            let fetching = Arc::clone(&self);
            if let Err(error) = tokio::spawn(async move { fetching.fetch().await }).await {
                tracing::error!(%error, "fetching keys did not end");
            }
        }
        drop(one);
        self.judge(self.find(kid).0)
    }

    /// A key that is not there may be new, if the keys could not be fetched.
    fn judge(&self, key: Option<DecodingKey>) -> Result<Option<DecodingKey>, Unreachable> {
        let has_failed = self.state.read().unwrap_or_else(PoisonError::into_inner).has_failed();
        if key.is_none() && has_failed { Err(Unreachable) } else { Ok(key) }
    }

    /// A key that still counts, and whether the keys are to be fetched for it.
    fn find(&self, kid: &str) -> (Option<DecodingKey>, bool) {
        let now = Instant::now();
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let age = state.age(now);
        let known = state.keys.get(kid).filter(|_| age.is_some_and(|age| age < self.refresh.stale_for)).cloned();
        let is_fresh = known.is_some() && age.is_some_and(|age| age < self.refresh.fresh_for);
        let may_try = state.tried_at.is_none_or(|at| now.saturating_duration_since(at) >= self.refresh.pause);
        (known, !is_fresh && may_try)
    }

    async fn fetch(&self) {
        let name = &self.settings.name;
        match self.read().await.and_then(|bytes| self.parse(&bytes)) {
            Ok(keys) => {
                tracing::debug!(name, count = keys.len(), "the issuer's keys are there");
                let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
                state.keys = keys;
                state.fetched_at = Some(Instant::now());
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(name, error, "the issuer's keys cannot be had; those that are known stay");
            }
        }
    }

    async fn read(&self) -> Result<Vec<u8>, FetchError> {
        let mut bytes = Vec::new();
        match &self.settings.keys {
            KeySource::File(path) => {
                let file = tokio::fs::File::open(path).await?;
                file.take(BYTES_MAX as u64 + 1).read_to_end(&mut bytes).await?;
            }
            KeySource::Address(address) => {
                let mut response = self.client.get(address.clone()).send().await?.error_for_status()?;
                while let Some(chunk) = response.chunk().await?
                    && bytes.len() <= BYTES_MAX
                {
                    bytes.extend_from_slice(&chunk);
                }
            }
        }
        if bytes.len() > BYTES_MAX { Err(FetchError::TooLarge) } else { Ok(bytes) }
    }

    /// Takes the keys for the issuer's algorithm; others are for somebody else.
    fn parse(&self, bytes: &[u8]) -> Result<Keys, FetchError> {
        #[derive(Deserialize)]
        struct Published {
            keys: Vec<Value>,
        }
        let published: Published = serde_json::from_slice(bytes)?;
        if published.keys.len() > KEYS_MAX {
            return Err(FetchError::TooLarge);
        }
        let keys = published.keys.into_iter().filter_map(|key| PublicKey::deserialize(key).ok());
        let named = keys.filter(|key| is_key_name(&key.kid));
        let keys: Keys =
            named.filter_map(|key| self.settings.algorithm.key(&key).map(|decoding| (key.kid, decoding))).collect();
        if keys.is_empty() { Err(FetchError::NoKeys) } else { Ok(keys) }
    }
}
