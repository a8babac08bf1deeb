//! `PATCH /v1/lobbies/{id}`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use protocol::id::HostEpoch;
use protocol::lobby::data::DataPatch;
use protocol::lobby::{SettingsPatch, Viewer};
use protocol::message::LobbyView;
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use super::conditions::{IfMatch, etag};
use super::extract::{Actor, Body, LobbyPath, Scope};
use super::member::Password;
use super::parameters;
use crate::error::Problem;
use crate::service::{Asker, Patch, Service};

/// What becomes of a lobby. What is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[derive(Default)]
pub(super) struct LobbyChanges {
    /// 1 to 128 characters.
    #[serde(default)]
    #[schema(value_type = Option<protocol::schema::LobbyName>)]
    name: Option<String>,
    /// Other settings.
    #[serde(default)]
    settings: SettingsPatch,
    /// Another password, 8 to 64 characters; `null` for none.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Password>)]
    password: Option<Option<Password>>,
    /// Other data: a key with `null` is removed.
    #[serde(default)]
    #[schema(value_type = protocol::schema::LobbyDataPatch)]
    data: DataPatch,
}

/// What is there, though it may be null.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Password>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl LobbyChanges {
    pub(super) fn patch(self) -> Patch {
        let password = self.password.map(|password| password.map(|Password(password)| password));
        Patch { name: self.name, settings: self.settings, password, data: self.data }
    }
}

/// What becomes of a lobby, and who says so.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UpdateLobby {
    /// The epoch at which the caller hosts. Needed from a host, not from a server.
    epoch: Option<HostEpoch>,
    /// What becomes of it.
    #[serde(default)]
    change: LobbyChanges,
}

/// Change a lobby.
///
/// For its host, and for servers of the game. With `If-Match` only if the lobby still is at that version.
#[utoipa::path(
    patch, path = "/v1/lobbies/{id}", tag = "lobbies", request_body = UpdateLobby,
    security(("access_token" = []), ("api_key" = [])),
    params(parameters::OfLobby, parameters::IfMatch),
    responses((status = 200, description = "The lobby as it is now.", body = LobbyView,
        headers(("ETag" = String, description = "The version, in quotes."))))
)]
pub(super) async fn update_lobby(
    State(service): State<Arc<Service>>,
    actor: Actor,
    LobbyPath(id): LobbyPath,
    IfMatch(version): IfMatch,
    Body(UpdateLobby { epoch, change }): Body<UpdateLobby>,
) -> Result<Response, Problem> {
    let asker = actor.asker(Scope::LobbiesWrite)?;
    let lobby = service.update(asker, id, epoch, version, change.patch()).await?;
    Ok(whole(&lobby, asker))
}

/// A lobby as the one sees it who has just changed it.
pub(super) fn whole(lobby: &protocol::lobby::Lobby, asker: Asker) -> Response {
    let viewer = match asker {
        Asker::Server => Viewer::Server,
        Asker::Player(player) => lobby.seat_of(player).map_or(Viewer::Anybody, Viewer::Member),
    };
    ([(header::ETAG, etag(lobby.last_event()))], Json(lobby.view(viewer))).into_response()
}
