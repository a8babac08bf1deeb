//! `PUT /v1/lobbies/{id}/snapshot`

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use futures_util::StreamExt;
use protocol::error::ErrorCode;
use protocol::id::{Checksum, LobbyId, PlayerId};
use protocol::limits;
use protocol::snapshot::{Generation, Header};
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::{Caller, LobbyPath};
use super::parameters;
use crate::error::Problem;
use crate::service::{Service, Upload};

/// What is stored.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Stored {
    /// Where it stands among the snapshots of its lobby.
    generation: Generation,
    /// The game's tick.
    tick: u64,
    /// Of the whole record.
    checksum: Checksum,
}

impl From<Header> for Stored {
    fn from(Header { generation, tick, checksum, .. }: Header) -> Self {
        Self { generation, tick, checksum }
    }
}

/// Store the game.
///
/// The host's snapshot record; durable once answered. It takes the place of the snapshot before it and of the deltas on that. The
/// same one again is taken; an older one, and one of an older host, never.
#[utoipa::path(
    put, path = "/v1/lobbies/{id}/snapshot", tag = "hosting", security(("access_token" = [])),
    params(parameters::OfLobby),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "A snapshot record."),
    responses(
        (status = 200, description = "Stored.", body = Stored),
    )
)]
pub(super) async fn put_snapshot(
    State(service): State<Arc<Service>>,
    Caller(player): Caller,
    LobbyPath(id): LobbyPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Stored>, Problem> {
    let upload = received(&service, player, id, &headers, body).await?;
    Ok(Json(upload.store().await?.into()))
}

/// A record of a member, once all of it has come.
pub(super) async fn received(
    service: &Arc<Service>,
    player: PlayerId,
    id: LobbyId,
    headers: &HeaderMap,
    body: Body,
) -> Result<Upload, Problem> {
    check(headers)?;
    receive(body, service.begin_upload(player, id).await?).await
}

/// Refuses what would not be taken before it is received.
fn check(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if text(header::CONTENT_TYPE) != Some("application/octet-stream") {
        let detail = "a snapshot is application/octet-stream";
        return Err(Problem::new(ErrorCode::UnsupportedMediaType, detail));
    }
    let length = text(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if length.is_some_and(|length| length > limits::SNAPSHOT_BYTES_MAX as u64) {
        return Err(too_large());
    }
    Ok(())
}

async fn receive(body: Body, mut upload: Upload) -> Result<Upload, Problem> {
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| Problem::new(ErrorCode::Malformed, "the body broke off"))?;
        if upload.len() + piece.len() > limits::SNAPSHOT_BYTES_MAX {
            return Err(too_large());
        }
        upload.push(&piece)?;
    }
    Ok(upload)
}

fn too_large() -> Problem {
    Problem::new(ErrorCode::TooLarge, format!("a snapshot has at most {} bytes", limits::SNAPSHOT_BYTES_MAX))
}
