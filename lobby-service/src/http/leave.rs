//! `POST /v1/lobbies/{id}/leave`

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;

use super::extract::{Caller, LobbyPath};
use super::parameters;
use crate::error::Problem;
use crate::service::Service;

/// Leave a lobby.
///
/// The connection id stays the player's own, should it return. If the host leaves, another is elected at once.
#[utoipa::path(
    post, path = "/v1/lobbies/{id}/leave", tag = "lobbies", security(("access_token" = [])),
    params(parameters::OfLobby),
    responses(
        (status = 204, description = "The seat is given up."),
    )
)]
pub(super) async fn leave(
    State(service): State<Arc<Service>>,
    Caller(player): Caller,
    LobbyPath(id): LobbyPath,
) -> Result<StatusCode, Problem> {
    service.leave(player, id, None).await?;
    Ok(StatusCode::NO_CONTENT)
}
