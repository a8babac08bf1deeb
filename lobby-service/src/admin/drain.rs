//! `POST`, `GET` and `DELETE /admin/v1/drain`

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use protocol::error::Rejection;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::Operator;
use crate::error::Problem;
use crate::http::extract::Body;
use crate::service::Service;

/// Over how long sockets are closed, if nobody says.
const SPREAD_S: u32 = 10;
const SPREAD_S_MAX: u32 = 3600;

/// How to drain.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DrainRequest {
    /// Seconds over which the sockets are closed, 0 to 3,600; 10 without it.
    #[serde(default)]
    spread_s: Option<u32>,
}

/// How far it is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DrainView {
    /// The instance takes no new sockets, and `/readyz` says no.
    draining: bool,
    /// Sockets that are still open.
    sockets: usize,
}

fn view(service: &Service) -> Json<DrainView> {
    Json(DrainView { draining: service.is_draining(), sockets: service.socket_count() })
}

/// Drain this instance.
///
/// `/readyz` says no, new event sockets are refused with 503, and open ones are closed with `going_away`, spread over time: their
/// clients come back at another instance. Nobody loses a seat. Requests are still answered.
#[utoipa::path(
    post, path = "/admin/v1/drain", tag = "instances", security(("admin_token" = [])),
    request_body = Option<DrainRequest>,
    responses(
        (status = 202, description = "It has begun.", body = DrainView),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn begin_drain(
    State(service): State<Arc<Service>>,
    _: Operator,
    body: Option<Body<DrainRequest>>,
) -> Result<(StatusCode, Json<DrainView>), Problem> {
    let spread_s = body.and_then(|Body(request)| request.spread_s).unwrap_or(SPREAD_S);
    if spread_s > SPREAD_S_MAX {
        return Err(Rejection::Invalid { field: "spread_s", rule: "0 to 3600" }.into());
    }
    service.drain(Duration::from_secs(spread_s.into()));
    Ok((StatusCode::ACCEPTED, view(&service)))
}

/// See how far the draining is.
#[utoipa::path(
    get, path = "/admin/v1/drain", tag = "instances", security(("admin_token" = [])),
    responses(
        (status = 200, description = "So far.", body = DrainView),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show_drain(State(service): State<Arc<Service>>, _: Operator) -> Json<DrainView> {
    view(&service)
}

/// End the draining: sockets are taken again.
#[utoipa::path(
    delete, path = "/admin/v1/drain", tag = "instances", security(("admin_token" = [])),
    responses(
        (status = 200, description = "It has ended.", body = DrainView),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn end_drain(State(service): State<Arc<Service>>, _: Operator) -> Json<DrainView> {
    service.end_drain();
    view(&service)
}
