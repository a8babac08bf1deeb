//! `GET /admin/v1/lobbies`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use protocol::id::{HostEpoch, LobbyId};
use protocol::limits;
use protocol::lobby::{HostState, Lobby, Visibility};
use protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::Operator;
use crate::error::Problem;
use crate::http::extract::Parameters;
use crate::service::{LobbyState, Service};

/// Which page.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    state: Option<LobbyState>,
    after: Option<LobbyId>,
    limit: Option<u32>,
}

/// A lobby in short.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LobbySummary {
    /// Its id.
    id: LobbyId,
    /// Its name.
    name: String,
    /// The build that its members play.
    build_id: String,
    /// Who finds it.
    visibility: Visibility,
    /// Seats taken.
    members: usize,
    /// Members that are connected.
    connected: usize,
    /// Seats.
    max_members: u32,
    /// The current host epoch.
    epoch: HostEpoch,
    /// Where the authority is.
    host: HostState,
    /// When it was created.
    created_at: Timestamp,
    /// It is closed for good.
    closed: bool,
}

impl From<&Lobby> for LobbySummary {
    fn from(lobby: &Lobby) -> Self {
        Self {
            id: lobby.id(),
            name: lobby.name().to_owned(),
            build_id: lobby.build_id().to_owned(),
            visibility: lobby.settings().visibility,
            members: lobby.member_count(),
            connected: lobby.connected().count(),
            max_members: lobby.settings().max_members,
            epoch: lobby.epoch(),
            host: lobby.host().clone(),
            created_at: lobby.created_at(),
            closed: lobby.is_closed(),
        }
    }
}

/// A page of lobbies.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LobbyPage {
    /// By id. There may be fewer than asked for, or none, and more on the next page.
    lobbies: Vec<LobbySummary>,
    /// For the next page, if there may be one.
    next: Option<LobbyId>,
}

/// List all lobbies.
#[utoipa::path(
    get, path = "/admin/v1/lobbies", tag = "lobbies", security(("admin_token" = [])),
    params(
        ("state" = Option<LobbyState>, Query, description = "Only those that are open, parked (open, without a host), or closed."),
        ("after" = Option<String>, Query, description = "`next` of the page before."),
        ("limit" = Option<u32>, Query, description = "Lobbies on the page: 1 to 100, otherwise the nearest of them."),
    ),
    responses(
        (status = 200, description = "A page.", body = LobbyPage),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "Failed.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list_lobbies(
    State(service): State<Arc<Service>>,
    _: Operator,
    Parameters(page): Parameters<Page>,
) -> Result<Json<LobbyPage>, Problem> {
    let limit = page.limit.unwrap_or(limits::LIST_PAGE_MAX);
    let (lobbies, next) = service.all_lobbies(page.state, page.after, limit).await?;
    Ok(Json(LobbyPage { lobbies: lobbies.iter().map(LobbySummary::from).collect(), next }))
}
