//! `POST /v1/lobbies/{id}/join-code`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use protocol::id::{HostEpoch, JoinCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Actor, Body, LobbyPath, Scope};
use super::parameters;
use crate::error::Problem;
use crate::service::Service;

/// Who asks.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RotateCode {
    /// The epoch at which the caller hosts. Needed from a host, not from a server.
    epoch: Option<HostEpoch>,
}

/// The lobby's code.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Code {
    /// It opens the lobby from now on.
    join_code: JoinCode,
}

/// Give a lobby another join code.
///
/// For the host and for servers of the game. The code of before opens nothing any more; members keep their seats.
#[utoipa::path(
    post, path = "/v1/lobbies/{id}/join-code", tag = "lobbies", request_body = RotateCode,
    security(("access_token" = []), ("api_key" = [])), params(parameters::OfLobby),
    responses((status = 200, description = "The new code.", body = Code))
)]
pub(super) async fn rotate_code(
    State(service): State<Arc<Service>>,
    actor: Actor,
    LobbyPath(id): LobbyPath,
    Body(RotateCode { epoch }): Body<RotateCode>,
) -> Result<Json<Code>, Problem> {
    let join_code = service.rotate_code(actor.asker(Scope::LobbiesWrite)?, id, epoch).await?;
    Ok(Json(Code { join_code }))
}
