//! Tokens: the service's signing key, what it signs and how it verifies what comes back.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, hard_link, remove_file};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Arc, Once};

use aws_lc_rs::digest;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use protocol::id::{ConnectionId, HostEpoch, LobbyId, PlayerId};
use protocol::limits;
use protocol::time::Timestamp;
use protocol::token::{AccessClaims, Audience, GrantClaims, ISSUER, Registered, RelayClaims};
use quick_cache::sync::Cache;
use serde::Serialize;
use serde_json::{Value, json};

/// Bytes of a key file; a PKCS#8 Ed25519 key has 83.
const KEY_BYTES_MAX: u64 = 4096;

/// Verified tokens that are remembered: about 5 MB.
const VERIFIED_MAX: usize = 16_384;

/// Why there is no signing key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be made or read.
    #[error("the key file cannot be used")]
    File(#[from] io::Error),
    /// Others may read it: it may be known to them.
    #[error("the key file can be read by others; its mode must be 0600")]
    Exposed,
    /// It holds no Ed25519 key.
    #[error("the key file holds no Ed25519 key in PKCS#8")]
    Unreadable,
}

/// The token is not one of ours, for here and for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the access token is missing, malformed, wrongly signed, or not for here and now")]
pub struct Refused;

/// Signs and verifies.
pub struct Auth {
    issuer: String,
    kid: String,
    signing: EncodingKey,
    /// By `kid`. A token names its key; it never brings one.
    verifying: BTreeMap<String, DecodingKey>,
    /// Access tokens whose signature was verified, by their hash: a player sends the same one many times, and a signature costs
    /// more than the rest of most requests. Their times are judged anew each time.
    verified: Cache<[u8; 32], Arc<Registered>>,
    jwks: Value,
}

impl std::fmt::Debug for Auth {
    /// Without the key (P18).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth").field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl Auth {
    /// Reads the key from its file, which is made at the first start.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        if !path.try_exists()? {
            write_private(path, &new_key()?)?;
        }
        Self::from_key(&read_private(path)?)
    }

    /// Makes a key that ends with the process.
    ///
    /// # Errors
    /// [`KeyError::Unreadable`] if the system gives no random bytes.
    pub fn ephemeral() -> Result<Self, KeyError> {
        Self::from_key(&new_key()?)
    }

    fn from_key(pkcs8: &[u8]) -> Result<Self, KeyError> {
        install_provider();
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|_| KeyError::Unreadable)?;
        let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        let kid = thumbprint(&x);
        let jwks =
            json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": kid, "x": x}]});
        let verifying = DecodingKey::from_ed_components(&x).map_err(|_| KeyError::Unreadable)?;
        Ok(Self {
            issuer: ISSUER.to_owned(),
            signing: EncodingKey::from_ed_der(pkcs8),
            verifying: BTreeMap::from([(kid.clone(), verifying)]),
            verified: Cache::new(VERIFIED_MAX),
            kid,
            jwks,
        })
    }

    /// The public keys (RFC 7517), for relays and whoever else verifies offline.
    #[must_use]
    pub fn jwks(&self) -> Value {
        self.jwks.clone()
    }

    /// Who signs.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// An access token for a player.
    ///
    /// # Errors
    /// The library's, if it cannot sign.
    pub fn access_token(&self, player: PlayerId, now: Timestamp) -> Result<String, jsonwebtoken::errors::Error> {
        let registered = self.registered(Audience::Api, player, limits::ACCESS_TOKEN_LIFE.as_secs(), now);
        self.sign(&AccessClaims { registered })
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
        let registered = self.registered(Audience::Relay, player, limits::RELAY_TOKEN_LIFE.as_secs(), now);
        self.sign(&RelayClaims { registered, lobby, connection })
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
        let registered = self.registered(Audience::Grant, player, limits::HOST_GRANT_LIFE.as_secs(), now);
        self.sign(&GrantClaims { registered, lobby, connection, epoch })
    }

    /// Verifies an access token. Returns whose it is.
    ///
    /// # Errors
    /// [`Refused`], whatever is wrong with it.
    pub fn verify_access(&self, token: &str, now: Timestamp) -> Result<PlayerId, Refused> {
        if token.len() > limits::TOKEN_BYTES_MAX {
            return Err(Refused);
        }
        let hash = *blake3::hash(token.as_bytes()).as_bytes();
        let claims = match self.verified.get(&hash) {
            Some(claims) => claims,
            None => {
                let claims = Arc::new(self.verify_signature(token)?);
                self.verified.insert(hash, Arc::clone(&claims));
                claims
            }
        };
        claims.check(&self.issuer, Audience::Api, now).map_err(|_| Refused)?;
        Ok(claims.sub)
    }

    fn verify_signature(&self, token: &str) -> Result<Registered, Refused> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| Refused)?;
        if header.typ.as_deref() != Some("JWT") {
            return Err(Refused);
        }
        let key = header.kid.and_then(|kid| self.verifying.get(&kid)).ok_or(Refused)?;
        let validation = validation(&self.issuer, Audience::Api);
        let decoded = jsonwebtoken::decode::<AccessClaims>(token, key, &validation).map_err(|_| Refused)?;
        Ok(decoded.claims.registered)
    }

    fn registered(&self, aud: Audience, sub: PlayerId, life_s: u64, now: Timestamp) -> Registered {
        let iat = now.0 / 1000;
        let jti = URL_SAFE_NO_PAD.encode(random::<12>());
        Registered { iss: self.issuer.clone(), aud, sub, exp: iat + life_s, nbf: iat, iat, jti }
    }

    fn sign<T: Serialize>(&self, claims: &T) -> Result<String, jsonwebtoken::errors::Error> {
        let header = Header { kid: Some(self.kid.clone()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, claims, &self.signing)
    }
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

/// Every field is set: the library's defaults are lenient. [`Registered::check`] alone judges the times, at the time that it is
/// given; the library would read the clock once more.
fn validation(issuer: &str, audience: Audience) -> Validation {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.algorithms = vec![Algorithm::EdDSA];
    validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
    validation.set_audience(&[audience.as_str()]);
    validation.set_issuer(&[issuer]);
    validation.sub = None;
    validation.reject_tokens_expiring_in_less_than = 0;
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = true;
    validation
}

/// RFC 7638: the SHA-256 of the key's required members in lexical order.
fn thumbprint(x: &str) -> String {
    let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, members.as_bytes()))
}

fn new_key() -> Result<Vec<u8>, KeyError> {
    let random = aws_lc_rs::rand::SystemRandom::new();
    let document = Ed25519KeyPair::generate_pkcs8(&random).map_err(|_| KeyError::Unreadable)?;
    Ok(document.as_ref().to_vec())
}

/// Makes a file that only its owner can read. It has its name once it is whole: a crash leaves no half of it. If somebody else
/// was faster, theirs stays.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{:016x}", u64::from_be_bytes(random())));
    let temporary = Path::new(&name);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(temporary)?;
    let linked = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| hard_link(temporary, path));
    remove_file(temporary)?;
    linked.or_else(|error| if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })
}

fn read_private(path: &Path) -> Result<Vec<u8>, KeyError> {
    let file = File::open(path)?;
    #[cfg(unix)]
    if std::os::unix::fs::PermissionsExt::mode(&file.metadata()?.permissions()) & 0o077 != 0 {
        return Err(KeyError::Exposed);
    }
    let mut key = Vec::new();
    file.take(KEY_BYTES_MAX).read_to_end(&mut key)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::wall;

    fn player() -> PlayerId {
        PlayerId::from_bytes([7; 16])
    }

    #[test]
    fn an_access_token_is_verified_and_one_for_a_relay_or_of_another_key_is_not() {
        let auth = Auth::ephemeral().unwrap();
        let token = auth.access_token(player(), wall()).unwrap();
        assert!(token.len() <= limits::TOKEN_BYTES_MAX);
        assert_eq!(auth.verify_access(&token, wall()), Ok(player()));
        assert_eq!(Auth::ephemeral().unwrap().verify_access(&token, wall()), Err(Refused), "another key");
        let relay = auth.relay_token(player(), LobbyId::from_bytes([1; 16]), ConnectionId(0), wall()).unwrap();
        assert_eq!(auth.verify_access(&relay, wall()), Err(Refused), "another audience");
        let old = auth.access_token(player(), Timestamp(0)).unwrap();
        assert_eq!(auth.verify_access(&old, wall()), Err(Refused), "expired");
        assert_eq!(auth.verify_access("", wall()), Err(Refused));
    }

    #[test]
    fn a_token_that_was_verified_before_is_judged_by_its_times_anew_and_a_changed_one_is_another() {
        let auth = Auth::ephemeral().unwrap();
        let (token, now) = (auth.access_token(player(), wall()).unwrap(), wall());
        assert_eq!(auth.verify_access(&token, now), Ok(player()));
        assert_eq!(auth.verify_access(&token, now), Ok(player()));
        assert_eq!(auth.verify_access(&token, now.after(2 * limits::ACCESS_TOKEN_LIFE)), Err(Refused), "expired since");
        let mut changed = token.clone();
        let last = changed.pop().unwrap();
        changed.push(if last == 'A' { 'Q' } else { 'A' });
        assert_eq!(auth.verify_access(&changed, now), Err(Refused));
        assert_eq!(auth.verified.len(), 1, "what is refused is not remembered");
    }

    #[test]
    fn a_token_is_judged_by_the_time_that_is_given_and_by_no_other_clock() {
        let auth = Auth::ephemeral().unwrap();
        for at in [Timestamp(1_000_000), wall(), Timestamp(9_000_000_000_000)] {
            let token = auth.access_token(player(), at).unwrap();
            assert_eq!(auth.verify_access(&token, at), Ok(player()));
            assert_eq!(auth.verify_access(&token, at.after(2 * limits::ACCESS_TOKEN_LIFE)), Err(Refused), "expired");
            assert_eq!(auth.verify_access(&token, Timestamp(at.0 - 60_000)), Err(Refused), "not yet");
        }
    }

    #[test]
    fn a_token_signed_with_another_algorithm_is_refused() {
        let auth = Auth::ephemeral().unwrap();
        let registered = auth.registered(Audience::Api, player(), 900, wall());
        let header = Header { kid: Some(auth.kid.clone()), ..Header::new(Algorithm::HS256) };
        let secret = EncodingKey::from_secret(auth.jwks["keys"][0]["x"].as_str().unwrap().as_bytes());
        let token = jsonwebtoken::encode(&header, &AccessClaims { registered }, &secret).unwrap();
        assert_eq!(auth.verify_access(&token, wall()), Err(Refused));
    }

    #[test]
    fn the_relay_takes_the_published_keys() {
        let auth = Auth::ephemeral().unwrap();
        let verifier = relay::Verifier::from_jwks(&auth.jwks(), auth.issuer()).unwrap();
        let lobby = LobbyId::from_bytes([1; 16]);
        let token = auth.relay_token(player(), lobby, ConnectionId(3), wall()).unwrap();
        let claims = verifier.verify_member(token.as_bytes()).unwrap();
        assert_eq!((claims.lobby, claims.connection), (lobby, ConnectionId(3)));
    }

    #[test]
    #[cfg(unix)]
    fn the_key_is_kept_in_a_private_file_and_a_readable_one_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = std::env::temp_dir().join(format!("understudy-{:016x}", u64::from_be_bytes(random())));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("key.der");
        let kid = Auth::open(&path).unwrap().kid;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Auth::open(&path).unwrap().kid, kid, "the same key after a restart");
        write_private(&path, &new_key().unwrap()).unwrap();
        assert_eq!(Auth::open(&path).unwrap().kid, kid, "whoever is first stays");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "nothing else is left");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Auth::open(&path), Err(KeyError::Exposed)));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
