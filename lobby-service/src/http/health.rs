//! `GET /healthz`

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;

use crate::error::Problem;
use crate::service::Service;

/// Whether the service can reach its store.
#[utoipa::path(
    get, path = "/healthz", tag = "service",
    responses(
        (status = 204, description = "It can."),
        (status = 503, description = "It cannot, for now.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn health(State(service): State<Arc<Service>>) -> Result<StatusCode, Problem> {
    service.check_health().await?;
    Ok(StatusCode::NO_CONTENT)
}
