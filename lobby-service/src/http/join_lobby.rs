//! `POST /v1/lobbies/{id}/join`

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};

use super::extract::{Caller, LobbyPath};
use super::idempotency::Keyed;
use super::limited::{ClientAddress, guess};
use super::member::{Password, Seat, with_profile};
use super::parameters;
use crate::error::Problem;
use crate::service::Service;

with_profile! {
    /// What the newcomer brings.
    struct JoinLobby {
        /// The lobby's password, if it has one.
        password: Option<Password>,
    }
}

/// Join a public lobby.
///
/// A member gets its own seat again, in private lobbies too, if it is the same process; another one reconnects with the seat's secret.
#[utoipa::path(
    post, path = "/v1/lobbies/{id}/join", tag = "lobbies", request_body = JoinLobby, security(("access_token" = [])),
    params(parameters::OfLobby, parameters::IdempotencyKey),
    responses((status = 200, description = "A seat.", body = Seat))
)]
pub(super) async fn join_lobby(
    State(service): State<Arc<Service>>,
    Caller(player): Caller,
    Extension(address): Extension<ClientAddress>,
    LobbyPath(id): LobbyPath,
    Keyed(mut body, request): Keyed<JoinLobby>,
) -> Result<Json<Seat>, Problem> {
    let password = body.password.take().map(|Password(password)| password);
    let has_password = password.is_some();
    let joining = service.join_by_id(player, id, body.profile(), password, request);
    let joined = if has_password { guess(&service, address, player, joining).await? } else { joining.await? };
    Ok(Json(joined.into()))
}
