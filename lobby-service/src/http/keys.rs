//! `GET /.well-known/jwks.json`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::Value;

use crate::service::Service;

/// The public keys (RFC 7517) that verify the service's tokens.
#[utoipa::path(
    get, path = "/.well-known/jwks.json", tag = "service",
    responses((status = 200, description = "A JSON Web Key set.", body = Value))
)]
pub(super) async fn keys(State(service): State<Arc<Service>>) -> Json<Value> {
    Json(service.auth.jwks())
}
