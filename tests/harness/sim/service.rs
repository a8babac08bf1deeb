//! The lobby service: the real `Commit`, `Presence` and `Suspicion` over the real in-memory tables. Only what a socket and a
//! clock do is imitated. Several commands of the lobby are on their way at once, as with several instances.

#![expect(clippy::wildcard_enum_match_arm, reason = "a check looks for a few events among many")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lobby_service::store::memory::Tables;
use protocol::commit::{Commit, Outcome, Saved, Step, Version};
use protocol::id::{ConnectionId, EventSeq, HostEpoch, JoinCode, LobbyId, PeerKey};
use protocol::limits;
use protocol::lobby::{Command, HostState, Lobby, Newcomer};
use protocol::message::{ClientMessage, Event, EventBody, LobbyView};
use protocol::migration::ReadyAnswer;
use protocol::presence::{Lost, Presence, SocketId};
use protocol::relay::HostSound;
use protocol::snapshot::{Header, Snapshot};
use protocol::suspicion::{Suspicion, Verdict};

use super::network::Node;
use super::peer::{FromService, PeerItem};
use super::{Item, Sim, TICK};

/// A request by REST.
#[derive(Debug, Clone)]
pub(super) enum Call {
    Join(Newcomer),
    Leave { connection: ConnectionId, player: protocol::id::PlayerId },
    Ready { connection: ConnectionId, epoch: HostEpoch },
    Snapshot { connection: ConnectionId, record: Vec<u8> },
    Fetch { epoch: HostEpoch },
    View,
}

/// Its answer.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    Joined {
        connection: ConnectionId,
        view: Box<LobbyView>,
    },
    Left,
    Ready {
        epoch: HostEpoch,
        answer: ReadyAnswer,
    },
    Stored,
    NotStored,
    Fetched {
        epoch: HostEpoch,
        record: Option<Vec<u8>>,
    },
    View(Box<LobbyView>),
    Refused,
    /// Nothing came back in time.
    Unknown,
}

/// What comes to the service.
pub(super) enum ServiceItem {
    Tick,
    Boot,
    CommitStep(u64),
    Open {
        peer: usize,
        process: u32,
        socket: SocketId,
        connection: ConnectionId,
        key: PeerKey,
        after: Option<EventSeq>,
    },
    Message {
        socket: SocketId,
        message: ClientMessage,
    },
    Pong {
        socket: SocketId,
    },
    SocketClosed(SocketId),
    Rest {
        peer: usize,
        process: u32,
        request: u64,
        call: Call,
    },
    Sound(HostSound),
}

/// Who waits for a command.
enum Waiting {
    Nobody,
    Rest { peer: usize, process: u32, request: u64 },
    Hello(SocketId),
}

struct Flight {
    commit: Commit,
    command: Command,
    step: Step,
    waiting: Waiting,
}

struct Socket {
    peer: usize,
    process: u32,
    connection: ConnectionId,
    key: PeerKey,
    after: Option<EventSeq>,
    /// The newest event sent; `None` until the hello was answered.
    sent: Option<EventSeq>,
    next_ping: Instant,
}

/// One instance, and the database that survives it.
pub(super) struct Service {
    pub(super) up: bool,
    lobby: LobbyId,
    pub(super) tables: Tables,
    presence: Presence,
    suspicion: Suspicion,
    sockets: BTreeMap<SocketId, Socket>,
    flights: BTreeMap<u64, Flight>,
    next_flight: u64,
    pub(super) up_since: Option<Instant>,
}

impl Service {
    pub(super) fn new(lobby: LobbyId) -> Self {
        Self {
            up: true,
            lobby,
            tables: Tables::default(),
            presence: Presence::new(limits::LEASE),
            suspicion: Suspicion::new(HostEpoch::FIRST),
            sockets: BTreeMap::new(),
            flights: BTreeMap::new(),
            next_flight: 0,
            up_since: None,
        }
    }

    pub(super) fn row(&self) -> Option<(Lobby, Version)> {
        self.tables.load(self.lobby)
    }

    /// Whether this seat has an open socket of this process.
    pub(super) fn has_socket(&self, connection: ConnectionId, key: PeerKey) -> bool {
        self.up
            && self
                .sockets
                .values()
                .any(|socket| socket.connection == connection && socket.key == key && socket.sent.is_some())
    }
}

impl Sim {
    /// Peer 0 creates the lobby.
    pub(super) fn create_lobby(&mut self) {
        self.service.up_since = Some(self.now);
        let newcomer = self.peers[0].newcomer();
        let code = JoinCode::from_entropy(self.rng.u64(..));
        let created = Lobby::create(self.lobby, code, "sim".into(), self.settings.clone(), newcomer, self.timestamp());
        let Ok((lobby, events)) = created else { return self.violation("P16", "a valid lobby was refused".into()) };
        let view = lobby.view();
        self.checker.saved(None, &lobby, &events);
        if self.service.tables.create(lobby, events).is_err() {
            return self.violation("P16", "a new lobby was not created".into());
        }
        self.service.presence.heartbeat((self.lobby, ConnectionId(0)), self.peers[0].key, self.now);
        self.enter_lobby(0, ConnectionId(0), view, true);
        self.after(TICK, Item::Peer { peer: 0, process: 0, item: PeerItem::Tick });
    }

    pub(super) fn service_down(&mut self) {
        self.trace(|| "service crashes".into());
        self.service.up = false;
        self.service.flights.clear();
        for (id, socket) in std::mem::take(&mut self.service.sockets) {
            let Socket { peer, process, .. } = socket;
            self.soon(1..30, Item::Peer { peer, process, item: PeerItem::SocketClosed(id) });
        }
    }

    fn boot(&mut self) {
        if self.service.up {
            return;
        }
        self.trace(|| "service boots".into());
        self.service.up = true;
        self.service.up_since = Some(self.now);
        self.service.presence = Presence::new(limits::LEASE);
        let Some((lobby, _)) = self.service.row() else { return };
        self.service.suspicion = Suspicion::resumed(lobby.epoch(), self.now + limits::LEASE);
        self.service.suspicion.handle_lobby(&lobby, self.now);
        for (connection, key) in lobby.connected() {
            self.service.presence.heartbeat((self.lobby, connection), key, self.now);
        }
        // As the real one does before it serves anybody.
        self.execute(Command::Resume, Waiting::Nobody);
    }

    pub(super) fn handle_service(&mut self, item: ServiceItem) {
        match item {
            ServiceItem::Tick => self.service_tick(),
            ServiceItem::Boot => self.boot(),
            _ if !self.service.up => {}
            ServiceItem::CommitStep(flight) => self.commit_step(flight),
            ServiceItem::Open { peer, process, socket, connection, key, after } => {
                let player = self.peers[peer].player;
                let next_ping = self.now;
                self.service
                    .sockets
                    .insert(socket, Socket { peer, process, connection, key, after, sent: None, next_ping });
                if let Some(replaced) = self.service.presence.opened((self.lobby, connection), key, socket, self.now) {
                    self.close_socket(replaced);
                }
                self.execute(Command::Connect { connection, player, peer_key: key }, Waiting::Hello(socket));
            }
            ServiceItem::Message { socket, message } => self.socket_message(socket, message),
            ServiceItem::Pong { socket } => self.socket_alive(socket),
            ServiceItem::SocketClosed(socket) => self.socket_closed(socket),
            ServiceItem::Rest { peer, process, request, call } => self.rest(peer, process, request, call),
            ServiceItem::Sound(sound) => {
                self.service.suspicion.handle_relay(sound.epoch, sound.heard);
                self.assess();
            }
        }
    }

    fn service_tick(&mut self) {
        self.after(TICK, Item::Service(ServiceItem::Tick));
        self.checker_sample();
        self.check_waiting();
        if !self.service.up {
            return;
        }
        while let Some(lost) = self.service.presence.poll_lost(self.now) {
            self.presence_lost(lost);
        }
        if self.service.suspicion.poll_timeout().is_some_and(|at| at <= self.now) {
            self.assess();
        }
        let due = self.service.row().and_then(|(lobby, _)| lobby.due_at()).is_some_and(|at| at <= self.timestamp());
        let busy = self.service.flights.values().any(|flight| flight.command == Command::Due);
        if due && !busy {
            self.execute(Command::Due, Waiting::Nobody);
        }
        let now = self.now;
        let mut pings = Vec::new();
        for (&id, socket) in &mut self.service.sockets {
            if socket.sent.is_some() && socket.next_ping <= now {
                socket.next_ping = now + limits::SOCKET_PING;
                pings.push(id);
            }
        }
        pings.into_iter().for_each(|socket| self.send_to_peer(socket, FromService::Ping));
    }

    fn presence_lost(&mut self, lost: Lost) {
        if let Some(socket) = lost.socket {
            self.close_socket(socket);
        }
        self.trace(|| format!("service lost {:?}", lost.seat.1));
        self.execute(Command::Disconnect { connection: lost.seat.1, peer_key: lost.peer_key }, Waiting::Nobody);
    }

    /// Closes a socket from this side.
    fn close_socket(&mut self, id: SocketId) {
        if self.service.sockets.contains_key(&id) {
            self.send_to_peer(id, FromService::Closed);
            self.service.sockets.remove(&id);
        }
    }

    /// A hello was refused: whoever it was has no seat.
    fn refuse_socket(&mut self, id: SocketId) {
        if let Some(connection) = self.service.sockets.get(&id).map(|socket| socket.connection) {
            self.service.presence.closed((self.lobby, connection), id, self.now);
        }
        self.close_socket(id);
    }

    fn socket_closed(&mut self, id: SocketId) {
        let Some(socket) = self.service.sockets.remove(&id) else { return };
        self.checker_sample();
        if let Some(lost) = self.service.presence.closed((self.lobby, socket.connection), id, self.now) {
            self.presence_lost(lost);
        }
    }

    fn socket_alive(&mut self, id: SocketId) {
        if let Some(socket) = self.service.sockets.get(&id) {
            self.service.presence.heard((self.lobby, socket.connection), id, self.now);
        }
    }

    fn socket_message(&mut self, id: SocketId, message: ClientMessage) {
        self.socket_alive(id);
        let Some(connection) = self.service.sockets.get(&id).map(|socket| socket.connection) else { return };
        match message {
            ClientMessage::Report { epoch, hears_host } => {
                self.trace(|| format!("report of {connection}: hears {hears_host}"));
                self.service.suspicion.handle_report(connection, epoch, hears_host, self.now);
            }
            ClientMessage::Hears { epoch, guests } => self.service.suspicion.handle_answer(epoch, guests, self.now),
            ClientMessage::Hello { .. } => {}
        }
        self.assess();
    }

    fn assess(&mut self) {
        let Some((lobby, _)) = self.service.row() else { return };
        match self.service.suspicion.assess(&lobby, self.now) {
            Some(Verdict::Challenge { host, epoch }) => {
                let socket =
                    self.service.sockets.iter().find(|(_, socket)| socket.connection == host).map(|(&id, _)| id);
                if let Some(socket) = socket {
                    self.send_to_peer(socket, FromService::Challenge(epoch));
                }
            }
            Some(Verdict::Tell(command)) => {
                let busy = self.service.flights.values().any(|flight| flight.command == command);
                if !busy {
                    self.execute(command, Waiting::Nobody);
                }
            }
            None => {}
        }
    }

    fn execute(&mut self, command: Command, waiting: Waiting) {
        let (commit, step) = Commit::new(self.lobby, command.clone());
        let flight = self.service.next_flight;
        self.service.next_flight += 1;
        self.service.flights.insert(flight, Flight { commit, command, step, waiting });
        self.soon(0..4, Item::Service(ServiceItem::CommitStep(flight)));
    }

    /// Does one step of a command, and has the next one done a moment later.
    fn commit_step(&mut self, id: u64) {
        let Some(Flight { mut commit, command, step, waiting }) = self.service.flights.remove(&id) else { return };
        let next = match step {
            Step::Load(_) => {
                let now = self.timestamp();
                commit.loaded(self.service.row(), now)
            }
            Step::Save { expected, lobby, events } => {
                let saved = self.save(&command, expected, &lobby, &events);
                commit.saved(saved)
            }
            Step::Publish { events, .. } => {
                self.publish(&events);
                commit.published()
            }
            Step::Done(outcome) => return self.committed(&command, outcome, &waiting),
        };
        let delay = if matches!(next, Step::Done(_)) { 0..1 } else { 0..6 };
        self.service.flights.insert(id, Flight { commit, command, step: next, waiting });
        self.soon(delay, Item::Service(ServiceItem::CommitStep(id)));
    }

    fn save(&mut self, command: &Command, expected: Version, lobby: &Lobby, events: &[Event]) -> Saved {
        let before = self.service.row();
        // Who is there is to be known from before the save.
        self.checker_sample();
        let saved = self.service.tables.save(expected, lobby.clone(), events.to_vec());
        match saved {
            Saved::Done => {
                self.trace(|| {
                    format!("saved {command:?}: {:?}", events.iter().map(|event| &event.body).collect::<Vec<_>>())
                });
                self.count_events(events);
                self.check_elections(before.as_ref().map(|(lobby, _)| lobby), events);
                self.checker.saved(before.as_ref().map(|(lobby, _)| lobby), lobby, events);
                if let Command::Ready { epoch, .. } = command
                    && *epoch != lobby.epoch()
                {
                    self.violation("P4", format!("ready of epoch {epoch} was taken at epoch {}", lobby.epoch()));
                }
            }
            Saved::Stale => self.stats.stale_saves += 1,
        }
        saved
    }

    fn count_events(&mut self, events: &[Event]) {
        for event in events {
            let count = match &event.body {
                EventBody::HostElected { .. } => &mut self.stats.elections,
                EventBody::HostReady { .. } => &mut self.stats.migrations,
                EventBody::ElectionFailed { .. } => &mut self.stats.winners_never_ready,
                EventBody::HostReturned { .. } => &mut self.stats.hosts_returned,
                EventBody::HostVouched { .. } => &mut self.stats.hosts_vouched,
                EventBody::HostLost { cause: protocol::lobby::LossCause::Silent, .. } => &mut self.stats.hosts_silent,
                EventBody::HostParked { until: None, .. } => &mut self.stats.parked,
                EventBody::HostParked { until: Some(_), .. } => &mut self.stats.paused_by_failures,
                EventBody::MemberLeft { reason: protocol::lobby::LeaveReason::Removed, .. } => {
                    &mut self.stats.seats_removed
                }
                EventBody::MemberLeft { .. } => &mut self.stats.leaves,
                EventBody::MemberJoined { .. }
                | EventBody::MemberChanged { .. }
                | EventBody::MemberConnected { .. }
                | EventBody::MemberDisconnected { .. }
                | EventBody::HostLost { .. }
                | EventBody::SuccessorChanged { .. }
                | EventBody::LobbyClosed => continue,
            };
            *count += 1;
        }
    }

    /// Hands new events to the sockets: these, if they are the next ones there, else from the tables.
    fn publish(&mut self, events: &[Event]) {
        let sockets: Vec<_> =
            self.service.sockets.iter().filter_map(|(&id, socket)| Some((id, socket.sent?))).collect();
        for (socket, sent) in sockets {
            match events.first() {
                Some(first) if first.seq.0 == sent.0 + 1 => self.send_events(socket, events),
                Some(first) if first.seq > sent => self.catch_up(socket),
                _ => {}
            }
        }
    }

    fn catch_up(&mut self, socket: SocketId) {
        let Some(sent) = self.service.sockets.get(&socket).and_then(|socket| socket.sent) else { return };
        let events = self.service.tables.events_after(self.lobby, sent, u32::MAX).unwrap_or_default();
        self.send_events(socket, &events);
    }

    fn send_events(&mut self, socket: SocketId, events: &[Event]) {
        for event in events {
            if let Some(socket) = self.service.sockets.get_mut(&socket) {
                socket.sent = Some(event.seq);
            }
            self.send_to_peer(socket, FromService::Event(Box::new(event.clone())));
        }
    }

    fn committed(&mut self, command: &Command, outcome: Outcome, waiting: &Waiting) {
        if let Outcome::Applied { lobby, .. } = &outcome {
            self.service.suspicion.handle_lobby(lobby, self.now);
            let given_up = seat_given_up(command).and_then(|seat| self.service.presence.forget((self.lobby, seat)));
            if let Some(socket) = given_up {
                self.close_socket(socket);
            }
            self.connect_again(command, lobby);
        }
        if let (Outcome::Rejected(protocol::error::Rejection::StaleEpoch { .. }), Command::Ready { .. }) =
            (&outcome, command)
        {
            self.stats.stale_writes_refused += 1;
        }
        match *waiting {
            Waiting::Nobody => {}
            Waiting::Hello(socket) => self.hello_answered(socket, &outcome),
            Waiting::Rest { peer, process, request } => {
                let answer = self.answer_to(command, outcome);
                self.answer(peer, process, request, answer);
            }
        }
        self.assess();
    }

    /// A newer socket opened while the loss of the older one was being saved: the seat is connected after all.
    fn connect_again(&mut self, command: &Command, lobby: &Lobby) {
        let Command::Disconnect { connection, peer_key } = *command else { return };
        let player = lobby.view().member(connection).map(|member| member.player);
        if let Some(player) = player
            && !lobby.is_connected(connection)
            && self.service.presence.is_held_by((self.lobby, connection), peer_key)
        {
            self.execute(Command::Connect { connection, player, peer_key }, Waiting::Nobody);
        }
    }

    fn answer_to(&mut self, command: &Command, outcome: Outcome) -> Answer {
        match (command, outcome) {
            (Command::Join(newcomer), Outcome::Applied { lobby, .. }) => match lobby.seat_of(newcomer.player) {
                Some(connection) => {
                    self.service.presence.heartbeat((self.lobby, connection), newcomer.peer_key, self.now);
                    Answer::Joined { connection, view: Box::new(lobby.view()) }
                }
                None => Answer::Refused,
            },
            (Command::Ready { epoch, .. }, Outcome::Applied { .. }) => {
                Answer::Ready { epoch: *epoch, answer: ReadyAnswer::Confirmed }
            }
            (Command::Ready { epoch, .. }, Outcome::Rejected(_) | Outcome::NotFound) => {
                Answer::Ready { epoch: *epoch, answer: ReadyAnswer::Refused }
            }
            (Command::Leave { .. }, Outcome::Applied { .. }) => Answer::Left,
            (_, Outcome::Contended) => Answer::Unknown,
            (_, Outcome::Applied { .. } | Outcome::Rejected(_) | Outcome::NotFound) => Answer::Refused,
        }
    }

    fn hello_answered(&mut self, id: SocketId, outcome: &Outcome) {
        let Outcome::Applied { lobby, .. } = outcome else {
            self.refuse_socket(id);
            return;
        };
        let Some(socket) = self.service.sockets.get_mut(&id) else { return };
        let after = socket.after;
        socket.sent = Some(after.unwrap_or(lobby.last_event()));
        if after.is_none() {
            self.send_to_peer(id, FromService::Resync(Box::new(lobby.view())));
        }
        self.catch_up(id);
    }

    fn rest(&mut self, peer: usize, process: u32, request: u64, call: Call) {
        let waiting = Waiting::Rest { peer, process, request };
        match call {
            Call::Join(newcomer) => self.execute(Command::Join(newcomer), waiting),
            Call::Leave { connection, player } => self.execute(Command::Leave { connection, player }, waiting),
            Call::Ready { connection, epoch } => self.execute(Command::Ready { connection, epoch }, waiting),
            Call::View => {
                let view = self.service.row().map(|(lobby, _)| Answer::View(Box::new(lobby.view())));
                self.answer(peer, process, request, view.unwrap_or(Answer::Refused));
            }
            Call::Fetch { epoch } => {
                let record = self.service.tables.latest_snapshot(self.lobby).map(|(_, bytes)| bytes.to_vec());
                self.answer(peer, process, request, Answer::Fetched { epoch, record });
            }
            Call::Snapshot { connection, record } => {
                let answer = self.put_snapshot(connection, &record);
                self.answer(peer, process, request, answer);
            }
        }
    }

    /// P4 and P5 are checked here: what was accepted was of the epoch and the host of that moment, and newer than the last.
    fn put_snapshot(&mut self, connection: ConnectionId, record: &[u8]) -> Answer {
        let Ok(header) = Header::check(record) else { return Answer::NotStored };
        let generation = header.generation;
        let before = self.service.tables.latest_snapshot(self.lobby).map(|(header, _)| header.generation);
        let stored = self.service.tables.put_snapshot(self.lobby, connection, record.to_vec().into()).is_ok();
        let Some((lobby, _)) = self.service.row() else { return Answer::NotStored };
        if !stored {
            self.stats.stale_writes_refused += u64::from(generation.epoch < lobby.epoch());
            return Answer::NotStored;
        }
        self.stats.snapshots_stored += 1;
        if let Ok(snapshot) = Snapshot::decode(record) {
            self.checker.stored(&lobby, &snapshot);
        }
        if generation.epoch != lobby.epoch() {
            self.violation(
                "P4",
                format!("a snapshot of epoch {} was stored at epoch {}", generation.epoch, lobby.epoch()),
            );
        }
        if before.is_some_and(|before| before > generation) {
            self.violation("P5", format!("snapshot {before:?} was replaced by {generation:?}"));
        }
        Answer::Stored
    }

    fn answer(&mut self, peer: usize, process: u32, request: u64, answer: Answer) {
        if self.network.cut_until(Node::Service, Node::Peer(peer, process), self.now).is_none() {
            self.soon(1..10, Item::Peer { peer, process, item: PeerItem::Answer { request, answer } });
        }
    }

    /// Sends on a socket: in order, and late if the way is cut.
    fn send_to_peer(&mut self, id: SocketId, message: FromService) {
        let Some(socket) = self.service.sockets.get(&id) else { return };
        let (peer, process) = (socket.peer, socket.process);
        let cut = self.network.cut_until(Node::Service, Node::Peer(peer, process), self.now);
        let earliest = cut.unwrap_or(self.now) + Duration::from_millis(self.rng.u64(1..10));
        let at = self.network.in_order(id.0, true, earliest);
        self.at(at, Item::Peer { peer, process, item: PeerItem::FromService { socket: id, message } });
    }

    /// What an election must not do (P10): take the host from a game that a majority plays.
    fn check_elections(&mut self, before: Option<&Lobby>, events: &[Event]) {
        let Some(before) = before else { return };
        let elected = events.iter().any(|event| matches!(event.body, EventBody::HostElected { .. }));
        let (HostState::Present { host, .. } | HostState::Vouched { host, .. } | HostState::Lost { host, .. }) =
            *before.host()
        else {
            return;
        };
        let by_fault = |event: &Event| {
            use protocol::lobby::LossCause::{Disconnected, Left, Restarted, Silent};
            match event.body {
                EventBody::HostLost { cause: Left | Restarted, .. } => false,
                EventBody::HostLost { cause: Disconnected | Silent, .. } => true,
                _ => {
                    !matches!(event.body, EventBody::MemberLeft { connection, .. } if connection == host)
                        && !matches!(event.body, EventBody::MemberConnected { connection, restarted: true, .. } if connection == host)
                }
            }
        };
        if elected && events.iter().all(by_fault) {
            self.check_host_was_gone(host, before.epoch());
        }
    }
}

/// The seat that a command gave up.
const fn seat_given_up(command: &Command) -> Option<ConnectionId> {
    match command {
        Command::Leave { connection, .. } => Some(*connection),
        Command::Join(_)
        | Command::Connect { .. }
        | Command::Disconnect { .. }
        | Command::Ready { .. }
        | Command::HostSilent { .. }
        | Command::HostHeard { .. }
        | Command::Due
        | Command::Resume => None,
    }
}
