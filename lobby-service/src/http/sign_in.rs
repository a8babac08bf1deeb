//! `POST /v1/players`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use protocol::id::PlayerId;
use protocol::limits;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::Body;
use crate::error::Problem;
use crate::service::{Service, SignedIn};

/// Who signs in.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SignIn {
    /// The name that is shown where no other is given: at most 128 characters.
    #[serde(default)]
    #[schema(value_type = protocol::schema::Name)]
    name: String,
}

/// A player with its tokens.
#[derive(Serialize, ToSchema)]
pub(super) struct Session {
    /// Who.
    player: PlayerId,
    /// For the `Authorization: Bearer` header of all other requests.
    access_token: String,
    /// Seconds that the access token lives.
    expires_in_s: u64,
    /// For the next access token, once. It changes at each use; the one before works until the new one was used.
    refresh_token: String,
}

impl From<SignedIn> for Session {
    fn from(SignedIn { player, access_token, refresh_token }: SignedIn) -> Self {
        Self { player, access_token, expires_in_s: limits::ACCESS_TOKEN_LIFE.as_secs(), refresh_token }
    }
}

/// Sign in anonymously.
///
/// Makes a new player. Keep the refresh token: it is the only way back to this player.
#[utoipa::path(
    post, path = "/v1/players", tag = "players", request_body = Option<SignIn>,
    responses(
        (status = 201, description = "A new player.", body = Session),
    )
)]
pub(super) async fn sign_in(
    State(service): State<Arc<Service>>,
    body: Option<Body<SignIn>>,
) -> Result<(StatusCode, Json<Session>), Problem> {
    let SignIn { name } = body.map(|Body(body)| body).unwrap_or_default();
    let signed_in = service.sign_in(name).await?;
    Ok((StatusCode::CREATED, Json(signed_in.into())))
}
