//! What travels on the event socket, both ways, as JSON; and the lobby as its members see it.

use serde::{Deserialize, Serialize};

use crate::id::{ConnectionId, EventSeq, HostEpoch, JoinCode, LobbyId, PeerKey, PlayerId};
use crate::lobby::data::{Data, DataPatch};
use crate::lobby::election::Ranking;
use crate::lobby::{HandOver, HostState, LeaveReason, LossCause, ParkReason, Presence, Settings};
use crate::signal::Signal;
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
    /// It runs in a browser: WebRTC is the only way to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub browser: bool,
    /// When it took the seat.
    pub joined_at: Timestamp,
    /// Whether it is connected.
    pub presence: Presence,
    /// What it tells of itself, as far as the reader may see it.
    #[serde(default, skip_serializing_if = "Data::is_empty")]
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::MemberData))]
    pub data: Data,
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
    /// The hand-over that the host has been asked to prepare.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hand_over: Option<HandOver>,
    /// Who would be elected now.
    pub successor: Option<ConnectionId>,
    /// All members, in the order of their connection ids.
    pub members: Vec<MemberView>,
    /// The newest event that this view contains.
    pub seq: EventSeq,
    /// It is closed for good.
    pub closed: bool,
    /// When something happened to it the last time.
    #[serde(default)]
    pub updated_at: Timestamp,
    /// Newcomers have to know its password.
    #[serde(default)]
    pub has_password: bool,
    /// What the game keeps with it, as far as the reader may see it.
    #[serde(default, skip_serializing_if = "Data::is_empty")]
    #[cfg_attr(feature = "schema", schema(value_type = crate::schema::LobbyData))]
    pub data: Data,
}

const fn nobody() -> PlayerId {
    PlayerId::from_bytes([0; 16])
}

/// Does to values what a patch says.
fn patch(data: &mut Data, patch: &DataPatch) {
    for (key, value) in patch {
        match value {
            Some(value) => data.insert(key.clone(), value.clone()),
            None => data.remove(key),
        };
    }
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
        self.updated_at = event.at;
        self.epoch = event.epoch;
        match &event.body {
            EventBody::MemberJoined { member } => {
                self.members.retain(|other| other.connection != member.connection);
                self.members.push(member.clone());
                self.members.sort_unstable_by_key(|member| member.connection);
            }
            EventBody::MemberChanged { member } => {
                if let Some(known) = self.member_mut(member.connection) {
                    // What only that member sees of its data is not in the event.
                    let data = std::mem::take(&mut known.data);
                    *known = MemberView { data, ..member.clone() };
                }
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
                self.hand_over = None;
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
                self.hand_over = None;
                self.host = HostState::Elected { host: *host, ready_by: *ready_by, tried: Vec::new() };
            }
            // Another election, or none for now, is the next event.
            EventBody::ElectionFailed { .. } => {
                self.host = HostState::Parked { reason: ParkReason::NobodyEligible, former: None, until: None };
            }
            EventBody::HostParked { reason, until } => {
                self.host = HostState::Parked { reason: *reason, former: None, until: *until };
            }
            EventBody::HandOverAsked { to, until } => self.hand_over = Some(HandOver { to: *to, until: *until }),
            EventBody::HandOverEnded => self.hand_over = None,
            EventBody::SuccessorChanged { successor } => self.successor = *successor,
            EventBody::LobbyChanged { name, settings, has_password } => {
                self.name.clone_from(name);
                self.settings.clone_from(settings);
                if settings.relay_only {
                    self.members.iter_mut().for_each(|member| member.direct_address = None);
                }
                self.has_password = *has_password;
            }
            EventBody::DataChanged { data } | EventBody::PrivateDataChanged { data } => patch(&mut self.data, data),
            EventBody::MemberDataChanged { connection, data }
            | EventBody::MemberPrivateDataChanged { connection, data } => {
                if let Some(member) = self.member_mut(*connection) {
                    patch(&mut member.data, data);
                }
            }
            EventBody::JoinCodeChanged { join_code } => self.join_code = *join_code,
            EventBody::PlayerBanned { .. } | EventBody::PlayerUnbanned { .. } | EventBody::Hidden => {}
            EventBody::LobbyClosed => {
                self.closed = true;
                self.hand_over = None;
            }
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
        /// The member. Of its data there is what it had when it joined: that changes by events of its own.
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
        /// Whose it was; all zeros in events of old.
        #[serde(default = "nobody")]
        player: PlayerId,
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
    /// The host is asked to prepare a member and then to make it host. Nothing else changes until it has.
    HandOverAsked {
        /// Who is to host.
        to: ConnectionId,
        /// Until when; then it has ended.
        until: Timestamp,
    },
    /// The hand-over that was asked for is off: the host goes on as if nothing had been asked. If the host is lost, another is
    /// elected, or the lobby closes, that alone is told.
    HandOverEnded,
    /// Another member would be elected now.
    SuccessorChanged {
        /// Who, if anybody.
        successor: Option<ConnectionId>,
    },
    /// The lobby's name, settings or password changed.
    LobbyChanged {
        /// Its name.
        name: String,
        /// Its settings.
        settings: Settings,
        /// Newcomers have to know its password.
        has_password: bool,
    },
    /// Values of the lobby's data changed; those without anything are gone.
    DataChanged {
        /// Which, and what they are now.
        #[cfg_attr(feature = "schema", schema(value_type = crate::schema::LobbyDataPatch))]
        data: DataPatch,
    },
    /// The same for values that only the host sees. Others get [`Self::Hidden`].
    PrivateDataChanged {
        /// Which, and what they are now.
        #[cfg_attr(feature = "schema", schema(value_type = crate::schema::LobbyDataPatch))]
        data: DataPatch,
    },
    /// Values of a member's data changed; those without anything are gone.
    MemberDataChanged {
        /// Whose.
        connection: ConnectionId,
        /// Which, and what they are now.
        #[cfg_attr(feature = "schema", schema(value_type = crate::schema::MemberDataPatch))]
        data: DataPatch,
    },
    /// The same for values that only that member sees. Others get [`Self::Hidden`].
    MemberPrivateDataChanged {
        /// Whose.
        connection: ConnectionId,
        /// Which, and what they are now.
        #[cfg_attr(feature = "schema", schema(value_type = crate::schema::MemberDataPatch))]
        data: DataPatch,
    },
    /// The lobby has another join code: the one before opens nothing any more.
    JoinCodeChanged {
        /// The new one.
        join_code: JoinCode,
    },
    /// A player may not take a seat. If it had one, that it left is the next event.
    PlayerBanned {
        /// Who.
        player: PlayerId,
        /// Until when; absent: for the lobby's life.
        until: Option<Timestamp>,
    },
    /// A ban has been lifted.
    PlayerUnbanned {
        /// Whose.
        player: PlayerId,
    },
    /// Something that the reader may not see: its number is all that is told, so that none is missing.
    Hidden,
    /// The lobby is closed for good.
    LobbyClosed,
}

/// Who sees an event; all others see [`EventBody::Hidden`] in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// All members.
    All,
    /// Whoever is host when it is sent.
    Host,
    /// One member.
    Member(ConnectionId),
}

impl EventBody {
    /// Who sees it.
    #[must_use]
    pub const fn audience(&self) -> Audience {
        if let Self::MemberPrivateDataChanged { connection, .. } = self {
            return Audience::Member(*connection);
        }
        if matches!(self, Self::PrivateDataChanged { .. }) { Audience::Host } else { Audience::All }
    }
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
    /// From another member's process, about a link between the two: in the order in which it said them, and after all events that it may
    /// have known of. Soft: some may be missing.
    Signal {
        /// Who says so.
        from: ConnectionId,
        /// Its process.
        peer_key: PeerKey,
        /// What.
        signal: Signal,
    },
    /// The socket is about to be closed.
    Closing {
        /// Why.
        reason: CloseReason,
        /// Come back after this time; absent if coming back makes no sense.
        retry_after_ms: Option<u64>,
    },
}

/// Why the service closes an event socket, with the WebSocket close code: `4000 +` the HTTP status that is nearest, or the one that
/// RFC 6455 has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum CloseReason {
    /// 1008: more messages, pings included, than the service takes from one socket.
    TooManyMessages,
    /// 1009: a message longer than 16 KiB.
    MessageTooLarge,
    /// 4400: a message that the protocol does not have.
    Malformed,
    /// 4401: no `hello` in time.
    NoHello,
    /// 4403: sent away from the lobby; joining again is possible.
    Kicked,
    /// 4418: sent away from the lobby, and banned.
    Banned,
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
            Self::TooManyMessages => 1008,
            Self::MessageTooLarge => 1009,
            Self::Malformed => 4400,
            Self::NoHello => 4401,
            Self::Kicked => 4403,
            Self::Banned => 4418,
            Self::NotMember => 4404,
            Self::LeaseExpired => 4408,
            Self::Replaced => 4409,
            Self::LobbyClosed => 4410,
            Self::TooSlow => 4429,
            Self::GoingAway => 4503,
        }
    }
}

/// In which form a socket's news come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum NewsForm {
    /// Each event: what has changed.
    #[default]
    Events,
    /// The whole lobby after what has changed, as `resync`. Several events may come as one.
    Lobby,
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
        /// In which form news come.
        #[serde(default)]
        form: NewsForm,
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
    /// To another member's process, about a link between the two. It is forwarded if that process has its event socket open, and else
    /// dropped; so is what ICE does not know, and what is beyond the rate that signals have. Candidates go on without related addresses,
    /// and where the lobby is `relay_only` only those of TURN servers do.
    Signal {
        /// To whom.
        to: ConnectionId,
        /// To which of its processes.
        peer_key: PeerKey,
        /// What.
        signal: Signal,
    },
}
