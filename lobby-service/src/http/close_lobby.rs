//! `DELETE /v1/lobbies/{id}`

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;

use super::conditions::IfMatch;
use super::extract::{Actor, LobbyPath, Parameters, Scope};
use super::kick::AtEpoch;
use super::parameters;
use crate::error::Problem;
use crate::service::Service;

/// Close a lobby.
///
/// For its host and for servers of the game. All sockets and relay sessions are closed; its id and its code never come back.
#[utoipa::path(
    delete, path = "/v1/lobbies/{id}", tag = "lobbies", security(("access_token" = []), ("api_key" = [])),
    params(parameters::OfLobby, parameters::AtEpoch, parameters::IfMatch),
    responses((status = 204, description = "It is closed."))
)]
pub(super) async fn close_lobby(
    State(service): State<Arc<Service>>,
    actor: Actor,
    LobbyPath(id): LobbyPath,
    Parameters(AtEpoch { epoch }): Parameters<AtEpoch>,
    IfMatch(version): IfMatch,
) -> Result<StatusCode, Problem> {
    service.close_lobby(actor.asker(Scope::LobbiesWrite)?, id, epoch, version).await?;
    Ok(StatusCode::NO_CONTENT)
}
