//! Tokens of other issuers: a store's, a console's, a studio's own accounts. Each issuer has one algorithm and one audience, and its
//! keys are never anybody else's.

mod key_set;
mod settings;

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::id::PlayerId;
use protocol::jws::Unverified;
use protocol::limits;
use protocol::time::Timestamp;
use serde::Deserialize;

use super::key::has_signed;
use crate::identity::Identity;
pub use key_set::Refresh;
use key_set::{KeySet, Unreachable};
pub use settings::{IssuerSettings, KeySource, TokenAlgorithm};

/// Bytes of a token of another issuer.
const TOKEN_BYTES_MAX: usize = 4096;
/// Such a token ends at most this long from now: who signs one for years has made a mistake.
const EXPIRES_IN_MAX_S: u64 = 24 * 3600;
/// Bytes of a subject (OpenID Connect Core, section 2).
const SUBJECT_BYTES_MAX: usize = 255;
/// Makes the hash of subjects one of its own kind. It never changes: players are known by it.
const PLAYER_CONTEXT: &str = "understudy 2026 player of an external issuer";

/// Why the configured issuers cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IssuersError {
    /// Two of them have one name in their tokens.
    #[error("the issuer {0} is configured twice")]
    Twice(String),
    /// There is no HTTP client.
    #[error("no HTTP client can be made")]
    Client(#[source] reqwest::Error),
}

/// Why a token is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// It is not one that a configured issuer signed, for here and for now.
    #[error("the token is malformed, wrongly signed, of an unknown issuer, or not for here and now")]
    Refused,
    /// The issuer's keys cannot be had.
    #[error("the issuer's keys cannot be had now")]
    Unreachable,
}

/// All issuers.
pub struct Issuers {
    by_issuer: BTreeMap<String, Issuer>,
}

impl std::fmt::Debug for Issuers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.by_issuer.keys()).finish()
    }
}

struct Issuer {
    settings: IssuerSettings,
    keys: Arc<KeySet>,
}

/// The claims that count. Others are the issuer's own business.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    aud: Audiences,
    exp: u64,
    iat: u64,
    nbf: Option<u64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Many(Vec<String>),
}

impl Issuers {
    /// Makes ready for the configured issuers; nothing is fetched yet.
    ///
    /// # Errors
    /// [`IssuersError`].
    pub(super) fn new(identity: &Identity) -> Result<Self, IssuersError> {
        let mut by_issuer = BTreeMap::new();
        for settings in &identity.issuer {
            let keys = KeySet::new(settings, identity.issuer_keys).map_err(IssuersError::Client)?;
            let issuer = Issuer { settings: settings.clone(), keys };
            if by_issuer.insert(settings.issuer.clone(), issuer).is_some() {
                return Err(IssuersError::Twice(settings.issuer.clone()));
            }
        }
        Ok(Self { by_issuer })
    }

    /// Verifies a token. Returns the player that its subject is.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub async fn verify(&self, token: &str, now: Timestamp) -> Result<PlayerId, NotTaken> {
        let token = Unverified::parse(token.as_bytes(), TOKEN_BYTES_MAX).map_err(|_| NotTaken::Refused)?;
        // Not believed yet: it only says whose keys to try.
        let named = token.claim("iss").and_then(|issuer| issuer.as_str());
        let issuer = named.and_then(|name| self.by_issuer.get(name)).ok_or(NotTaken::Refused)?;
        issuer.check_signature(&token).await?;
        let claims: Claims = token.into_claims().map_err(|_| NotTaken::Refused)?;
        let is_for_us = claims.is_for(&issuer.settings.audience) && claims.is_now(now.0 / 1000);
        if is_for_us { Ok(player_of(&issuer.settings.issuer, &claims.sub)) } else { Err(NotTaken::Refused) }
    }
}

impl Issuer {
    async fn check_signature(&self, token: &Unverified<'_>) -> Result<(), NotTaken> {
        let IssuerSettings { algorithm, token_type, .. } = &self.settings;
        let is_kind = match token_type {
            Some(wanted) => token.typ.as_ref() == Some(wanted),
            None => token.typ.as_ref().is_none_or(|typ| typ.eq_ignore_ascii_case("JWT")),
        };
        // Before any key is fetched for it.
        if !is_kind || token.alg != algorithm.name() {
            return Err(NotTaken::Refused);
        }
        let key = Arc::clone(&self.keys).key(&token.kid).await.map_err(|Unreachable| NotTaken::Unreachable)?;
        let is_signed = key.is_some_and(|key| has_signed(&key, algorithm.library(), token));
        if is_signed { Ok(()) } else { Err(NotTaken::Refused) }
    }
}

impl Claims {
    fn is_for(&self, audience: &str) -> bool {
        let is_named = match &self.aud {
            Audiences::One(one) => one == audience,
            Audiences::Many(many) => many.iter().any(|one| one == audience),
        };
        is_named && !self.sub.is_empty() && self.sub.len() <= SUBJECT_BYTES_MAX
    }

    fn is_now(&self, now_s: u64) -> bool {
        let leeway_s = limits::CLOCK_LEEWAY.as_secs();
        let begins = self.nbf.unwrap_or(self.iat).max(self.iat);
        begins <= now_s + leeway_s && now_s < self.exp.saturating_add(leeway_s) && self.exp <= now_s + EXPIRES_IN_MAX_S
    }
}

/// The player that a subject is, for ever: the first 16 bytes of BLAKE3 in its key-derivation mode, with [`PLAYER_CONTEXT`], over
/// the issuer's length (8 bytes, little-endian), the issuer and the subject.
fn player_of(issuer: &str, subject: &str) -> PlayerId {
    let mut hasher = blake3::Hasher::new_derive_key(PLAYER_CONTEXT);
    hasher.update(&(issuer.len() as u64).to_le_bytes()).update(issuer.as_bytes()).update(subject.as_bytes());
    let mut id = [0; 16];
    hasher.finalize_xof().fill(&mut id);
    PlayerId::from_bytes(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_the_same_player_for_ever_and_nobody_elses() {
        let ada = player_of("https://id.example", "ada");
        assert_eq!(ada.to_string(), "833aa4ba47006a1f925a22c5666bc47a", "a change would make everybody somebody else");
        let others = [("https://id.example", "adb"), ("https://id.exampl", "eada"), ("https://other.example", "ada")];
        assert!(others.iter().all(|(issuer, subject)| player_of(issuer, subject) != ada));
    }

    #[test]
    fn a_token_counts_in_its_time_and_for_its_audience() {
        let claims = |exp, iat, nbf| Claims { sub: "a".into(), aud: Audiences::One("us".into()), exp, iat, nbf };
        assert!(claims(200, 100, None).is_now(100) && claims(200, 100, Some(100)).is_now(204));
        assert!(!claims(200, 100, None).is_now(205), "over");
        assert!(!claims(200, 100, Some(150)).is_now(144), "not yet");
        assert!(!claims(200, 150, None).is_now(144), "issued later");
        assert!(!claims(u64::MAX, 100, None).is_now(150), "for ever");
        assert!(claims(1, 1, None).is_for("us") && !claims(1, 1, None).is_for("them"));
        let many = Claims { aud: Audiences::Many(vec!["them".into(), "us".into()]), ..claims(1, 1, None) };
        assert!(many.is_for("us") && !many.is_for("themus"));
        assert!(!Claims { sub: String::new(), ..claims(1, 1, None) }.is_for("us"));
        assert!(!Claims { sub: "a".repeat(SUBJECT_BYTES_MAX + 1), ..claims(1, 1, None) }.is_for("us"));
    }
}
