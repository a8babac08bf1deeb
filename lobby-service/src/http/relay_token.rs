//! `POST /v1/lobbies/{id}/relay-token`

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

/// A relay.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RelayAddress {
    /// Its UDP address: `host:port`.
    address: String,
}

/// What a member shows to a relay.
#[derive(Serialize, ToSchema)]
pub(super) struct RelayToken {
    /// The relays; any will do, all members use the first.
    relays: Vec<RelayAddress>,
    /// For the bind frame.
    token: String,
    /// Seconds that the token lives. A bound address stays bound.
    expires_in_s: u64,
}

/// Get a token for the relays.
#[utoipa::path(
    post, path = "/v1/lobbies/{id}/relay-token", tag = "relays", security(("access_token" = [])),
    params(parameters::OfLobby),
    responses(
        (status = 200, description = "The token.", body = RelayToken),
    )
)]
pub(super) async fn relay_token(
    State(service): State<Arc<Service>>,
    Caller(player): Caller,
    LobbyPath(id): LobbyPath,
) -> Result<Json<RelayToken>, Problem> {
    let pass = service.relay_pass(player, id).await?;
    let relays = pass.relays.into_iter().map(|address| RelayAddress { address }).collect();
    let expires_in_s = limits::RELAY_TOKEN_LIFE.as_secs();
    Ok(Json(RelayToken { relays, token: pass.token, expires_in_s }))
}
