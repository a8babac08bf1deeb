//! `DELETE /admin/v1/lobbies/{id}`

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;

use super::extract::Operator;
use crate::error::Problem;
use crate::http::extract::LobbyPath;
use crate::service::{Asker, Service};

/// Close a lobby.
///
/// For good: its sockets and its relay session are closed, its snapshots are deleted. Its last events are kept for a while.
#[utoipa::path(
    delete, path = "/admin/v1/lobbies/{id}", tag = "lobbies", security(("admin_token" = [])),
    params(("id" = String, Path, description = "The lobby.")),
    responses(
        (status = 204, description = "It is closed."),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "Failed.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn close_lobby(
    State(service): State<Arc<Service>>,
    _: Operator,
    LobbyPath(id): LobbyPath,
) -> Result<StatusCode, Problem> {
    service.close_lobby(Asker::Server, id, None, None).await?;
    Ok(StatusCode::NO_CONTENT)
}
