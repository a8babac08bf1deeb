//! `PATCH /v1/lobbies/{id}/members/{connection}`

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use protocol::lobby::MemberPatch;
use protocol::lobby::data::DataPatch;
use protocol::message::LobbyView;
use serde::Deserialize;
use utoipa::ToSchema;

use super::conditions::IfMatch;
use super::extract::{Actor, Body, MemberPath, Scope};
use super::parameters;
use super::update_lobby::whole;
use crate::error::Problem;
use crate::service::Service;

/// What becomes of a member. What is absent stays.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MemberChanges {
    /// At most 128 characters.
    #[serde(default)]
    #[schema(value_type = Option<protocol::schema::Name>)]
    name: Option<String>,
    /// Whether it can be elected host.
    #[serde(default)]
    can_host: Option<bool>,
    /// Other data: a key with `null` is removed.
    #[serde(default)]
    #[schema(value_type = protocol::schema::MemberDataPatch)]
    data: DataPatch,
}

impl From<MemberChanges> for MemberPatch {
    fn from(MemberChanges { name, can_host, data }: MemberChanges) -> Self {
        Self { name, can_host, data }
    }
}

/// Change a member.
///
/// For the member itself, and for servers of the game.
#[utoipa::path(
    patch, path = "/v1/lobbies/{id}/members/{connection}", tag = "members", request_body = MemberChanges,
    security(("access_token" = []), ("api_key" = [])),
    params(parameters::OfMember, parameters::IfMatch),
    responses((status = 200, description = "The lobby as it is now.", body = LobbyView,
        headers(("ETag" = String, description = "The version, in quotes."))))
)]
pub(super) async fn update_member(
    State(service): State<Arc<Service>>,
    actor: Actor,
    MemberPath(id, connection): MemberPath,
    IfMatch(version): IfMatch,
    Body(change): Body<MemberChanges>,
) -> Result<Response, Problem> {
    let asker = actor.asker(Scope::MembersWrite)?;
    let lobby = service.update_member(asker, id, connection, version, change.into()).await?;
    Ok(whole(&lobby, asker))
}
