//! `GET /admin/v1/lobbies/{id}/members`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use protocol::id::InstanceId;
use protocol::lobby::{Lobby, Viewer};
use protocol::message::MemberView;
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::Operator;
use crate::error::Problem;
use crate::http::extract::LobbyPath;
use crate::service::Service;

/// A member and who hears it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HeldMember {
    /// As the other members see it.
    member: MemberView,
    /// The instance that hears it, if it is connected.
    holder: Option<InstanceId>,
}

/// The members of a lobby.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Members {
    /// By their connection ids.
    members: Vec<HeldMember>,
}

pub(super) fn held_members(lobby: &Lobby) -> Vec<HeldMember> {
    let held = |member: MemberView| HeldMember { holder: lobby.holder_of(member.connection), member };
    lobby.view(Viewer::Server).members.into_iter().map(held).collect()
}

/// List the members of a lobby.
#[utoipa::path(
    get, path = "/admin/v1/lobbies/{id}/members", tag = "lobbies", security(("admin_token" = [])),
    params(("id" = String, Path, description = "The lobby.")),
    responses(
        (status = 200, description = "All of them.", body = Members),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "Failed.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list_members(
    State(service): State<Arc<Service>>,
    _: Operator,
    LobbyPath(id): LobbyPath,
) -> Result<Json<Members>, Problem> {
    let (lobby, _) = service.stored_lobby(id).await?;
    Ok(Json(Members { members: held_members(&lobby) }))
}
