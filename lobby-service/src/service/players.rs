//! Signing in: players and their refresh tokens.

use protocol::error::Rejection;
use protocol::id::PlayerId;
use protocol::limits;

use super::{Error, Service};
use crate::auth::random;
use crate::clock::wall;
use crate::store::{Player, RefreshHash};

/// Bytes of a family and of a secret, as they stand in hexadecimal in a refresh token.
const FAMILY_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;

/// A player with its tokens.
#[derive(Clone)]
pub struct SignedIn {
    /// Who.
    pub player: PlayerId,
    /// For the API, for [`limits::ACCESS_TOKEN_LIFE`].
    pub access_token: String,
    /// For the next access token, once.
    pub refresh_token: String,
}

impl std::fmt::Debug for SignedIn {
    /// Without the tokens (P18).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignedIn").field("player", &self.player).finish_non_exhaustive()
    }
}

impl Service {
    /// Makes a new, anonymous player.
    ///
    /// # Errors
    /// [`Rejection::Invalid`] for its name, or the store's.
    pub async fn sign_in(&self, name: String) -> Result<SignedIn, Error> {
        if name.chars().count() > limits::NAME_CHARS_MAX || name.chars().any(char::is_control) {
            let rule = "at most 128 characters, without control characters";
            return Err(Rejection::Invalid { field: "name", rule }.into());
        }
        let now = wall();
        let player = Player { id: PlayerId::from_bytes(random()), name, created_at: now };
        let (family, secret) = (random(), random());
        let token = RefreshHash { family, hash: hash(&secret) };
        self.stored(self.store.create_player(&player, &token, now.after(limits::REFRESH_TOKEN_LIFE)).await)?;
        self.names.put_player(player.id, &player.name);
        self.signed_in(player.id, &family, &secret)
    }

    /// Takes a refresh token for a new access token and a new refresh token. The one before stays valid until the new one is
    /// used: an answer can be lost.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`], or the store's.
    pub async fn refresh(&self, token: &str) -> Result<SignedIn, Error> {
        let (family, secret) = parse(token).ok_or(Error::Unauthenticated)?;
        let next = random();
        let now = wall();
        let presented = RefreshHash { family, hash: hash(&secret) };
        let expires_at = now.after(limits::REFRESH_TOKEN_LIFE);
        let player = self.stored(self.store.rotate_refresh(&presented, hash(&next), now, expires_at).await)?;
        self.signed_in(player.ok_or(Error::Unauthenticated)?, &family, &next)
    }

    fn signed_in(&self, player: PlayerId, family: &[u8], secret: &[u8]) -> Result<SignedIn, Error> {
        let access_token = self.auth.access_token(player, wall()).map_err(Error::Sign)?;
        Ok(SignedIn { player, access_token, refresh_token: format!("{}.{}", hex(family), hex(secret)) })
    }
}

fn hash(secret: &[u8; SECRET_BYTES]) -> [u8; 32] {
    *blake3::hash(secret).as_bytes()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse(token: &str) -> Option<([u8; FAMILY_BYTES], [u8; SECRET_BYTES])> {
    let (family, secret) = token.split_once('.')?;
    Some((unhex(family)?, unhex(secret)?))
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}
