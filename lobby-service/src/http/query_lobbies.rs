//! `POST /v1/lobbies/query`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use protocol::error::Rejection;
use protocol::limits;
use protocol::lobby::listing::{Filter, Order, Position, Query};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Actor, Body, Scope};
use super::member::Summary;
use crate::error::Problem;
use crate::service::Service;

/// Lobbies on a page that does not say how many.
const COUNT: u32 = 10;
/// Characters of a continuation token: four values of an order, at their longest.
const CONTINUATION_CHARS_MAX: usize = 4096;

/// What lobbies are looked for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct QueryLobbies {
    /// All of them must hold. At most 16.
    #[schema(value_type = Vec<protocol::schema::LobbyFilter>, max_items = 16)]
    filter: Vec<Filter>,
    /// What comes first; then the lower id. At most 4. The newest first, where nothing is said.
    #[schema(max_items = 4)]
    order: Vec<Order>,
    /// Lobbies on the page: 1 to 100.
    #[schema(minimum = 1, maximum = 100)]
    count: u32,
    /// Passed over: 0 to 1,000. Not together with `continuation`.
    #[schema(minimum = 0, maximum = 1000)]
    skip: u32,
    /// `continuation` of the page before. The rest of the request must be the same.
    #[schema(pattern = "^[A-Za-z0-9_-]{0,4096}$")]
    continuation: Option<String>,
}

impl Default for QueryLobbies {
    fn default() -> Self {
        Self { filter: Vec::new(), order: Vec::new(), count: COUNT, skip: 0, continuation: None }
    }
}

/// A page of lobbies.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Lobbies {
    /// In the order that was asked for.
    lobbies: Vec<Summary>,
    /// For the next page, if there may be one.
    continuation: Option<String>,
}

impl QueryLobbies {
    fn understood(self) -> Result<Query, Rejection> {
        let invalid = |field, rule| Err(Rejection::Invalid { field, rule });
        if !(1..=limits::LIST_PAGE_MAX).contains(&self.count) {
            return invalid("count", "1 to 100");
        }
        if self.skip > limits::SKIP_MAX || (self.skip > 0 && self.continuation.is_some()) {
            return invalid("skip", "0 to 1000, and 0 together with continuation");
        }
        let after = match self.continuation.as_deref().map(read) {
            Some(None) => return invalid("continuation", "as it was given with the page before"),
            Some(after) => after,
            None => None,
        };
        let order = if self.order.is_empty() { newest_first() } else { self.order };
        Ok(Query { count: self.count, skip: self.skip, ..Query::new(&self.filter, order, after)? })
    }
}

fn newest_first() -> Vec<Order> {
    vec![Order { field: protocol::lobby::listing::Field::CreatedAt, ascending: false }]
}

fn read(continuation: &str) -> Option<Position> {
    if continuation.len() > CONTINUATION_CHARS_MAX {
        return None;
    }
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(continuation).ok()?).ok()
}

fn write(position: &Position) -> Option<String> {
    serde_json::to_vec(position).ok().map(|json| URL_SAFE_NO_PAD.encode(json))
}

/// Find lobbies.
///
/// Public, open ones in which somebody is connected. Fields are compared as `Field` says; a lobby that has no value there fulfils no
/// filter on it, and comes last in an order by it. While lobbies come and go, a page begins where the one before ended: none that stays
/// the same is missed or shown twice.
#[utoipa::path(
    post, path = "/v1/lobbies/query", tag = "lobbies", request_body = QueryLobbies,
    security(("access_token" = []), ("api_key" = [])),
    responses((status = 200, description = "A page.", body = Lobbies))
)]
pub(super) async fn query_lobbies(
    State(service): State<Arc<Service>>,
    actor: Actor,
    Body(body): Body<QueryLobbies>,
) -> Result<Json<Lobbies>, Problem> {
    actor.asker(Scope::LobbiesRead)?;
    let (lobbies, next) = service.query(&body.understood()?).await?;
    let continuation = next.as_ref().and_then(write);
    Ok(Json(Lobbies { lobbies: lobbies.iter().map(Summary::from).collect(), continuation }))
}
