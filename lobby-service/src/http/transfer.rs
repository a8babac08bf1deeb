//! `POST /v1/lobbies/{id}/transfer`

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use protocol::id::{ConnectionId, HostEpoch};
use protocol::message::LobbyView;
use serde::Deserialize;
use utoipa::ToSchema;

use super::extract::{Actor, Body, LobbyPath, Scope};
use super::parameters;
use super::update_lobby::whole;
use crate::error::Problem;
use crate::service::Service;

/// Who is to host.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Transfer {
    /// The epoch at which the caller hosts. Needed from a host, not from a server.
    epoch: Option<HostEpoch>,
    /// Who; without it whoever would be elected.
    to: Option<ConnectionId>,
}

/// Make another member host.
///
/// For the host and for servers of the game. The epoch moves at once; the new host restores the game from the newest snapshot, so upload one
/// first. The old host stays a candidate, should the new one not be ready in time.
#[utoipa::path(
    post, path = "/v1/lobbies/{id}/transfer", tag = "hosting", request_body = Transfer,
    security(("access_token" = []), ("api_key" = [])), params(parameters::OfLobby),
    responses((status = 200, description = "The lobby with another host.", body = LobbyView,
        headers(("ETag" = String, description = "The version, in quotes."))))
)]
pub(super) async fn transfer(
    State(service): State<Arc<Service>>,
    actor: Actor,
    LobbyPath(id): LobbyPath,
    Body(Transfer { epoch, to }): Body<Transfer>,
) -> Result<Response, Problem> {
    let asker = actor.asker(Scope::LobbiesWrite)?;
    Ok(whole(&*service.replace_host(asker, id, epoch, to).await?, asker))
}
