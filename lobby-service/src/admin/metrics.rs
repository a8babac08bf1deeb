//! `GET /metrics`

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderName, header};

use crate::metrics::CONTENT_TYPE;
use crate::service::Service;

/// What this instance has counted, for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "service",
    responses((status = 200, description = "OpenMetrics text.", body = String, content_type = "application/openmetrics-text"))
)]
pub(super) async fn metrics(State(service): State<Arc<Service>>) -> ([(HeaderName, &'static str); 1], String) {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], service.metrics_text())
}
