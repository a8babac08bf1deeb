//! `POST /v1/lobbies/{id}/create-or-join`

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};

use super::create_lobby::CreateLobby;
use super::extract::{Caller, LobbyPath};
use super::idempotency::Keyed;
use super::limited::{ClientAddress, guess};
use super::member::Seat;
use super::parameters;
use crate::error::Problem;
use crate::service::Service;

/// Join the lobby with this id, or create it.
///
/// The game chooses the id, for example as a hash of a name that all players know. Whoever knows it gets in, also if the lobby is
/// private. Who joins brings its own part of the request; what the lobby is made of is the first one's.
#[utoipa::path(
    post, path = "/v1/lobbies/{id}/create-or-join", tag = "lobbies", request_body = CreateLobby,
    security(("access_token" = [])),
    params(parameters::OfLobby, parameters::IdempotencyKey),
    responses(
        (status = 200, description = "A seat in the lobby that was there.", body = Seat),
        (status = 201, description = "A new lobby.", body = Seat),
    )
)]
pub(super) async fn create_or_join(
    State(service): State<Arc<Service>>,
    Caller(player): Caller,
    Extension(address): Extension<ClientAddress>,
    LobbyPath(id): LobbyPath,
    Keyed(mut body, request): Keyed<CreateLobby>,
) -> Result<(StatusCode, Json<Seat>), Problem> {
    let (new, profile) = (body.foundation()?, body.creator());
    let has_password = new.password.is_some();
    let joining = service.create_or_join(player, id, new, profile, request);
    let joined = if has_password { guess(&service, address, player, joining).await? } else { joining.await? };
    let status = if joined.is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(joined.into())))
}
