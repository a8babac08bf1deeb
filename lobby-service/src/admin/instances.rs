//! `GET /admin/v1/instances`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use protocol::id::InstanceId;
use protocol::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::Operator;
use crate::error::Problem;
use crate::service::Service;

/// An instance, as its lease says.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InstanceView {
    /// Which. It changes with every start.
    id: InstanceId,
    /// It is the one that answers.
    is_this: bool,
    /// Its lease has not run out.
    is_live: bool,
    /// When it will, if it is not renewed.
    expires_at: Timestamp,
    /// Who has taken over its members.
    heir: Option<InstanceId>,
}

/// All instances that live, or whose members are still looked after by others.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InstanceList {
    /// By id.
    instances: Vec<InstanceView>,
}

/// List the instances of the service.
#[utoipa::path(
    get, path = "/admin/v1/instances", tag = "instances", security(("admin_token" = [])),
    responses(
        (status = 200, description = "All of them.", body = InstanceList),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "Failed.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn instances(State(service): State<Arc<Service>>, _: Operator) -> Result<Json<InstanceList>, Problem> {
    let (this, now) = (service.instance(), service.clock.now());
    let instances = service.stored_instances().await?.into_iter().map(|instance| InstanceView {
        id: instance.id,
        is_this: instance.id == this,
        is_live: instance.heir.is_none() && instance.expires_at > now,
        expires_at: instance.expires_at,
        heir: instance.heir,
    });
    Ok(Json(InstanceList { instances: instances.collect() }))
}
