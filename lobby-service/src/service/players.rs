//! Signing in: players and their refresh tokens.

use protocol::error::Rejection;
use protocol::id::PlayerId;
use protocol::limits;

use super::{Error, Service};
use crate::auth::issuers::NotTaken;
use crate::auth::{hex, random, unhex};
use crate::clock::wall;
use crate::store::{Player, RefreshHash, Rotation};

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
        let player = Player { id: PlayerId::from_bytes(random()), name, created_at: wall() };
        let signed_in = self.begin_session(&player).await?;
        self.names.put_player(player.id, &player.name);
        Ok(signed_in)
    }

    /// Signs in the player that is the subject of another issuer's token. Its name counts at the first time.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`], [`Error::IssuerAway`], [`Rejection::Invalid`] for its name, or the store's.
    pub async fn sign_in_external(&self, token: &str, name: String) -> Result<SignedIn, Error> {
        let id = self.auth.issuers().verify(token, wall()).await.map_err(|why| match why {
            NotTaken::Refused => Error::Unauthenticated,
            NotTaken::Unreachable => Error::IssuerAway,
        })?;
        self.begin_session(&Player { id, name, created_at: wall() }).await
    }

    async fn begin_session(&self, player: &Player) -> Result<SignedIn, Error> {
        if player.name.chars().count() > limits::NAME_CHARS_MAX || player.name.chars().any(char::is_control) {
            let rule = "at most 128 characters, without control characters";
            return Err(Rejection::Invalid { field: "name", rule }.into());
        }
        let (family, secret) = (random(), random());
        let token = RefreshHash { family, hash: hash(&secret) };
        let expires_at = player.created_at.after(limits::REFRESH_TOKEN_LIFE);
        self.stored(self.store.create_player(player, &token, expires_at).await)?;
        self.signed_in(player.id, &family, &secret)
    }

    /// Takes a refresh token for a new access token and a new refresh token. The one before stays valid until the new one is
    /// used: an answer can be lost.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`]; [`Error::RefreshReused`] if it was used up before; or the store's.
    pub async fn refresh(&self, token: &str) -> Result<SignedIn, Error> {
        let (family, secret) = parse(token).ok_or(Error::Unauthenticated)?;
        let next = random();
        let now = wall();
        let presented = RefreshHash { family, hash: hash(&secret) };
        let expires_at = now.after(limits::REFRESH_TOKEN_LIFE);
        match self.stored(self.store.rotate_refresh(&presented, hash(&next), now, expires_at).await)? {
            Rotation::Rotated(player) => self.signed_in(player, &family, &next),
            Rotation::Reused => {
                self.metrics.refresh_reused();
                Err(Error::RefreshReused)
            }
            Rotation::Unknown => Err(Error::Unauthenticated),
        }
    }

    fn signed_in(&self, player: PlayerId, family: &[u8], secret: &[u8]) -> Result<SignedIn, Error> {
        let access_token = self.auth.access_token(player, wall()).map_err(Error::Sign)?;
        Ok(SignedIn { player, access_token, refresh_token: format!("{}.{}", hex(family), hex(secret)) })
    }
}

fn hash(secret: &[u8; SECRET_BYTES]) -> [u8; 32] {
    *blake3::hash(secret).as_bytes()
}

fn parse(token: &str) -> Option<([u8; FAMILY_BYTES], [u8; SECRET_BYTES])> {
    let (family, secret) = token.split_once('.')?;
    Some((unhex(family)?, unhex(secret)?))
}
