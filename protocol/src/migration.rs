//! One peer's view of its lobby: who is host, which epoch counts, what to do when the host is lost.
//!
//! ```text
//!   guest:  Dialing ──link up, welcome──▶ InGame ──silent, link down──▶ Dialing, or the guest of the next host
//!   elected:  Fetching ──▶ Restoring ──▶ Host, which the lobby is told meanwhile
//!   host:  a higher epoch in the lobby ──▶ demoted: guest of the new host
//! ```
//!
//! A guest also holds a link to the successor, for later: if that is elected, nothing has to be dialled.
//!
//! A live machine: `handle_*` in, [`Migration::poll_effect`] out. The lobby's events alone say who is host. Frames of peers are
//! fenced by [`Migration::admit`] before anything else is done with them (P4).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use crate::detector::Detector;
use crate::frame::HostHint;
use crate::id::{ConnectionId, HostEpoch, PeerKey};
use crate::limits;
use crate::lobby::{HostState, LeaveReason, LossCause, ParkReason};
use crate::message::{Event, EventBody, LobbyView};
use crate::planted::{self, Bug};

/// What the driver has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Open a link to this member, or take the one that is open, and say [`crate::frame::Hello`] on it. Its certificate must have this
    /// fingerprint.
    Dial {
        /// Whom.
        host: ConnectionId,
        /// Of which process.
        peer_key: PeerKey,
        /// At which epoch.
        epoch: HostEpoch,
    },
    /// Open a link to the successor, for later; then call [`Migration::handle_standby_up`].
    DialStandby {
        /// Whom.
        successor: ConnectionId,
        /// Of which process.
        peer_key: PeerKey,
        /// At which epoch.
        epoch: HostEpoch,
    },
    /// Close the link to this peer, if there is one.
    HangUp {
        /// Whom.
        peer: ConnectionId,
    },
    /// Find the newest state ([`crate::takeover`]), then call [`Migration::handle_fetched`] or [`Migration::handle_fetch_failed`].
    Fetch {
        /// For which epoch.
        epoch: HostEpoch,
    },
    /// Give the state that was found to the game, then call [`Migration::handle_restored`].
    Restore {
        /// For which epoch.
        epoch: HostEpoch,
    },
    /// Tell the lobby that the game runs, then call [`Migration::handle_ready`].
    ConfirmReady {
        /// At which epoch.
        epoch: HostEpoch,
    },
    /// Show the relay the grant of this epoch.
    PresentGrant {
        /// Of which epoch.
        epoch: HostEpoch,
    },
    /// Let this guest in: ask the game, then welcome it.
    Admit {
        /// Whom.
        guest: ConnectionId,
        /// The game knows it: it was let in here before, or by the host whose snapshot was restored.
        returning: bool,
    },
    /// Ask the game for its state and upload it: the first snapshot of this epoch.
    Upload {
        /// Of which epoch.
        epoch: HostEpoch,
    },
    /// Tell the lobby whether the host is heard.
    Report {
        /// Of which epoch.
        epoch: HostEpoch,
        /// Heard or not.
        hears_host: bool,
    },
    /// Answer the lobby's challenge.
    Hears {
        /// Of which epoch.
        epoch: HostEpoch,
        /// The guests that are heard.
        guests: Vec<ConnectionId>,
    },
    /// Something does not fit: ask the lobby for everything, then call [`Migration::handle_resync`].
    Resync,
    /// Tell the game.
    Notify(Notice),
}

/// What a game may want to know. It may ignore all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Members, or what is known of them, changed.
    PeersUpdated,
    /// The lobby has lost its host.
    HostLost {
        /// Who it was.
        host: ConnectionId,
        /// Why.
        cause: LossCause,
    },
    /// The lost host is still there: nothing has changed.
    HostReturned {
        /// Who.
        host: ConnectionId,
    },
    /// A member was elected and restores the game.
    HostElected {
        /// Who.
        host: ConnectionId,
        /// Its epoch.
        epoch: HostEpoch,
    },
    /// This peer is in the game of a new host.
    HostMigrated {
        /// Who.
        host: ConnectionId,
        /// Its epoch.
        epoch: HostEpoch,
    },
    /// This peer is in the game, for the first time or again at the same host.
    JoinedGame {
        /// The host.
        host: ConnectionId,
        /// Its epoch.
        epoch: HostEpoch,
    },
    /// The link to the host is down, or nothing is heard on it.
    DisconnectedFromHost {
        /// The host.
        host: ConnectionId,
    },
    /// The host said that it leaves.
    HostShutDown {
        /// Who.
        host: ConnectionId,
    },
    /// This peer runs the game now.
    BecameHost {
        /// Its epoch.
        epoch: HostEpoch,
    },
    /// This peer was host, or elected, and another one is now. What it did since has no effect.
    Demoted {
        /// The epoch that counts.
        epoch: HostEpoch,
    },
    /// A player is in the game for the first time.
    PlayerJoined {
        /// Its seat.
        connection: ConnectionId,
    },
    /// A player gave up its seat, or stayed away for too long.
    PlayerLeft {
        /// Its seat.
        connection: ConnectionId,
        /// Why.
        reason: LeaveReason,
    },
    /// A player is away; its seat is kept.
    PlayerDisconnected {
        /// Its seat.
        connection: ConnectionId,
    },
    /// A player is back, with its connection id.
    PlayerReconnected {
        /// Its seat.
        connection: ConnectionId,
    },
    /// Nobody is host for now.
    Parked {
        /// Why.
        reason: ParkReason,
    },
    /// This peer has no seat any more, or the lobby is closed.
    Removed,
}

/// What a peer is in its lobby.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// The lobby has no host that this peer could follow.
    Waiting,
    /// It follows a host.
    Guest {
        /// Whom.
        host: ConnectionId,
        /// At which epoch.
        epoch: HostEpoch,
        /// How far it is.
        link: GuestLink,
    },
    /// It was elected.
    Becoming {
        /// For which epoch.
        epoch: HostEpoch,
        /// How far it is.
        stage: Stage,
    },
    /// It runs the game.
    Host {
        /// At which epoch.
        epoch: HostEpoch,
    },
    /// It has no seat any more.
    Out,
}

/// A guest's link to its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestLink {
    /// Being opened; or to be opened anew at this time.
    Dialing {
        /// `None` while an attempt is under way.
        again_at: Option<Instant>,
    },
    /// Welcomed.
    InGame {
        /// When the host was last heard.
        heard_at: Instant,
        /// What the lobby was told last.
        hears: bool,
    },
}

/// How far an elected host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It needs the newest snapshot; or tries again at this time.
    Fetching {
        /// `None` while an attempt is under way.
        again_at: Option<Instant>,
    },
    /// The game restores it.
    Restoring,
}

/// Whether the lobby knows that a host is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Confirmation {
    Done,
    /// It is told; or told again at this time.
    Asking {
        again_at: Option<Instant>,
    },
}

/// A guest's link to the successor.
#[derive(Debug, Clone, Copy)]
struct Standby {
    successor: ConnectionId,
    peer_key: PeerKey,
    up: bool,
    /// `None` while it is up, or an attempt is under way.
    again_at: Option<Instant>,
}

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It counts.
    Accept,
    /// It is from a host that is not host any more, or meant for one: it changes nothing.
    Stale,
    /// Its sender knows a newer epoch than this peer: it changes nothing yet.
    Ahead,
}

/// The lobby's answer to `ready`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadyAnswer {
    /// This peer is host.
    Confirmed,
    /// Another one is, by now.
    Refused,
    /// No answer: it may have been heard or not.
    Unknown,
}

#[derive(Debug)]
struct Guest {
    heard_at: Instant,
    in_game: bool,
}

/// One peer in one lobby.
#[derive(Debug)]
pub struct Migration {
    me: ConnectionId,
    lobby: LobbyView,
    role: Role,
    /// Links of guests, while this peer is host or becomes it.
    guests: BTreeMap<ConnectionId, Guest>,
    /// Who was in the game before, on this host or one before it.
    known: BTreeSet<ConnectionId>,
    was_in_game: bool,
    confirmation: Confirmation,
    /// When the host that this guest follows is silent.
    detector: Detector,
    standby: Option<Standby>,
    /// The successor before, while the new one is not reached yet.
    former_standby: Option<ConnectionId>,
    /// Since when the lobby has lost the host that this guest follows, and when the lobby was last told that it is heard.
    lobby_lost_host: Option<(Instant, Option<Instant>)>,
    effects: VecDeque<Effect>,
}

impl Migration {
    /// A peer that has just created the lobby and so runs its game at the first epoch, or that has just joined it.
    #[must_use]
    pub fn new(me: ConnectionId, lobby: LobbyView, created: bool, now: Instant) -> Self {
        let role = if created { Role::Host { epoch: lobby.epoch } } else { Role::Waiting };
        let mut migration = Self {
            me,
            lobby,
            role,
            guests: BTreeMap::new(),
            known: BTreeSet::new(),
            was_in_game: created,
            confirmation: Confirmation::Done,
            detector: Detector::default(),
            standby: None,
            former_standby: None,
            lobby_lost_host: None,
            effects: VecDeque::new(),
        };
        if let Role::Host { epoch } = migration.role {
            migration.starts_to_host(epoch);
            migration.is_confirmed(epoch);
        }
        migration.follow_lobby(now);
        migration
    }

    /// This peer's seat.
    #[must_use]
    pub const fn me(&self) -> ConnectionId {
        self.me
    }

    /// The lobby, as far as this peer knows.
    #[must_use]
    pub const fn lobby(&self) -> &LobbyView {
        &self.lobby
    }

    /// What it is.
    #[must_use]
    pub const fn role(&self) -> &Role {
        &self.role
    }

    /// The epoch that its frames carry.
    #[must_use]
    pub const fn epoch(&self) -> HostEpoch {
        match self.role {
            Role::Guest { epoch, .. } | Role::Becoming { epoch, .. } | Role::Host { epoch } => epoch,
            Role::Waiting | Role::Out => self.lobby.epoch,
        }
    }

    /// The guests that are in the game, while this peer is host.
    pub fn guests_in_game(&self) -> impl Iterator<Item = ConnectionId> + '_ {
        self.guests.iter().filter(|(_, guest)| guest.in_game).map(|(&connection, _)| connection)
    }

    /// What is to be done next.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Self::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let standby = self.standby.and_then(|standby| standby.again_at);
        let own = match &self.role {
            Role::Guest { link: GuestLink::Dialing { again_at }, .. }
            | Role::Becoming { stage: Stage::Fetching { again_at }, .. } => *again_at,
            Role::Guest { link: GuestLink::InGame { hears, .. }, .. } => {
                let silent_at = self.detector.silent_at().filter(|_| *hears);
                let repeat_at =
                    self.lobby_lost_host.and_then(|(_, told)| told).map(|told| told + limits::REPORT_INTERVAL);
                [silent_at, repeat_at].into_iter().flatten().min()
            }
            Role::Host { .. } => match self.confirmation {
                Confirmation::Asking { again_at } => again_at,
                Confirmation::Done => None,
            },
            Role::Becoming { stage: Stage::Restoring, .. } | Role::Waiting | Role::Out => None,
        };
        [own, standby].into_iter().flatten().min()
    }

    /// The next event of the lobby. One that is not the next asks for a resync and changes nothing.
    pub fn handle_event(&mut self, event: &Event, now: Instant) {
        if event.seq <= self.lobby.seq {
            return;
        }
        if !self.lobby.apply(event) {
            self.push(Effect::Resync);
            return;
        }
        self.tell_of(&event.body, now);
        self.follow_lobby(now);
    }

    /// The whole lobby. One that is older than what this peer knows is ignored.
    pub fn handle_resync(&mut self, lobby: LobbyView, now: Instant) {
        if (lobby.epoch, lobby.seq) < (self.lobby.epoch, self.lobby.seq) {
            return;
        }
        let before = std::mem::replace(&mut self.lobby, lobby);
        self.notify(Notice::PeersUpdated);
        for member in before.members {
            match self.lobby.member(member.connection).map(|now| now.peer_key) {
                // Why is not known any more; that it is gone is what counts.
                None => self.member_left(member.connection, LeaveReason::Left),
                Some(peer_key) if peer_key != member.peer_key => self.member_restarted(member.connection, now),
                Some(_) => {}
            }
        }
        self.follow_lobby(now);
    }

    /// The service says that this peer has no seat (any more).
    pub fn handle_removed(&mut self) {
        self.leave_links();
        self.role = Role::Out;
        self.notify(Notice::Removed);
    }

    /// The relay says who is host. A hint: if it is news, the lobby is asked.
    pub fn handle_relay_hint(&mut self, hint: HostHint) {
        if hint.epoch > self.lobby.epoch {
            self.push(Effect::Resync);
        }
    }

    /// The lobby asks whom this host hears.
    pub fn handle_challenge(&mut self, epoch: HostEpoch, now: Instant) {
        if self.role == (Role::Host { epoch }) {
            let heard = |guest: &Guest| now.saturating_duration_since(guest.heard_at) < limits::SUSPICION;
            let guests =
                self.guests.iter().filter(|(_, guest)| heard(guest)).map(|(&connection, _)| connection).collect();
            self.push(Effect::Hears { epoch, guests });
        }
    }

    /// Fences a frame by its epoch, and notes that its sender lives. Anything but [`Admission::Accept`] is to be dropped.
    pub fn admit(&mut self, from: ConnectionId, epoch: HostEpoch, now: Instant) -> Admission {
        let mine = self.epoch();
        if epoch > mine {
            return Admission::Ahead;
        }
        if epoch < mine && !planted::is(Bug::GuestIgnoresEpoch) {
            return Admission::Stale;
        }
        match &mut self.role {
            Role::Guest { host, .. } if *host == from || planted::is(Bug::GuestIgnoresEpoch) => {
                self.host_heard(now);
                Admission::Accept
            }
            Role::Host { .. } | Role::Becoming { .. } => match self.guests.get_mut(&from) {
                Some(guest) => {
                    guest.heard_at = now;
                    Admission::Accept
                }
                None => Admission::Stale,
            },
            Role::Guest { .. } | Role::Waiting | Role::Out => Admission::Stale,
        }
    }

    /// The link to the successor is up: the one to the successor before it is not needed any more.
    pub fn handle_standby_up(&mut self, successor: ConnectionId) {
        if let Some(standby) = self.standby.as_mut().filter(|standby| standby.successor == successor) {
            standby.up = true;
            if let Some(peer) = self.former_standby.take() {
                self.push(Effect::HangUp { peer });
            }
        }
    }

    /// This process stood still until now: others were not silent meanwhile, it was deaf.
    pub fn handle_paused(&mut self, now: Instant) {
        self.detector.paused(now);
    }

    /// A member opens a link to this one, because it is the successor. Returns false if it is to be hung up.
    #[must_use]
    pub fn takes_standby(&self, from: ConnectionId) -> bool {
        match self.role {
            Role::Guest { host, .. } => host != from && self.lobby.member(from).is_some(),
            Role::Waiting => self.lobby.member(from).is_some(),
            Role::Becoming { .. } | Role::Host { .. } | Role::Out => false,
        }
    }

    /// A link could not be opened, or is down.
    pub fn handle_link_down(&mut self, peer: ConnectionId, now: Instant) {
        if let Some(standby) = self.standby.as_mut().filter(|standby| standby.successor == peer) {
            (standby.up, standby.again_at) = (false, Some(now + limits::DIAL_RETRY));
        }
        self.former_standby.take_if(|former| *former == peer);
        match &mut self.role {
            Role::Guest { host, epoch, link } if *host == peer => {
                let (host, epoch) = (*host, *epoch);
                let was_in_game = matches!(link, GuestLink::InGame { .. });
                *link = GuestLink::Dialing { again_at: Some(now + limits::DIAL_RETRY) };
                if was_in_game {
                    self.push(Effect::Report { epoch, hears_host: false });
                    self.notify(Notice::DisconnectedFromHost { host });
                }
            }
            Role::Host { .. } | Role::Becoming { .. } => {
                if self.guests.remove(&peer).is_some_and(|guest| guest.in_game) {
                    self.notify(Notice::PlayerDisconnected { connection: peer });
                }
            }
            Role::Guest { .. } | Role::Waiting | Role::Out => {}
        }
    }

    /// The host let this guest in.
    pub fn handle_welcome(&mut self, from: ConnectionId, now: Instant) {
        let Role::Guest { host, epoch, link } = &mut self.role else { return };
        if *host != from {
            return;
        }
        let (host, epoch) = (*host, *epoch);
        *link = GuestLink::InGame { heard_at: now, hears: true };
        self.detector = Detector::default();
        self.detector.heard(now);
        self.push(Effect::Report { epoch, hears_host: true });
        let moved = self.was_in_game && !self.known.contains(&host);
        self.known.clear();
        self.known.insert(host);
        self.was_in_game = true;
        self.notify(if moved { Notice::HostMigrated { host, epoch } } else { Notice::JoinedGame { host, epoch } });
        self.follow_successor();
    }

    /// The host says goodbye: the lobby will tell who is next.
    pub fn handle_goodbye(&mut self, from: ConnectionId, now: Instant) {
        if matches!(self.role, Role::Guest { host, .. } if host == from) {
            self.notify(Notice::HostShutDown { host: from });
            self.handle_link_down(from, now);
            self.push(Effect::HangUp { peer: from });
        }
    }

    /// A member, proven by its certificate, has opened a link and said hello at this epoch. It is let in once the game runs.
    ///
    /// Returns false if it is to be hung up: it speaks of another epoch, or this peer is not host.
    pub fn handle_hello(&mut self, from: ConnectionId, epoch: HostEpoch, now: Instant) -> bool {
        let expected = match self.role {
            Role::Host { epoch } | Role::Becoming { epoch, .. } => epoch,
            Role::Guest { .. } | Role::Waiting | Role::Out => return false,
        };
        if epoch != expected || self.lobby.member(from).is_none() {
            return false;
        }
        self.guests.insert(from, Guest { heard_at: now, in_game: false });
        if matches!(self.role, Role::Host { .. }) {
            self.push(Effect::Admit { guest: from, returning: self.known.contains(&from) });
        }
        true
    }

    /// The game has let a guest in, and it was welcomed.
    pub fn handle_admitted(&mut self, guest: ConnectionId) {
        let Some(state) = self.guests.get_mut(&guest) else { return };
        state.in_game = true;
        let returning = !self.known.insert(guest);
        self.notify(if returning {
            Notice::PlayerReconnected { connection: guest }
        } else {
            Notice::PlayerJoined { connection: guest }
        });
    }

    /// Whether the game of this host knows a seat: its own, or one that was let in, here or before the snapshot that it restored.
    #[must_use]
    pub fn has_played(&self, connection: ConnectionId) -> bool {
        connection == self.me || self.known.contains(&connection)
    }

    /// The snapshot is here, or there is none. `seats` are those that had played when it was taken.
    pub fn handle_fetched(&mut self, epoch: HostEpoch, seats: impl IntoIterator<Item = ConnectionId>) {
        if let Role::Becoming { epoch: mine, stage: stage @ Stage::Fetching { .. } } = &mut self.role
            && *mine == epoch
        {
            *stage = Stage::Restoring;
            self.known = seats.into_iter().collect();
            self.push(Effect::Restore { epoch });
        }
    }

    /// The snapshot could not be had: it is tried again until the time to be ready is over.
    pub fn handle_fetch_failed(&mut self, epoch: HostEpoch, now: Instant) {
        if let Role::Becoming { epoch: mine, stage: Stage::Fetching { again_at } } = &mut self.role
            && *mine == epoch
        {
            *again_at = Some(now + limits::DIAL_RETRY);
        }
    }

    /// The game runs from the state. It is host from now on: its epoch is its own, whoever is elected after it.
    pub fn handle_restored(&mut self, epoch: HostEpoch) {
        if self.role == (Role::Becoming { epoch, stage: Stage::Restoring }) {
            self.confirmation = Confirmation::Asking { again_at: None };
            self.push(Effect::ConfirmReady { epoch });
            self.starts_to_host(epoch);
        }
    }

    /// The lobby's answer to `ready`.
    pub fn handle_ready(&mut self, epoch: HostEpoch, answer: ReadyAnswer, now: Instant) {
        if self.role != (Role::Host { epoch }) || self.confirmation == Confirmation::Done {
            return;
        }
        match answer {
            ReadyAnswer::Confirmed => self.is_confirmed(epoch),
            ReadyAnswer::Unknown => {
                self.confirmation = Confirmation::Asking { again_at: Some(now + limits::DIAL_RETRY) }
            }
            ReadyAnswer::Refused => {
                self.stop_hosting();
                self.notify(Notice::Demoted { epoch: self.lobby.epoch });
                self.push(Effect::Resync);
            }
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if self.standby.is_some_and(|standby| due(standby.again_at)) {
            self.dial_standby();
        }
        match &mut self.role {
            Role::Guest { host, epoch, link: GuestLink::Dialing { again_at } } if due(*again_at) => {
                let (host, epoch) = (*host, *epoch);
                self.dial(host, epoch);
            }
            Role::Guest { link: GuestLink::InGame { .. }, .. } => self.listen(now),
            Role::Becoming { epoch, stage: Stage::Fetching { again_at } } if due(*again_at) => {
                *again_at = None;
                let epoch = *epoch;
                self.push(Effect::Fetch { epoch });
            }
            Role::Host { epoch } if matches!(self.confirmation, Confirmation::Asking { again_at } if due(again_at)) => {
                self.confirmation = Confirmation::Asking { again_at: None };
                let epoch = *epoch;
                self.push(Effect::ConfirmReady { epoch });
            }
            Role::Guest { .. } | Role::Becoming { .. } | Role::Waiting | Role::Host { .. } | Role::Out => {}
        }
    }

    /// Takes the part that the lobby gives this peer.
    fn follow_lobby(&mut self, now: Instant) {
        self.take_part(now);
        self.follow_successor();
    }

    fn take_part(&mut self, now: Instant) {
        if matches!(self.role, Role::Out) {
            return;
        }
        if self.lobby.closed || self.lobby.member(self.me).is_none() {
            return self.handle_removed();
        }
        let epoch = self.lobby.epoch;
        let host = self.lobby.host.host();
        self.note_loss(now);
        match self.role {
            // Whoever hosts at an older epoch hosts no more.
            Role::Host { epoch: mine } | Role::Becoming { epoch: mine, .. } if mine < epoch => {
                self.stop_hosting();
                if host != Some(self.me) {
                    self.notify(Notice::Demoted { epoch });
                }
            }
            // Its election has failed.
            Role::Becoming { .. } if matches!(self.lobby.host, HostState::Parked { .. }) => {
                self.stop_hosting();
                self.notify(Notice::Demoted { epoch });
            }
            // A host that the lobby has lost, and not replaced, goes on.
            Role::Host { .. } | Role::Becoming { .. } => return,
            Role::Waiting | Role::Guest { .. } | Role::Out => {}
        }
        match host {
            Some(host) if host == self.me => self.follow_own_election(epoch),
            Some(host) => self.follow_host(host, epoch),
            None => self.leave_replaced_host(epoch),
        }
    }

    /// Elected; or host for the lobby, but not any more in this process (its confirmation was taken for refused): then it
    /// restores what it last saved.
    fn follow_own_election(&mut self, epoch: HostEpoch) {
        if let Role::Guest { host, .. } = self.role {
            self.push(Effect::HangUp { peer: host });
        }
        self.lobby_lost_host = None;
        self.role = Role::Becoming { epoch, stage: Stage::Fetching { again_at: None } };
        self.push(Effect::Fetch { epoch });
    }

    /// Nobody is host, but the one that this guest follows was replaced meanwhile: whoever did that has failed since.
    fn leave_replaced_host(&mut self, epoch: HostEpoch) {
        if matches!(self.role, Role::Guest { epoch: mine, .. } if mine < epoch) {
            self.leave_links();
            self.known.clear();
            self.role = Role::Waiting;
        }
    }

    fn follow_host(&mut self, host: ConnectionId, epoch: HostEpoch) {
        if let Role::Guest { host: old, epoch: known, .. } = self.role {
            if (old, known) == (host, epoch) {
                return;
            }
            self.push(Effect::HangUp { peer: old });
            // What it was told there is of the old host: the next welcome is of a new one.
            self.known.clear();
        }
        self.lobby_lost_host = None;
        self.dial(host, epoch);
    }

    /// A guest in game holds a link to whoever would be elected now; the one before is let go once the new one is up.
    fn follow_successor(&mut self) {
        let wanted = match self.role {
            Role::Guest { host, link: GuestLink::InGame { .. }, .. } => {
                let successor = self.lobby.successor.filter(|successor| *successor != self.me && *successor != host);
                successor.and_then(|successor| Some((successor, self.lobby.member(successor)?.peer_key)))
            }
            // For now it is as good as it was.
            Role::Guest { link: GuestLink::Dialing { .. }, .. } => return,
            Role::Waiting | Role::Becoming { .. } | Role::Host { .. } | Role::Out => None,
        };
        if wanted.is_none()
            && let Some(former) = self.former_standby.take()
        {
            self.push(Effect::HangUp { peer: former });
        }
        if self.standby.map(|standby| (standby.successor, standby.peer_key)) == wanted {
            return;
        }
        if let Some(before) = self.standby.take() {
            let same = wanted.is_some_and(|(successor, _)| successor == before.successor);
            if !before.up || same || wanted.is_none() {
                self.push(Effect::HangUp { peer: before.successor });
            } else if let Some(older) = self.former_standby.replace(before.successor) {
                self.push(Effect::HangUp { peer: older });
            }
        }
        if let Some((successor, peer_key)) = wanted {
            if self.former_standby.take_if(|former| *former == successor).is_some() {
                self.push(Effect::HangUp { peer: successor });
            }
            self.standby = Some(Standby { successor, peer_key, up: false, again_at: None });
            self.dial_standby();
        }
    }

    fn dial_standby(&mut self) {
        let epoch = self.epoch();
        if let Some(standby) = &mut self.standby {
            standby.again_at = None;
            let (successor, peer_key) = (standby.successor, standby.peer_key);
            self.push(Effect::DialStandby { successor, peer_key, epoch });
        }
    }

    fn dial(&mut self, host: ConnectionId, epoch: HostEpoch) {
        // The link to it, if it is up, is taken.
        self.standby.take_if(|standby| standby.successor == host);
        self.former_standby.take_if(|former| *former == host);
        self.role = Role::Guest { host, epoch, link: GuestLink::Dialing { again_at: None } };
        if let Some(peer_key) = self.lobby.member(host).map(|member| member.peer_key) {
            self.push(Effect::Dial { host, peer_key, epoch });
        }
    }

    fn starts_to_host(&mut self, epoch: HostEpoch) {
        self.role = Role::Host { epoch };
        self.was_in_game = true;
        self.notify(Notice::BecameHost { epoch });
        for &guest in self.guests.keys() {
            self.effects.push_back(Effect::Admit { guest, returning: self.known.contains(&guest) });
        }
    }

    fn is_confirmed(&mut self, epoch: HostEpoch) {
        self.confirmation = Confirmation::Done;
        self.push(Effect::PresentGrant { epoch });
        self.push(Effect::Upload { epoch });
    }

    fn stop_hosting(&mut self) {
        self.confirmation = Confirmation::Done;
        self.leave_links();
        self.known.clear();
        self.role = Role::Waiting;
    }

    fn leave_links(&mut self) {
        let host = if let Role::Guest { host, .. } = self.role { Some(host) } else { None };
        let standby = self.standby.take().map(|standby| standby.successor);
        let later = standby.into_iter().chain(self.former_standby.take());
        let peers: Vec<_> = std::mem::take(&mut self.guests).into_keys().chain(host).chain(later).collect();
        peers.into_iter().for_each(|peer| self.push(Effect::HangUp { peer }));
    }

    /// Keeps in mind since when the lobby has lost the host that this guest may still hear.
    fn note_loss(&mut self, now: Instant) {
        match self.lobby.host {
            HostState::Lost { .. } | HostState::Vouched { .. } => {
                self.lobby_lost_host.get_or_insert((now, None));
            }
            HostState::Present { .. } | HostState::Elected { .. } | HostState::Parked { .. } => {
                self.lobby_lost_host = None
            }
        }
    }

    /// The host was heard. If the lobby has lost it, that is worth telling, once it cannot be from before the loss.
    fn host_heard(&mut self, now: Instant) {
        let Role::Guest { epoch, link: GuestLink::InGame { heard_at, hears }, .. } = &mut self.role else { return };
        let epoch = *epoch;
        *heard_at = now;
        self.detector.heard(now);
        let news = !std::mem::replace(hears, true);
        let first_since_loss = match &mut self.lobby_lost_host {
            Some((lost_at, told @ None)) if now - *lost_at >= limits::HEARTBEAT => {
                *told = Some(now);
                true
            }
            _ => false,
        };
        if news || first_since_loss {
            self.push(Effect::Report { epoch, hears_host: true });
        }
    }

    /// A guest in game listens for silence, and repeats what it hears while the lobby has lost the host.
    fn listen(&mut self, now: Instant) {
        let Role::Guest { host, epoch, link: GuestLink::InGame { hears, .. } } = &mut self.role else { return };
        let (host, epoch) = (*host, *epoch);
        let silent = self.detector.is_silent(now);
        let fell_silent = silent && std::mem::replace(hears, false);
        if fell_silent {
            self.push(Effect::Report { epoch, hears_host: false });
            self.notify(Notice::DisconnectedFromHost { host });
        }
        if let Some((_, Some(told))) = &mut self.lobby_lost_host
            && now - *told >= limits::REPORT_INTERVAL
        {
            *told = now;
            if !fell_silent {
                self.push(Effect::Report { epoch, hears_host: !silent });
            }
        }
    }

    fn tell_of(&mut self, body: &EventBody, now: Instant) {
        let hosting = matches!(self.role, Role::Host { .. } | Role::Becoming { .. });
        match *body {
            EventBody::MemberJoined { ref member } => {
                self.notify(Notice::PeersUpdated);
                if !hosting && member.connection != self.me {
                    self.notify(Notice::PlayerJoined { connection: member.connection });
                }
            }
            EventBody::MemberChanged { .. } => self.notify(Notice::PeersUpdated),
            EventBody::MemberConnected { connection, restarted, .. } => {
                self.notify(Notice::PeersUpdated);
                if restarted {
                    self.member_restarted(connection, now);
                }
                if !hosting && connection != self.me {
                    self.notify(Notice::PlayerReconnected { connection });
                }
            }
            EventBody::MemberDisconnected { connection } => {
                self.notify(Notice::PeersUpdated);
                if !hosting && connection != self.me {
                    self.notify(Notice::PlayerDisconnected { connection });
                }
            }
            EventBody::MemberLeft { connection, reason, .. } => {
                self.notify(Notice::PeersUpdated);
                self.member_left(connection, reason);
            }
            EventBody::HostLost { host, cause, .. } => self.notify(Notice::HostLost { host, cause }),
            EventBody::HostReturned { host } | EventBody::HostVouched { host } => {
                self.notify(Notice::HostReturned { host });
            }
            EventBody::HostElected { host, .. } => {
                let epoch = self.lobby.epoch;
                self.notify(Notice::HostElected { host, epoch });
            }
            EventBody::HostParked { reason, .. } => self.notify(Notice::Parked { reason }),
            // The answer to its own word may be lost.
            EventBody::HostReady { host } if host == self.me => {
                if let (Role::Host { epoch }, Confirmation::Asking { .. }) = (&self.role, self.confirmation) {
                    let epoch = *epoch;
                    self.is_confirmed(epoch);
                }
            }
            EventBody::HostReady { .. }
            | EventBody::ElectionFailed { .. }
            | EventBody::HandOverAsked { .. }
            | EventBody::HandOverEnded
            | EventBody::SuccessorChanged { .. }
            | EventBody::LobbyChanged { .. }
            | EventBody::DataChanged { .. }
            | EventBody::PrivateDataChanged { .. }
            | EventBody::MemberDataChanged { .. }
            | EventBody::MemberPrivateDataChanged { .. }
            | EventBody::JoinCodeChanged { .. }
            | EventBody::PlayerBanned { .. }
            | EventBody::PlayerUnbanned { .. }
            | EventBody::Hidden
            | EventBody::LobbyClosed => {}
        }
    }

    fn member_left(&mut self, connection: ConnectionId, reason: LeaveReason) {
        if self.guests.remove(&connection).is_some() {
            self.push(Effect::HangUp { peer: connection });
        }
        self.known.remove(&connection);
        self.notify(Notice::PlayerLeft { connection, reason });
    }

    /// The old process of a guest has a link that will never speak again.
    fn member_restarted(&mut self, connection: ConnectionId, now: Instant) {
        if self.guests.contains_key(&connection) {
            self.handle_link_down(connection, now);
            self.push(Effect::HangUp { peer: connection });
        }
    }

    fn notify(&mut self, notice: Notice) {
        self.push(Effect::Notify(notice));
    }

    fn push(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }
}

#[cfg(test)]
mod tests;
