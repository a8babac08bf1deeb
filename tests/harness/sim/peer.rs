//! A peer: the real `Migration`, and around it what a client's driver does, with links that are datagrams through the relay.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use fastrand::Rng;
use protocol::frame::{HostHint, PeerBody, PeerFrame, RelayFrame};
use protocol::id::{
    ConnectionId, EventSeq, HostEpoch, InstanceId, ObjectId, PeerKey, PlayerId, SecretHash, SessionTag,
};
use protocol::limits;
use protocol::lobby::Newcomer;
use protocol::message::{ClientMessage, Event, LobbyView};
use protocol::migration::{Admission, Effect, GuestLink, Migration, Notice, ReadyAnswer, Role};
use protocol::objects::ObjectTable;
use protocol::presence::SocketId;
use protocol::snapshot::{Body, Generation, Seat, Snapshot};

use super::network::Node;
use super::service::{Answer, Call, ServiceItem};
use super::{Item, Sim, TICK, rng_bytes};

/// What happens to a peer.
pub(super) enum PeerItem {
    /// Its process is started.
    Start,
    Tick,
    Thaw,
    Datagram(Vec<u8>),
    SocketClosed(SocketId),
    FromService {
        socket: SocketId,
        message: FromService,
    },
    Answer {
        request: u64,
        answer: Answer,
    },
    Restored {
        epoch: HostEpoch,
    },
}

/// What comes on an event socket.
pub(super) enum FromService {
    Event(Box<Event>),
    Resync(Box<LobbyView>),
    Challenge(HostEpoch),
    Ping,
    Closed,
}

/// Whether its process runs.
pub(super) enum Life {
    Running,
    /// Stopped, with what has arrived since.
    Frozen(Vec<PeerItem>),
    Dead,
}

enum Socket {
    /// Which instance did not answer, if one did not: the next attempt goes elsewhere.
    Closed {
        again_at: Instant,
        avoid: Option<usize>,
    },
    Opening {
        id: SocketId,
        instance: usize,
        since: Instant,
        after: EventSeq,
    },
    Open {
        id: SocketId,
        instance: usize,
        heard_at: Instant,
        last: EventSeq,
    },
}

struct Dial {
    host: ConnectionId,
    key: PeerKey,
    epoch: HostEpoch,
    number: u64,
    until: Instant,
}

#[derive(Default)]
struct Binding {
    tag: Option<SessionTag>,
    heard_at: Option<Instant>,
    asked_at: Option<Instant>,
    grant: Option<HostHint>,
}

/// A guest's link, at its host.
struct Incoming {
    dial: u64,
    heard_at: Instant,
    welcomed: bool,
}

struct Session {
    me: ConnectionId,
    migration: Migration,
    socket: Socket,
    binding: Binding,
    dial: Option<Dial>,
    incoming: BTreeMap<ConnectionId, Incoming>,
    fetched: Option<Snapshot>,
    /// What the host alone knows of each seat: when it was taken, and a secret.
    secrets: BTreeMap<ConnectionId, Vec<u8>>,
    /// One object for each seat.
    objects: ObjectTable,
    tick: u64,
    next_seq: u64,
    upload_at: Option<Instant>,
    uploading: bool,
    beat_at: Instant,
    leaving: bool,
    was_host: bool,
    last_report: Option<ClientMessage>,
}

/// A player with its machine.
pub(super) struct Peer {
    index: usize,
    pub(super) player: PlayerId,
    pub(super) key: PeerKey,
    pub(super) process: u32,
    pub(super) life: Life,
    /// What takes its seat again, on its disk, and what does after that: drawn and saved before the service hears of it. (The hashes
    /// stand for the secrets.)
    saved: Option<(SecretHash, Option<SecretHash>)>,
    session: Option<Session>,
    joining: bool,
    join_at: Instant,
    requests: BTreeMap<u64, (Instant, Answer)>,
    next_number: u64,
    /// The newest epoch that this process has heard of.
    known: HostEpoch,
}

/// How long a request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// A link on which nothing comes for this long is down (QUIC's idle time-out).
const LINK_IDLE: Duration = Duration::from_secs(3);
/// Datagrams that a frozen process finds when it thaws.
const FROZEN_BUFFER: usize = 256;

impl Peer {
    pub(super) fn new(index: usize, rng: &mut Rng) -> Self {
        Self {
            index,
            player: PlayerId::from_bytes([index as u8 + 1; 16]),
            key: PeerKey::from_bytes(rng_bytes(rng)),
            process: 0,
            life: if index == 0 { Life::Running } else { Life::Dead },
            saved: None,
            session: None,
            joining: false,
            join_at: Instant::now(),
            requests: BTreeMap::new(),
            next_number: 0,
            known: HostEpoch::NONE,
        }
    }

    pub(super) const fn save(&mut self, secret: SecretHash) {
        self.saved = Some((secret, None));
    }

    /// What it joins with. The instance that it comes to puts its own name.
    pub(super) fn newcomer(&self, holder: InstanceId) -> Newcomer {
        Newcomer {
            name: format!("peer {}", self.index),
            build_id: "sim".into(),
            ..Newcomer::new(self.player, self.key, holder)
        }
    }

    /// The epoch at which its process runs the game.
    pub(super) fn hosts(&self) -> Option<HostEpoch> {
        match self.session.as_ref()?.migration.role() {
            Role::Host { epoch } => Some(*epoch),
            Role::Waiting | Role::Guest { .. } | Role::Becoming { .. } | Role::Out => None,
        }
    }

    pub(super) fn role(&self) -> Option<&Role> {
        self.session.as_ref().map(|session| session.migration.role())
    }

    pub(super) fn seat(&self) -> Option<ConnectionId> {
        self.session.as_ref().map(|session| session.me)
    }

    /// Its open socket, and the instance where it ends.
    pub(super) fn open_socket(&self) -> Option<(usize, SocketId)> {
        match self.session.as_ref()?.socket {
            Socket::Open { id, instance, .. } => Some((instance, id)),
            Socket::Closed { .. } | Socket::Opening { .. } => None,
        }
    }

    fn node(&self) -> Node {
        Node::Peer(self.index, self.process)
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        (self.index as u64) << 48 | u64::from(self.process) << 32 | self.next_number
    }
}

impl Sim {
    pub(super) fn handle_peer(&mut self, index: usize, process: u32, item: PeerItem) {
        let peer = &mut self.peers[index];
        if peer.process != process {
            return;
        }
        match (&mut peer.life, item) {
            (Life::Dead, PeerItem::Start) => self.start_process(index),
            (Life::Dead, _) | (Life::Running | Life::Frozen(_), PeerItem::Start) | (Life::Running, PeerItem::Thaw) => {}
            (Life::Frozen(_), PeerItem::Thaw) => self.thaw(index),
            (Life::Frozen(backlog), item) => {
                let datagram = matches!(item, PeerItem::Datagram(_));
                if !datagram || backlog.len() < FROZEN_BUFFER {
                    backlog.push(item);
                }
            }
            (Life::Running, item) => {
                self.peer_item(index, item);
                self.pump(index);
            }
        }
    }

    fn peer_item(&mut self, index: usize, item: PeerItem) {
        match item {
            PeerItem::Start | PeerItem::Thaw => {}
            PeerItem::Tick => self.peer_tick(index),
            PeerItem::Datagram(bytes) => self.peer_datagram(index, &bytes),
            PeerItem::SocketClosed(socket) => self.peer_socket_closed(index, socket),
            PeerItem::FromService { socket, message } => self.service_says(index, socket, message),
            PeerItem::Answer { request, answer } => {
                if let Some((_, lost)) = self.peers[index].requests.remove(&request) {
                    self.answered(index, if matches!(answer, Answer::Unknown) { lost } else { answer });
                }
            }
            PeerItem::Restored { epoch } => {
                if let Some(session) = &mut self.peers[index].session {
                    session.migration.handle_restored(epoch);
                }
            }
        }
    }

    fn start_process(&mut self, index: usize) {
        let key = PeerKey::from_bytes(rng_bytes(&mut self.rng));
        let peer = &mut self.peers[index];
        self.stats.restarts += u64::from(peer.process > 0 || index == 0);
        peer.process += 1;
        peer.key = key;
        peer.life = Life::Running;
        peer.session = None;
        peer.joining = false;
        peer.join_at = self.now;
        peer.requests.clear();
        peer.known = HostEpoch::NONE;
        let process = peer.process;
        self.disturb(index);
        self.trace(|| format!("peer {index} starts as process {process}"));
        self.after(Duration::ZERO, Item::Peer { peer: index, process, item: PeerItem::Tick });
    }

    /// SIGKILL: the operating system closes its socket.
    pub(super) fn kill_process(&mut self, index: usize) {
        if let Some((instance, socket)) = self.peers[index].open_socket() {
            let node = self.peers[index].node();
            if self.network.cut_until(node, Node::Service(instance), self.now).is_none() {
                self.soon(1..10, Item::Service { instance, item: ServiceItem::SocketClosed(socket) });
            }
        }
        self.disturb(index);
        self.peers[index].life = Life::Dead;
        self.peers[index].session = None;
    }

    fn thaw(&mut self, index: usize) {
        self.disturb(index);
        self.trace(|| format!("peer {index} thaws"));
        let life = std::mem::replace(&mut self.peers[index].life, Life::Running);
        let process = self.peers[index].process;
        if let Life::Frozen(backlog) = life {
            for item in backlog {
                self.handle_peer(index, process, item);
            }
        }
    }

    pub(super) fn start_leaving(&mut self, index: usize) {
        if !matches!(self.peers[index].life, Life::Running) {
            return;
        }
        let Some(session) = &mut self.peers[index].session else { return };
        if session.leaving {
            return;
        }
        session.leaving = true;
        self.attendance.disturb(index);
        let connection = session.me;
        if self.peers[index].hosts().is_some() {
            self.upload(index);
        }
        let player = self.peers[index].player;
        self.request(index, Call::Leave { connection, player }, Answer::Unknown);
    }

    /// Sends a request; `lost` is what the peer takes it for if nothing comes back.
    fn request(&mut self, index: usize, call: Call, lost: Answer) {
        let peer = &mut self.peers[index];
        let request = peer.number();
        peer.requests.insert(request, (self.now + REQUEST_TIMEOUT, lost));
        let (node, process) = (peer.node(), peer.process);
        let instance = self.rng.usize(..self.service.instances.len());
        if self.network.cut_until(node, Node::Service(instance), self.now).is_some() {
            return;
        }
        let late = !self.healed() && self.rng.f64() < self.faults.late;
        let delay = if late { 50..self.faults.late_ms } else { 1..10 };
        let item = ServiceItem::Rest { peer: index, process, request, call };
        self.soon(delay, Item::Service { instance, item });
    }

    pub(super) fn enter_lobby(&mut self, index: usize, me: ConnectionId, view: LobbyView, created: bool) {
        let now = self.now;
        let peer = &mut self.peers[index];
        let session = Session {
            me,
            migration: Migration::new(me, view, created, now),
            socket: Socket::Closed { again_at: now, avoid: None },
            binding: Binding::default(),
            dial: None,
            incoming: BTreeMap::new(),
            fetched: None,
            secrets: BTreeMap::new(),
            objects: ObjectTable::default(),
            tick: 0,
            next_seq: 0,
            upload_at: None,
            uploading: false,
            beat_at: now,
            leaving: false,
            was_host: false,
            last_report: None,
        };
        peer.session = Some(session);
        let player = peer.player;
        self.check_seat(player, me);
        self.pump(index);
    }

    /// P6: the seat that a player is told is the one that it always had.
    fn check_seat(&mut self, player: PlayerId, seat: ConnectionId) {
        if let Some(other) = self.checker.seat_differs(player, seat) {
            self.violation("P6", format!("player {player:?} was given seat {seat}, but has {other}"));
        }
    }

    fn peer_tick(&mut self, index: usize) {
        let process = self.peers[index].process;
        self.after(TICK, Item::Peer { peer: index, process, item: PeerItem::Tick });
        self.time_out_requests(index);
        let now = self.now;
        let peer = &mut self.peers[index];
        let Some(session) = &mut peer.session else {
            if !peer.joining && peer.join_at <= now {
                peer.joining = true;
                let fresh = SecretHash::from_bytes(rng_bytes(&mut self.rng));
                let newcomer = peer.newcomer(InstanceId::from_bytes([0; 8]));
                let call = match peer.saved {
                    Some((presented, next)) => {
                        let next = next.unwrap_or(fresh);
                        peer.saved = Some((presented, Some(next)));
                        Call::Reconnect { newcomer, presented, next }
                    }
                    None => {
                        peer.save(fresh);
                        Call::Join(Newcomer { secret: Some(fresh), ..newcomer })
                    }
                };
                self.request(index, call, Answer::Unknown);
            }
            return;
        };
        session.migration.handle_timeout(now);
        self.pump(index);
        self.keep_socket(index);
        self.keep_binding(index);
        self.keep_links(index);
        self.beat(index);
        let due = self.peers[index].session.as_ref().and_then(|session| session.upload_at).is_some_and(|at| at <= now);
        if due {
            self.upload(index);
        }
    }

    fn time_out_requests(&mut self, index: usize) {
        let now = self.now;
        let late: Vec<_> = self.peers[index].requests.extract_if(.., |_, (until, _)| *until <= now).collect();
        for (_, (_, answer)) in late {
            self.answered(index, answer);
        }
    }

    fn keep_socket(&mut self, index: usize) {
        let now = self.now;
        let Some(session) = &self.peers[index].session else { return };
        match session.socket {
            Socket::Closed { again_at, avoid } if again_at <= now => self.open_at(index, avoid),
            Socket::Opening { instance, id, since, .. } if now - since >= REQUEST_TIMEOUT => {
                self.give_up_socket(index, instance, id);
            }
            Socket::Open { instance, id, heard_at, .. } if now - heard_at >= limits::LEASE => {
                self.give_up_socket(index, instance, id);
            }
            Socket::Closed { .. } | Socket::Opening { .. } | Socket::Open { .. } => {}
        }
    }

    /// Opens a socket at any instance but one that did not answer.
    fn open_at(&mut self, index: usize, avoid: Option<usize>) {
        let (now, instances) = (self.now, self.service.instances.len());
        let instance = match avoid {
            Some(avoid) => (avoid + 1) % instances,
            None => self.rng.usize(..instances),
        };
        let socket = SocketId(self.peers[index].number());
        let peer = &mut self.peers[index];
        let (node, process, key) = (peer.node(), peer.process, peer.key);
        let Some(session) = &mut peer.session else { return };
        let (connection, after) = (session.me, session.migration.lobby().seq);
        session.socket = Socket::Opening { id: socket, instance, since: now, after };
        if self.network.cut_until(node, Node::Service(instance), now).is_none() {
            let item = ServiceItem::Open { peer: index, process, socket, connection, key, after: Some(after) };
            let at = self.network.in_order(socket.0, false, now + Duration::from_millis(self.rng.u64(1..10)));
            self.at(at, Item::Service { instance, item });
        }
    }

    fn give_up_socket(&mut self, index: usize, instance: usize, id: SocketId) {
        let (now, node) = (self.now, self.peers[index].node());
        self.send_to_service(node, instance, ServiceItem::SocketClosed(id), id);
        if let Some(session) = &mut self.peers[index].session {
            session.socket = Socket::Closed { again_at: now, avoid: Some(instance) };
        }
    }

    fn peer_socket_closed(&mut self, index: usize, socket: SocketId) {
        let again_at = self.now + Duration::from_millis(self.rng.u64(0..200));
        let Some(session) = &mut self.peers[index].session else { return };
        match session.socket {
            Socket::Opening { id, instance, .. } if id == socket => {
                session.socket = Socket::Closed { again_at, avoid: Some(instance) };
            }
            Socket::Open { id, .. } if id == socket => session.socket = Socket::Closed { again_at, avoid: None },
            Socket::Opening { .. } | Socket::Open { .. } | Socket::Closed { .. } => {}
        }
    }

    fn service_says(&mut self, index: usize, socket: SocketId, message: FromService) {
        let now = self.now;
        let Some(session) = &mut self.peers[index].session else { return };
        let (instance, last) = match session.socket {
            Socket::Opening { id, instance, after, .. } if id == socket => (instance, after),
            Socket::Open { id, instance, last, .. } if id == socket => (instance, last),
            Socket::Opening { .. } | Socket::Open { .. } | Socket::Closed { .. } => return,
        };
        let opened = matches!(session.socket, Socket::Opening { .. });
        session.socket = Socket::Open { id: socket, instance, heard_at: now, last };
        // The service may have forgotten what was said on the socket before.
        let again = session.last_report.clone().filter(|_| opened);
        if let Some(report) = again {
            self.say(index, report);
        }
        let Some(session) = &mut self.peers[index].session else { return };
        match message {
            FromService::Event(event) => self.peer_event(index, last, &event),
            FromService::Resync(view) => session.migration.handle_resync(*view, now),
            FromService::Challenge(epoch) => session.migration.handle_challenge(epoch, now),
            FromService::Ping => {
                let node = self.peers[index].node();
                self.send_to_service(node, instance, ServiceItem::Pong { socket }, socket);
            }
            FromService::Closed => {
                self.peer_socket_closed(index, socket);
                // The seat may be gone: joining tells, and gives it back.
                self.request(index, Call::View, Answer::Unknown);
            }
        }
    }

    /// P7 and P8: the next event, and the one that was saved.
    fn peer_event(&mut self, index: usize, last: EventSeq, event: &Event) {
        if event.seq.0 != last.0 + 1 {
            self.violation("P7", format!("peer {index} got event {} after {last}", event.seq));
        }
        let saved = self.service.tables.events_after(self.lobby, EventSeq(event.seq.0 - 1), 1);
        if saved.is_some_and(|saved| saved.first() != Some(event)) {
            self.violation("P8", format!("peer {index} got event {} that was not saved: {:?}", event.seq, event.body));
        }
        let now = self.now;
        if let Some(session) = &mut self.peers[index].session {
            if let Socket::Open { last, .. } = &mut session.socket {
                *last = event.seq;
            }
            session.migration.handle_event(event, now);
        }
    }

    fn send_to_service(&mut self, node: Node, instance: usize, item: ServiceItem, socket: SocketId) {
        let cut = self.network.cut_until(node, Node::Service(instance), self.now);
        let earliest = cut.unwrap_or(self.now) + Duration::from_millis(self.rng.u64(1..10));
        let at = self.network.in_order(socket.0, false, earliest);
        self.at(at, Item::Service { instance, item });
    }

    fn say(&mut self, index: usize, message: ClientMessage) {
        if let Some((instance, socket)) = self.peers[index].open_socket() {
            let node = self.peers[index].node();
            self.send_to_service(node, instance, ServiceItem::Message { socket, message }, socket);
        }
    }

    fn keep_binding(&mut self, index: usize) {
        let now = self.now;
        let peer = &mut self.peers[index];
        let node = peer.node();
        let Some(session) = &mut peer.session else { return };
        let token = member_token(session.me);
        let binding = &mut session.binding;
        let mut frames = Vec::new();
        if binding.heard_at.is_some_and(|at| now - at > Duration::from_secs(3)) {
            *binding = Binding { grant: binding.grant, ..Binding::default() };
        }
        let due = binding.asked_at.is_none_or(|at| now - at >= Duration::from_millis(500));
        match binding.tag {
            None if due => frames.push(RelayFrame::BindRequest { token: &token }.to_vec()),
            Some(session) if due => frames.push(RelayFrame::KeepAlive { session, padding: [0; 12] }.to_vec()),
            None | Some(_) => {}
        }
        if due {
            binding.asked_at = Some(now);
        }
        if let (Some(session), Some(grant), true) = (binding.tag, binding.grant, due) {
            frames.push(RelayFrame::Grant { session, token: &grant_token(grant) }.to_vec());
        }
        frames.into_iter().for_each(|frame| self.send_datagram(node, Node::Relay, frame));
    }

    fn peer_datagram(&mut self, index: usize, bytes: &[u8]) {
        let now = self.now;
        let peer = &mut self.peers[index];
        let node = peer.node();
        let Some(session) = &mut peer.session else { return };
        session.binding.heard_at = Some(now);
        match RelayFrame::decode(bytes) {
            Ok(RelayFrame::Data { peer, payload, .. }) => self.link_datagram(index, peer, payload),
            Ok(RelayFrame::Challenge { cookie }) => {
                let token = member_token(session.me);
                self.send_datagram(node, Node::Relay, RelayFrame::Bind { cookie, token: &token }.to_vec());
            }
            Ok(RelayFrame::Bound { session: tag, host, .. }) => {
                session.binding.tag = Some(tag);
                session.binding.asked_at = None;
                session.migration.handle_relay_hint(host);
            }
            Ok(
                RelayFrame::Alive { host, .. } | RelayFrame::HostMoved { host, .. } | RelayFrame::Demoted { host, .. },
            ) => {
                if session.binding.grant.is_some_and(|grant| grant.epoch <= host.epoch) {
                    session.binding.grant = None;
                }
                session.migration.handle_relay_hint(host);
            }
            Ok(RelayFrame::Refused { .. }) => session.binding.grant = None,
            Ok(
                RelayFrame::BindRequest { .. }
                | RelayFrame::Bind { .. }
                | RelayFrame::KeepAlive { .. }
                | RelayFrame::Grant { .. }
                | RelayFrame::Unbind { .. },
            )
            | Err(_) => {}
        }
    }

    /// Sends a frame on the link to another peer's process.
    fn send_frame(&mut self, index: usize, to: ConnectionId, to_key: PeerKey, frame: PeerFrame<'_>) {
        let peer = &self.peers[index];
        let Some(tag) = peer.session.as_ref().and_then(|session| session.binding.tag) else { return };
        let mut payload = [&peer.key.as_bytes()[..8], &to_key.as_bytes()[..8]].concat();
        frame.encode(&mut payload);
        let datagram = RelayFrame::Data { session: tag, peer: to, payload: &payload }.to_vec();
        let node = peer.node();
        self.send_datagram(node, Node::Relay, datagram);
    }

    /// A frame of a link: between two processes that have proven their keys.
    fn link_datagram(&mut self, index: usize, from: ConnectionId, payload: &[u8]) {
        let now = self.now;
        let peer = &mut self.peers[index];
        let (Some((keys, frame)), Some(session)) = (payload.split_at_checked(16), &mut peer.session) else { return };
        let Some(their_key) = session.migration.lobby().member(from).map(|member| member.peer_key) else { return };
        if keys[..8] != their_key.as_bytes()[..8] || keys[8..] != peer.key.as_bytes()[..8] {
            return;
        }
        let Ok(frame) = PeerFrame::decode(frame) else { return };
        if let PeerBody::Hello(payload) = frame.body {
            return self.hello(index, from, frame.epoch, payload);
        }
        match session.migration.admit(from, frame.epoch, now) {
            Admission::Accept => {}
            Admission::Stale => {
                self.stats.stale_frames_refused += 1;
                return;
            }
            Admission::Ahead => return,
        }
        let known = peer.known;
        if let Some(incoming) = session.incoming.get_mut(&from) {
            incoming.heard_at = now;
        }
        match frame.body {
            PeerBody::Welcome(_) => {
                let dialed = session.dial.as_ref().is_some_and(|dial| dial.host == from && dial.epoch == frame.epoch);
                if dialed {
                    session.dial = None;
                    session.migration.handle_welcome(from, now);
                    let me = session.me;
                    self.checker.in_game(frame.epoch, me);
                }
            }
            PeerBody::Unreliable(_) => session.tick = session.tick.max(1),
            PeerBody::Goodbye => session.migration.handle_goodbye(from, now),
            PeerBody::Hello(_)
            | PeerBody::Refused(_)
            | PeerBody::Reliable { .. }
            | PeerBody::Heartbeat { .. }
            | PeerBody::Objects(_) => {}
        }
        if frame.epoch < known {
            self.violation("P4", format!("peer {index} took a frame of epoch {} though it knows {known}", frame.epoch));
        }
    }

    fn hello(&mut self, index: usize, from: ConnectionId, epoch: HostEpoch, payload: &[u8]) {
        let now = self.now;
        let Some(session) = &mut self.peers[index].session else { return };
        let Some(number) = payload.first_chunk::<8>() else { return };
        let dial = u64::from_be_bytes(*number);
        match session.incoming.get(&from) {
            Some(incoming) if incoming.dial == dial => {
                if incoming.welcomed {
                    self.welcome(index, from);
                }
                return;
            }
            Some(incoming) if incoming.dial > dial && incoming.dial >> 32 == dial >> 32 => return,
            Some(_) => session.migration.handle_link_down(from, now),
            None => {}
        }
        if session.migration.handle_hello(from, epoch, now) {
            session.incoming.insert(from, Incoming { dial, heard_at: now, welcomed: false });
        }
    }

    fn welcome(&mut self, index: usize, guest: ConnectionId) {
        let Some(session) = &mut self.peers[index].session else { return };
        let epoch = session.migration.epoch();
        let Some(key) = session.migration.lobby().member(guest).map(|member| member.peer_key) else { return };
        if let Some(incoming) = session.incoming.get_mut(&guest) {
            incoming.welcomed = true;
            self.send_frame(index, guest, key, PeerFrame { epoch, body: PeerBody::Welcome(b"") });
        }
    }

    fn keep_links(&mut self, index: usize) {
        let now = self.now;
        let Some(session) = &mut self.peers[index].session else { return };
        let idle: Vec<_> =
            session.incoming.extract_if(.., |_, incoming| now - incoming.heard_at >= LINK_IDLE).collect();
        idle.into_iter().for_each(|(guest, _)| session.migration.handle_link_down(guest, now));
        if let Role::Guest { host, link: GuestLink::InGame { heard_at, .. }, .. } = *session.migration.role()
            && now - heard_at >= LINK_IDLE
        {
            session.migration.handle_link_down(host, now);
        }
        let Some(dial) = &session.dial else { return };
        let (host, key, epoch) = (dial.host, dial.key, dial.epoch);
        if dial.until <= now {
            session.dial = None;
            session.migration.handle_link_down(host, now);
            return;
        }
        let payload = dial.number.to_be_bytes();
        self.send_frame(index, host, key, PeerFrame { epoch, body: PeerBody::Hello(&payload) });
    }

    /// A host sends the game's state to its guests, a guest its heartbeat to the host.
    fn beat(&mut self, index: usize) {
        let now = self.now;
        let Some(session) = &mut self.peers[index].session else { return };
        if session.beat_at > now {
            return;
        }
        session.beat_at = now + limits::HEARTBEAT;
        let epoch = session.migration.epoch();
        let lobby = session.migration.lobby();
        let key_of = |seat: ConnectionId| Some((seat, lobby.member(seat)?.peer_key));
        let (targets, body): (Vec<_>, _) = match session.migration.role() {
            Role::Host { .. } => {
                let guests: BTreeSet<_> = session.migration.guests_in_game().collect();
                session.tick += 1;
                (guests.into_iter().filter_map(key_of).collect(), PeerBody::Unreliable(b"state"))
            }
            Role::Guest { host, link: GuestLink::InGame { .. }, .. } => {
                (key_of(*host).into_iter().collect(), PeerBody::Heartbeat { tick: session.tick })
            }
            Role::Guest { .. } | Role::Waiting | Role::Becoming { .. } | Role::Out => return,
        };
        for (to, key) in targets {
            self.send_frame(index, to, key, PeerFrame { epoch, body });
        }
    }

    fn upload(&mut self, index: usize) {
        let upload_at = self.now + limits::SNAPSHOT_INTERVAL;
        let Some(epoch) = self.peers[index].hosts() else { return };
        let Some(session) = &mut self.peers[index].session else { return };
        session.upload_at = Some(upload_at);
        if session.uploading {
            return;
        }
        session.uploading = true;
        let members = &session.migration.lobby().members;
        let seats = members.iter().map(|member| Seat {
            connection: member.connection,
            player: member.player,
            played: session.migration.has_played(member.connection),
            host_data: session.secrets.get(&member.connection).cloned().unwrap_or_default(),
        });
        let body = Body {
            build_id: "sim".into(),
            scene: "arena".into(),
            seats: seats.collect(),
            objects: session.objects.clone(),
            state: Vec::new(),
        };
        let generation = Generation { epoch, seq: session.next_seq };
        session.next_seq += 1;
        let snapshot = Snapshot { generation, tick: session.tick, elapsed_us: session.tick * 100_000, body };
        let connection = session.me;
        if let Ok(record) = snapshot.encode() {
            self.request(index, Call::Snapshot { connection, record }, Answer::NotStored);
        }
    }

    fn answered(&mut self, index: usize, answer: Answer) {
        let now = self.now;
        let rejoin_at = now + Duration::from_millis(self.rng.u64(500..8000));
        let peer = &mut self.peers[index];
        match (answer, &mut peer.session) {
            (Answer::Joined { connection, view, secret }, None) => {
                peer.joining = false;
                peer.save(secret);
                self.enter_lobby(index, connection, *view, false);
            }
            (Answer::WrongSecret, _) => {
                peer.joining = false;
                peer.saved = None;
                peer.join_at = now;
            }
            (Answer::Refused | Answer::Unknown, None) => {
                peer.joining = false;
                peer.join_at = now + Duration::from_millis(200);
            }
            (Answer::Left, session) => {
                *session = None;
                peer.join_at = if self.now - self.start >= super::HEAL { now } else { rejoin_at };
            }
            (Answer::Ready { epoch, answer }, Some(session)) => session.migration.handle_ready(epoch, answer, now),
            (Answer::Fetched { epoch, record }, Some(session)) => {
                let snapshot = record.and_then(|record| Snapshot::decode(&record).ok());
                let seats: Vec<_> = snapshot.iter().flat_map(|snapshot| &snapshot.body.seats).cloned().collect();
                session.fetched = snapshot;
                let played = seats.iter().filter(|seat| seat.played).map(|seat| seat.connection);
                session.migration.handle_fetched(epoch, played);
                seats.iter().for_each(|seat| self.check_seat(seat.player, seat.connection));
            }
            (Answer::View(view), Some(session)) => session.migration.handle_resync(*view, now),
            (Answer::Stored | Answer::NotStored, Some(session)) => session.uploading = false,
            (Answer::Refused | Answer::Unknown, Some(session)) => session.leaving = false,
            (Answer::Joined { .. }, Some(_)) => {}
            (
                Answer::Ready { .. } | Answer::Fetched { .. } | Answer::View(_) | Answer::Stored | Answer::NotStored,
                None,
            ) => {}
        }
        self.pump(index);
    }

    /// Does what the machine wants done, and looks at what it has become.
    pub(super) fn pump(&mut self, index: usize) {
        while let Some(effect) = self.peers[index].session.as_mut().and_then(|session| session.migration.poll_effect())
        {
            self.effect(index, effect);
        }
        let peer = &mut self.peers[index];
        let Some(session) = &mut peer.session else { return };
        let epoch = session.migration.lobby().epoch;
        if epoch < peer.known {
            let known = peer.known;
            return self.violation("P2", format!("peer {index} went from epoch {known} to {epoch}"));
        }
        peer.known = epoch;
        let role = session.migration.role().clone();
        match role {
            Role::Host { epoch } => {
                session.was_host = true;
                let player = peer.player;
                if let Some(other) = self.checker.hosts_at(epoch, player, peer.process) {
                    self.violation("P1", format!("{other:?} and a process of {player:?} both host at epoch {epoch}"));
                }
            }
            Role::Guest { link: GuestLink::InGame { .. }, .. } if session.was_host => {
                session.was_host = false;
                self.stats.old_hosts_as_guests += 1;
            }
            Role::Out => {
                peer.session = None;
                peer.join_at = self.now;
            }
            Role::Waiting | Role::Guest { .. } | Role::Becoming { .. } => {}
        }
    }

    fn effect(&mut self, index: usize, effect: Effect) {
        let now = self.now;
        let number = self.peers[index].number();
        let Some(session) = &mut self.peers[index].session else { return };
        match effect {
            Effect::Dial { host, peer_key, epoch } => {
                let until = now + Duration::from_secs(1);
                session.dial = Some(Dial { host, key: peer_key, epoch, number, until });
                self.keep_links(index);
            }
            Effect::HangUp { peer } => {
                session.incoming.remove(&peer);
                session.dial.take_if(|dial| dial.host == peer);
            }
            Effect::Fetch { epoch } => self.request(index, Call::Fetch { epoch }, Answer::Unknown),
            Effect::Restore { epoch } => self.restore(index, epoch),
            Effect::ConfirmReady { epoch } => {
                let connection = session.me;
                let lost = Answer::Ready { epoch, answer: ReadyAnswer::Unknown };
                self.request(index, Call::Ready { connection, epoch }, lost);
            }
            Effect::PresentGrant { epoch } => {
                session.binding.grant = Some(HostHint { host: session.me, epoch });
                session.binding.asked_at = None;
            }
            Effect::Admit { guest, .. } => {
                session.migration.handle_admitted(guest);
                self.seat(index, guest);
                self.welcome(index, guest);
            }
            Effect::Upload { .. } => {
                session.upload_at = Some(now);
                let me = session.me;
                self.seat(index, me);
            }
            Effect::Report { epoch, hears_host } => {
                let report = ClientMessage::Report { epoch, hears_host };
                session.last_report = Some(report.clone());
                self.say(index, report);
                // A moment of silence is one, even if it ends before the next look at the clock.
                self.checker_sample();
            }
            Effect::Hears { epoch, guests } => self.say(index, ClientMessage::Hears { epoch, guests }),
            Effect::Resync => self.request(index, Call::View, Answer::Unknown),
            Effect::Notify(notice) => {
                self.stats.hosts_demoted += u64::from(matches!(notice, Notice::Demoted { .. }));
                if let Notice::PlayerLeft { connection, .. } = notice {
                    session.secrets.remove(&connection);
                    session.objects.orphan(connection);
                }
                self.trace(|| format!("peer {index}: {notice:?}"));
            }
        }
    }

    /// A host gives a seat that is new to its game a secret and an object; one that it knows gets its object back.
    fn seat(&mut self, index: usize, seat: ConnectionId) {
        let secret: [u8; 8] = rng_bytes(&mut self.rng);
        let Some(session) = &mut self.peers[index].session else { return };
        let Some(joined_at) = session.migration.lobby().member(seat).map(|member| member.joined_at) else { return };
        let fresh = [&joined_at.0.to_be_bytes()[..], &secret].concat();
        let known = session.secrets.entry(seat).or_insert_with(|| fresh.clone());
        if known[..8] != fresh[..8] {
            *known = fresh;
        }
        let object = ObjectId(u64::from(seat.0));
        if session.objects.object(object).is_none_or(|object| object.owner != Some(seat)) {
            session.objects.place(object, Some(seat), Vec::new()).expect("a table of a few seats has room");
        }
        session.objects.enable(seat, true);
    }

    fn restore(&mut self, index: usize, epoch: HostEpoch) {
        let slow = !self.healed() && self.faults.slow_restore && self.rng.u8(0..3) == 0;
        self.stats.slow_restores += u64::from(slow);
        let process = self.peers[index].process;
        if let Some(session) = &mut self.peers[index].session {
            let fetched = session.fetched.take();
            let body = fetched.as_ref().map(|snapshot| snapshot.body.clone());
            let seats = body.iter().flat_map(|body| &body.seats).filter(|seat| !seat.host_data.is_empty());
            session.secrets = seats.map(|seat| (seat.connection, seat.host_data.clone())).collect();
            session.objects = body.map(|body| body.objects).unwrap_or_default();
            session.objects.disable_all_but(session.me);
            session.tick = fetched.as_ref().map_or(0, |snapshot| snapshot.tick);
            session.next_seq = fetched
                .filter(|snapshot| snapshot.generation.epoch == epoch)
                .map_or(0, |snapshot| snapshot.generation.seq + 1);
            session.uploading = false;
        }
        let delay = if slow { 400..6000 } else { 1..40 };
        self.soon(delay, Item::Peer { peer: index, process, item: PeerItem::Restored { epoch } });
    }

    pub(super) fn read_member_token(&self, token: &[u8]) -> Option<ConnectionId> {
        Some(ConnectionId(u32::from_be_bytes(*token.first_chunk()?)))
    }

    pub(super) fn read_grant(&self, token: &[u8]) -> Option<HostHint> {
        let (host, rest) = token.split_first_chunk::<4>()?;
        let epoch = HostEpoch(u64::from_be_bytes(*rest.first_chunk()?));
        Some(HostHint { host: ConnectionId(u32::from_be_bytes(*host)), epoch })
    }
}

/// Stands for a signed token: the seat, and as long as an answer may be.
fn member_token(seat: ConnectionId) -> Vec<u8> {
    let mut token = seat.0.to_be_bytes().to_vec();
    token.resize(32, 0);
    token
}

fn grant_token(grant: HostHint) -> Vec<u8> {
    [&grant.host.0.to_be_bytes()[..], &grant.epoch.0.to_be_bytes()].concat()
}
