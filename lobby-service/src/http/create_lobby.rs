//! `POST /v1/lobbies`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use protocol::id::{ConnectionId, PeerKey};
use protocol::lobby::Settings;
use protocol::message::LobbyView;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Body, Caller};
use crate::error::Problem;
use crate::service::{Joined, NewLobby, Profile, Service};

/// A lobby to make, and what its creator brings.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateLobby {
    /// 1 to 128 characters.
    lobby_name: String,
    /// The creator's name in this lobby; without it the one it signed in with.
    name: Option<String>,
    /// The fingerprint of the creator's process.
    peer_key: PeerKey,
    /// The game's build. Only equal builds play together.
    #[serde(default)]
    build_id: String,
    /// Whether it can be elected again once it is not host any more.
    #[serde(default = "consent")]
    can_host: bool,
    /// Where it can be reached without the relay: an IP address and a port.
    direct_address: Option<String>,
    /// What the game sets.
    #[serde(default)]
    settings: Settings,
}

pub(super) const fn consent() -> bool {
    true
}

/// A seat, and the lobby it is in.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Seat {
    /// The lobby, as its members see it.
    lobby: LobbyView,
    /// The caller's connection id. It stays its own.
    connection: ConnectionId,
}

impl From<Joined> for Seat {
    fn from(Joined { lobby, connection }: Joined) -> Self {
        Self { lobby, connection }
    }
}

/// Create a lobby.
///
/// The caller hosts it, at epoch 1, with connection id 0.
#[utoipa::path(
    post, path = "/v1/lobbies", tag = "lobbies", request_body = CreateLobby, security(("access_token" = [])),
    responses(
        (status = 201, description = "A new lobby.", body = Seat),
        (status = 422, description = "A field breaks a rule.", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "Failed.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn create_lobby(
    State(service): State<Arc<Service>>,
    Caller(player): Caller,
    Body(body): Body<CreateLobby>,
) -> Result<(StatusCode, Json<Seat>), Problem> {
    let CreateLobby { lobby_name, name, peer_key, build_id, can_host, direct_address, settings } = body;
    let creator = Profile { name, peer_key, build_id, can_host, direct_address };
    let joined = service.create_lobby(player, NewLobby { name: lobby_name, settings, creator }).await?;
    Ok((StatusCode::CREATED, Json(joined.into())))
}
