//! `POST /v1/players/external`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::extract::Body;
use super::sign_in::Session;
use crate::error::Problem;
use crate::service::Service;

/// Who signs in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct External {
    /// A signed token (JWT) of an issuer that the service is configured to believe.
    #[schema(pattern = "^[A-Za-z0-9_.-]{1,4096}$")]
    token: String,
    /// The name that is shown where no other is given: at most 128 characters. It counts at the first time.
    #[serde(default)]
    #[schema(value_type = protocol::schema::Name)]
    name: String,
}

/// Sign in with a token of another issuer.
///
/// The same subject of the same issuer is the same player for ever.
#[utoipa::path(
    post, path = "/v1/players/external", tag = "players", request_body = External,
    responses(
        (status = 200, description = "The player and its tokens.", body = Session),
    )
)]
pub(super) async fn external(
    State(service): State<Arc<Service>>,
    Body(External { token, name }): Body<External>,
) -> Result<Json<Session>, Problem> {
    Ok(Json(service.sign_in_external(&token, name).await?.into()))
}
