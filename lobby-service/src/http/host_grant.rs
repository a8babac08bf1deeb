//! `POST /v1/lobbies/{id}/host-grant`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use protocol::id::HostEpoch;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Body, Caller, LobbyPath};
use super::parameters;
use crate::error::Problem;
use crate::service::Service;

/// As whom the caller hosts.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HostGrantRequest {
    /// The epoch of its election.
    epoch: HostEpoch,
}

/// What a host shows to a relay.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HostGrant {
    /// For the grant frame.
    grant: String,
}

/// Get a grant for the relays.
///
/// Relays tell everybody in the lobby's session who hosts, by the grant of the highest epoch.
#[utoipa::path(
    post, path = "/v1/lobbies/{id}/host-grant", tag = "relays", request_body = HostGrantRequest,
    security(("access_token" = [])), params(parameters::OfLobby),
    responses(
        (status = 200, description = "The grant.", body = HostGrant),
    )
)]
pub(super) async fn host_grant(
    State(service): State<Arc<Service>>,
    Caller(player): Caller,
    LobbyPath(id): LobbyPath,
    Body(HostGrantRequest { epoch }): Body<HostGrantRequest>,
) -> Result<Json<HostGrant>, Problem> {
    Ok(Json(HostGrant { grant: service.host_grant(player, id, epoch).await? }))
}
