//! `POST /v1/lobbies/join`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use protocol::id::{JoinCode, PeerKey};
use serde::Deserialize;
use utoipa::ToSchema;

use super::create_lobby::{Seat, consent};
use super::extract::{Body, Caller};
use crate::error::Problem;
use crate::service::{Profile, Service};

/// A join code, and what the newcomer brings.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct JoinByCode {
    /// As people type it: any case, with or without the dash.
    join_code: JoinCode,
    /// The name in this lobby; without it the one it signed in with.
    name: Option<String>,
    /// The fingerprint of the newcomer's process.
    peer_key: PeerKey,
    /// The game's build.
    #[serde(default)]
    build_id: String,
    /// Whether it can be elected host.
    #[serde(default = "consent")]
    can_host: bool,
    /// Where it can be reached without the relay: an IP address and a port.
    direct_address: Option<String>,
}

/// Join a lobby by its code.
///
/// A member gets its own seat again; so does a player who left.
#[utoipa::path(
    post, path = "/v1/lobbies/join", tag = "lobbies", request_body = JoinByCode, security(("access_token" = [])),
    responses(
        (status = 200, description = "A seat.", body = Seat),
        (status = 404, description = "No lobby has this code.", body = Problem,
            content_type = "application/problem+json"),
        (status = 409, description = "Full, closed, or of another build.", body = Problem,
            content_type = "application/problem+json"),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "Failed.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn join_by_code(
    State(service): State<Arc<Service>>,
    Caller(player): Caller,
    Body(body): Body<JoinByCode>,
) -> Result<Json<Seat>, Problem> {
    let JoinByCode { join_code, name, peer_key, build_id, can_host, direct_address } = body;
    let profile = Profile { name, peer_key, build_id, can_host, direct_address };
    Ok(Json(service.join_by_code(player, join_code, profile).await?.into()))
}
