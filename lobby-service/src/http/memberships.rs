//! `GET /v1/players/me/lobbies`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use protocol::id::LobbyId;
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::Caller;
use crate::error::Problem;
use crate::service::Service;

/// Where a player is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Memberships {
    /// Open lobbies in which it has a seat, by id.
    joined: Vec<LobbyId>,
    /// Those of them that it hosts.
    hosted: Vec<LobbyId>,
}

/// List the caller's lobbies.
#[utoipa::path(
    get, path = "/v1/players/me/lobbies", tag = "players", security(("access_token" = [])),
    responses((status = 200, description = "Where it has a seat, and what it hosts.", body = Memberships))
)]
pub(super) async fn memberships(
    State(service): State<Arc<Service>>,
    Caller(player): Caller,
) -> Result<Json<Memberships>, Problem> {
    let seats = service.memberships(player).await?;
    let hosted = seats.iter().filter(|seat| seat.is_host).map(|seat| seat.lobby).collect();
    Ok(Json(Memberships { joined: seats.iter().map(|seat| seat.lobby).collect(), hosted }))
}
