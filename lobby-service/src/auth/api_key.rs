//! Keys of game servers: `usk_ID_SECRET`. Only a hash of the secret is stored.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{hex, random, unhex};

/// What every key begins with, so that one that has leaked is found.
const PREFIX: &str = "usk_";

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub enum Scope {
    /// See all lobbies, private ones too.
    #[serde(rename = "lobbies:read")]
    LobbiesRead,
    /// Make, change and close lobbies.
    #[serde(rename = "lobbies:write")]
    LobbiesWrite,
    /// Change, kick and ban members.
    #[serde(rename = "members:write")]
    MembersWrite,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::LobbiesRead, Self::LobbiesWrite, Self::MembersWrite];

    /// As it stands in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LobbiesRead => "lobbies:read",
            Self::LobbiesWrite => "lobbies:write",
            Self::MembersWrite => "members:write",
        }
    }
}

impl FromStr for Scope {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text).ok_or("there is no such scope")
    }
}

/// The name of a key, which is no secret: 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(into = "String", try_from = "String")]
#[schema(value_type = String)]
pub struct ApiKeyId([u8; 8]);

impl ApiKeyId {
    /// From its bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

impl fmt::Display for ApiKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for ApiKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ApiKeyId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        unhex(text).map(Self).ok_or("the id of a key has 16 hexadecimal digits")
    }
}

impl From<ApiKeyId> for String {
    fn from(id: ApiKeyId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for ApiKeyId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// A key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ApiKey {
    /// Its id, which is its first part.
    pub id: ApiKeyId,
    /// What whoever made it calls it.
    pub name: String,
    /// What it may do.
    pub scopes: BTreeSet<Scope>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends, if it does.
    pub expires_at: Option<Timestamp>,
    /// The day on which it was used last, as the time of its beginning (UTC).
    pub last_used_day: Option<Timestamp>,
}

/// The hash of a secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SecretHash(pub [u8; 32]);

impl fmt::Debug for SecretHash {
    /// Without the hash (P18).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash")
    }
}

/// A key as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredApiKey {
    /// What may be shown.
    pub key: ApiKey,
    /// BLAKE3-256 of the secret, whose 256 random bits need no slower hash.
    pub hash: SecretHash,
}

/// What a caller presents.
#[derive(Clone, Copy)]
pub(crate) struct PresentedKey {
    pub(crate) id: ApiKeyId,
    hash: blake3::Hash,
}

impl PresentedKey {
    /// Takes a key apart; `None` if it has not the shape of one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        // Upper-case digits would be a second way to write it.
        if !text.bytes().all(|byte| !byte.is_ascii_uppercase()) {
            return None;
        }
        Some(Self { id: id.parse().ok()?, hash: blake3::hash(&unhex::<32>(secret)?) })
    }

    /// Whether the secret is this key's, in a time that tells nothing, and the key has not ended.
    pub(crate) fn opens(&self, stored: &StoredApiKey, now: Timestamp) -> bool {
        let is_secret = self.hash == blake3::Hash::from_bytes(stored.hash.0);
        is_secret && stored.key.expires_at.is_none_or(|at| now < at)
    }
}

/// Whether a bearer token is meant as a key.
pub(crate) fn is_api_key(token: &str) -> bool {
    token.starts_with(PREFIX)
}

/// Draws an id and a secret. Returns the id, the hash to store, and the key as its owner gets it, once.
pub(crate) fn draw() -> (ApiKeyId, SecretHash, String) {
    let (id, secret) = (ApiKeyId(random()), random::<32>());
    let text = format!("{PREFIX}{id}_{}", hex(&secret));
    (id, SecretHash(*blake3::hash(&secret).as_bytes()), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_opens_what_its_secret_belongs_to_until_it_ends() {
        let (id, hash, text) = draw();
        let key = ApiKey {
            id,
            name: "server".into(),
            scopes: BTreeSet::from([Scope::LobbiesRead]),
            created_at: Timestamp(1),
            expires_at: Some(Timestamp(100)),
            last_used_day: None,
        };
        let stored = StoredApiKey { key, hash };
        let presented = PresentedKey::parse(&text).unwrap();
        assert_eq!(presented.id, id);
        assert!(presented.opens(&stored, Timestamp(99)) && !presented.opens(&stored, Timestamp(100)));
        let (_, other, _) = draw();
        assert!(!presented.opens(&StoredApiKey { hash: other, ..stored.clone() }, Timestamp(1)));
        let wrong =
            ["", "usk_", "usk__", &text[4..], &text[..text.len() - 1], &format!("{text}0"), &text.to_uppercase()];
        assert!(wrong.iter().all(|text| PresentedKey::parse(text).is_none()));
        assert!(!format!("{stored:?}").contains(&text[text.len() - 8..]));
    }
}
