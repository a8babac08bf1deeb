//! `GET /healthz` and `GET /readyz`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use protocol::error::ErrorCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::Problem;
use crate::service::Service;

/// The instance is ready.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Readiness {
    /// Always true: else a problem is told.
    ready: bool,
}

/// The instance is not ready: a problem, and what is missing.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Unready {
    #[serde(flatten)]
    problem: Problem,
    /// `store` if the store does not answer, `not_draining` if clients are sent elsewhere.
    missing: Vec<&'static str>,
}

impl IntoResponse for Unready {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).expect("a problem holds only what JSON can");
        let mut response = self.problem.into_response();
        *response.body_mut() = body.into();
        response
    }
}

/// Whether the process is alive. It is, also without its store: restarting it would not help.
#[utoipa::path(
    get, path = "/healthz", tag = "service",
    responses((status = 204, description = "It is."))
)]
pub(crate) async fn health() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// Whether clients should be sent here: the store answers, and the instance is not being drained.
#[utoipa::path(
    get, path = "/readyz", tag = "service",
    responses(
        (status = 200, description = "They should.", body = Readiness),
        (status = 503, description = "Not now.", body = Unready, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn readiness(State(service): State<Arc<Service>>) -> Result<Json<Readiness>, Unready> {
    let missing = service.unready().await;
    if missing.is_empty() {
        return Ok(Json(Readiness { ready: true }));
    }
    let problem = Problem::new(ErrorCode::Unavailable, "no clients should be sent here now");
    Err(Unready { problem, missing })
}
