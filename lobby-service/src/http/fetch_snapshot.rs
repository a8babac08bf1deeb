//! `GET /v1/lobbies/{id}/snapshot`

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use protocol::id::Checksum;

use super::conditions::is_among;
use super::extract::{Caller, LobbyPath};
use super::parameters;
use crate::error::Problem;
use crate::service::{Fetched, Service};

/// Fetch the newest snapshot.
///
/// The record as the host stored it. Its checksum is the `ETag`: with `If-None-Match` it is sent only if there is another one.
#[utoipa::path(
    get, path = "/v1/lobbies/{id}/snapshot", tag = "hosting", security(("access_token" = [])),
    params(parameters::OfLobby, parameters::IfNoneMatch),
    responses(
        (status = 200, description = "The record.", body = Vec<u8>, content_type = "application/octet-stream",
            headers(("ETag" = String, description = "The checksum, in quotes."))),
        (status = 304, description = "The caller has it.",
            headers(("ETag" = String, description = "The checksum, in quotes."))),
    )
)]
pub(super) async fn fetch_snapshot(
    State(service): State<Arc<Service>>,
    Caller(player): Caller,
    LobbyPath(id): LobbyPath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let etag = |checksum: &Checksum| [(header::ETAG, format!("\"{checksum}\""))];
    match service
        .snapshot(player, id, |checksum| is_among(&headers, &header::IF_NONE_MATCH, &format!("\"{checksum}\"")))
        .await?
    {
        Fetched::Known(checksum) => Ok((StatusCode::NOT_MODIFIED, etag(&checksum)).into_response()),
        Fetched::Record(snapshot, record) => {
            let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
            Ok((kind, etag(&snapshot.checksum), record).into_response())
        }
    }
}
