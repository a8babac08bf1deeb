//! A lobby as a value: what is stored, which commands change it, what then happens by itself.
//!
//! ```text
//!                 lost, delay over                ready
//!      Present ──────▶ Lost ──────────▶ Elected ─────────▶ Present (epoch + 1)
//!        ▲  ▲           │ │ nobody        │ not ready, gone: the next one
//!        │  └─ returned ┘ └──▶ Parked ◀───┘ too many of them
//!        │                       │ somebody eligible, or the pause is over: Elected
//!     Vouched ◀─ guests hear it ─┘ (from Lost)
//! ```
//!
//! `apply` consumes the lobby and returns the next one with its events; on `Err` nothing has changed. After each command
//! everything that is due by then happens too, so a lobby never waits for a timer that has already run out.

pub mod election;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Rejection;
use crate::id::{ConnectionId, EventSeq, HostEpoch, InstanceId, JoinCode, LobbyId, PeerKey, PlayerId};
use crate::limits;
use crate::message::{Event, EventBody, LobbyView, MemberView};
use crate::planted::{self, Bug};
use crate::time::Timestamp;

use election::{Candidate, Policy, Ranking};

/// Who finds a lobby in the list and can join it by its id. The join code opens both kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Everybody.
    #[default]
    Public,
    /// Those who have its join code.
    Private,
}

/// What a game sets for its lobby. All times in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// From losing the host to choosing another: 0 to 600,000.
    pub election_delay_ms: u64,
    /// Time that a disconnected member keeps its seat: 1,000 to 86,400,000, longer than the election delay.
    pub removal_delay_ms: u64,
    /// Time that an elected host has to restore and confirm: 500 to 60,000.
    pub ready_timeout_ms: u64,
    /// Seats: 1 to 1,000.
    pub max_members: u32,
    /// Who finds it.
    pub visibility: Visibility,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            election_delay_ms: millis(limits::ELECTION_DELAY),
            removal_delay_ms: millis(limits::REMOVAL_DELAY),
            ready_timeout_ms: millis(limits::READY_TIMEOUT),
            max_members: limits::MEMBERS,
            visibility: Visibility::Public,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Settings {
    /// Checks every bound.
    ///
    /// # Errors
    /// [`Rejection::Invalid`] with the first field that is out of its bounds.
    pub fn check(&self) -> Result<(), Rejection> {
        let invalid = |field, rule| Err(Rejection::Invalid { field, rule });
        if self.election_delay_ms > millis(limits::ELECTION_DELAY_MAX) {
            return invalid("settings.election_delay_ms", "0 to 600000");
        }
        if !(millis(limits::REMOVAL_DELAY_MIN)..=millis(limits::REMOVAL_DELAY_MAX)).contains(&self.removal_delay_ms) {
            return invalid("settings.removal_delay_ms", "1000 to 86400000");
        }
        if self.removal_delay_ms <= self.election_delay_ms {
            return invalid(
                "settings.removal_delay_ms",
                "longer than election_delay_ms, or the host is removed before anybody is elected",
            );
        }
        if !(millis(limits::READY_TIMEOUT_MIN)..=millis(limits::READY_TIMEOUT_MAX)).contains(&self.ready_timeout_ms) {
            return invalid("settings.ready_timeout_ms", "500 to 60000");
        }
        if !(1..=limits::MEMBERS_MAX).contains(&self.max_members) {
            return invalid("settings.max_members", "1 to 1000");
        }
        Ok(())
    }

    fn election_delay(&self) -> Duration {
        Duration::from_millis(self.election_delay_ms)
    }

    fn removal_delay(&self) -> Duration {
        Duration::from_millis(self.removal_delay_ms)
    }

    fn ready_timeout(&self) -> Duration {
        Duration::from_millis(self.ready_timeout_ms)
    }
}

/// What a player brings when it creates or joins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Newcomer {
    /// Who.
    pub player: PlayerId,
    /// Shown to the others.
    pub name: String,
    /// The certificate of its process.
    pub peer_key: PeerKey,
    /// The game's build. Only equal builds play together: a snapshot of one may not be readable by another.
    pub build_id: String,
    /// It consents to being elected.
    pub can_host: bool,
    /// Where it can be reached without the relay, if it offers that.
    pub direct_address: Option<String>,
    /// The instance of the service that hears it.
    pub holder: InstanceId,
}

impl Newcomer {
    /// # Errors
    /// [`Rejection::Invalid`] for a text that is too long or holds control characters.
    fn check(&self) -> Result<(), Rejection> {
        check_name("name", &self.name, 0)?;
        check_name("build_id", &self.build_id, 0)?;
        match &self.direct_address {
            Some(address) if !is_dialable(address) => Err(Rejection::Invalid {
                field: "direct_address",
                rule: "an IP address and a port that others can dial, as 192.0.2.1:4000",
            }),
            _ => Ok(()),
        }
    }
}

fn is_dialable(address: &str) -> bool {
    let parsed = address.parse::<std::net::SocketAddr>();
    address.len() <= limits::ADDRESS_BYTES_MAX
        && parsed.is_ok_and(|at| at.port() != 0 && !at.ip().is_unspecified() && !at.ip().is_multicast())
}

/// # Errors
/// [`Rejection::Invalid`].
fn check_name(field: &'static str, text: &str, at_least: usize) -> Result<(), Rejection> {
    if !(at_least..=limits::NAME_CHARS_MAX).contains(&text.chars().count()) {
        return Err(Rejection::Invalid { field, rule: "at most 128 characters, and a lobby's name at least one" });
    }
    if text.chars().any(char::is_control) {
        return Err(Rejection::Invalid { field, rule: "without control characters" });
    }
    Ok(())
}

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

/// A seat that is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Member {
    player: PlayerId,
    name: String,
    peer_key: PeerKey,
    can_host: bool,
    direct_address: Option<String>,
    joined_at: Timestamp,
    presence: Presence,
    /// The instance of the service that heard it last: no other can say that it is gone.
    #[serde(default = "nobody")]
    holder: InstanceId,
}

/// The holder of members that were stored before there were holders.
const fn nobody() -> InstanceId {
    InstanceId::from_bytes([0; 8])
}

impl Member {
    const fn is_connected(&self) -> bool {
        matches!(self.presence, Presence::Connected { .. })
    }
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
    /// It left.
    Left,
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

/// Why a member lost its seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LeaveReason {
    /// It wished to.
    Left,
    /// It was away for longer than the removal delay.
    Removed,
}

/// What can be asked of a lobby.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A player takes a seat, or says again that it has one.
    Join(Newcomer),
    /// A member's event socket opened, or its heartbeat came.
    Connect {
        /// The seat.
        connection: ConnectionId,
        /// Whose it is.
        player: PlayerId,
        /// The certificate of its process.
        peer_key: PeerKey,
        /// The instance of the service that hears it from now on.
        holder: InstanceId,
    },
    /// A member's event socket closed, or its lease ran out.
    Disconnect {
        /// The seat.
        connection: ConnectionId,
        /// Of which process. Another one's loss changes nothing.
        peer_key: PeerKey,
        /// The instance that had heard it. Once another hears it, this loss changes nothing.
        holder: InstanceId,
    },
    /// A member gives up its seat.
    Leave {
        /// The seat.
        connection: ConnectionId,
        /// Whose it is.
        player: PlayerId,
    },
    /// The elected host has restored the game and runs it.
    Ready {
        /// The seat.
        connection: ConnectionId,
        /// The epoch it was elected for.
        epoch: HostEpoch,
    },
    /// The guests and the relay agree that the host is silent (see [`crate::suspicion`]).
    HostSilent {
        /// Of which epoch they speak.
        epoch: HostEpoch,
    },
    /// A majority of the guests hears the host that the lobby has lost.
    HostHeard {
        /// Of which epoch they speak.
        epoch: HostEpoch,
    },
    /// The members are to meet at this relay, unless they meet at another one than `instead_of` by now.
    Meet {
        /// Where.
        relay: String,
        /// Where they met so far: that relay is gone.
        instead_of: Option<String>,
    },
    /// A deadline has come; see [`Lobby::due_at`].
    Due,
    /// The service was away: deadlines that have passed meanwhile start anew, so that nobody is judged by time in which it could
    /// not be heard.
    Resume,
}

impl Command {
    /// The epoch that the command rests on.
    const fn epoch(&self) -> Option<HostEpoch> {
        match self {
            Self::Ready { epoch, .. } | Self::HostSilent { epoch } | Self::HostHeard { epoch } => Some(*epoch),
            Self::Join(_)
            | Self::Connect { .. }
            | Self::Disconnect { .. }
            | Self::Leave { .. }
            | Self::Meet { .. }
            | Self::Due
            | Self::Resume => None,
        }
    }
}

/// A player who left, and the seat that stays its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FormerSeat {
    player: PlayerId,
    connection: ConnectionId,
}

/// A group of players of one game.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lobby {
    id: LobbyId,
    name: String,
    join_code: JoinCode,
    build_id: String,
    settings: Settings,
    created_at: Timestamp,
    epoch: HostEpoch,
    host: HostState,
    members: BTreeMap<ConnectionId, Member>,
    former: VecDeque<FormerSeat>,
    next_connection: ConnectionId,
    successor: Option<ConnectionId>,
    failed_elections: Vec<Timestamp>,
    last_event: EventSeq,
    empty_since: Option<Timestamp>,
    closed: bool,
    /// The address of the relay where the members meet: at different ones they would not find each other.
    #[serde(default)]
    relay: Option<String>,
}

impl Lobby {
    /// Makes a lobby with its creator as member 0, connected and host at epoch 1.
    ///
    /// # Errors
    /// [`Rejection::Invalid`] for a name, a text or a setting out of its bounds.
    pub fn create(
        id: LobbyId,
        join_code: JoinCode,
        name: String,
        settings: Settings,
        creator: Newcomer,
        now: Timestamp,
    ) -> Result<(Self, Vec<Event>), Rejection> {
        check_name("lobby_name", &name, 1)?;
        settings.check()?;
        creator.check()?;
        let lobby = Self {
            id,
            name,
            join_code,
            build_id: creator.build_id.clone(),
            settings,
            created_at: now,
            epoch: HostEpoch::FIRST,
            host: HostState::Present { host: ConnectionId(0), since: now },
            members: BTreeMap::new(),
            former: VecDeque::new(),
            next_connection: ConnectionId(0),
            successor: None,
            failed_elections: Vec::new(),
            last_event: EventSeq(0),
            empty_since: None,
            closed: false,
            relay: None,
        };
        let mut step = Step { lobby, events: Vec::new(), now };
        step.join(creator)?;
        Ok(step.finish())
    }

    /// Decides one command, and everything that is due by `now`.
    ///
    /// # Errors
    /// Why it is refused. An epoch that is not the lobby's is refused before anything else is looked at.
    pub fn apply(self, command: Command, now: Timestamp) -> Result<(Self, Vec<Event>), Rejection> {
        self.check_epoch(&command)?;
        if self.closed && !matches!(command, Command::Due | Command::Resume) {
            return Err(Rejection::Closed);
        }
        let mut step = Step { lobby: self, events: Vec::new(), now };
        match command {
            Command::Join(newcomer) => step.join(newcomer)?,
            Command::Connect { connection, player, peer_key, holder } => {
                step.connect(connection, player, peer_key, holder)?;
            }
            Command::Disconnect { connection, peer_key, holder } => step.disconnect(connection, peer_key, holder),
            Command::Leave { connection, player } => step.leave(connection, player)?,
            Command::Ready { connection, .. } => step.ready(connection)?,
            Command::HostSilent { .. } => step.host_silent(),
            Command::HostHeard { .. } => step.host_heard(),
            Command::Meet { relay, instead_of } if step.lobby.relay == instead_of => step.lobby.relay = Some(relay),
            Command::Meet { .. } | Command::Due => {}
            Command::Resume => step.resume(),
        }
        step.settle();
        Ok(step.finish())
    }

    /// When [`Command::Due`] has something to do.
    #[must_use]
    pub fn due_at(&self) -> Option<Timestamp> {
        if self.closed {
            return None;
        }
        let host = match self.host {
            HostState::Present { .. } => None,
            HostState::Vouched { until, .. } => Some(until),
            HostState::Lost { deadline, .. } => Some(deadline),
            HostState::Elected { ready_by, .. } => Some(ready_by),
            HostState::Parked { until, .. } => until,
        };
        let removal = self.members.keys().filter_map(|&connection| self.removal_at(connection)).min();
        let close = self.empty_since.map(|since| since.after(limits::EMPTY_LOBBY_KEPT));
        [host, removal, close].into_iter().flatten().min()
    }

    /// Checks that a host may write at this epoch: snapshots, grants, whatever the host alone may do. Every such write
    /// passes here, in the transaction that stores it.
    ///
    /// # Errors
    /// [`Rejection::StaleEpoch`] before [`Rejection::NotHost`].
    pub fn check_host_write(&self, connection: ConnectionId, epoch: HostEpoch) -> Result<(), Rejection> {
        let is_host = self.host_writer() == Some(connection);
        let fenced =
            epoch != self.epoch && !planted::is(Bug::NoEpochCheck) && !(planted::is(Bug::HostButNotEpoch) && is_host);
        if fenced {
            Err(self.stale())
        } else if !is_host && !planted::is(Bug::NoEpochCheck) {
            Err(Rejection::NotHost(connection))
        } else {
            Ok(())
        }
    }

    /// The member whose writes as host are taken at the current epoch: the host, also while it is lost and nobody else is elected.
    #[must_use]
    pub const fn host_writer(&self) -> Option<ConnectionId> {
        match self.host {
            HostState::Present { host, .. }
            | HostState::Vouched { host, .. }
            | HostState::Lost { host, .. }
            | HostState::Elected { host, .. } => Some(host),
            HostState::Parked { former, .. } => former,
        }
    }

    fn check_epoch(&self, command: &Command) -> Result<(), Rejection> {
        match command.epoch() {
            Some(epoch) if epoch != self.epoch && !planted::is(Bug::NoEpochCheck) => Err(self.stale()),
            _ => Ok(()),
        }
    }

    const fn stale(&self) -> Rejection {
        Rejection::StaleEpoch { current: self.epoch, host: self.host.host() }
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> LobbyId {
        self.id
    }

    /// Its join code.
    #[must_use]
    pub const fn join_code(&self) -> JoinCode {
        self.join_code
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The build that its members play.
    #[must_use]
    pub fn build_id(&self) -> &str {
        &self.build_id
    }

    /// Its settings.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// When it was created.
    #[must_use]
    pub const fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// The current host epoch.
    #[must_use]
    pub const fn epoch(&self) -> HostEpoch {
        self.epoch
    }

    /// Where the authority is.
    #[must_use]
    pub const fn host(&self) -> &HostState {
        &self.host
    }

    /// The number of its newest event.
    #[must_use]
    pub const fn last_event(&self) -> EventSeq {
        self.last_event
    }

    /// Who would be elected now.
    #[must_use]
    pub const fn successor(&self) -> Option<ConnectionId> {
        self.successor
    }

    /// The address of the relay where its members meet, once one of them has asked.
    #[must_use]
    pub fn relay(&self) -> Option<&str> {
        self.relay.as_deref()
    }

    /// Whether it is closed for good.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Seats taken.
    #[must_use]
    pub fn member_count(&self) -> usize {
        self.members.len()
    }

    /// The seat of a player.
    #[must_use]
    pub fn seat_of(&self, player: PlayerId) -> Option<ConnectionId> {
        self.members.iter().find(|(_, member)| member.player == player).map(|(&connection, _)| connection)
    }

    /// Connected members, with the keys of their processes and the instances that hear them.
    pub fn connected(&self) -> impl Iterator<Item = (ConnectionId, PeerKey, InstanceId)> + '_ {
        self.members
            .iter()
            .filter(|(_, member)| member.is_connected())
            .map(|(&connection, member)| (connection, member.peer_key, member.holder))
    }

    /// Whether this seat is taken.
    #[must_use]
    pub fn has_member(&self, connection: ConnectionId) -> bool {
        self.members.contains_key(&connection)
    }

    /// The instance of the service that hears this member, if it is connected.
    #[must_use]
    pub fn holder_of(&self, connection: ConnectionId) -> Option<InstanceId> {
        self.members.get(&connection).filter(|member| member.is_connected()).map(|member| member.holder)
    }

    /// Whether this member is connected.
    #[must_use]
    pub fn is_connected(&self, connection: ConnectionId) -> bool {
        self.members.get(&connection).is_some_and(Member::is_connected)
    }

    /// Whether the host that is not there could still be running the game: the guests may vouch for it.
    #[must_use]
    pub const fn host_may_be_heard(&self) -> bool {
        matches!(
            self.host,
            HostState::Lost { cause: LossCause::Disconnected | LossCause::Silent, .. }
                | HostState::Parked { reason: ParkReason::NobodyEligible, former: Some(_), .. }
        )
    }

    /// The election as it would end now: without the member that hosts or was elected.
    #[must_use]
    pub fn ranking(&self) -> Ranking {
        self.rank(&[], self.host.host().or(self.silent_host()))
    }

    /// A host that is connected and still not to be elected: its guests do not hear it.
    const fn silent_host(&self) -> Option<ConnectionId> {
        match self.host {
            HostState::Lost { host, cause: LossCause::Silent, .. } => Some(host),
            HostState::Present { .. }
            | HostState::Vouched { .. }
            | HostState::Lost { .. }
            | HostState::Elected { .. }
            | HostState::Parked { .. } => None,
        }
    }

    fn rank(&self, tried: &[ConnectionId], excluded: Option<ConnectionId>) -> Ranking {
        let candidates: Vec<Candidate> = self
            .members
            .iter()
            .filter(|&(&connection, _)| Some(connection) != excluded)
            .map(|(&connection, member)| Candidate {
                connection,
                can_host: member.can_host,
                connected_since: match member.presence {
                    Presence::Connected { since } => Some(since),
                    Presence::Disconnected { .. } => None,
                },
                failed: tried.contains(&connection),
            })
            .collect();
        election::elect(&candidates, &Policy::default())
    }

    /// The lobby as its members see it.
    #[must_use]
    pub fn view(&self) -> LobbyView {
        LobbyView {
            id: self.id,
            name: self.name.clone(),
            join_code: self.join_code,
            build_id: self.build_id.clone(),
            settings: self.settings.clone(),
            created_at: self.created_at,
            epoch: self.epoch,
            host: self.host.clone(),
            successor: self.successor,
            members: self.members.iter().map(|(&connection, member)| member_view(connection, member)).collect(),
            seq: self.last_event,
            closed: self.closed,
        }
    }

    /// When this member's seat is given up, if it stays away.
    fn removal_at(&self, connection: ConnectionId) -> Option<Timestamp> {
        if matches!(self.host, HostState::Vouched { host, .. } if host == connection) {
            return None;
        }
        match self.members.get(&connection)?.presence {
            Presence::Connected { .. } => None,
            Presence::Disconnected { since } => Some(since.after(self.settings.removal_delay())),
        }
    }
}

fn member_view(connection: ConnectionId, member: &Member) -> MemberView {
    MemberView {
        connection,
        player: member.player,
        name: member.name.clone(),
        peer_key: member.peer_key,
        can_host: member.can_host,
        direct_address: member.direct_address.clone(),
        joined_at: member.joined_at,
        presence: member.presence,
    }
}

/// One decision in the making: the lobby, and what has happened so far.
struct Step {
    lobby: Lobby,
    events: Vec<Event>,
    now: Timestamp,
}

impl Step {
    fn emit(&mut self, body: EventBody) {
        self.lobby.last_event = EventSeq(self.lobby.last_event.0 + 1);
        self.events.push(Event { seq: self.lobby.last_event, at: self.now, epoch: self.lobby.epoch, body });
    }

    /// Announces the successor if it has changed. Last, so that it is right for all that happened.
    fn finish(mut self) -> (Lobby, Vec<Event>) {
        let successor = self.lobby.ranking().first();
        if successor != self.lobby.successor && !self.lobby.closed {
            self.lobby.successor = successor;
            self.emit(EventBody::SuccessorChanged { successor });
        }
        (self.lobby, self.events)
    }

    fn join(&mut self, newcomer: Newcomer) -> Result<(), Rejection> {
        newcomer.check()?;
        self.check_key(newcomer.player, newcomer.peer_key)?;
        if newcomer.build_id != self.lobby.build_id {
            return Err(Rejection::BuildMismatch { expected: self.lobby.build_id.clone() });
        }
        if let Some(connection) = self.lobby.seat_of(newcomer.player) {
            return self.sit_down_again(connection, newcomer);
        }
        if self.lobby.members.len() >= self.lobby.settings.max_members as usize {
            return Err(Rejection::Full(self.lobby.settings.max_members));
        }
        let connection = self.seat_for(newcomer.player);
        let member = Member {
            player: newcomer.player,
            name: newcomer.name,
            peer_key: newcomer.peer_key,
            can_host: newcomer.can_host,
            direct_address: newcomer.direct_address,
            joined_at: self.now,
            presence: Presence::Connected { since: self.now },
            holder: newcomer.holder,
        };
        let view = member_view(connection, &member);
        self.lobby.members.insert(connection, member);
        self.lobby.empty_since = None;
        self.emit(EventBody::MemberJoined { member: view });
        Ok(())
    }

    /// The seat that was this player's before, or one that was nobody's (P6).
    fn seat_for(&mut self, player: PlayerId) -> ConnectionId {
        if planted::is(Bug::ReuseConnectionId)
            && let Some(seat) = self.lobby.former.pop_back()
        {
            return seat.connection;
        }
        if let Some(index) = self.lobby.former.iter().position(|seat| seat.player == player)
            && let Some(seat) = self.lobby.former.remove(index)
        {
            return seat.connection;
        }
        let connection = self.lobby.next_connection;
        self.lobby.next_connection = ConnectionId(connection.0 + 1);
        connection
    }

    fn sit_down_again(&mut self, connection: ConnectionId, newcomer: Newcomer) -> Result<(), Rejection> {
        if let Some(member) = self.lobby.members.get_mut(&connection)
            && (&member.name, member.can_host, &member.direct_address)
                != (&newcomer.name, newcomer.can_host, &newcomer.direct_address)
        {
            member.name = newcomer.name;
            member.can_host = newcomer.can_host;
            member.direct_address = newcomer.direct_address;
            let member = member_view(connection, member);
            self.emit(EventBody::MemberChanged { member });
        }
        // Asked again, maybe long ago and on another way: where a connected process is heard is not known from that.
        let heard_by = self.lobby.members.get(&connection).filter(|member| member.is_connected());
        let heard_by = heard_by.filter(|member| member.peer_key == newcomer.peer_key).map(|member| member.holder);
        self.connect(connection, newcomer.player, newcomer.peer_key, heard_by.unwrap_or(newcomer.holder))
    }

    /// Links are known by their keys: nobody may take another member's.
    fn check_key(&self, player: PlayerId, peer_key: PeerKey) -> Result<(), Rejection> {
        if self.lobby.members.values().any(|member| member.peer_key == peer_key && member.player != player) {
            return Err(Rejection::Invalid { field: "peer_key", rule: "of this process alone: another member has it" });
        }
        Ok(())
    }

    fn connect(
        &mut self,
        connection: ConnectionId,
        player: PlayerId,
        peer_key: PeerKey,
        holder: InstanceId,
    ) -> Result<(), Rejection> {
        self.check_key(player, peer_key)?;
        let now = self.now;
        let member = self
            .lobby
            .members
            .get_mut(&connection)
            .filter(|member| member.player == player)
            .ok_or(Rejection::NotMember)?;
        let restarted = member.peer_key != peer_key;
        let was_away = !member.is_connected();
        member.holder = holder;
        if !restarted && !was_away {
            return Ok(());
        }
        member.peer_key = peer_key;
        member.presence = Presence::Connected { since: now };
        self.emit(EventBody::MemberConnected { connection, peer_key, restarted });
        if restarted {
            self.process_of_host_is_gone(connection)
        } else {
            self.host_is_back(connection)
        }
        Ok(())
    }

    /// The same process that was host is connected again.
    fn host_is_back(&mut self, connection: ConnectionId) {
        if planted::is(Bug::ElectWhileHostIsThere) {
            return;
        }
        let since = match self.lobby.host {
            HostState::Lost { host, since, cause: LossCause::Disconnected, .. } if host == connection => since,
            HostState::Vouched { host, since, .. } if host == connection => since,
            HostState::Parked { former: Some(host), .. } if host == connection => self.now,
            HostState::Present { .. }
            | HostState::Vouched { .. }
            | HostState::Lost { .. }
            | HostState::Elected { .. }
            | HostState::Parked { .. } => return,
        };
        self.lobby.host = HostState::Present { host: connection, since };
        self.emit(EventBody::HostReturned { host: connection });
    }

    /// Another process sits where the host, or the one elected, sat.
    fn process_of_host_is_gone(&mut self, connection: ConnectionId) {
        match &mut self.lobby.host {
            HostState::Elected { host, .. } if *host == connection => self.election_failed(),
            HostState::Present { host, .. } | HostState::Vouched { host, .. } if *host == connection => {
                self.lose_host(LossCause::Restarted);
            }
            HostState::Lost { host, cause, deadline, .. } if *host == connection => {
                *cause = LossCause::Restarted;
                *deadline = self.now;
            }
            HostState::Parked { former, .. } if *former == Some(connection) => *former = None,
            HostState::Present { .. }
            | HostState::Vouched { .. }
            | HostState::Lost { .. }
            | HostState::Elected { .. }
            | HostState::Parked { .. } => {}
        }
    }

    fn disconnect(&mut self, connection: ConnectionId, peer_key: PeerKey, holder: InstanceId) {
        let now = self.now;
        let is_heard_there = |member: &Member| member.holder == holder || planted::is(Bug::DisconnectIgnoresHolder);
        match self.lobby.members.get_mut(&connection) {
            Some(member) if member.peer_key == peer_key && is_heard_there(member) && member.is_connected() => {
                member.presence = Presence::Disconnected { since: now };
            }
            _ => return,
        }
        self.emit(EventBody::MemberDisconnected { connection });
        match self.lobby.host {
            HostState::Present { host, .. } if host == connection => self.lose_host(LossCause::Disconnected),
            HostState::Elected { host, .. } if host == connection => self.election_failed(),
            // It was silent and is now gone: the guests are not asked any more, the delay runs on.
            HostState::Present { .. }
            | HostState::Vouched { .. }
            | HostState::Lost { .. }
            | HostState::Elected { .. }
            | HostState::Parked { .. } => {}
        }
    }

    fn leave(&mut self, connection: ConnectionId, player: PlayerId) -> Result<(), Rejection> {
        if self.lobby.members.get(&connection).is_none_or(|member| member.player != player) {
            return Err(Rejection::NotMember);
        }
        self.give_up_seat(connection, LeaveReason::Left);
        Ok(())
    }

    fn give_up_seat(&mut self, connection: ConnectionId, reason: LeaveReason) {
        let Some(member) = self.lobby.members.remove(&connection) else { return };
        self.lobby.former.push_back(FormerSeat { player: member.player, connection });
        if self.lobby.former.len() > limits::FORMER_SEATS_MAX {
            self.lobby.former.pop_front();
        }
        self.emit(EventBody::MemberLeft { connection, reason });
        match &mut self.lobby.host {
            HostState::Present { host, .. } | HostState::Vouched { host, .. } if *host == connection => {
                self.lose_host(LossCause::Left);
            }
            HostState::Lost { host, cause, deadline, .. } if *host == connection => {
                *cause = LossCause::Left;
                *deadline = self.now;
            }
            HostState::Elected { host, .. } if *host == connection => self.election_failed(),
            HostState::Parked { former, .. } if *former == Some(connection) => *former = None,
            HostState::Present { .. }
            | HostState::Vouched { .. }
            | HostState::Lost { .. }
            | HostState::Elected { .. }
            | HostState::Parked { .. } => {}
        }
        if self.lobby.members.is_empty() {
            self.lobby.empty_since = Some(self.now);
        }
    }

    fn ready(&mut self, connection: ConnectionId) -> Result<(), Rejection> {
        match self.lobby.host {
            HostState::Elected { host, .. } if host == connection => {
                self.lobby.host = HostState::Present { host, since: self.now };
                self.emit(EventBody::HostReady { host });
                Ok(())
            }
            // Said again because the answer was lost.
            HostState::Present { host, .. } | HostState::Vouched { host, .. } | HostState::Lost { host, .. }
                if host == connection =>
            {
                Ok(())
            }
            HostState::Present { .. }
            | HostState::Vouched { .. }
            | HostState::Lost { .. }
            | HostState::Elected { .. }
            | HostState::Parked { .. } => Err(Rejection::NotHost(connection)),
        }
    }

    fn host_silent(&mut self) {
        // A host that nobody could replace stays: whoever does not hear it has nothing better to follow.
        if matches!(self.lobby.host, HostState::Present { .. }) && self.lobby.ranking().first().is_some() {
            self.lose_host(LossCause::Silent);
        }
    }

    fn host_heard(&mut self) {
        let until = self.now.after(limits::VOUCH);
        let (host, since) = match self.lobby.host {
            HostState::Lost { host, since, cause: LossCause::Silent | LossCause::Disconnected, .. } => (host, since),
            HostState::Parked { reason: ParkReason::NobodyEligible, former: Some(host), .. } => (host, self.now),
            HostState::Vouched { host, since, .. } => {
                self.lobby.host = HostState::Vouched { host, since, until };
                return;
            }
            HostState::Present { .. }
            | HostState::Lost { .. }
            | HostState::Elected { .. }
            | HostState::Parked { .. } => return,
        };
        if self.lobby.is_connected(host) {
            self.lobby.host = HostState::Present { host, since };
            self.emit(EventBody::HostReturned { host });
        } else {
            self.lobby.host = HostState::Vouched { host, since, until };
            self.emit(EventBody::HostVouched { host });
        }
    }

    fn lose_host(&mut self, cause: LossCause) {
        let (HostState::Present { host, since } | HostState::Vouched { host, since, .. }) = self.lobby.host else {
            return;
        };
        let delay = match cause {
            LossCause::Disconnected | LossCause::Silent => self.lobby.settings.election_delay(),
            LossCause::Restarted | LossCause::Left => Duration::ZERO,
        };
        let deadline = self.now.after(delay);
        self.lobby.host = HostState::Lost { host, since, cause, lost_at: self.now, deadline };
        self.emit(EventBody::HostLost { host, cause, deadline });
    }

    /// The one elected is not ready in time, or gone: the next one.
    fn election_failed(&mut self) {
        let HostState::Elected { host, tried, .. } = &mut self.lobby.host else { return };
        let host = *host;
        let mut tried = std::mem::take(tried);
        tried.push(host);
        self.lobby.failed_elections.push(self.now);
        self.emit(EventBody::ElectionFailed { host });
        self.elect(tried);
    }

    fn elect(&mut self, mut tried: Vec<ConnectionId>) {
        let now = self.now;
        self.lobby.failed_elections.retain(|&at| now.since(at) < limits::FAILED_ELECTION_WINDOW);
        if self.lobby.failed_elections.len() >= limits::FAILED_ELECTIONS_MAX {
            let until = now.after(limits::FAILED_ELECTION_WINDOW);
            return self.park(ParkReason::TooManyFailedElections, Some(until));
        }
        let ranking = self.lobby.rank(&tried, self.lobby.silent_host());
        let Some(host) = ranking.first() else {
            return self.nobody_to_elect();
        };
        // Everybody has failed once: they are tried again, until there were too many failures.
        if tried.contains(&host) {
            tried.clear();
        }
        self.lobby.epoch = self.lobby.epoch.next();
        let ready_by = now.after(self.lobby.settings.ready_timeout());
        self.lobby.host = HostState::Elected { host, ready_by, tried };
        self.emit(EventBody::HostElected { host, ready_by, ranking });
    }

    /// A silent host that is still there goes on; else nobody does, for now.
    fn nobody_to_elect(&mut self) {
        match self.lobby.host {
            HostState::Lost { host, since, cause: LossCause::Silent, .. } if self.lobby.is_connected(host) => {
                self.lobby.host = HostState::Present { host, since };
                self.emit(EventBody::HostReturned { host });
            }
            HostState::Present { .. }
            | HostState::Vouched { .. }
            | HostState::Lost { .. }
            | HostState::Elected { .. }
            | HostState::Parked { .. } => self.park(ParkReason::NobodyEligible, None),
        }
    }

    fn park(&mut self, reason: ParkReason, until: Option<Timestamp>) {
        let former = match self.lobby.host {
            HostState::Lost { host, cause: LossCause::Disconnected | LossCause::Silent, .. } => Some(host),
            HostState::Parked { former, .. } => former,
            HostState::Present { .. }
            | HostState::Vouched { .. }
            | HostState::Lost { .. }
            | HostState::Elected { .. } => None,
        };
        self.lobby.host = HostState::Parked { reason, former, until };
        self.emit(EventBody::HostParked { reason, until });
    }

    /// Gives every deadline that has passed its time again; and every one that lies further ahead than it can: the clock was set
    /// back meanwhile.
    fn resume(&mut self) {
        let now = self.now;
        let settings = self.lobby.settings.clone();
        let is_off = |at: Timestamp, term: Duration| at <= now || at > now.after(term);
        match &mut self.lobby.host {
            HostState::Lost { host, cause, deadline, .. } if is_off(*deadline, settings.election_delay()) => {
                *deadline = now.after(settings.election_delay());
                let (host, cause, deadline) = (*host, *cause, *deadline);
                self.emit(EventBody::HostLost { host, cause, deadline });
            }
            HostState::Elected { ready_by, .. } if is_off(*ready_by, settings.ready_timeout()) => {
                *ready_by = now.after(settings.ready_timeout());
            }
            HostState::Vouched { until, .. } if is_off(*until, limits::VOUCH) => *until = now.after(limits::VOUCH),
            HostState::Present { .. }
            | HostState::Vouched { .. }
            | HostState::Lost { .. }
            | HostState::Elected { .. }
            | HostState::Parked { .. } => {}
        }
        let seats = self.lobby.members.keys().copied();
        let removal = settings.removal_delay();
        let overdue: Vec<_> =
            seats.filter(|&seat| self.lobby.removal_at(seat).is_some_and(|at| is_off(at, removal))).collect();
        for connection in overdue {
            if let Some(member) = self.lobby.members.get_mut(&connection) {
                member.presence = Presence::Disconnected { since: now };
                self.emit(EventBody::MemberDisconnected { connection });
            }
        }
    }

    /// Does everything that is due. Each turn of the loop ends a deadline, a member or the lobby, so it ends.
    fn settle(&mut self) {
        while !self.lobby.closed && self.settle_once() {}
    }

    fn settle_once(&mut self) -> bool {
        let due = |at: Timestamp| at <= self.now;
        match self.lobby.host {
            HostState::Lost { since, cause, lost_at, deadline, .. } if due(deadline) => {
                // Dead soon after it was elected: what it restored may be what killed it.
                let was_elected = self.lobby.epoch > HostEpoch::FIRST;
                if was_elected && cause != LossCause::Left && lost_at.since(since) < limits::HOST_PROBATION {
                    self.lobby.failed_elections.push(self.now);
                }
                self.elect(Vec::new());
                return true;
            }
            HostState::Elected { ready_by, .. } if due(ready_by) => {
                self.election_failed();
                return true;
            }
            HostState::Vouched { host, until, .. } if due(until) => {
                // The guests' word has kept its seat: the removal delay begins now.
                if let Some(member) = self.lobby.members.get_mut(&host) {
                    member.presence = Presence::Disconnected { since: self.now };
                    self.emit(EventBody::MemberDisconnected { connection: host });
                }
                self.lose_host(LossCause::Disconnected);
                return true;
            }
            HostState::Parked { reason: ParkReason::NobodyEligible, .. } if self.lobby.ranking().first().is_some() => {
                self.elect(Vec::new());
                return true;
            }
            HostState::Parked { until: Some(until), .. } if due(until) => {
                self.lobby.failed_elections.clear();
                self.elect(Vec::new());
                return true;
            }
            HostState::Present { .. }
            | HostState::Vouched { .. }
            | HostState::Lost { .. }
            | HostState::Elected { .. }
            | HostState::Parked { .. } => {}
        }
        let overdue =
            self.lobby.members.keys().copied().find(|&connection| self.lobby.removal_at(connection).is_some_and(due));
        if let Some(connection) = overdue {
            self.give_up_seat(connection, LeaveReason::Removed);
            return true;
        }
        if self.lobby.empty_since.is_some_and(|since| due(since.after(limits::EMPTY_LOBBY_KEPT))) {
            self.lobby.closed = true;
            self.emit(EventBody::LobbyClosed);
        }
        false
    }
}

#[cfg(test)]
pub(crate) mod tests;
