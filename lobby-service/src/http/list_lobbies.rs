//! `GET /v1/lobbies`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use protocol::id::LobbyId;
use protocol::limits;
use protocol::lobby::Lobby;
use protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Caller, Parameters};
use crate::error::Problem;
use crate::service::Service;

/// Which page.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    after: Option<LobbyId>,
    limit: Option<u32>,
}

/// A lobby, to those who are not in it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Summary {
    /// Its id, to join by.
    id: LobbyId,
    /// Its name.
    name: String,
    /// The build that its members play.
    build_id: String,
    /// Seats taken.
    members: usize,
    /// Seats.
    max_members: u32,
    /// When it was created.
    created_at: Timestamp,
}

impl From<&Lobby> for Summary {
    fn from(lobby: &Lobby) -> Self {
        Self {
            id: lobby.id(),
            name: lobby.name().to_owned(),
            build_id: lobby.build_id().to_owned(),
            members: lobby.member_count(),
            max_members: lobby.settings().max_members,
            created_at: lobby.created_at(),
        }
    }
}

/// A page of lobbies.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Lobbies {
    /// By id.
    lobbies: Vec<Summary>,
    /// For the next page, if there may be one.
    next: Option<LobbyId>,
}

/// List public lobbies that have a free seat.
#[utoipa::path(
    get, path = "/v1/lobbies", tag = "lobbies", security(("access_token" = [])),
    params(
        ("after" = Option<String>, Query, description = "`next` of the page before."),
        ("limit" = Option<u32>, Query, description = "Lobbies on the page: 1 to 100, otherwise the nearest of them."),
    ),
    responses(
        (status = 200, description = "A page.", body = Lobbies),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "Failed.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list_lobbies(
    State(service): State<Arc<Service>>,
    _caller: Caller,
    Parameters(page): Parameters<Page>,
) -> Result<Json<Lobbies>, Problem> {
    let limit = page.limit.unwrap_or(limits::LIST_PAGE_MAX).clamp(1, limits::LIST_PAGE_MAX);
    let lobbies = service.list(page.after, limit).await?;
    let next = lobbies.last().filter(|_| lobbies.len() == limit as usize).map(Lobby::id);
    Ok(Json(Lobbies { lobbies: lobbies.iter().map(Summary::from).collect(), next }))
}
