//! What travels on the event socket, both ways, as JSON; and the lobby as its members see it.

use serde::{Deserialize, Serialize};

use crate::id::{ConnectionId, EventSeq, HostEpoch, JoinCode, LobbyId, PeerKey, PlayerId};
use crate::lobby::election::Ranking;
use crate::lobby::{HostState, LeaveReason, LossCause, ParkReason, Presence, Settings};
use crate::time::Timestamp;

/// A member, to the other members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MemberView {
    /// Its seat.
    pub connection: ConnectionId,
    /// Whose seat it is.
    pub player: PlayerId,
    /// The name that the player gave.
    pub name: String,
    /// The fingerprint that its links prove.
    pub peer_key: PeerKey,
    /// It consents to being host.
    pub can_host: bool,
    /// Where it can be reached without the relay.
    pub direct_address: Option<String>,
    /// When it took the seat.
    pub joined_at: Timestamp,
    /// Whether it is connected.
    pub presence: Presence,
}

/// A lobby, to its members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LobbyView {
    /// Its id.
    pub id: LobbyId,
    /// Its name.
    pub name: String,
    /// What others join by. The same over every migration.
    pub join_code: JoinCode,
    /// The build that all members play.
    pub build_id: String,
    /// What the game set.
    pub settings: Settings,
    /// When it was created.
    pub created_at: Timestamp,
    /// The current host epoch.
    pub epoch: HostEpoch,
    /// Where the authority is.
    pub host: HostState,
    /// Who would be elected now.
    pub successor: Option<ConnectionId>,
    /// All members, in the order of their connection ids.
    pub members: Vec<MemberView>,
    /// The newest event that this view contains.
    pub seq: EventSeq,
    /// It is closed for good.
    pub closed: bool,
}

impl LobbyView {
    /// The member at a seat.
    #[must_use]
    pub fn member(&self, connection: ConnectionId) -> Option<&MemberView> {
        self.members.iter().find(|member| member.connection == connection)
    }

    /// Brings the view up to date. An event that is not the next one is ignored: the caller asks for it, or for everything.
    ///
    /// Returns whether the event was the next one.
    pub fn apply(&mut self, event: &Event) -> bool {
        if event.seq.0 != self.seq.0 + 1 {
            return false;
        }
        self.seq = event.seq;
        self.epoch = event.epoch;
        match &event.body {
            EventBody::MemberJoined { member } | EventBody::MemberChanged { member } => {
                self.members.retain(|other| other.connection != member.connection);
                self.members.push(member.clone());
                self.members.sort_unstable_by_key(|member| member.connection);
            }
            EventBody::MemberConnected { connection, peer_key, .. } => {
                if let Some(member) = self.member_mut(*connection) {
                    member.peer_key = *peer_key;
                    member.presence = Presence::Connected { since: event.at };
                }
            }
            EventBody::MemberDisconnected { connection } => {
                if let Some(member) = self.member_mut(*connection) {
                    member.presence = Presence::Disconnected { since: event.at };
                }
            }
            EventBody::MemberLeft { connection, .. } => self.members.retain(|member| member.connection != *connection),
            EventBody::HostLost { host, cause, deadline } => {
                self.host = HostState::Lost {
                    host: *host,
                    since: event.at,
                    cause: *cause,
                    lost_at: event.at,
                    deadline: *deadline,
                };
            }
            EventBody::HostReturned { host } | EventBody::HostReady { host } => {
                self.host = HostState::Present { host: *host, since: event.at };
            }
            EventBody::HostVouched { host } => {
                self.host = HostState::Vouched { host: *host, since: event.at, until: event.at };
            }
            EventBody::HostElected { host, ready_by, .. } => {
                self.host = HostState::Elected { host: *host, ready_by: *ready_by, tried: Vec::new() };
            }
            // Another election, or none for now, is the next event.
            EventBody::ElectionFailed { .. } => {
                self.host = HostState::Parked { reason: ParkReason::NobodyEligible, former: None, until: None };
            }
            EventBody::HostParked { reason, until } => {
                self.host = HostState::Parked { reason: *reason, former: None, until: *until };
            }
            EventBody::SuccessorChanged { successor } => self.successor = *successor,
            EventBody::LobbyClosed => self.closed = true,
        }
        true
    }

    fn member_mut(&mut self, connection: ConnectionId) -> Option<&mut MemberView> {
        self.members.iter_mut().find(|member| member.connection == connection)
    }
}

/// Something that happened in a lobby. It was saved before anybody saw it (P8).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Event {
    /// Its number in the lobby: from 1, without gaps.
    pub seq: EventSeq,
    /// When, on the service's clock.
    pub at: Timestamp,
    /// The host epoch after it.
    pub epoch: HostEpoch,
    /// What.
    #[serde(flatten)]
    pub body: EventBody,
}

/// What happened. Members are named by their connection ids, never by a position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventBody {
    /// A player took a seat, its own of old if it had one. It is connected.
    MemberJoined {
        /// The member.
        member: MemberView,
    },
    /// A member's name, consent or address changed.
    MemberChanged {
        /// The member.
        member: MemberView,
    },
    /// A member is connected again, or by another process.
    MemberConnected {
        /// The seat.
        connection: ConnectionId,
        /// The key of its process.
        peer_key: PeerKey,
        /// It is another process than before: what the old one had in memory is gone.
        restarted: bool,
    },
    /// A member's socket closed or its lease ran out. It keeps its seat for the removal delay.
    MemberDisconnected {
        /// The seat.
        connection: ConnectionId,
    },
    /// A member has no seat any more.
    MemberLeft {
        /// The seat that it had; nobody else will get it.
        connection: ConnectionId,
        /// Why.
        reason: LeaveReason,
    },
    /// The host is lost. Another is elected at the deadline, unless it returns.
    HostLost {
        /// Who it was.
        host: ConnectionId,
        /// Why.
        cause: LossCause,
        /// When another is elected.
        deadline: Timestamp,
    },
    /// The lost host is back, with its state: nothing changes.
    HostReturned {
        /// Who.
        host: ConnectionId,
    },
    /// The host lost the lobby, but a majority of its guests hears it: it goes on.
    HostVouched {
        /// Who.
        host: ConnectionId,
    },
    /// A member was elected, at the epoch of this event, and has to restore the game.
    HostElected {
        /// Who.
        host: ConnectionId,
        /// Until when it must be ready.
        ready_by: Timestamp,
        /// The election with its reasons.
        ranking: Ranking,
    },
    /// The elected host is ready: the game goes on.
    HostReady {
        /// Who.
        host: ConnectionId,
    },
    /// The elected member was not ready in time, or is gone.
    ElectionFailed {
        /// Who.
        host: ConnectionId,
    },
    /// Nobody is elected for now.
    HostParked {
        /// Why.
        reason: ParkReason,
        /// When it is tried again, if by time.
        until: Option<Timestamp>,
    },
    /// Another member would be elected now.
    SuccessorChanged {
        /// Who, if anybody.
        successor: Option<ConnectionId>,
    },
    /// The lobby is closed for good.
    LobbyClosed,
}

/// From the service, on the event socket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage {
    /// The next event.
    Event(Event),
    /// The whole lobby, first on a socket that named no event, and where the events asked for are no longer kept.
    Resync {
        /// The lobby. The next event is number `seq + 1`.
        lobby: LobbyView,
    },
    /// To the host: a majority of the guests does not hear it. Whom does it hear?
    Challenge {
        /// At which epoch.
        epoch: HostEpoch,
    },
    /// The socket is about to be closed.
    Closing {
        /// Why.
        reason: CloseReason,
        /// Come back after this time; absent if coming back makes no sense.
        retry_after_ms: Option<u64>,
    },
}

/// Why the service closes an event socket. The WebSocket close code is `4400 +` its number here where one is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum CloseReason {
    /// 4400: a message that the protocol does not have.
    Malformed,
    /// 4401: no `hello` in time.
    NoHello,
    /// 4404: no seat in this lobby (any more).
    NotMember,
    /// 4408: nothing was heard for the length of the lease.
    LeaseExpired,
    /// 4409: the same player opened another socket.
    Replaced,
    /// 4410: the lobby is closed.
    LobbyClosed,
    /// 4429: messages were not read fast enough.
    TooSlow,
    /// 4503: the service stops, or has lost its database.
    GoingAway,
}

impl CloseReason {
    /// The WebSocket close code.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Malformed => 4400,
            Self::NoHello => 4401,
            Self::NotMember => 4404,
            Self::LeaseExpired => 4408,
            Self::Replaced => 4409,
            Self::LobbyClosed => 4410,
            Self::TooSlow => 4429,
            Self::GoingAway => 4503,
        }
    }
}

/// From a member, on the event socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ClientMessage {
    /// First: which process this is, and the newest event it knows.
    Hello {
        /// The key of this process.
        peer_key: PeerKey,
        /// The newest event that it has; absent: none, send the whole lobby.
        after: Option<EventSeq>,
    },
    /// From a guest: whether it hears the host of this epoch.
    Report {
        /// The epoch that it speaks of.
        epoch: HostEpoch,
        /// It hears it.
        hears_host: bool,
    },
    /// From a host, the answer to a challenge: the guests that it hears.
    Hears {
        /// The epoch of the challenge.
        epoch: HostEpoch,
        /// Whom it hears.
        guests: Vec<ConnectionId>,
    },
}
