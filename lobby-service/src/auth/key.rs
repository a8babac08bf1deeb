//! One signing key.

use std::path::Path;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use protocol::jws::Unverified;
use serde::Serialize;
use serde_json::{Value, json};

use super::private_file::KeyError;

/// An Ed25519 key, which signs with EdDSA and nothing else.
pub(super) struct SigningKey {
    /// Its name: a hash of it (RFC 7638).
    pub(super) kid: String,
    /// The public key as it is published.
    x: String,
    signing: EncodingKey,
    verifying: DecodingKey,
}

impl std::fmt::Debug for SigningKey {
    /// Without the key (P18).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SigningKey").field(&self.kid).finish()
    }
}

impl SigningKey {
    /// A new key, in PKCS#8.
    pub(super) fn generate() -> Result<Vec<u8>, KeyError> {
        let random = aws_lc_rs::rand::SystemRandom::new();
        let document = Ed25519KeyPair::generate_pkcs8(&random).map_err(|_| KeyError::Cryptography)?;
        Ok(document.as_ref().to_vec())
    }

    /// Reads a key in PKCS#8, from this file.
    pub(super) fn read(pkcs8: &[u8], path: &Path) -> Result<Self, KeyError> {
        let unreadable = || KeyError::Unreadable { path: path.to_owned(), expected: "Ed25519 key in PKCS#8" };
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|_| unreadable())?;
        let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        let verifying = DecodingKey::from_ed_components(&x).map_err(|_| unreadable())?;
        Ok(Self { kid: thumbprint(&x), x, signing: EncodingKey::from_ed_der(pkcs8), verifying })
    }

    /// The public key (RFC 7517, RFC 8037).
    pub(super) fn public(&self) -> Value {
        let Self { kid, x, .. } = self;
        json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": kid, "x": x})
    }

    pub(super) fn sign(&self, typ: &str, claims: &impl Serialize) -> Result<String, jsonwebtoken::errors::Error> {
        let header = Header { typ: Some(typ.to_owned()), kid: Some(self.kid.clone()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, claims, &self.signing)
    }

    pub(super) fn has_signed(&self, token: &Unverified<'_>) -> bool {
        has_signed(&self.verifying, Algorithm::EdDSA, token)
    }
}

/// Whether a token is signed by this key, with this algorithm; a token that says another is not.
pub(super) fn has_signed(key: &DecodingKey, algorithm: Algorithm, token: &Unverified<'_>) -> bool {
    token.alg.parse() == Ok(algorithm)
        && matches!(jsonwebtoken::crypto::verify(token.signature, token.signed.as_bytes(), key, algorithm), Ok(true))
}

/// RFC 7638: the SHA-256 of the key's required members in lexical order.
fn thumbprint(x: &str) -> String {
    let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, members.as_bytes()))
}
