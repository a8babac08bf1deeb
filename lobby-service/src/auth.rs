//! Who is who: the service's own tokens and keys, tokens of other issuers, keys of game servers, and the admin token.
//!
//! A token of ours is believed as RFC 8725 asks for: its kind stands in `typ`, its key is looked up by name among ours and signs with
//! one algorithm, every registered claim is there and of its type, and no header brings a key of its own.

mod admin_token;
pub mod api_key;
pub mod issuers;
mod key;
mod private_file;
mod ring;
mod turn;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Once, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use protocol::id::{ConnectionId, HostEpoch, LobbyId, PlayerId};
use protocol::jws::Unverified;
use protocol::limits;
use protocol::time::Timestamp;
use protocol::token::{AccessClaims, Audience, GrantClaims, ISSUER, Registered, RelayClaims, TicketClaims};
use quick_cache::sync::Cache;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::clock::wall;
use crate::config::Key;
use crate::identity::Identity;
pub use admin_token::AdminToken;
use issuers::{Issuers, IssuersError};
pub use private_file::KeyError;
use ring::Ring;
pub use ring::add_key;
pub use turn::{Turn, TurnPass, TurnUrl};
pub(crate) use watch::keep_keys;

/// Verified tokens that are remembered: about 5 MB.
const VERIFIED_MAX: usize = 16_384;

/// Why nobody can be known.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Because of the signing keys.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Because of the issuers.
    #[error(transparent)]
    Issuers(#[from] IssuersError),
    /// The relay does not take the service's keys.
    #[error("the relay does not take the service's keys")]
    Relay(#[from] relay::VerifierError),
}

/// The token is not one of ours, for here and for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the access token is missing, malformed, wrongly signed, or not for here and now")]
pub struct Refused;

/// A token whose signature was verified.
#[derive(Debug)]
struct Verified {
    kid: String,
    claims: Registered,
}

/// Signs and verifies.
pub struct Auth {
    issuer: String,
    /// Where the keys are; `None` if they are nowhere.
    key_file: Option<PathBuf>,
    key_activation: Duration,
    ring: RwLock<Arc<Ring>>,
    /// The same keys, as relays know them.
    relay: relay::Verifier,
    /// Access tokens whose signature was verified, by their hash: a player sends the same one many times, and a signature costs
    /// more than the rest of most requests. Their times, and whether their key is still ours, are judged anew each time.
    verified: Cache<[u8; 32], Arc<Verified>>,
    issuers: Issuers,
    turn: Option<Turn>,
}

impl std::fmt::Debug for Auth {
    /// Without the keys (P18).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth").field("ring", &self.ring()).finish_non_exhaustive()
    }
}

impl Auth {
    /// Reads the keys, and makes the first one if there is none.
    ///
    /// # Errors
    /// [`AuthError`].
    pub fn new(key: &Key, identity: &Identity) -> Result<Self, AuthError> {
        install_provider();
        let (ring, key_file) = match key {
            Key::File(path) => (Ring::open(path, identity.key_activation())?, Some(path.clone())),
            Key::Ephemeral => (Ring::ephemeral()?, None),
        };
        Ok(Self {
            issuer: ISSUER.to_owned(),
            key_file,
            key_activation: identity.key_activation(),
            relay: relay::Verifier::from_jwks(&ring.jwks(wall()), ISSUER)?,
            ring: RwLock::new(Arc::new(ring)),
            verified: Cache::new(VERIFIED_MAX),
            issuers: Issuers::new(identity)?,
            turn: None,
        })
    }

    /// The same, giving credentials for these TURN servers.
    #[must_use]
    pub fn with_turn(self, turn: Option<Turn>) -> Self {
        Self { turn, ..self }
    }

    /// What a player shows to the TURN servers, if there are any.
    #[must_use]
    pub fn turn_pass(&self, player: PlayerId, now: Timestamp) -> Option<TurnPass> {
        self.turn.as_ref().map(|turn| turn.pass(player, now))
    }

    /// Reads the keys at this path as [`Self::new`] does, and chooses nothing else.
    ///
    /// # Errors
    /// [`AuthError`].
    pub fn open(path: &Path) -> Result<Self, AuthError> {
        Self::new(&Key::File(path.to_owned()), &Identity::default())
    }

    /// Makes a key that ends with the process.
    ///
    /// # Errors
    /// [`AuthError`].
    pub fn ephemeral() -> Result<Self, AuthError> {
        Self::new(&Key::Ephemeral, &Identity::default())
    }

    /// Reads the key files again. Tokens of a key that is gone are refused from now on, here and by the relay of this process.
    ///
    /// # Errors
    /// [`KeyError`]; then nothing changes.
    pub fn reload_keys(&self) -> Result<(), KeyError> {
        if let Some(path) = &self.key_file {
            let ring = Arc::new(Ring::read(path, self.key_activation)?);
            *self.ring.write().unwrap_or_else(PoisonError::into_inner) = ring;
        }
        // They retire with time, too.
        self.relay.replace_keys(&self.jwks()).map_err(|_| KeyError::Cryptography)
    }

    /// The public keys (RFC 7517), for relays and whoever else verifies offline.
    #[must_use]
    pub fn jwks(&self) -> Value {
        self.ring().jwks(wall())
    }

    /// What the relay of this process verifies with. It learns of new keys as this does.
    #[must_use]
    pub fn relay_verifier(&self) -> relay::Verifier {
        self.relay.clone()
    }

    /// Other issuers whose tokens are taken.
    #[must_use]
    pub fn issuers(&self) -> &Issuers {
        &self.issuers
    }

    /// An access token for a player.
    ///
    /// # Errors
    /// The library's, if it cannot sign.
    pub fn access_token(&self, player: PlayerId, now: Timestamp) -> Result<String, jsonwebtoken::errors::Error> {
        let registered = self.registered(Audience::Api, player, now);
        self.sign(Audience::Api, &AccessClaims { registered }, now)
    }

    /// A member's token for the relays.
    ///
    /// # Errors
    /// The library's, if it cannot sign.
    pub fn relay_token(
        &self,
        player: PlayerId,
        lobby: LobbyId,
        connection: ConnectionId,
        now: Timestamp,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let registered = self.registered(Audience::Relay, player, now);
        self.sign(Audience::Relay, &RelayClaims { registered, lobby, connection }, now)
    }

    /// A host's grant for the relays.
    ///
    /// # Errors
    /// The library's, if it cannot sign.
    pub fn host_grant(
        &self,
        player: PlayerId,
        lobby: LobbyId,
        connection: ConnectionId,
        epoch: HostEpoch,
        now: Timestamp,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let registered = self.registered(Audience::Grant, player, now);
        self.sign(Audience::Grant, &GrantClaims { registered, lobby, connection, epoch }, now)
    }

    /// A ticket that opens a lobby's event socket once.
    ///
    /// # Errors
    /// The library's, if it cannot sign.
    pub fn ticket(
        &self,
        player: PlayerId,
        lobby: LobbyId,
        now: Timestamp,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let registered = self.registered(Audience::Socket, player, now);
        self.sign(Audience::Socket, &TicketClaims { registered, lobby }, now)
    }

    /// Verifies a ticket for a lobby. Whether it was used before is the caller's to know.
    ///
    /// # Errors
    /// [`Refused`], whatever is wrong with it.
    pub fn verify_ticket(&self, ticket: &str, lobby: LobbyId, now: Timestamp) -> Result<Registered, Refused> {
        let (_, claims) = verify_signature::<TicketClaims>(&self.ring(), ticket, Audience::Socket, now)?;
        claims.registered.check(&self.issuer, Audience::Socket, now).map_err(|_| Refused)?;
        if claims.lobby == lobby { Ok(claims.registered) } else { Err(Refused) }
    }

    /// Verifies an access token. Returns whose it is.
    ///
    /// # Errors
    /// [`Refused`], whatever is wrong with it.
    pub fn verify_access(&self, token: &str, now: Timestamp) -> Result<PlayerId, Refused> {
        if token.len() > limits::TOKEN_BYTES_MAX {
            return Err(Refused);
        }
        let ring = self.ring();
        let hash = *blake3::hash(token.as_bytes()).as_bytes();
        let verified = match self.verified.get(&hash) {
            Some(verified) => {
                ring.verifying(&verified.kid, now).ok_or(Refused)?;
                verified
            }
            None => {
                let (kid, claims) = verify_signature::<AccessClaims>(&ring, token, Audience::Api, now)?;
                let verified = Arc::new(Verified { kid, claims: claims.registered });
                self.verified.insert(hash, Arc::clone(&verified));
                verified
            }
        };
        verified.claims.check(&self.issuer, Audience::Api, now).map_err(|_| Refused)?;
        Ok(verified.claims.sub)
    }

    fn ring(&self) -> Arc<Ring> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn registered(&self, aud: Audience, sub: PlayerId, now: Timestamp) -> Registered {
        let iat = now.0 / 1000;
        let jti = URL_SAFE_NO_PAD.encode(random::<12>());
        Registered { iss: self.issuer.clone(), aud, sub, exp: iat + aud.token_life().as_secs(), nbf: iat, iat, jti }
    }

    fn sign(
        &self,
        audience: Audience,
        claims: &impl Serialize,
        now: Timestamp,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        self.ring().signing(now).sign(audience.token_type(), claims)
    }
}

/// Returns which key has signed it, and what it claims.
fn verify_signature<T: DeserializeOwned>(
    ring: &Ring,
    token: &str,
    audience: Audience,
    now: Timestamp,
) -> Result<(String, T), Refused> {
    let token = Unverified::parse(token.as_bytes(), limits::TOKEN_BYTES_MAX).map_err(|_| Refused)?;
    if token.typ.as_deref() != Some(audience.token_type()) {
        return Err(Refused);
    }
    let key = ring.verifying(&token.kid, now).filter(|key| key.has_signed(&token)).ok_or(Refused)?;
    Ok((key.kid.clone(), token.into_claims().map_err(|_| Refused)?))
}

/// Chooses the library's cryptography; without it the first token panics. Calling it again changes nothing.
pub fn install_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error means that whoever runs us has chosen already.
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    });
}

/// Random bytes of the operating system.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("a system that starts this service gives random bytes");
    bytes
}

/// Bytes in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Exactly `N` bytes in hexadecimal.
pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
