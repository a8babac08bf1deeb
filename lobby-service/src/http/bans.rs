//! `GET` and `POST /v1/lobbies/{id}/bans`, `DELETE /v1/lobbies/{id}/bans/{player}`

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use protocol::error::Rejection;
use protocol::id::{HostEpoch, PlayerId};
use protocol::lobby::Ban;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Actor, BanPath, Body, LobbyPath, Parameters, Scope};
use super::kick::AtEpoch;
use super::parameters;
use crate::error::Problem;
use crate::service::Service;

/// The longest ban that ends: ten years.
const BAN_S_MAX: u64 = 10 * 365 * 24 * 3600;

/// Who is kept out.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BanPlayer {
    /// The epoch at which the caller hosts. Needed from a host, not from a server.
    epoch: Option<HostEpoch>,
    /// Who.
    player: PlayerId,
    /// For how long, in seconds: 1 to 315,360,000; without it for the lobby's life.
    #[schema(minimum = 1, maximum = 315_360_000)]
    expires_in_s: Option<u64>,
    /// Why: at most 128 characters.
    #[serde(default)]
    #[schema(value_type = protocol::schema::Name)]
    reason: String,
}

/// A player who is kept out.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Banned {
    /// Who.
    player: PlayerId,
    /// For how long, and why.
    #[serde(flatten)]
    ban: Ban,
}

/// Those who are kept out.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Bans {
    /// By player.
    bans: Vec<Banned>,
}

/// List who is banned.
///
/// For the host and for servers of the game.
#[utoipa::path(
    get, path = "/v1/lobbies/{id}/bans", tag = "members", security(("access_token" = []), ("api_key" = [])),
    params(parameters::OfLobby),
    responses((status = 200, description = "Bans that have not ended.", body = Bans))
)]
pub(super) async fn list_bans(
    State(service): State<Arc<Service>>,
    actor: Actor,
    LobbyPath(id): LobbyPath,
) -> Result<Json<Bans>, Problem> {
    let bans = service.bans(actor.asker(Scope::LobbiesRead)?, id).await?;
    Ok(Json(Bans { bans: bans.into_iter().map(|(player, ban)| Banned { player, ban }).collect() }))
}

/// Ban a player.
///
/// For the host and for servers of the game. It loses its seat, its socket and its relay session, and is told from then on that the lobby
/// is not there. A second ban replaces the first.
#[utoipa::path(
    post, path = "/v1/lobbies/{id}/bans", tag = "members", request_body = BanPlayer,
    security(("access_token" = []), ("api_key" = [])), params(parameters::OfLobby),
    responses((status = 201, description = "It is kept out.", body = Banned))
)]
pub(super) async fn ban(
    State(service): State<Arc<Service>>,
    actor: Actor,
    LobbyPath(id): LobbyPath,
    Body(BanPlayer { epoch, player, expires_in_s, reason }): Body<BanPlayer>,
) -> Result<(StatusCode, Json<Banned>), Problem> {
    if expires_in_s.is_some_and(|seconds| !(1..=BAN_S_MAX).contains(&seconds)) {
        return Err(Rejection::Invalid { field: "expires_in_s", rule: "1 to 315360000" }.into());
    }
    let until = expires_in_s.map(|seconds| service.clock.now().after(Duration::from_secs(seconds)));
    let ban = service.ban(actor.asker(Scope::MembersWrite)?, id, epoch, player, until, reason).await?;
    Ok((StatusCode::CREATED, Json(Banned { player, ban })))
}

/// Lift a ban.
///
/// For the host and for servers of the game.
#[utoipa::path(
    delete, path = "/v1/lobbies/{id}/bans/{player}", tag = "members",
    security(("access_token" = []), ("api_key" = [])),
    params(parameters::OfBan, parameters::AtEpoch),
    responses((status = 204, description = "It may join again."))
)]
pub(super) async fn unban(
    State(service): State<Arc<Service>>,
    actor: Actor,
    BanPath(id, player): BanPath,
    Parameters(AtEpoch { epoch }): Parameters<AtEpoch>,
) -> Result<StatusCode, Problem> {
    service.unban(actor.asker(Scope::MembersWrite)?, id, epoch, player).await?;
    Ok(StatusCode::NO_CONTENT)
}
