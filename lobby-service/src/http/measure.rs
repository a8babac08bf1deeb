//! Each request is counted, and told to the log at `debug`: what was asked for by its route, never by its path or query (P18).

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;

use crate::service::Service;

/// Sees every request and its answer.
pub(crate) async fn measure(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let operation = operation(&request);
    let response = next.run(request).await;
    let (took, status) = (began.elapsed(), response.status().as_u16());
    service.metrics.answered(&operation, status, took);
    tracing::debug!(operation, status, duration_us = took.as_micros() as u64, "answered");
    response
}

/// Clients can make up methods and paths: what we do not know has no name.
fn operation(request: &Request) -> String {
    const KNOWN: [Method; 7] =
        [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::HEAD, Method::OPTIONS];
    let method = KNOWN.iter().find(|known| *known == request.method()).map_or("OTHER", Method::as_str);
    match request.extensions().get::<MatchedPath>() {
        Some(route) => format!("{method} {}", route.as_str()),
        None => "unknown".to_owned(),
    }
}
