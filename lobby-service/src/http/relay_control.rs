//! `GET /v1/relays/control`: relays in other processes. Not part of the public description.

use std::sync::Arc;

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Extension, State};
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::get;
use protocol::error::ErrorCode;

use super::extract::bearer;
use crate::config::Secret;
use crate::error::Problem;
use crate::service::Service;
use crate::socket;

pub(super) fn router(secret: Secret) -> Router<Arc<Service>> {
    Router::new().route("/v1/relays/control", get(relay_control)).layer(Extension(secret))
}

async fn relay_control(
    State(service): State<Arc<Service>>,
    Extension(secret): Extension<Secret>,
    parts: Parts,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let presented = bearer(&parts).unwrap_or_default();
    // Equal hashes of equal length take equal time to compare, whatever was presented.
    if blake3::hash(presented.as_bytes()) != blake3::hash(secret.reveal().as_bytes()) {
        return Err(Problem::new(ErrorCode::Unauthenticated, "this is not the relays' secret"));
    }
    let upgrade = upgrade.map_err(|error| Problem::new(ErrorCode::Malformed, error.body_text()))?;
    Ok(socket::bounded(upgrade).on_upgrade(move |socket| socket::relay::serve(socket, service)))
}
