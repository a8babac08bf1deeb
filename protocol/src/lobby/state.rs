//! Where a lobby's authority is, and whether its members are there.

use serde::{Deserialize, Serialize};

use crate::id::ConnectionId;
use crate::time::Timestamp;

/// Whether a member has a live event socket (or a heartbeat within its lease), and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Presence {
    /// It can be elected.
    Connected {
        /// Without interruption.
        since: Timestamp,
    },
    /// Its seat is kept until the removal delay is over.
    Disconnected {
        /// Since when.
        since: Timestamp,
    },
}

/// Why a host was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LossCause {
    /// Its socket closed or its lease ran out. It may come back within the delay.
    Disconnected,
    /// Its guests do not hear it, though its socket may live. It may be heard again within the delay.
    Silent,
    /// Another process took its seat: the game's state is gone with the old one.
    Restarted,
    /// It left, or was sent away.
    Left,
    /// It, or who manages the lobby, has chosen another.
    Replaced,
}

/// Why a lobby has no host and elects none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ParkReason {
    /// No member is connected and consents. The first who is will be elected.
    NobodyEligible,
    /// Too many elections failed in short time.
    TooManyFailedElections,
}

/// Where the lobby's authority is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum HostState {
    /// A host is there.
    Present {
        /// Which member.
        host: ConnectionId,
        /// Since it was ready.
        since: Timestamp,
    },
    /// The host lost the lobby, but a majority of its guests hears it: it goes on.
    Vouched {
        /// Which member.
        host: ConnectionId,
        /// Since it was ready.
        since: Timestamp,
        /// Until they must have said so again.
        until: Timestamp,
    },
    /// The host is lost, nobody is chosen yet.
    Lost {
        /// Who it was.
        host: ConnectionId,
        /// Since when it had been ready.
        since: Timestamp,
        /// Why.
        cause: LossCause,
        /// Since when it is lost.
        lost_at: Timestamp,
        /// When another is elected.
        deadline: Timestamp,
    },
    /// A member was chosen and has to restore the game.
    Elected {
        /// Which member.
        host: ConnectionId,
        /// Until when it must be ready.
        ready_by: Timestamp,
        /// Who was chosen before it, since the last host, and failed.
        tried: Vec<ConnectionId>,
    },
    /// Nobody is chosen.
    Parked {
        /// Why.
        reason: ParkReason,
        /// The last host with its running game, if nobody was elected since: it goes on if the same process returns.
        former: Option<ConnectionId>,
        /// When an election is tried again, if by time.
        until: Option<Timestamp>,
    },
}

impl HostState {
    /// The member that runs the game or was chosen to.
    #[must_use]
    pub const fn host(&self) -> Option<ConnectionId> {
        match self {
            Self::Present { host, .. } | Self::Vouched { host, .. } | Self::Elected { host, .. } => Some(*host),
            Self::Lost { .. } | Self::Parked { .. } => None,
        }
    }
}

/// A hand-over that the host has been asked to prepare. It commits by naming the successor as the next host; if it does not in
/// time, nothing has been.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HandOver {
    /// Who is to host next. It was eligible when this was asked, and has been since.
    pub to: ConnectionId,
    /// Until when the host must have committed.
    pub until: Timestamp,
}

/// Why a member lost its seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LeaveReason {
    /// It wished to.
    Left,
    /// It was away for longer than the removal delay.
    Removed,
    /// It was sent away. It may join again.
    Kicked,
    /// It was sent away, and may not join again until its ban ends.
    Banned,
}
