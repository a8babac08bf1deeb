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

mod command;
pub mod data;
pub mod election;
pub mod listing;
mod member;
mod settings;
mod state;
mod step;

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::error::Rejection;
use crate::id::{ConnectionId, EventSeq, HostEpoch, InstanceId, JoinCode, LobbyId, PeerKey, PlayerId, RequestKey};
use crate::limits;
use crate::message::{Event, LobbyView, MemberView};
use crate::planted::{self, Bug};
use crate::time::Timestamp;

pub use command::{Actor, Ban, Bulk, Command, LobbyPatch, MemberPatch, Reservation, Return};
use data::{Data, DataPatch, DataVisibility};
use election::{Candidate, Policy, Ranking};
pub use member::{Admission, Newcomer};
use member::{FormerSeat, Member, check_name};
pub use settings::{PasswordHash, Settings, SettingsPatch, Visibility};
pub use state::{HandOver, HostState, LeaveReason, LossCause, ParkReason, Presence};
use step::Step;

/// What a lobby is made of, beside its creator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLobby {
    /// Its id, which nobody else has or will have.
    pub id: LobbyId,
    /// The game chose the id, and lets players in by it.
    pub is_id_chosen: bool,
    /// Its join code.
    pub join_code: JoinCode,
    /// 1 to 128 characters.
    pub name: String,
    /// Its settings.
    pub settings: Settings,
    /// What newcomers have to know.
    pub password: Option<PasswordHash>,
    /// Its data.
    pub data: DataPatch,
}

impl NewLobby {
    /// One with nothing but its name and its settings.
    #[must_use]
    pub const fn new(id: LobbyId, join_code: JoinCode, name: String, settings: Settings) -> Self {
        Self { id, is_id_chosen: false, join_code, name, settings, password: None, data: DataPatch::new() }
    }
}

/// Who looks at a lobby, and so how much of it there is to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Viewer {
    /// One of its members.
    Member(ConnectionId),
    /// All of its members: what each of them may see.
    Members,
    /// A server of the game, or an operator: all of it.
    Server,
    /// Anybody.
    Anybody,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hand_over: Option<HandOver>,
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
    #[serde(default)]
    updated_at: Timestamp,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_id_chosen: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password: Option<PasswordHash>,
    #[serde(default, skip_serializing_if = "Data::is_empty")]
    data: Data,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    bans: BTreeMap<PlayerId, Ban>,
}

impl Lobby {
    /// Makes a lobby with its creator as member 0, connected and host at epoch 1.
    ///
    /// # Errors
    /// [`Rejection::Invalid`] for a name, a text or a setting out of its bounds; [`Rejection::TooMuch`] for its data.
    pub fn create(new: NewLobby, creator: Newcomer, now: Timestamp) -> Result<(Self, Vec<Event>), Rejection> {
        let NewLobby { id, is_id_chosen, join_code, name, settings, password, data } = new;
        check_name("lobby_name", &name, 1)?;
        settings.check()?;
        creator.check()?;
        let (data, _) = data::patched(&Data::new(), data, data::OF_LOBBY)?;
        let lobby = Self {
            id,
            name,
            join_code,
            build_id: creator.build_id.clone(),
            settings,
            created_at: now,
            epoch: HostEpoch::FIRST,
            host: HostState::Present { host: ConnectionId(0), since: now },
            hand_over: None,
            members: BTreeMap::new(),
            former: VecDeque::new(),
            next_connection: ConnectionId(0),
            successor: None,
            failed_elections: Vec::new(),
            last_event: EventSeq(0),
            empty_since: None,
            closed: false,
            relay: None,
            updated_at: now,
            is_id_chosen,
            password,
            data,
            bans: BTreeMap::new(),
        };
        let mut step = Step::new(lobby, now);
        step.sit_down(creator)?;
        step.check_data()?;
        Ok(step.finish())
    }

    /// Decides one command, and everything that is due by `now`.
    ///
    /// # Errors
    /// Why it is refused. An epoch that is not the lobby's is refused before anything else is looked at.
    pub fn apply(self, command: Command, now: Timestamp) -> Result<(Self, Vec<Event>), Rejection> {
        self.check_epoch(&command)?;
        if let Some(Actor::Host { connection, epoch }) = command.actor() {
            self.check_host_write(connection, epoch)?;
        }
        if self.closed && !matches!(command, Command::Due | Command::Resume) {
            return Err(Rejection::Closed);
        }
        let mut step = Step::new(self, now);
        step.take(command)?;
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
        let hand_over = self.hand_over.map(|asked| asked.until);
        let removal = self.members.keys().filter_map(|&connection| self.removal_at(connection)).min();
        let close = self.empty_since.map(|since| since.after(limits::EMPTY_LOBBY_KEPT));
        [host, hand_over, removal, close].into_iter().flatten().min()
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

    /// What the host has been asked to prepare, while it is there to do it.
    #[must_use]
    pub const fn hand_over(&self) -> Option<HandOver> {
        self.hand_over
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

    /// When something happened to it the last time.
    #[must_use]
    pub const fn updated_at(&self) -> Timestamp {
        self.updated_at
    }

    /// What newcomers have to know, if anything.
    #[must_use]
    pub const fn password(&self) -> Option<&PasswordHash> {
        self.password.as_ref()
    }

    /// Whether a player is kept from taking a seat.
    #[must_use]
    pub fn is_banned(&self, player: PlayerId, now: Timestamp) -> bool {
        self.bans.get(&player).is_some_and(|ban| ban.until.is_none_or(|until| now < until))
    }

    /// Whether a player who found it that way may know that it is there. Members always may.
    #[must_use]
    pub fn is_known_to(&self, player: PlayerId, admission: Admission, now: Timestamp) -> bool {
        let is_public = self.settings.visibility == Visibility::Public;
        let knows = match admission {
            Admission::Code(code) => code == self.join_code,
            Admission::Id => is_public,
            Admission::ChosenId => is_public || self.is_id_chosen,
            Admission::Quick => is_public && self.password.is_none(),
        };
        self.seat_of(player).is_some() || (knows && !self.is_banned(player, now))
    }

    /// All bans, also those that have ended since.
    #[must_use]
    pub const fn bans(&self) -> &BTreeMap<PlayerId, Ban> {
        &self.bans
    }

    /// Whose a seat is.
    #[must_use]
    pub fn player_at(&self, connection: ConnectionId) -> Option<PlayerId> {
        self.members.get(&connection).map(|member| member.player)
    }

    /// The key of the request that made a player a member, if it had one.
    #[must_use]
    pub fn request_of(&self, connection: ConnectionId) -> Option<RequestKey> {
        self.members.get(&connection)?.request
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

    /// Whether this member could be elected now.
    fn is_eligible(&self, connection: ConnectionId) -> bool {
        let is_host = self.host.host() == Some(connection) || self.silent_host() == Some(connection);
        self.members.get(&connection).is_some_and(|member| !is_host && member.can_host && member.is_connected())
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

    /// The lobby as somebody sees it: without the data that is not for them. Whoever is no member is not to be shown a lobby's
    /// join code or its members: that is the caller's to know.
    #[must_use]
    pub fn view(&self, viewer: Viewer) -> LobbyView {
        let is_host = matches!(viewer, Viewer::Member(connection) if self.host_writer() == Some(connection));
        let sees = |visibility| match visibility {
            DataVisibility::Public => true,
            DataVisibility::Member => viewer != Viewer::Anybody,
            DataVisibility::Private => viewer == Viewer::Server || is_host,
        };
        LobbyView {
            id: self.id,
            name: self.name.clone(),
            join_code: self.join_code,
            build_id: self.build_id.clone(),
            settings: self.settings.clone(),
            created_at: self.created_at,
            epoch: self.epoch,
            host: self.host.clone(),
            hand_over: self.hand_over,
            successor: self.successor,
            members: self.members.iter().map(|(&at, member)| member_view(at, member, viewer, &self.settings)).collect(),
            seq: self.last_event,
            closed: self.closed,
            updated_at: self.updated_at,
            has_password: self.password.is_some(),
            data: data::visible(&self.data, sees),
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

fn member_view(connection: ConnectionId, member: &Member, viewer: Viewer, settings: &Settings) -> MemberView {
    let sees = |visibility| match visibility {
        DataVisibility::Public => true,
        DataVisibility::Member => viewer != Viewer::Anybody,
        DataVisibility::Private => viewer == Viewer::Server || viewer == Viewer::Member(connection),
    };
    MemberView {
        connection,
        player: member.player,
        name: member.name.clone(),
        peer_key: member.peer_key,
        can_host: member.can_host,
        direct_address: member.direct_address.clone().filter(|_| !settings.relay_only || viewer == Viewer::Server),
        browser: member.browser,
        joined_at: member.joined_at,
        presence: member.presence,
        data: data::visible(&member.data, sees),
    }
}

#[cfg(test)]
pub(crate) mod tests;
