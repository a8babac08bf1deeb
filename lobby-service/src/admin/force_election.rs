//! `POST /admin/v1/lobbies/{id}/election`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use protocol::id::{ConnectionId, HostEpoch};
use protocol::lobby::HostState;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::Operator;
use crate::error::Problem;
use crate::http::extract::{Body, LobbyPath};
use crate::service::{Asker, Service};

/// Who is to host.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ForcedElection {
    /// A member that is connected and consents; without it whoever would be elected.
    #[serde(default)]
    to: Option<ConnectionId>,
}

/// What became of it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ElectionResult {
    /// The epoch that has begun.
    epoch: HostEpoch,
    /// Where the authority is now.
    host: HostState,
}

/// Force an election.
///
/// The epoch moves at once, whether the host is there or not. The new host restores the game from the newest snapshot.
#[utoipa::path(
    post, path = "/admin/v1/lobbies/{id}/election", tag = "lobbies", security(("admin_token" = [])),
    params(("id" = String, Path, description = "The lobby.")), request_body = Option<ForcedElection>,
    responses(
        (status = 200, description = "Somebody is elected.", body = ElectionResult),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "Failed.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn force_election(
    State(service): State<Arc<Service>>,
    _: Operator,
    LobbyPath(id): LobbyPath,
    body: Option<Body<ForcedElection>>,
) -> Result<Json<ElectionResult>, Problem> {
    let ForcedElection { to } = body.map(|Body(request)| request).unwrap_or_default();
    let lobby = service.replace_host(Asker::Server, id, None, to).await?;
    Ok(Json(ElectionResult { epoch: lobby.epoch(), host: lobby.host().clone() }))
}
