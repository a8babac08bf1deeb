//! `POST /v1/lobbies`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use protocol::error::Rejection;
use protocol::lobby::data::Data;
use protocol::lobby::{Settings, SettingsPatch};

use super::extract::Caller;
use super::idempotency::Keyed;
use super::member::{Password, Seat, set, with_profile};
use super::parameters;
use crate::error::Problem;
use crate::service::{Foundation, Service};

with_profile! {
    /// A lobby to make, and what its creator brings.
    struct CreateLobby {
        /// 1 to 128 characters.
        #[schema(value_type = protocol::schema::LobbyName)]
        lobby_name: String,
        /// What the game sets.
        #[serde(default)]
        settings: SettingsPatch,
        /// What newcomers have to know: 8 to 64 characters. It is kept as an argon2id hash.
        password: Option<Password>,
        /// What the game keeps with the lobby.
        #[serde(default)]
        #[schema(value_type = protocol::schema::LobbyData)]
        data: Data,
    }
}

impl CreateLobby {
    pub(super) fn foundation(&mut self) -> Result<Foundation, Rejection> {
        Ok(Foundation {
            name: std::mem::take(&mut self.lobby_name),
            settings: Settings::default().patched(self.settings)?,
            password: self.password.take().map(|Password(password)| password),
            data: set(std::mem::take(&mut self.data)),
        })
    }

    pub(super) fn creator(&mut self) -> crate::service::Profile {
        self.profile()
    }
}

/// Create a lobby.
///
/// The caller hosts it, at epoch 1, with connection id 0. With an `Idempotency-Key` a repeated request finds the lobby that the first
/// one made, whatever became of its answer, for as long as the caller has its seat.
#[utoipa::path(
    post, path = "/v1/lobbies", tag = "lobbies", request_body = CreateLobby, security(("access_token" = [])),
    params(parameters::IdempotencyKey),
    responses((status = 201, description = "A new lobby, or the one that this request has made before.", body = Seat))
)]
pub(super) async fn create_lobby(
    State(service): State<Arc<Service>>,
    Caller(player): Caller,
    Keyed(mut body, request): Keyed<CreateLobby>,
) -> Result<(StatusCode, Json<Seat>), Problem> {
    let (new, creator) = (body.foundation()?, body.creator());
    let joined = service.create_lobby(player, new, creator, request).await?;
    Ok((StatusCode::CREATED, Json(joined.into())))
}
