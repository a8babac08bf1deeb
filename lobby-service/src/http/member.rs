//! What players bring to a lobby, and what they get there: the same in every operation that takes a seat.

use protocol::id::{ConnectionId, HostEpoch, LobbyId};
use protocol::lobby::data::Data;
use protocol::lobby::{Lobby, Viewer};
use protocol::message::LobbyView;
use protocol::time::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::service::{Joined, ReconnectSecret};

/// Declares a request with what a player brings to a lobby, beside fields of its own. (Flattened structs cannot refuse unknown
/// fields.)
macro_rules! with_profile {
    ($(#[$doc:meta])* struct $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, serde::Deserialize, utoipa::ToSchema)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $name {
            $($(#[$field_doc])* $field: $type,)*
            /// The player's name in this lobby; without it the one it signed in with. At most 128 characters.
            #[schema(value_type = Option<protocol::schema::Name>)]
            name: Option<String>,
            /// The fingerprint of the player's process.
            peer_key: protocol::id::PeerKey,
            /// The game's build. Only equal builds play together.
            #[serde(default)]
            #[schema(value_type = protocol::schema::Name)]
            build_id: String,
            /// Whether it can be elected host.
            #[serde(default = "super::member::consent")]
            can_host: bool,
            /// Where it can be reached without the relay: an IP address and a port.
            #[schema(value_type = Option<protocol::schema::SocketAddress>)]
            direct_address: Option<String>,
            /// It runs in a browser: WebRTC is the only way to it.
            #[serde(default)]
            browser: bool,
            /// What it tells of itself.
            #[serde(default)]
            #[schema(value_type = protocol::schema::MemberData)]
            member_data: protocol::lobby::data::Data,
            /// What is to take the seat again, which the caller has drawn and saved before: 64 hexadecimal digits. Without one
            /// the service draws it, and a caller that dies before it has the answer waits until its seat is given up.
            reconnect_secret: Option<super::member::Secret>,
        }

        impl $name {
            fn profile(&mut self) -> crate::service::Profile {
                crate::service::Profile {
                    name: self.name.take(),
                    peer_key: self.peer_key,
                    build_id: std::mem::take(&mut self.build_id),
                    can_host: self.can_host,
                    direct_address: self.direct_address.take(),
                    browser: self.browser,
                    data: super::member::set(std::mem::take(&mut self.member_data)),
                    secret: self.reconnect_secret.map(|super::member::Secret(secret)| secret),
                }
            }
        }
    };
}
pub(super) use with_profile;

/// Those who say nothing about it may be elected.
pub(super) const fn consent() -> bool {
    true
}

/// Values that are all set.
pub(super) fn set(data: Data) -> protocol::lobby::data::DataPatch {
    data.into_iter().map(|(key, value)| (key, Some(value))).collect()
}

/// A password as it comes in a request.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, min_length = 8, max_length = 64, pattern = r"^[^\x00]*$", example = "correct horse")]
pub(super) struct Password(pub(super) String);

impl std::fmt::Debug for Password {
    /// Without it (P18).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password")
    }
}

/// A reconnect secret as it comes in a request.
#[derive(Debug, Clone, Copy, ToSchema)]
#[schema(value_type = String, pattern = "^[0-9A-Fa-f]{64}$", example = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff")]
pub(super) struct Secret(pub(super) ReconnectSecret);

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(|_| D::Error::custom("a secret must be 64 hexadecimal digits"))
    }
}

/// A seat, and the lobby it is in.
#[derive(Serialize, ToSchema)]
pub(super) struct Seat {
    /// The lobby, as the caller sees it.
    lobby: LobbyView,
    /// The caller's connection id. It stays its own.
    connection: ConnectionId,
    /// What another process of the caller takes this seat with, once.
    reconnect_secret: String,
}

impl From<Joined> for Seat {
    fn from(Joined { lobby, connection, secret, .. }: Joined) -> Self {
        Self { lobby, connection, reconnect_secret: secret.to_string() }
    }
}

/// A lobby, to those who are not in it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Summary {
    /// Its id, to join by.
    id: LobbyId,
    /// Its name.
    name: String,
    /// The build that its members play.
    build_id: String,
    /// Seats taken.
    members: usize,
    /// Seats.
    max_members: u32,
    /// Seats that are free.
    available_seats: u32,
    /// Nobody can join.
    locked: bool,
    /// Newcomers need a password.
    has_password: bool,
    /// The current host epoch.
    epoch: HostEpoch,
    /// When it was created.
    created_at: Timestamp,
    /// When something happened to it the last time.
    updated_at: Timestamp,
    /// Its public data.
    #[serde(skip_serializing_if = "Data::is_empty")]
    #[schema(value_type = protocol::schema::LobbyData)]
    data: Data,
}

impl From<&Lobby> for Summary {
    fn from(lobby: &Lobby) -> Self {
        let settings = lobby.settings();
        let members = lobby.member_count();
        Self {
            id: lobby.id(),
            name: lobby.name().to_owned(),
            build_id: lobby.build_id().to_owned(),
            members,
            max_members: settings.max_members,
            available_seats: settings.max_members.saturating_sub(u32::try_from(members).unwrap_or(u32::MAX)),
            locked: settings.locked,
            has_password: lobby.password().is_some(),
            epoch: lobby.epoch(),
            created_at: lobby.created_at(),
            updated_at: lobby.updated_at(),
            data: lobby.view(Viewer::Anybody).data,
        }
    }
}
