//! `POST /v1/lobbies/{id}/hand-over`

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use protocol::id::{ConnectionId, HostEpoch};
use protocol::message::LobbyView;
use serde::Deserialize;
use utoipa::ToSchema;

use super::extract::{Actor, Body, LobbyPath, Scope};
use super::parameters;
use super::update_lobby::whole;
use crate::error::Problem;
use crate::service::Service;

/// To whom.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AskHandOver {
    /// The epoch at which the caller hosts. Needed from a host, not from a server.
    epoch: Option<HostEpoch>,
    /// Who is to host; without it whoever is asked to already, or would be elected.
    to: Option<ConnectionId>,
}

/// Have the host hand over.
///
/// For the host and for servers of the game. The host is told by `hand_over_asked`; it prepares the other member while the game goes on,
/// and commits with `transfer`, which elects that one at once. If it has not after ten seconds, or the other one is gone,
/// `hand_over_ended` says that nothing has changed. Asked again it is one request.
#[utoipa::path(
    post, path = "/v1/lobbies/{id}/hand-over", tag = "hosting", request_body = AskHandOver,
    security(("access_token" = []), ("api_key" = [])), params(parameters::OfLobby),
    responses((status = 202, description = "The lobby, whose host has been asked.", body = LobbyView,
        headers(("ETag" = String, description = "The version, in quotes."))))
)]
pub(super) async fn hand_over(
    State(service): State<Arc<Service>>,
    actor: Actor,
    LobbyPath(id): LobbyPath,
    Body(AskHandOver { epoch, to }): Body<AskHandOver>,
) -> Result<Response, Problem> {
    let asker = actor.asker(Scope::LobbiesWrite)?;
    let lobby = service.ask_hand_over(asker, id, epoch, to).await?;
    Ok((StatusCode::ACCEPTED, whole(&lobby, asker)).into_response())
}
