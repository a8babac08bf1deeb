//! `GET /admin/v1/lobbies/{id}`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use protocol::id::{Checksum, HostEpoch};
use protocol::lobby::Viewer;
use protocol::message::LobbyView;
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::Operator;
use super::list_members::{HeldMember, held_members};
use crate::error::Problem;
use crate::http::extract::LobbyPath;
use crate::service::Service;
use crate::store::overview::StoredSnapshot;

/// A lobby with what surrounds it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WholeLobby {
    /// As its members see it.
    lobby: LobbyView,
    /// How often it was saved.
    version: u64,
    /// Where its members meet, once one of them has asked.
    relay: Option<String>,
    /// Its members, with the instances that hear them.
    members: Vec<HeldMember>,
    /// What is kept of its game, newest first.
    snapshots: Vec<KeptSnapshot>,
}

/// A snapshot that is kept.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeptSnapshot {
    /// Of which epoch.
    epoch: HostEpoch,
    /// Its number in that epoch.
    seq: u64,
    /// The size of its record.
    bytes: u64,
    /// Deltas on it.
    deltas: u64,
    /// The size of their records together.
    delta_bytes: u64,
    /// BLAKE3-256 of its content.
    checksum: Checksum,
}

impl From<StoredSnapshot> for KeptSnapshot {
    fn from(stored: StoredSnapshot) -> Self {
        let StoredSnapshot { generation, checksum, bytes, deltas, delta_bytes } = stored;
        Self { epoch: generation.epoch, seq: generation.seq, bytes, deltas, delta_bytes, checksum }
    }
}

/// Look at a lobby, whosever it is.
#[utoipa::path(
    get, path = "/admin/v1/lobbies/{id}", tag = "lobbies", security(("admin_token" = [])),
    params(("id" = String, Path, description = "The lobby.")),
    responses(
        (status = 200, description = "The lobby.", body = WholeLobby),
        (status = "4XX", description = "Refused.", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "Failed.", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show_lobby(
    State(service): State<Arc<Service>>,
    _: Operator,
    LobbyPath(id): LobbyPath,
) -> Result<Json<WholeLobby>, Problem> {
    let (lobby, version) = service.stored_lobby(id).await?;
    let snapshots = service.stored_snapshots(id).await?;
    Ok(Json(WholeLobby {
        version: version.0,
        relay: lobby.relay().map(str::to_owned),
        members: held_members(&lobby),
        snapshots: snapshots.into_iter().map(KeptSnapshot::from).collect(),
        lobby: lobby.view(Viewer::Server),
    }))
}
