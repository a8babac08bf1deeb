//! Verifies tokens offline, with the lobby service's public keys.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey};
use protocol::jws::{Malformed, Unverified};
use protocol::limits;
use protocol::time::Timestamp;
use protocol::token::{Audience, ClaimError, GrantClaims, Registered, RelayClaims};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

/// Keys of one set: a service publishes few; more is a mistake or an attack.
const KEYS_MAX: usize = 16;

/// Why a key set is refused.
#[derive(Debug, thiserror::Error)]
pub enum VerifierError {
    /// It is not a key set (RFC 7517).
    #[error("this is not a JSON Web Key set")]
    NotAKeySet(#[source] serde_json::Error),
    /// It has no Ed25519 key with a `kid`.
    #[error("the key set has no Ed25519 key with a name")]
    NoKeys,
    /// It has more keys than any service of ours publishes.
    #[error("the key set has more than {KEYS_MAX} keys")]
    TooManyKeys,
}

/// Why a token is refused.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Not a token of this kind that a service signs, or one whose claims are not those of its kind.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It names none of the service's keys.
    #[error("the token is signed by no known key")]
    UnknownKey,
    /// It is not signed by the key that it names.
    #[error("the token is wrongly signed")]
    Signature,
    /// Signed, but not for here or not for now.
    #[error(transparent)]
    Claims(ClaimError),
}

/// The service's name and public keys. Clones share the keys, so that [`Verifier::replace_keys`] reaches a running relay.
#[derive(Clone)]
pub struct Verifier {
    issuer: Arc<str>,
    keys: Arc<RwLock<BTreeMap<String, DecodingKey>>>,
    /// Told when a token names a key that is not known, and may be new.
    unknown_key: Arc<Notify>,
}

impl Verifier {
    /// Takes the public keys from what the service publishes at `/.well-known/jwks.json`.
    ///
    /// # Errors
    /// [`VerifierError`] if there is no usable key in it.
    pub fn from_jwks(jwks: &serde_json::Value, issuer: &str) -> Result<Self, VerifierError> {
        // Whoever installed a provider before has chosen one; there is no other in this build.
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        Ok(Self { issuer: issuer.into(), keys: Arc::new(RwLock::new(read_keys(jwks)?)), unknown_key: Arc::default() })
    }

    /// Puts newly published keys in the place of the old ones.
    ///
    /// # Errors
    /// [`VerifierError`] if there is no usable key among them; the old ones stay.
    pub fn replace_keys(&self, jwks: &serde_json::Value) -> Result<(), VerifierError> {
        let keys = read_keys(jwks)?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    /// Waits until some token has named a key that is not known: it may be new.
    pub async fn unknown_key(&self) {
        self.unknown_key.notified().await;
    }

    /// Verifies a member's relay token.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn verify_member(&self, token: &[u8]) -> Result<RelayClaims, TokenError> {
        self.verify(token, Audience::Relay, wall(), |claims: &RelayClaims| &claims.registered)
    }

    /// Verifies a host grant.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn verify_grant(&self, token: &[u8]) -> Result<GrantClaims, TokenError> {
        self.verify(token, Audience::Grant, wall(), |claims: &GrantClaims| &claims.registered)
    }

    fn verify<C: DeserializeOwned>(
        &self,
        token: &[u8],
        audience: Audience,
        now: Timestamp,
        registered: impl Fn(&C) -> &Registered,
    ) -> Result<C, TokenError> {
        let token = Unverified::parse(token, limits::TOKEN_BYTES_MAX)?;
        let is_kind = token.alg == "EdDSA" && token.typ.as_deref() == Some(audience.token_type());
        is_kind.then_some(()).ok_or(Malformed)?;
        self.verify_signature(&token)?;
        let claims: C = token.into_claims()?;
        registered(&claims).check(&self.issuer, audience, now).map_err(TokenError::Claims)?;
        Ok(claims)
    }

    fn verify_signature(&self, token: &Unverified<'_>) -> Result<(), TokenError> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let Some(key) = keys.get(&token.kid) else {
            self.unknown_key.notify_one();
            return Err(TokenError::UnknownKey);
        };
        let verified = jsonwebtoken::crypto::verify(token.signature, token.signed.as_bytes(), key, Algorithm::EdDSA);
        verified.ok().filter(|&is_valid| is_valid).map(drop).ok_or(TokenError::Signature)
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

fn read_keys(jwks: &serde_json::Value) -> Result<BTreeMap<String, DecodingKey>, VerifierError> {
    let JwkSet { keys } = serde_json::from_value(jwks.clone()).map_err(VerifierError::NotAKeySet)?;
    if keys.len() > KEYS_MAX {
        return Err(VerifierError::TooManyKeys);
    }
    let keys: BTreeMap<_, _> = keys
        .iter()
        .filter_map(|key| {
            let decoding = DecodingKey::from_jwk(key).ok()?;
            (decoding.family() == jsonwebtoken::AlgorithmFamily::Ed).then_some((key.common.key_id.clone()?, decoding))
        })
        .collect();
    if keys.is_empty() { Err(VerifierError::NoKeys) } else { Ok(keys) }
}

fn wall() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(0).after(since_epoch)
}
