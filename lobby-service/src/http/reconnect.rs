//! `POST /v1/lobbies/{id}/reconnect`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use protocol::error::Rejection;
use protocol::id::PeerKey;
use serde::Deserialize;
use utoipa::ToSchema;

use super::extract::{Body, Caller, LobbyPath};
use super::member::{Seat, Secret};
use super::parameters;
use crate::error::Problem;
use crate::service::{Error, Returning, Service};

/// What takes a seat again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Reconnect {
    /// As it came with the seat.
    reconnect_secret: Secret,
    /// What is to take it the next time, which the caller has drawn and saved before: 64 hexadecimal digits. Without one the service
    /// draws it. The same two again are the same request.
    next_secret: Option<Secret>,
    /// The fingerprint of the process that takes it.
    peer_key: PeerKey,
    /// Where that can be reached without the relay: an IP address and a port.
    #[schema(value_type = Option<protocol::schema::SocketAddress>)]
    direct_address: Option<String>,
    /// It runs in a browser: WebRTC is the only way to it.
    #[serde(default)]
    browser: bool,
}

/// Take one's seat again.
///
/// For another process of the same player, after a crash for example: with the secret that came with the seat. It gets a new one; the
/// old one stays good until that is used, since an answer can be lost. Whether the secret is wrong, or there is no seat or no lobby, is
/// answered alike. After five wrong ones nobody tries for ten minutes.
#[utoipa::path(
    post, path = "/v1/lobbies/{id}/reconnect", tag = "lobbies", request_body = Reconnect,
    security(("access_token" = [])), params(parameters::OfLobby),
    responses((status = 200, description = "The caller's own seat, with its connection id.", body = Seat))
)]
pub(super) async fn reconnect(
    State(service): State<Arc<Service>>,
    Caller(player): Caller,
    LobbyPath(id): LobbyPath,
    Body(body): Body<Reconnect>,
) -> Result<Json<Seat>, Problem> {
    let Reconnect { reconnect_secret: Secret(secret), next_secret, peer_key, direct_address, browser } = body;
    let next = next_secret.map(|Secret(secret)| secret);
    let failures = service.limiter.failures();
    failures.check_seat(id, player)?;
    let returning = Returning { secret, next, peer_key, direct_address, browser };
    let joined = service.reconnect(player, id, returning).await;
    if let Err(Error::Rejected(Rejection::WrongSecret)) = joined {
        failures.record_seat(id, player);
    }
    Ok(Json(joined?.into()))
}
