//! `GET /v1/lobbies/{id}/events`

use std::sync::Arc;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Extension, FromRequestParts, State};
use axum::http::request::Parts;
use axum::response::Response;
use protocol::error::ErrorCode;
use protocol::id::PlayerId;
use serde::Deserialize;

use super::extract::{Caller, LobbyPath, Parameters};
use super::parameters;
use crate::error::Problem;
use crate::listener::bucket::Rate;
use crate::service::Service;
use crate::socket::{self, Inbound};

/// The subprotocol that is agreed on with clients that offer any (RFC 6455, section 1.9).
const SUBPROTOCOL: &str = "understudy.v1";

/// What may stand in the socket's URL.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Admitted {
    ticket: Option<String>,
}

/// Who opens a socket: whoever has a token, or a ticket that was not used yet.
pub(super) struct Opener(PlayerId);

impl FromRequestParts<Arc<Service>> for Opener {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, service: &Arc<Service>) -> Result<Self, Problem> {
        let Parameters(Admitted { ticket }) = Parameters::from_request_parts(parts, service).await?;
        let Some(ticket) = ticket else {
            return Caller::from_request_parts(parts, service).await.map(|Caller(player)| Self(player));
        };
        let LobbyPath(id) = LobbyPath::from_request_parts(parts, service).await?;
        Ok(Self(service.use_ticket(id, &ticket).await?))
    }
}

/// Listen to a lobby.
///
/// Becomes a WebSocket. The client says `hello` first (`ClientMessage`), with the newest event that it has; it hears
/// `ServerMessage`s from then on: each event once, in order, without gaps. The close code says why the service closes it. A browser,
/// which cannot send the `Authorization` header with it, offers the subprotocols `understudy.v1` and `bearer.` with the access token
/// behind it, or comes with a ticket.
#[utoipa::path(
    get, path = "/v1/lobbies/{id}/events", tag = "lobbies", security(("access_token" = [])),
    params(parameters::OfLobby, parameters::WithTicket),
    responses(
        (status = 101, description = "A WebSocket."),
    )
)]
pub(super) async fn events(
    State(service): State<Arc<Service>>,
    Opener(player): Opener,
    LobbyPath(id): LobbyPath,
    rate: Option<Extension<Rate>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let upgrade = upgrade.map_err(|error| Problem::new(ErrorCode::Malformed, error.body_text()))?;
    if service.is_draining() {
        return Err(Problem::new(ErrorCode::Unavailable, "this instance sends its clients to others"));
    }
    service.expect_socket(player, id).await?;
    let rate = rate.map(|Extension(rate)| rate);
    Ok(socket::bounded(upgrade.protocols([SUBPROTOCOL]))
        .on_upgrade(move |socket| socket::serve(Inbound::new(socket, rate), service, id, player)))
}
