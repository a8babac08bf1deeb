//! `POST /v1/lobbies/{id}/bulk`

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use protocol::error::{ErrorCode, Rejection};
use protocol::id::PlayerId;
use protocol::limits;
use protocol::lobby::data::Data;
use protocol::lobby::{Bulk, Reservation};
use protocol::message::LobbyView;
use protocol::schema;
use serde::Deserialize;
use utoipa::ToSchema;

use super::conditions::IfMatch;
use super::extract::{Actor, Body, LobbyPath, Scope};
use super::member::set;
use super::parameters;
use super::update_lobby::{LobbyChanges, whole};
use super::update_member::MemberChanges;
use crate::error::Problem;
use crate::service::{Asker, Service};

/// A player who gets a seat.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Expected {
    /// Who.
    player: PlayerId,
    /// Shown to the others until it comes: at most 128 characters.
    #[serde(default)]
    #[schema(value_type = schema::Name)]
    name: String,
    /// What is known of it.
    #[serde(default)]
    #[schema(value_type = schema::MemberData)]
    data: Data,
}

/// What changes at once.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BulkUpdate {
    /// The lobby itself.
    #[serde(default)]
    lobby: LobbyChanges,
    /// Members, by player.
    #[serde(default)]
    members: BTreeMap<PlayerId, MemberChanges>,
    /// Players who get a seat, which they take by joining within the removal delay.
    #[serde(default)]
    #[schema(max_items = 1000)]
    add: Vec<Expected>,
    /// Players who lose their seats.
    #[serde(default)]
    #[schema(max_items = 1000)]
    remove: Vec<PlayerId>,
    /// Players who have no seat are no reason to refuse the rest.
    #[serde(default)]
    ignore_absent: bool,
}

/// Change a lobby and its members at once.
///
/// For servers of the game. All of it happens, or nothing.
#[utoipa::path(
    post, path = "/v1/lobbies/{id}/bulk", tag = "lobbies", request_body = BulkUpdate, security(("api_key" = [])),
    params(parameters::OfLobby, parameters::IfMatch),
    responses((status = 200, description = "The lobby as it is now.", body = LobbyView,
        headers(("ETag" = String, description = "The version, in quotes."))))
)]
pub(super) async fn bulk(
    State(service): State<Arc<Service>>,
    actor: Actor,
    LobbyPath(id): LobbyPath,
    IfMatch(version): IfMatch,
    Body(body): Body<BulkUpdate>,
) -> Result<Response, Problem> {
    actor.asker(Scope::LobbiesWrite)?;
    if actor.asker(Scope::MembersWrite)? != Asker::Server {
        return Err(Problem::new(ErrorCode::Forbidden, "for servers of the game, with an API key"));
    }
    let BulkUpdate { lobby, members, add, remove, ignore_absent } = body;
    if [members.len(), add.len(), remove.len()].iter().any(|&count| count > limits::MEMBERS_MAX as usize) {
        return Err(Rejection::Invalid { field: "members", rule: "at most 1000 of a kind" }.into());
    }
    let bulk = Bulk {
        members: members.into_iter().map(|(player, change)| (player, change.into())).collect(),
        add: add
            .into_iter()
            .map(|Expected { player, name, data }| Reservation { player, name, data: set(data) })
            .collect(),
        remove,
        ignores_absent: ignore_absent,
        ..Bulk::default()
    };
    Ok(whole(&*service.bulk(id, version, lobby.patch(), bulk).await?, Asker::Server))
}
