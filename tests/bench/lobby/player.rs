//! Players. Signing in is not measured: the generator signs their tokens with the servers' key.

use lobby_service::auth::Auth;
use lobby_service::clock::wall;
use protocol::id::{PeerKey, PlayerId};

use super::Failure;

/// A player with its access token.
#[derive(Debug, Clone)]
pub(crate) struct Player {
    pub(crate) token: String,
    pub(crate) name: String,
    pub(crate) peer_key: PeerKey,
}

/// As many players as are asked for.
pub(crate) fn players(auth: &Auth, count: usize) -> Result<Vec<Player>, Failure> {
    let sign_in = |number: usize| {
        let (mut id, mut key) = ([0; 16], [0; 32]);
        id[..8].copy_from_slice(&number.to_be_bytes());
        key[..8].copy_from_slice(&number.to_be_bytes());
        let token = auth.access_token(PlayerId::from_bytes(id), wall())?;
        Ok(Player { token, name: format!("player {number}"), peer_key: PeerKey::from_bytes(key) })
    };
    (0..count).map(sign_in).collect()
}
