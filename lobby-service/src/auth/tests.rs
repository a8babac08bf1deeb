//! The service's own tokens.

use std::path::PathBuf;

use jsonwebtoken::{Algorithm, EncodingKey, Header};

use super::*;

/// A folder that is gone with its test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("understudy-{:016x}", u64::from_be_bytes(random())));
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

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
    let registered = auth.registered(Audience::Api, player(), wall());
    let key = auth.jwks()["keys"][0].clone();
    let text = |name: &str| key[name].as_str().unwrap().to_owned();
    let typ = Some(Audience::Api.token_type().to_owned());
    let header = Header { typ, kid: Some(text("kid")), ..Header::new(Algorithm::HS256) };
    let secret = EncodingKey::from_secret(text("x").as_bytes());
    let token = jsonwebtoken::encode(&header, &AccessClaims { registered }, &secret).unwrap();
    assert_eq!(auth.verify_access(&token, wall()), Err(Refused));
}

#[test]
fn the_relay_takes_the_published_keys_and_a_reload_reaches_it() {
    let folder = Folder::new();
    let path = folder.file("key.der");
    let auth = Auth::new(&Key::File(path.clone()), &Identity { key_activation_s: 0, ..Identity::default() }).unwrap();
    let verifier = auth.relay_verifier();
    let lobby = LobbyId::from_bytes([1; 16]);
    let token = || auth.relay_token(player(), lobby, ConnectionId(3), wall()).unwrap();
    let claims = verifier.verify_member(token().as_bytes()).unwrap();
    assert_eq!((claims.lobby, claims.connection), (lobby, ConnectionId(3)));
    let old = token();
    add_key(&path).unwrap();
    auth.reload_keys().unwrap();
    assert!(verifier.verify_member(token().as_bytes()).is_ok() && verifier.verify_member(old.as_bytes()).is_ok());
    std::fs::remove_file(&path).unwrap();
    auth.reload_keys().unwrap();
    assert!(verifier.verify_member(token().as_bytes()).is_ok() && verifier.verify_member(old.as_bytes()).is_err());
}

#[test]
fn tokens_of_the_old_key_count_until_it_is_removed_and_new_ones_are_signed_by_the_new_key() {
    let folder = Folder::new();
    let path = folder.file("key.der");
    let auth = Auth::open(&path).unwrap();
    let now = wall();
    let old = auth.access_token(player(), now).unwrap();
    let kid = |token: &str| Unverified::parse(token.as_bytes(), limits::TOKEN_BYTES_MAX).unwrap().kid;
    let new_file = add_key(&path).unwrap();
    auth.reload_keys().unwrap();
    assert_eq!(auth.jwks()["keys"].as_array().unwrap().len(), 2, "published at once");
    assert_eq!(kid(&auth.access_token(player(), now).unwrap()), kid(&old), "and not used yet");
    let later = now.after(Duration::from_secs(70));
    let new = auth.access_token(player(), later).unwrap();
    assert_ne!(kid(&new), kid(&old));
    assert_eq!((auth.verify_access(&old, later), auth.verify_access(&new, later)), (Ok(player()), Ok(player())));
    std::fs::remove_file(&path).unwrap();
    auth.reload_keys().unwrap();
    assert_eq!(auth.verify_access(&old, later), Err(Refused), "though it was verified before");
    assert_eq!(auth.verify_access(&new, later), Ok(player()));
    std::fs::remove_file(&new_file).unwrap();
    assert!(auth.reload_keys().is_err());
    assert_eq!(auth.verify_access(&new, later), Ok(player()), "without any file the known keys stay");
    assert_eq!(Auth::open(&path).unwrap().verify_access(&new, later), Err(Refused), "another key");
}
