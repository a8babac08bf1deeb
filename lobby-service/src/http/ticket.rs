//! `POST /v1/lobbies/{id}/ticket`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use protocol::limits;
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::{Caller, LobbyPath};
use super::parameters;
use crate::error::Problem;
use crate::service::Service;

/// What opens an event socket.
#[derive(Serialize, ToSchema)]
pub(super) struct Ticket {
    /// For the query of the socket's URL, once.
    ticket: String,
    /// Seconds until it opens nothing any more.
    expires_in_s: u64,
}

/// Get a ticket for the event socket.
///
/// For browsers, whose WebSockets cannot carry a header: `GET /v1/lobbies/{id}/events?ticket=…` within 30 seconds, once. (Or offer the
/// subprotocols `understudy.v1` and `bearer.` with the access token behind it: then no ticket is needed.)
#[utoipa::path(
    post, path = "/v1/lobbies/{id}/ticket", tag = "lobbies", security(("access_token" = [])),
    params(parameters::OfLobby),
    responses((status = 201, description = "A ticket.", body = Ticket))
)]
pub(super) async fn ticket(
    State(service): State<Arc<Service>>,
    Caller(player): Caller,
    LobbyPath(id): LobbyPath,
) -> Result<(axum::http::StatusCode, Json<Ticket>), Problem> {
    let ticket = service.ticket(player, id).await?;
    let expires_in_s = limits::SOCKET_TICKET_LIFE.as_secs();
    Ok((axum::http::StatusCode::CREATED, Json(Ticket { ticket, expires_in_s })))
}
