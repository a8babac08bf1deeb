//! `GET` and `POST /admin/v1/lobbies/{id}/bans`, `DELETE /admin/v1/lobbies/{id}/bans/{player}`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use protocol::id::PlayerId;
use protocol::lobby::Ban;
use protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::Operator;
use crate::error::Problem;
use crate::http::extract::{BanPath, Body, LobbyPath};
use crate::service::{Asker, Service};

/// Who is kept out.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewBan {
    /// Who.
    player: PlayerId,
    /// Until when; without it for the lobby's life.
    #[serde(default)]
    until: Option<Timestamp>,
    /// Why: at most 128 characters.
    #[serde(default)]
    reason: String,
}

/// A player who is kept out.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BannedPlayer {
    /// Who.
    player: PlayerId,
    /// For how long, and why.
    #[serde(flatten)]
    ban: Ban,
}

/// Those who are kept out.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BannedPlayers {
    /// By player.
    bans: Vec<BannedPlayer>,
}

/// List who is banned from a lobby.
#[utoipa::path(
    get, path = "/admin/v1/lobbies/{id}/bans", tag = "lobbies", security(("admin_token" = [])),
    params(("id" = String, Path, description = "The lobby.")),
    responses(
        (status = 200, description = "Bans that have not ended.", body = BannedPlayers),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "Failed.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list_bans(
    State(service): State<Arc<Service>>,
    _: Operator,
    LobbyPath(id): LobbyPath,
) -> Result<Json<BannedPlayers>, Problem> {
    let bans = service.bans(Asker::Server, id).await?;
    Ok(Json(BannedPlayers { bans: bans.into_iter().map(|(player, ban)| BannedPlayer { player, ban }).collect() }))
}

/// Ban a player from a lobby.
///
/// It loses its seat, its socket and its relay session. A second ban replaces the first.
#[utoipa::path(
    post, path = "/admin/v1/lobbies/{id}/bans", tag = "lobbies", security(("admin_token" = [])),
    params(("id" = String, Path, description = "The lobby.")), request_body = NewBan,
    responses(
        (status = 201, description = "It is kept out.", body = BannedPlayer),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "Failed.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn ban(
    State(service): State<Arc<Service>>,
    _: Operator,
    LobbyPath(id): LobbyPath,
    Body(NewBan { player, until, reason }): Body<NewBan>,
) -> Result<(StatusCode, Json<BannedPlayer>), Problem> {
    let ban = service.ban(Asker::Server, id, None, player, until, reason).await?;
    Ok((StatusCode::CREATED, Json(BannedPlayer { player, ban })))
}

/// Lift a ban.
#[utoipa::path(
    delete, path = "/admin/v1/lobbies/{id}/bans/{player}", tag = "lobbies", security(("admin_token" = [])),
    params(
        ("id" = String, Path, description = "The lobby."),
        ("player" = String, Path, description = "The player."),
    ),
    responses(
        (status = 204, description = "It may join again."),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "Failed.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn unban(
    State(service): State<Arc<Service>>,
    _: Operator,
    BanPath(id, player): BanPath,
) -> Result<StatusCode, Problem> {
    service.unban(Asker::Server, id, None, player).await?;
    Ok(StatusCode::NO_CONTENT)
}
