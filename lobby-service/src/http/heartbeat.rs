//! `POST /v1/lobbies/{id}/heartbeat`

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use protocol::id::PeerKey;
use serde::Deserialize;
use utoipa::ToSchema;

use super::extract::{Body, Caller, LobbyPath};
use super::parameters;
use crate::error::Problem;
use crate::service::Service;

/// Which process is alive.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Heartbeat {
    /// Its fingerprint.
    peer_key: PeerKey,
}

/// Stay connected without an event socket.
///
/// Needed every 2 seconds; after 6 without one the member is disconnected. A disconnected member is connected again by it.
#[utoipa::path(
    post, path = "/v1/lobbies/{id}/heartbeat", tag = "lobbies", request_body = Heartbeat,
    security(("access_token" = [])), params(parameters::OfLobby),
    responses(
        (status = 204, description = "Heard."),
    )
)]
pub(super) async fn heartbeat(
    State(service): State<Arc<Service>>,
    Caller(player): Caller,
    LobbyPath(id): LobbyPath,
    Body(Heartbeat { peer_key }): Body<Heartbeat>,
) -> Result<StatusCode, Problem> {
    service.heartbeat(player, id, peer_key).await?;
    Ok(StatusCode::NO_CONTENT)
}
