//! Requests about the game's state and who runs it.

use bytes::Bytes;
use protocol::id::{ConnectionId, HostEpoch, LobbyId};
use protocol::snapshot::Generation;
use reqwest::{Method, RequestBuilder, header};
use serde::Serialize;

use super::{SNAPSHOT_TIMEOUT, Service, unreachable};
use crate::error::Error;

/// What the lobby has.
#[derive(Debug)]
pub(crate) enum Newest {
    /// Nothing newer than what was asked about.
    NotNewer,
    /// A snapshot, followed by its deltas.
    Chain(Bytes),
}

impl Service {
    pub(crate) async fn put_snapshot(&self, id: LobbyId, record: Bytes) -> Result<(), Error> {
        self.store(Method::PUT, id, record).await
    }

    /// Stores what became of the newest snapshot or delta.
    pub(crate) async fn patch_snapshot(&self, id: LobbyId, delta: Bytes) -> Result<(), Error> {
        self.store(Method::PATCH, id, delta).await
    }

    async fn store(&self, method: Method, id: LobbyId, record: Bytes) -> Result<(), Error> {
        let finish = |request: RequestBuilder| {
            request
                .header(header::CONTENT_TYPE, "application/octet-stream")
                .timeout(SNAPSHOT_TIMEOUT)
                .body(record.clone())
        };
        self.send(method, &format!("/v1/lobbies/{id}/snapshot"), finish).await.map(drop)
    }

    /// The newest state that is stored, if it is newer than this one.
    pub(crate) async fn newest_state(&self, id: LobbyId, newer_than: Option<Generation>) -> Result<Newest, Error> {
        let condition = newer_than.map(|known| format!("?newer_than={}.{}", known.epoch, known.seq));
        let path = format!("/v1/lobbies/{id}/snapshot{}", condition.unwrap_or_default());
        match self.send(Method::GET, &path, |request| request.timeout(SNAPSHOT_TIMEOUT)).await {
            Ok(response) => response.bytes().await.map(Newest::Chain).map_err(unreachable),
            Err(Error::Refused { status: 304 | 404, .. }) => Ok(Newest::NotNewer),
            Err(error) => Err(error),
        }
    }

    /// Makes another member host.
    pub(crate) async fn transfer(&self, id: LobbyId, epoch: HostEpoch, to: ConnectionId) -> Result<(), Error> {
        #[derive(Serialize)]
        struct Transfer {
            epoch: HostEpoch,
            to: ConnectionId,
        }
        let path = format!("/v1/lobbies/{id}/transfer");
        self.send(Method::POST, &path, |request| request.json(&Transfer { epoch, to })).await.map(drop)
    }
}
