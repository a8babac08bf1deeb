//! `POST /v1/players/refresh`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;

use super::extract::Body;
use super::sign_in::Session;
use crate::error::Problem;
use crate::service::Service;

/// The token that came last.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Refresh {
    /// From the last sign-in or refresh.
    #[schema(pattern = "^[!-~]{1,1024}$")]
    refresh_token: String,
}

/// Get a new access token.
///
/// Each refresh token works once. If the answer is lost, the same one works again, until the new one was used. After that whoever
/// uses it ends all refresh tokens of its sign-in: somebody has one that is not theirs.
#[utoipa::path(
    post, path = "/v1/players/refresh", tag = "players", request_body = Refresh,
    responses(
        (status = 200, description = "New tokens.", body = Session),
    )
)]
pub(super) async fn refresh(
    State(service): State<Arc<Service>>,
    Body(Refresh { refresh_token }): Body<Refresh>,
) -> Result<Json<Session>, Problem> {
    Ok(Json(service.refresh(&refresh_token).await?.into()))
}
