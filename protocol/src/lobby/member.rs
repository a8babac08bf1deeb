//! Members: what they bring, and what is kept of them.

use serde::{Deserialize, Serialize};

use crate::error::Rejection;
use crate::id::{ConnectionId, InstanceId, JoinCode, PeerKey, PlayerId, RequestKey, SecretHash};
use crate::limits;
use crate::time::Timestamp;

use super::data::{Data, DataPatch};
use super::settings::PasswordHash;
use super::state::Presence;

/// How a player came to know of a lobby. It says what the lobby has to be for the player to get in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Admission {
    /// By its join code, which opens private lobbies too.
    Code(JoinCode),
    /// By its id: it must be public.
    Id,
    /// By the id that the game chose for it: it must be public, or have been made that way.
    ChosenId,
    /// By chance: it must be public and without a password.
    Quick,
}

/// What a player brings when it creates or joins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Newcomer {
    /// Who.
    pub player: PlayerId,
    /// Shown to the others.
    pub name: String,
    /// The certificate of its process.
    pub peer_key: PeerKey,
    /// The game's build. Only equal builds play together: a snapshot of one may not be readable by another.
    pub build_id: String,
    /// It consents to being elected.
    pub can_host: bool,
    /// Where it can be reached without the relay, if it offers that.
    pub direct_address: Option<String>,
    /// It runs in a browser: WebRTC is the only way to it.
    pub browser: bool,
    /// The instance of the service that hears it.
    pub holder: InstanceId,
    /// How it found the lobby.
    pub admission: Admission,
    /// The lobby's password, as it was when the player's was compared with it.
    pub password: Option<PasswordHash>,
    /// What it tells of itself.
    pub data: DataPatch,
    /// The hash of the secret that takes its seat again. Without one another process of the player can simply sit down.
    pub secret: Option<SecretHash>,
    /// The key of its request, if it has one.
    pub request: Option<RequestKey>,
}

impl Newcomer {
    /// One with a seat that its token alone takes again, who found the lobby by its id and tells nothing of itself.
    #[must_use]
    pub const fn new(player: PlayerId, peer_key: PeerKey, holder: InstanceId) -> Self {
        Self {
            player,
            name: String::new(),
            peer_key,
            build_id: String::new(),
            can_host: true,
            direct_address: None,
            browser: false,
            holder,
            admission: Admission::Id,
            password: None,
            data: DataPatch::new(),
            secret: None,
            request: None,
        }
    }

    /// # Errors
    /// [`Rejection::Invalid`] for a text that is too long or holds control characters.
    pub(super) fn check(&self) -> Result<(), Rejection> {
        check_name("name", &self.name, 0)?;
        check_name("build_id", &self.build_id, 0)?;
        check_address(self.direct_address.as_deref())
    }
}

/// # Errors
/// [`Rejection::Invalid`].
pub(super) fn check_address(address: Option<&str>) -> Result<(), Rejection> {
    match address {
        Some(address) if !is_dialable(address) => Err(Rejection::Invalid {
            field: "direct_address",
            rule: "an IP address and a port that others can dial, as 192.0.2.1:4000",
        }),
        Some(_) | None => Ok(()),
    }
}

fn is_dialable(address: &str) -> bool {
    let parsed = address.parse::<std::net::SocketAddr>();
    address.len() <= limits::ADDRESS_BYTES_MAX
        && parsed.is_ok_and(|at| at.port() != 0 && !at.ip().is_unspecified() && !at.ip().is_multicast())
}

/// # Errors
/// [`Rejection::Invalid`].
pub(super) fn check_name(field: &'static str, text: &str, at_least: usize) -> Result<(), Rejection> {
    if !(at_least..=limits::NAME_CHARS_MAX).contains(&text.chars().count()) {
        return Err(Rejection::Invalid { field, rule: "at most 128 characters, and a lobby's name at least one" });
    }
    if text.chars().any(char::is_control) {
        return Err(Rejection::Invalid { field, rule: "without control characters" });
    }
    Ok(())
}

/// A seat that is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Member {
    pub(super) player: PlayerId,
    pub(super) name: String,
    pub(super) peer_key: PeerKey,
    pub(super) can_host: bool,
    pub(super) direct_address: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) browser: bool,
    pub(super) joined_at: Timestamp,
    pub(super) presence: Presence,
    /// The instance of the service that heard it last: no other can say that it is gone.
    #[serde(default = "nobody")]
    pub(super) holder: InstanceId,
    #[serde(default, skip_serializing_if = "Data::is_empty")]
    pub(super) data: Data,
    /// What takes the seat again, and what did before that was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) secret: Option<SecretHash>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) previous_secret: Option<SecretHash>,
    /// The request that made it a member, if that had a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) request: Option<RequestKey>,
}

/// The holder of members that were stored before there were holders.
pub(super) const fn nobody() -> InstanceId {
    InstanceId::from_bytes([0; 8])
}

impl Member {
    pub(super) const fn is_connected(&self) -> bool {
        matches!(self.presence, Presence::Connected { .. })
    }
}

/// A player who left, and the seat that stays its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FormerSeat {
    pub(super) player: PlayerId,
    pub(super) connection: ConnectionId,
}
