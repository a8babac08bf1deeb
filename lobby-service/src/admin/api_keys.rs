//! `GET` and `POST /admin/v1/api-keys`, `DELETE /admin/v1/api-keys/{id}`

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use protocol::error::ErrorCode;
use protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::Operator;
use crate::auth::api_key::{ApiKey, ApiKeyId, Scope};
use crate::error::Problem;
use crate::http::extract::Body;
use crate::service::Service;

/// A key to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewApiKey {
    /// What it is called: 1 to 128 characters.
    name: String,
    /// What it may do: at least one.
    scopes: BTreeSet<Scope>,
    /// When it ends; without it never.
    #[serde(default)]
    expires_at: Option<Timestamp>,
}

/// A key that was made.
#[derive(Serialize, ToSchema)]
pub(super) struct MadeApiKey {
    /// What is known of it from now on.
    key: ApiKey,
    /// The key itself, which is told only now: what servers of the game send as `Authorization: Bearer …`.
    api_key: String,
}

/// All keys.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ApiKeys {
    /// Without their secrets.
    keys: Vec<ApiKey>,
}

/// Make a key for servers of the game.
#[utoipa::path(
    post, path = "/admin/v1/api-keys", tag = "keys", security(("admin_token" = [])), request_body = NewApiKey,
    responses(
        (status = 201, description = "The key, told once.", body = MadeApiKey),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "Failed.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn create_api_key(
    State(service): State<Arc<Service>>,
    _: Operator,
    Body(NewApiKey { name, scopes, expires_at }): Body<NewApiKey>,
) -> Result<(StatusCode, Json<MadeApiKey>), Problem> {
    let (key, api_key) = service.create_api_key(name, scopes, expires_at).await?;
    Ok((StatusCode::CREATED, Json(MadeApiKey { key, api_key })))
}

/// List the keys.
#[utoipa::path(
    get, path = "/admin/v1/api-keys", tag = "keys", security(("admin_token" = [])),
    responses(
        (status = 200, description = "All of them, without their secrets.", body = ApiKeys),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "Failed.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list_api_keys(State(service): State<Arc<Service>>, _: Operator) -> Result<Json<ApiKeys>, Problem> {
    Ok(Json(ApiKeys { keys: service.list_api_keys().await? }))
}

/// Revoke a key. It opens nothing any more, here at once and at other instances within two seconds.
#[utoipa::path(
    delete, path = "/admin/v1/api-keys/{id}", tag = "keys", security(("admin_token" = [])),
    params(("id" = String, Path, description = "The key's id.")),
    responses(
        (status = 204, description = "It is gone."),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "Failed.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn revoke_api_key(
    State(service): State<Arc<Service>>,
    _: Operator,
    id: Result<Path<ApiKeyId>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let Path(id) = id.map_err(|error| Problem::new(ErrorCode::Malformed, error.body_text()))?;
    service.revoke_api_key(id).await?;
    Ok(StatusCode::NO_CONTENT)
}
