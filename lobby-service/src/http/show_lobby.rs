//! `GET /v1/lobbies/{id}`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use protocol::lobby::Viewer;
use protocol::message::LobbyView;
use serde::Serialize;
use utoipa::ToSchema;

use super::conditions::{etag, is_among};
use super::extract::{Actor, LobbyPath, Scope};
use super::member::Summary;
use super::parameters;
use crate::error::Problem;
use crate::service::Service;

/// A lobby: whole to its members and to servers of the game, in short to others.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Shown {
    /// To members and servers.
    Whole(Box<LobbyView>),
    /// To others, if it is public.
    Short(Box<Summary>),
}

/// Look at a lobby.
///
/// Its version is the number of its newest event, and its `ETag`: with `If-None-Match` it is sent only if it has another one.
#[utoipa::path(
    get, path = "/v1/lobbies/{id}", tag = "lobbies", security(("access_token" = []), ("api_key" = [])),
    params(parameters::OfLobby, parameters::IfNoneMatch),
    responses(
        (status = 200, description = "The lobby.", body = Shown,
            headers(("ETag" = String, description = "The version, in quotes."))),
        (status = 304, description = "The caller has it.",
            headers(("ETag" = String, description = "The version, in quotes."))),
    )
)]
pub(super) async fn show_lobby(
    State(service): State<Arc<Service>>,
    actor: Actor,
    LobbyPath(id): LobbyPath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (lobby, viewer) = service.show(actor.asker(Scope::LobbiesRead)?, id).await?;
    let tag = etag(lobby.last_event());
    if is_among(&headers, &header::IF_NONE_MATCH, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    let shown = match viewer {
        Viewer::Anybody => Shown::Short(Box::new((&*lobby).into())),
        Viewer::Member(_) | Viewer::Members | Viewer::Server => Shown::Whole(Box::new(lobby.view(viewer))),
    };
    Ok(([(header::ETAG, tag)], Json(shown)).into_response())
}
