//! `GET /admin/v1/relays`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::Operator;
use crate::error::Problem;
use crate::relays::RelayView;
use crate::service::Service;

/// The relays that this instance knows.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RelayList {
    /// In the order in which they came.
    relays: Vec<RelayView>,
}

/// List the relays that are registered with this instance.
#[utoipa::path(
    get, path = "/admin/v1/relays", tag = "instances", security(("admin_token" = [])),
    responses(
        (status = 200, description = "All of them.", body = RelayList),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn relays(State(service): State<Arc<Service>>, _: Operator) -> Json<RelayList> {
    Json(RelayList { relays: service.relays.list() })
}
