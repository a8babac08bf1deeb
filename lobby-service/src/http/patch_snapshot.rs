//! `PATCH /v1/lobbies/{id}/snapshot`

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;

use super::extract::{Caller, LobbyPath};
use super::parameters;
use super::put_snapshot::{Stored, received};
use crate::error::Problem;
use crate::service::Service;

/// Store what has become of the game.
///
/// The host's delta record, which leads from the newest that is stored, be that a snapshot or a delta; durable once answered. The same
/// one again is taken and changes nothing. `delta_base_missing` says that it leads from something else, or that there are 128 on
/// the snapshot, or 16 MiB of them: then a whole snapshot is due.
#[utoipa::path(
    patch, path = "/v1/lobbies/{id}/snapshot", tag = "hosting", security(("access_token" = [])),
    params(parameters::OfLobby),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "A delta record."),
    responses(
        (status = 200, description = "Stored.", body = Stored),
    )
)]
pub(super) async fn patch_snapshot(
    State(service): State<Arc<Service>>,
    Caller(player): Caller,
    LobbyPath(id): LobbyPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Stored>, Problem> {
    let upload = received(&service, player, id, &headers, body).await?;
    Ok(Json(upload.store_delta().await?.into()))
}
