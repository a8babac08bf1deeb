//! Snapshots and deltas on their way into a store, and which of them are taken.

use bytes::Bytes;
use protocol::error::Rejection;
use protocol::id::{Checksum, ConnectionId, LobbyId};
use protocol::limits;
use protocol::lobby::Lobby;
use protocol::snapshot::{DeltaHeader, Generation, Header, SnapshotError};

/// A snapshot record to store.
#[derive(Debug, Clone)]
pub struct NewSnapshot {
    /// Of which lobby.
    pub lobby: LobbyId,
    /// Who sends it.
    pub connection: ConnectionId,
    /// What it says of itself; the caller has checked it against the record ([`Header::check`]).
    pub header: Header,
    /// All of it.
    pub record: Bytes,
}

/// A delta record to store.
#[derive(Debug, Clone)]
pub struct NewDelta {
    /// Of which lobby.
    pub lobby: LobbyId,
    /// Who sends it.
    pub connection: ConnectionId,
    /// What it says of itself; the caller has checked it against the record ([`DeltaHeader::check`]).
    pub header: DeltaHeader,
    /// All of it.
    pub record: Bytes,
}

/// Why a snapshot or a delta is not taken. What is stored has not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotRefusal {
    /// There is no such lobby.
    #[error("there is no such lobby")]
    NoLobby,
    /// The bytes are no snapshot.
    #[error(transparent)]
    Malformed(#[from] SnapshotError),
    /// The sender is not the host of this epoch.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// A newer one is there.
    #[error("a newer snapshot is stored: epoch {}, number {}", .newest.epoch, .newest.seq)]
    Stale {
        /// The newest.
        newest: Generation,
    },
    /// Another one is there under the same number.
    #[error("another snapshot is stored under this number")]
    Conflict,
    /// The delta does not lead from the newest, or there are too many on one snapshot.
    #[error("the delta does not lead from what is stored, or it is one too many: send a whole snapshot")]
    NoBase {
        /// The newest, if there is any.
        newest: Option<Generation>,
    },
}

impl SnapshotRefusal {
    /// The newest generation that is stored, as far as the refusal tells it.
    #[must_use]
    pub const fn newest(&self) -> Option<Generation> {
        match self {
            Self::Stale { newest } => Some(*newest),
            Self::NoBase { newest } => *newest,
            Self::NoLobby | Self::Malformed(_) | Self::Rejected(_) | Self::Conflict => None,
        }
    }
}

/// What is to be done with a snapshot or a delta that may be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    Store,
    AlreadyThere,
}

/// The newest that is stored of a lobby, and how long its chain is by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chain {
    /// The place of the newest.
    pub(super) newest: Generation,
    /// Its checksum.
    pub(super) checksum: Checksum,
    /// Deltas on the snapshot.
    pub(super) deltas: u32,
    /// Their bytes together.
    pub(super) delta_bytes: u64,
}

/// Whether a snapshot may be stored, next to the transaction that stores it.
pub(super) fn admit(lobby: &Lobby, new: &NewSnapshot, chain: Option<&Chain>) -> Result<Admission, SnapshotRefusal> {
    admit_any(lobby, new.connection, &new.header, chain)
}

/// The same for a delta.
pub(super) fn admit_delta(lobby: &Lobby, new: &NewDelta, chain: Option<&Chain>) -> Result<Admission, SnapshotRefusal> {
    let admission = admit_any(lobby, new.connection, &new.header.leads_to, chain)?;
    let fits = |chain: &&Chain| {
        chain.newest == new.header.base
            && chain.deltas < limits::DELTAS_MAX
            && chain.delta_bytes + new.record.len() as u64 <= limits::SNAPSHOT_BYTES_MAX as u64
    };
    match admission {
        Admission::Store if chain.filter(fits).is_none() => {
            Err(SnapshotRefusal::NoBase { newest: chain.map(|chain| chain.newest) })
        }
        Admission::Store | Admission::AlreadyThere => Ok(admission),
    }
}

fn admit_any(
    lobby: &Lobby,
    connection: ConnectionId,
    header: &Header,
    chain: Option<&Chain>,
) -> Result<Admission, SnapshotRefusal> {
    lobby.check_host_write(connection, header.generation.epoch)?;
    if lobby.is_closed() {
        return Err(Rejection::Closed.into());
    }
    match chain {
        Some(&Chain { newest, .. }) if newest > header.generation => Err(SnapshotRefusal::Stale { newest }),
        Some(chain) if (chain.newest, chain.checksum) == (header.generation, header.checksum) => {
            Ok(Admission::AlreadyThere)
        }
        Some(chain) if chain.newest == header.generation => Err(SnapshotRefusal::Conflict),
        Some(_) | None => Ok(Admission::Store),
    }
}
