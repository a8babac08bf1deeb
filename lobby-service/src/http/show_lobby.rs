//! `GET /v1/lobbies/{id}`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use protocol::message::LobbyView;
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::{Caller, LobbyPath};
use super::list_lobbies::Summary;
use crate::error::Problem;
use crate::service::Service;

/// A lobby: whole to its members, in short to others.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Shown {
    /// To members.
    Whole(Box<LobbyView>),
    /// To others, if it is public.
    Short(Summary),
}

/// Look at a lobby.
#[utoipa::path(
    get, path = "/v1/lobbies/{id}", tag = "lobbies", security(("access_token" = [])),
    params(("id" = String, Path, description = "The lobby.")),
    responses(
        (status = 200, description = "The lobby.", body = Shown),
        (status = 404, description = "No such lobby, or a private one of others.", body = Problem,
            content_type = "application/problem+json"),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "Failed.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show_lobby(
    State(service): State<Arc<Service>>,
    Caller(player): Caller,
    LobbyPath(id): LobbyPath,
) -> Result<Json<Shown>, Problem> {
    let (lobby, is_member) = service.show(player, id).await?;
    Ok(Json(if is_member { Shown::Whole(Box::new(lobby.view())) } else { Shown::Short((&*lobby).into()) }))
}
