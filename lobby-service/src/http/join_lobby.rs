//! `POST /v1/lobbies/{id}/join`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use protocol::id::PeerKey;
use serde::Deserialize;
use utoipa::ToSchema;

use super::create_lobby::{Seat, consent};
use super::extract::{Body, Caller, LobbyPath};
use crate::error::Problem;
use crate::service::{Profile, Service};

/// What the newcomer brings.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct JoinLobby {
    /// The name in this lobby; without it the one it signed in with.
    name: Option<String>,
    /// The fingerprint of the newcomer's process.
    peer_key: PeerKey,
    /// The game's build.
    #[serde(default)]
    build_id: String,
    /// Whether it can be elected host.
    #[serde(default = "consent")]
    can_host: bool,
    /// Where it can be reached without the relay: an IP address and a port.
    direct_address: Option<String>,
}

/// Join a public lobby.
///
/// A member gets its own seat again, in private lobbies too.
#[utoipa::path(
    post, path = "/v1/lobbies/{id}/join", tag = "lobbies", request_body = JoinLobby, security(("access_token" = [])),
    params(("id" = String, Path, description = "The lobby.")),
    responses(
        (status = 200, description = "A seat.", body = Seat),
        (status = 404, description = "No such lobby, or a private one.", body = Problem,
            content_type = "application/problem+json"),
        (status = 409, description = "Full, closed, or of another build.", body = Problem,
            content_type = "application/problem+json"),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "Failed.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn join_lobby(
    State(service): State<Arc<Service>>,
    Caller(player): Caller,
    LobbyPath(id): LobbyPath,
    Body(body): Body<JoinLobby>,
) -> Result<Json<Seat>, Problem> {
    let JoinLobby { name, peer_key, build_id, can_host, direct_address } = body;
    let profile = Profile { name, peer_key, build_id, can_host, direct_address };
    Ok(Json(service.join_by_id(player, id, profile).await?.into()))
}
