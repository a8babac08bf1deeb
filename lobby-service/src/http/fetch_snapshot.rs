//! `GET /v1/lobbies/{id}/snapshot`

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::extract::{Caller, LobbyPath};
use crate::error::Problem;
use crate::service::Service;

/// Fetch the newest snapshot.
///
/// The record as the host stored it. Its checksum is the `ETag`.
#[utoipa::path(
    get, path = "/v1/lobbies/{id}/snapshot", tag = "hosting", security(("access_token" = [])),
    params(("id" = String, Path, description = "The lobby.")),
    responses(
        (status = 200, description = "The record.", body = Vec<u8>, content_type = "application/octet-stream",
            headers(("ETag" = String, description = "The checksum, in quotes."))),
        (status = 404, description = "There is none yet, or no seat here.", body = Problem,
            content_type = "application/problem+json"),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "Failed.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn fetch_snapshot(
    State(service): State<Arc<Service>>,
    Caller(player): Caller,
    LobbyPath(id): LobbyPath,
) -> Result<Response, Problem> {
    let (snapshot, record) = service.snapshot(player, id).await?;
    let etag = format!("\"{}\"", snapshot.checksum);
    let headers = [(header::CONTENT_TYPE, "application/octet-stream".to_owned()), (header::ETAG, etag)];
    Ok((headers, record).into_response())
}
