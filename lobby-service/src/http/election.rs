//! `GET /v1/lobbies/{id}/election`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use protocol::lobby::election::Ranking;

use super::extract::{Caller, LobbyPath};
use super::parameters;
use crate::error::Problem;
use crate::service::Service;

/// See who would be host.
///
/// The election as it would end now, with the reason for each place.
#[utoipa::path(
    get, path = "/v1/lobbies/{id}/election", tag = "hosting", security(("access_token" = [])),
    params(parameters::OfLobby),
    responses(
        (status = 200, description = "The ranking.", body = Ranking),
    )
)]
pub(super) async fn election(
    State(service): State<Arc<Service>>,
    Caller(player): Caller,
    LobbyPath(id): LobbyPath,
) -> Result<Json<Ranking>, Problem> {
    Ok(Json(service.ranking(player, id).await?))
}
