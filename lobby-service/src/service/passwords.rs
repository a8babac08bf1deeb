//! Passwords of lobbies, hashed with argon2id (RFC 9106). It takes tens of milliseconds and 19 MiB by design, so that it is done
//! on threads of its own, few at a time.

use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier, phc};
use protocol::error::Rejection;
use protocol::limits;
use protocol::lobby::PasswordHash;
use tokio::sync::Semaphore;

use super::Error;

/// Passwords that are hashed at the same time.
const AT_ONCE: usize = 2;
/// Those and the ones that wait. One more is refused.
const WAITING_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct Passwords {
    admitted: Arc<Semaphore>,
    working: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { admitted: Arc::new(Semaphore::new(WAITING_MAX)), working: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Passwords {
    /// # Errors
    /// [`Rejection::Invalid`] for its length, or [`Error::Busy`].
    pub(super) async fn hash(&self, password: String) -> Result<PasswordHash, Error> {
        check(&password)?;
        let hash = self.work(move || Argon2::default().hash_password(password.as_bytes())).await?;
        // The system gave no random bytes for its salt.
        Ok(PasswordHash(hash.map_err(|_| Error::Busy)?.to_string()))
    }

    /// Whether it is this one.
    ///
    /// # Errors
    /// [`Error::Busy`].
    pub(super) async fn verify(&self, password: String, hash: &PasswordHash) -> Result<bool, Error> {
        let hash = hash.clone();
        self.work(move || {
            let parsed = phc::PasswordHash::new(&hash.0);
            parsed.is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
        })
        .await
    }

    async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        let _admitted = self.admitted.try_acquire().map_err(|_| Error::Busy)?;
        let working = Arc::clone(&self.working).acquire_owned().await.map_err(|_| Error::Busy)?;
        let done = tokio::task::spawn_blocking(move || {
            let _working = working;
            work()
        });
        done.await.map_err(|error| {
            tracing::error!(%error, "a password could not be hashed");
            Error::Panicked
        })
    }
}

fn check(password: &str) -> Result<(), Rejection> {
    let bounds = limits::PASSWORD_CHARS_MIN..=limits::PASSWORD_CHARS_MAX;
    if bounds.contains(&password.chars().count()) {
        return Ok(());
    }
    Err(Rejection::Invalid { field: "password", rule: "8 to 64 characters" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_known_by_its_hash_and_no_other_is() {
        let passwords = Passwords::default();
        let hash = passwords.hash("correct horse".into()).await.unwrap();
        assert!(hash.0.starts_with("$argon2id$"));
        assert!(passwords.verify("correct horse".into(), &hash).await.unwrap());
        assert!(!passwords.verify("correct horsf".into(), &hash).await.unwrap());
        assert_ne!(passwords.hash("correct horse".into()).await.unwrap(), hash, "each has its own salt");
        assert!(passwords.hash("short".into()).await.is_err());
    }
}
