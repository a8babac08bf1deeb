//! How an issuer is configured: one text, `KEY=VALUE` separated by commas.

use std::path::PathBuf;
use std::str::FromStr;

use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

/// An issuer whose tokens are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerSettings {
    /// What the log calls it.
    pub name: String,
    /// The `iss` of its tokens.
    pub issuer: String,
    /// The `aud` that its tokens for this service have.
    pub audience: String,
    /// Where its keys are.
    pub keys: KeySource,
    /// What it signs with.
    pub algorithm: TokenAlgorithm,
    /// The `typ` of its tokens; without it none or `JWT`.
    pub token_type: Option<String>,
}

/// Where a JSON Web Key set is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// At an address: `https`, or `http` on this machine.
    Address(reqwest::Url),
    /// In a file.
    File(PathBuf),
}

/// An algorithm that an issuer may sign with. No others: nothing symmetric, nothing weak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenAlgorithm {
    /// Ed25519.
    EdDsa,
    /// ECDSA over P-256 with SHA-256.
    Es256,
    /// RSA, PKCS#1 v1.5, with SHA-256 and keys of at least 2,048 bits.
    Rs256,
}

/// A key as it is published (RFC 7517, RFC 7518 section 6, RFC 8037).
#[derive(Deserialize)]
pub(super) struct PublicKey {
    pub(super) kid: String,
    kty: String,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    crv: Option<String>,
    #[serde(default)]
    x: String,
    #[serde(default)]
    y: String,
    #[serde(default)]
    n: String,
    #[serde(default)]
    e: String,
}

impl TokenAlgorithm {
    /// The `alg` header.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }

    pub(super) const fn library(self) -> Algorithm {
        match self {
            Self::EdDsa => Algorithm::EdDSA,
            Self::Es256 => Algorithm::ES256,
            Self::Rs256 => Algorithm::RS256,
        }
    }

    /// The key, if it is one for this algorithm and for signatures.
    pub(super) fn key(self, key: &PublicKey) -> Option<DecodingKey> {
        let is_meant = key.alg.as_deref().is_none_or(|alg| alg == self.name());
        let signs = key.usage.as_deref().is_none_or(|usage| usage == "sig");
        if !is_meant || !signs {
            return None;
        }
        match (self, &*key.kty, key.crv.as_deref()) {
            (Self::EdDsa, "OKP", Some("Ed25519")) => DecodingKey::from_ed_components(&key.x).ok(),
            (Self::Es256, "EC", Some("P-256")) => DecodingKey::from_ec_components(&key.x, &key.y).ok(),
            (Self::Rs256, "RSA", _) => DecodingKey::from_rsa_components(&key.n, &key.e).ok(),
            (Self::EdDsa | Self::Es256 | Self::Rs256, _, _) => None,
        }
    }
}

impl FromStr for TokenAlgorithm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::EdDsa, Self::Es256, Self::Rs256];
        let found = all.into_iter().find(|algorithm| algorithm.name() == text);
        found.ok_or_else(|| "an algorithm is EdDSA, ES256 or RS256".to_owned())
    }
}

impl FromStr for KeySource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.contains("://") {
            return Ok(Self::File(text.into()));
        }
        let address: reqwest::Url = text.parse().map_err(|_| format!("{text} is no address"))?;
        let host = address.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let is_local = host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        match address.scheme() {
            "https" => Ok(Self::Address(address)),
            "http" if is_local => Ok(Self::Address(address)),
            _ => Err("keys are fetched by https, or by http from this machine".to_owned()),
        }
    }
}

impl FromStr for IssuerSettings {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (mut name, mut issuer, mut audience, mut keys, mut algorithm, mut token_type) =
            (None, None, None, None, None, None);
        for part in text.split(',') {
            let (key, value) = part.split_once('=').ok_or_else(|| format!("{part:?} is no KEY=VALUE"))?;
            let slot = match key.trim() {
                "name" => &mut name,
                "issuer" => &mut issuer,
                "audience" => &mut audience,
                "jwks" => &mut keys,
                "algorithm" => &mut algorithm,
                "typ" => &mut token_type,
                other => return Err(format!("an issuer has no {other:?}")),
            };
            if value.trim().is_empty() || slot.replace(value.trim().to_owned()).is_some() {
                return Err(format!("{key} is empty or there twice"));
            }
        }
        let needed = |value: Option<String>, key: &str| value.ok_or_else(|| format!("an issuer needs {key}=…"));
        Ok(Self {
            name: needed(name, "name")?,
            issuer: needed(issuer, "issuer")?,
            audience: needed(audience, "audience")?,
            keys: needed(keys, "jwks")?.parse()?,
            algorithm: needed(algorithm, "algorithm")?.parse()?,
            token_type,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_read_from_one_text_and_mistakes_are_named() {
        let good = "name=studio,issuer=https://id.example/,audience=duel,jwks=https://id.example/keys,algorithm=ES256";
        let read: IssuerSettings = good.parse().unwrap();
        assert_eq!((&*read.name, &*read.issuer, &*read.audience), ("studio", "https://id.example/", "duel"));
        assert_eq!((read.algorithm, read.token_type), (TokenAlgorithm::Es256, None));
        assert_eq!(read.keys, KeySource::Address("https://id.example/keys".parse().unwrap()));
        let typed = format!("{good},typ=at+jwt").parse::<IssuerSettings>().unwrap();
        assert_eq!(typed.token_type.as_deref(), Some("at+jwt"));
        let bad = [
            "",
            "name=studio",
            "name",
            &good.replace("ES256", "HS256"),
            &good.replace("ES256", "none"),
            &good.replace("name=", "nome="),
            &good.replace("name=studio", "name="),
            &good.replace("https://id.example/keys", "http://id.example/keys"),
            &good.replace("https://id.example/keys", "ftp://127.0.0.1/keys"),
            &good.replace("https://id.example/keys", "http://127.0.0.1.example/keys"),
            &format!("{good},name=again"),
        ];
        for text in bad {
            assert!(text.parse::<IssuerSettings>().is_err(), "{text}");
        }
    }

    #[test]
    fn keys_come_by_https_from_this_machine_or_from_a_file() {
        for address in ["https://a.example/keys", "http://127.0.0.1:8/k", "http://[::1]:8/k", "http://localhost/k"] {
            assert!(matches!(address.parse(), Ok(KeySource::Address(_))), "{address}");
        }
        assert_eq!("/etc/keys.json".parse(), Ok(KeySource::File("/etc/keys.json".into())));
    }
}
