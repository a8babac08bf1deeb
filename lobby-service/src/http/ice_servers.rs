//! `POST /v1/lobbies/{id}/ice-servers`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::{Caller, LobbyPath};
use super::parameters;
use crate::error::Problem;
use crate::service::Service;

/// A server as WebRTC takes it (`RTCIceServer`).
#[derive(Serialize, ToSchema)]
pub(super) struct IceServer {
    /// Its addresses: `stun:HOST:PORT`, or `turn:HOST:PORT?transport=udp` (RFC 7064, RFC 7065).
    urls: Vec<String>,
    /// For TURN.
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    /// For TURN.
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<String>,
}

/// What a member makes WebRTC links with.
#[derive(Serialize, ToSchema)]
pub(super) struct IceServers {
    /// The servers. A relay answers STUN's binding requests; where the lobby is `relay_only` there is none of these.
    ice_servers: Vec<IceServer>,
    /// Only candidates of TURN servers may be gathered: nobody is to learn another's address.
    relay_only: bool,
    /// Seconds for which the credentials are good. A link that is up does not need them any more.
    expires_in_s: u64,
}

/// Get the servers for WebRTC links.
#[utoipa::path(
    post, path = "/v1/lobbies/{id}/ice-servers", tag = "relays", security(("access_token" = [])),
    params(parameters::OfLobby),
    responses(
        (status = 200, description = "The servers, with credentials that are the caller's own.", body = IceServers),
    )
)]
pub(super) async fn ice_servers(
    State(service): State<Arc<Service>>,
    Caller(player): Caller,
    LobbyPath(id): LobbyPath,
) -> Result<Json<IceServers>, Problem> {
    let ice = service.ice(player, id).await?;
    let stun = ice.stun.into_iter().map(|address| {
        let urls = vec![format!("stun:{address}")];
        IceServer { urls, username: None, credential: None }
    });
    let turn = ice.turn.map(|pass| {
        let (username, credential) = (Some(pass.username), Some(pass.credential));
        IceServer { urls: pass.urls, username, credential }
    });
    let ice_servers = stun.chain(turn).collect();
    Ok(Json(IceServers { ice_servers, relay_only: ice.relay_only, expires_in_s: ice.life_s }))
}
