//! `DELETE /admin/v1/lobbies/{id}/members/{connection}`

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;

use super::extract::Operator;
use crate::error::Problem;
use crate::http::extract::MemberPath;
use crate::service::{Asker, Service};

/// Take a member's seat.
///
/// The member may join again: ban it if it must not.
#[utoipa::path(
    delete, path = "/admin/v1/lobbies/{id}/members/{connection}", tag = "lobbies", security(("admin_token" = [])),
    params(
        ("id" = String, Path, description = "The lobby."),
        ("connection" = u32, Path, description = "The member's connection id."),
    ),
    responses(
        (status = 204, description = "It has no seat any more."),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "Failed.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn kick(
    State(service): State<Arc<Service>>,
    _: Operator,
    MemberPath(id, connection): MemberPath,
) -> Result<StatusCode, Problem> {
    service.kick(Asker::Server, id, connection, None, None).await?;
    Ok(StatusCode::NO_CONTENT)
}
