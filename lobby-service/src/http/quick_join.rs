//! `POST /v1/lobbies/quick-join`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use protocol::lobby::listing::{Field, Filter, Order, Query};

use super::extract::Caller;
use super::idempotency::Keyed;
use super::member::{Seat, with_profile};
use super::parameters;
use crate::error::Problem;
use crate::service::Service;

with_profile! {
    /// What is looked for, and what the newcomer brings.
    struct QuickJoin {
        /// All of them must hold. At most 16.
        #[serde(default)]
        #[schema(value_type = Vec<protocol::schema::LobbyFilter>, max_items = 16)]
        filter: Vec<Filter>,
    }
}

/// Join any lobby that fits.
///
/// Only public lobbies of the same build without a password that are not locked and have a free seat; those that are nearly full come
/// first.
#[utoipa::path(
    post, path = "/v1/lobbies/quick-join", tag = "lobbies", request_body = QuickJoin,
    security(("access_token" = [])),
    params(parameters::IdempotencyKey),
    responses((status = 200, description = "A seat.", body = Seat))
)]
pub(super) async fn quick_join(
    State(service): State<Arc<Service>>,
    Caller(player): Caller,
    Keyed(mut body, request): Keyed<QuickJoin>,
) -> Result<Json<Seat>, Problem> {
    let order = vec![Order { field: Field::AvailableSeats, ascending: true }];
    let query = Query::new(&std::mem::take(&mut body.filter), order, None)?;
    Ok(Json(service.quick_join(player, query, body.profile(), request).await?.into()))
}
