//! `POST /v1/lobbies/join`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use protocol::error::Rejection;
use protocol::id::JoinCode;

use super::idempotency::Keyed;
use super::limited::{Guesser, guess};
use super::member::{Password, Seat, with_profile};
use super::parameters;
use crate::error::Problem;
use crate::service::{Error, Service};

with_profile! {
    /// A join code, and what the newcomer brings.
    struct JoinByCode {
        /// As people type it: any case, with or without the dash.
        join_code: JoinCode,
        /// The lobby's password, if it has one.
        password: Option<Password>,
    }
}

/// Join a lobby by its code.
///
/// A player who left gets the seat that it had. A code that is not, or not any more, a lobby's is answered like the code of a lobby that
/// the caller is banned from.
#[utoipa::path(
    post, path = "/v1/lobbies/join", tag = "lobbies", request_body = JoinByCode, security(("access_token" = [])),
    params(parameters::IdempotencyKey),
    responses((status = 200, description = "A seat.", body = Seat))
)]
pub(super) async fn join_by_code(
    State(service): State<Arc<Service>>,
    Guesser(player, address): Guesser,
    Keyed(mut body, request): Keyed<JoinByCode>,
) -> Result<Json<Seat>, Problem> {
    let password = body.password.take().map(|Password(password)| password);
    let code = body.join_code;
    let joining = async {
        match service.join_by_code(player, code, body.profile(), password, request).await {
            // A code that is over is as good as one that never was.
            Err(Error::Rejected(Rejection::Closed)) => Err(Error::NotFound),
            joined => joined,
        }
    };
    Ok(Json(guess(&service, address, player, joining).await?.into()))
}
