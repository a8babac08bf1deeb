//! `POST /v1/lobbies/{id}/ready`

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

/// The election that the caller won.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Ready {
    /// Its epoch.
    epoch: HostEpoch,
}

/// The caller hosts.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Confirmed {
    /// At this epoch.
    epoch: HostEpoch,
}

/// Confirm that the game is restored.
///
/// The elected host says so once it runs the game, before `ready_by`.
#[utoipa::path(
    post, path = "/v1/lobbies/{id}/ready", tag = "hosting", request_body = Ready, security(("access_token" = [])),
    params(parameters::OfLobby),
    responses(
        (status = 200, description = "The caller hosts.", body = Confirmed),
    )
)]
pub(super) async fn ready(
    State(service): State<Arc<Service>>,
    Caller(player): Caller,
    LobbyPath(id): LobbyPath,
    Body(Ready { epoch }): Body<Ready>,
) -> Result<Json<Confirmed>, Problem> {
    Ok(Json(Confirmed { epoch: service.ready(player, id, epoch).await? }))
}
