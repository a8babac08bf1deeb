//! Keys that sign tokens of any shape, also such as nobody should believe.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

#[derive(Debug)]
enum Pair {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

/// A key and its name.
#[derive(Debug)]
pub struct Signer {
    /// Its name.
    pub kid: String,
    pair: Pair,
}

impl Signer {
    /// An Ed25519 key in PKCS#8, as the service keeps it.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn from_pkcs8(kid: &str, pkcs8: &[u8]) -> Self {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).expect("a key");
        Self { kid: kid.to_owned(), pair: Pair::Ed25519(pair) }
    }

    /// A new key for EdDSA, ES256 or RS256.
    ///
    /// # Panics
    /// If there is no such algorithm here.
    #[must_use]
    pub fn generate(kid: &str, algorithm: &str) -> Self {
        let pair = match algorithm {
            "EdDSA" => Pair::Ed25519(Ed25519KeyPair::generate().expect("random bytes")),
            "ES256" => Pair::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("random bytes")),
            "RS256" => Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).expect("random bytes")),
            other => panic!("nobody signs with {other}"),
        };
        Self { kid: kid.to_owned(), pair }
    }

    /// The name of its algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::Ed25519(_) => "EdDSA",
            Pair::P256(_) => "ES256",
            Pair::Rsa(_) => "RS256",
        }
    }

    /// The public key (RFC 7517).
    #[must_use]
    pub fn public(&self) -> Value {
        let mut key = match &self.pair {
            Pair::Ed25519(pair) => json!({"kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key())}),
            Pair::P256(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y)})
            }
            Pair::Rsa(pair) => {
                // A sequence (4 bytes), then the modulus (4 bytes, a zero, 256 bytes) and the exponent (2 bytes, 3 bytes).
                let der = pair.public_key().as_ref();
                let (n, e) = (encode(&der[9..265]), encode(&der[267..270]));
                json!({"kty": "RSA", "n": n, "e": e})
            }
        };
        key["kid"] = json!(self.kid);
        key["alg"] = json!(self.algorithm());
        key["use"] = json!("sig");
        key
    }

    /// The signature of some bytes, in base64.
    ///
    /// # Panics
    /// If the system gives no random bytes.
    #[must_use]
    pub fn signature(&self, message: &str) -> String {
        match &self.pair {
            Pair::Ed25519(pair) => encode(pair.sign(message.as_bytes())),
            Pair::P256(pair) => encode(pair.sign(&SystemRandom::new(), message.as_bytes()).expect("random bytes")),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let signed = pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature);
                signed.expect("random bytes");
                encode(signature)
            }
        }
    }

    /// The header of an honest token.
    #[must_use]
    pub fn header(&self, typ: &str) -> Value {
        json!({"alg": self.algorithm(), "kid": self.kid, "typ": typ})
    }

    /// Signs texts, whatever they are.
    #[must_use]
    pub fn sign(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = self.signature(&message);
        format!("{message}.{signature}")
    }
}

/// Base64url without padding.
#[must_use]
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
