//! `POST /admin/v1/lobbies/{id}/hand-over`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use protocol::id::{ConnectionId, HostEpoch};
use protocol::lobby::{HandOver, HostState};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::Operator;
use crate::error::Problem;
use crate::http::extract::{Body, LobbyPath};
use crate::service::{Asker, Service};

/// Who is to host.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PlannedHandOver {
    /// A member that is connected and consents; without it whoever is asked to already, or would be elected.
    #[serde(default)]
    to: Option<ConnectionId>,
}

/// What the host has been asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AskedHandOver {
    /// The epoch, which moves once the host has committed.
    epoch: HostEpoch,
    /// Where the authority is now.
    host: HostState,
    /// To whom, and until when.
    hand_over: Option<HandOver>,
}

/// Have the host hand over.
///
/// The host prepares the other member while the game goes on, and then makes it host. If it has not after ten seconds, or the other
/// one is gone, nothing has changed.
#[utoipa::path(
    post, path = "/admin/v1/lobbies/{id}/hand-over", tag = "lobbies", security(("admin_token" = [])),
    params(("id" = String, Path, description = "The lobby.")), request_body = Option<PlannedHandOver>,
    responses(
        (status = 202, description = "The host has been asked.", body = AskedHandOver),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "Failed.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn plan_hand_over(
    State(service): State<Arc<Service>>,
    _: Operator,
    LobbyPath(id): LobbyPath,
    body: Option<Body<PlannedHandOver>>,
) -> Result<(StatusCode, Json<AskedHandOver>), Problem> {
    let PlannedHandOver { to } = body.map(|Body(request)| request).unwrap_or_default();
    let lobby = service.ask_hand_over(Asker::Server, id, None, to).await?;
    let asked = AskedHandOver { epoch: lobby.epoch(), host: lobby.host().clone(), hand_over: lobby.hand_over() };
    Ok((StatusCode::ACCEPTED, Json(asked)))
}
