//! `GET /v1/lobbies/{id}/events`

use std::sync::Arc;

use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::response::Response;
use protocol::error::ErrorCode;
use protocol::limits;

use super::extract::{Caller, LobbyPath};
use crate::error::Problem;
use crate::service::Service;
use crate::socket;

/// Bytes read at a time: messages from clients are small, and there are many sockets.
const READ_BUFFER_BYTES: usize = 1024;

/// Listen to a lobby.
///
/// Becomes a WebSocket. The client says `hello` first (`ClientMessage`), with the newest event that it has; it hears
/// `ServerMessage`s from then on: each event once, in order, without gaps. The close code says why the service closes it.
#[utoipa::path(
    get, path = "/v1/lobbies/{id}/events", tag = "lobbies", security(("access_token" = [])),
    params(("id" = String, Path, description = "The lobby.")),
    responses(
        (status = 101, description = "A WebSocket."),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "Failed.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn events(
    State(service): State<Arc<Service>>,
    Caller(player): Caller,
    LobbyPath(id): LobbyPath,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let upgrade = upgrade.map_err(|error| Problem::new(ErrorCode::Malformed, error.body_text()))?;
    service.expect_socket(player, id).await?;
    let upgrade = upgrade
        .max_message_size(limits::SOCKET_MESSAGE_BYTES_MAX)
        .max_frame_size(limits::SOCKET_MESSAGE_BYTES_MAX)
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * limits::SOCKET_ANSWER_BYTES_MAX);
    Ok(upgrade.on_upgrade(move |socket| socket::serve(socket, service, id, player)))
}
