//! A peer: the real `Migration`, and around it what a client's driver does, with links that are datagrams through the relay.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fastrand::Rng;
use protocol::frame::{HostHint, RelayFrame};
use protocol::hand_over::Wish;
use protocol::id::{
    ConnectionId, EventSeq, HostEpoch, InstanceId, ObjectId, PeerKey, PlayerId, SecretHash, SessionTag,
};
use protocol::journal::{GuestStreams, Ledger, StreamId};
use protocol::limits;
use protocol::lobby::Newcomer;
use protocol::message::{ClientMessage, Event, LobbyView};
use protocol::migration::{Effect, GuestLink, Migration, Notice, ReadyAnswer, Role, Stage};
use protocol::objects::ObjectTable;
use protocol::presence::SocketId;
use protocol::snapshot::{Image, Snapshot};
use protocol::standby::Job;

use super::game::{Chain, Game, View};
use super::hosting::{Fed, Hosting};
use super::links::{Links, Streamed};
use super::network::Node;
use super::service::{Answer, Call, ServiceItem};
use super::takeover::Search;
use super::{Item, Sim, TICK, rng_bytes};

/// What happens to a peer.
pub(super) enum PeerItem {
    /// Its process is started.
    Start,
    Tick,
    Thaw,
    Datagram(Vec<u8>),
    /// On the stream of a link.
    Stream {
        link: u64,
        from: ConnectionId,
        streamed: Streamed,
    },
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
    /// A state is ready to be sent to the successor.
    Encoded {
        epoch: HostEpoch,
        job: Job<Fed>,
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

#[derive(Default)]
pub(super) struct Binding {
    pub(super) tag: Option<SessionTag>,
    heard_at: Option<Instant>,
    asked_at: Option<Instant>,
    grant: Option<HostHint>,
}

pub(super) struct Session {
    pub(super) me: ConnectionId,
    pub(super) migration: Migration,
    socket: Socket,
    pub(super) binding: Binding,
    pub(super) links: Links,
    /// What it says and hears, whoever hosts; and what its game makes of that.
    pub(super) streams: GuestStreams,
    pub(super) view: View,
    /// The newest state that it holds.
    pub(super) held: Option<Image>,
    /// It was elected and looks for the newest state; and what it has found.
    pub(super) search: Option<Search>,
    pub(super) found: Option<(Image, Snapshot)>,
    pub(super) hosting: Option<Hosting>,
    /// What the host alone knows of each seat: when it was taken, and a secret.
    pub(super) secrets: BTreeMap<ConnectionId, Vec<u8>>,
    /// One object for each seat.
    pub(super) objects: ObjectTable,
    pub(super) upload_at: Option<Instant>,
    leaving: bool,
    /// It leaves once another one hosts.
    leaves_after_hand_over: bool,
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
    pub(super) session: Option<Session>,
    joining: bool,
    /// It had a seat: it joins anew with another key.
    joins_anew: bool,
    join_at: Instant,
    requests: BTreeMap<u64, (Instant, Answer)>,
    next_number: u64,
    /// The newest epoch that this process has heard of.
    pub(super) known: HostEpoch,
}

/// How long a request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
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
            joins_anew: false,
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

    pub(super) fn hosting_mut(&mut self) -> Option<&mut Hosting> {
        self.session.as_mut()?.hosting.as_mut()
    }

    pub(super) fn game_mut(&mut self) -> Option<&mut Game> {
        self.hosting_mut().map(|hosting| &mut hosting.game)
    }

    pub(super) fn view_mut(&mut self) -> Option<&mut View> {
        self.session.as_mut().map(|session| &mut session.view)
    }

    /// What its process was shown as stable.
    pub(super) fn heard_stable(&self) -> Option<(StreamId, Chain)> {
        self.session.as_ref().map(|session| (session.streams.offer().stream, session.view.stable()))
    }

    /// How much its process has said, and what it has heard.
    pub(super) fn said_and_heard(&self) -> Option<(StreamId, u64, &View)> {
        let session = self.session.as_ref()?;
        Some((session.streams.offer().stream, session.streams.journal().newest(), &session.view))
    }

    pub(super) fn node(&self) -> Node {
        Node::Peer(self.index, self.process)
    }

    pub(super) fn number(&mut self) -> u64 {
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
            PeerItem::Stream { link, from, streamed } => self.streamed(index, link, from, streamed),
            PeerItem::SocketClosed(socket) => self.peer_socket_closed(index, socket),
            PeerItem::FromService { socket, message } => self.service_says(index, socket, message),
            PeerItem::Answer { request, answer } => {
                if let Some((_, lost)) = self.peers[index].requests.remove(&request) {
                    self.answered(index, if matches!(answer, Answer::Unknown) { lost } else { answer });
                }
            }
            PeerItem::Encoded { epoch, job } => self.encoded(index, epoch, &job),
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
        if self.begin_hand_over(index, Wish::Leave) {
            if let Some(session) = &mut self.peers[index].session {
                session.leaves_after_hand_over = true;
            }
            return;
        }
        self.upload(index);
        self.leave(index);
    }

    pub(super) fn leave(&mut self, index: usize) {
        let Some(session) = &mut self.peers[index].session else { return };
        session.leaves_after_hand_over = false;
        let connection = session.me;
        let player = self.peers[index].player;
        self.request(index, Call::Leave { connection, player }, Answer::Unknown);
    }

    /// Sends a request; `lost` is what the peer takes it for if nothing comes back.
    pub(super) fn request(&mut self, index: usize, call: Call, lost: Answer) {
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
        let stream = StreamId(self.rng.u64(..));
        let peer = &mut self.peers[index];
        let session = Session {
            me,
            migration: Migration::new(me, view, created, now),
            socket: Socket::Closed { again_at: now, avoid: None },
            binding: Binding::default(),
            links: Links::default(),
            streams: GuestStreams::new(stream),
            view: View::default(),
            held: None,
            search: None,
            found: None,
            hosting: None,
            secrets: BTreeMap::new(),
            objects: ObjectTable::default(),
            upload_at: None,
            leaving: false,
            leaves_after_hand_over: false,
            was_host: false,
            last_report: None,
        };
        peer.session = Some(session);
        let player = peer.player;
        if let Some(epoch) = self.peers[index].hosts() {
            self.host(index, epoch, Game::default(), Ledger::default(), 0, now);
        }
        self.check_seat(player, me);
        self.pump(index);
    }

    /// P6: the seat that a player is told is the one that it always had.
    pub(super) fn check_seat(&mut self, player: PlayerId, seat: ConnectionId) {
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
                if std::mem::take(&mut peer.joins_anew) {
                    peer.key = PeerKey::from_bytes(rng_bytes(&mut self.rng));
                }
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
        self.operate(index);
        self.host_tick(index);
        let due = self.peers[index].session.as_ref().and_then(|session| session.upload_at).is_some_and(|at| at <= now);
        if due {
            self.upload(index);
        }
        self.pump(index);
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
                peer.joins_anew = true;
                peer.join_at = if self.now - self.start >= super::HEAL { now } else { rejoin_at };
            }
            (Answer::Ready { epoch, answer }, Some(session)) => session.migration.handle_ready(epoch, answer, now),
            (Answer::Fetched { epoch, record }, Some(_)) => self.lobby_has(index, epoch, record.as_deref()),
            (Answer::FetchFailed { epoch }, Some(_)) => self.lobby_failed(index, epoch),
            (Answer::HandedOver(answer), Some(_)) => self.hand_over_answered(index, answer),
            // A request of the process before came late, and the lobby holds that one for this one: the seat is taken again.
            (Answer::View(view), Some(session))
                if view.member(session.me).is_some_and(|me| me.peer_key != peer.key) =>
            {
                peer.session = None;
                peer.joins_anew = true;
                peer.join_at = now;
            }
            (Answer::View(view), Some(session)) => session.migration.handle_resync(*view, now),
            (Answer::Stored, Some(_)) => self.uploaded(index, true),
            (Answer::NotStored, Some(_)) => self.uploaded(index, false),
            (Answer::Refused | Answer::Unknown, Some(session)) => session.leaving = false,
            (Answer::Joined { .. }, Some(_)) => {}
            (
                Answer::Ready { .. }
                | Answer::Fetched { .. }
                | Answer::FetchFailed { .. }
                | Answer::HandedOver(_)
                | Answer::View(_)
                | Answer::Stored
                | Answer::NotStored,
                None,
            ) => {}
        }
        self.pump(index);
    }

    /// Does what the machine wants done, and looks at what it has become.
    pub(super) fn pump(&mut self, index: usize) {
        loop {
            self.keep_searching(index);
            let Some(session) = &mut self.peers[index].session else { break };
            let Some(effect) = session.migration.poll_effect() else { break };
            self.effect(index, effect);
        }
        self.stop_hosting(index);
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
                peer.joins_anew = true;
                peer.join_at = self.now;
            }
            Role::Waiting | Role::Guest { .. } | Role::Becoming { .. } => {}
        }
    }

    /// Who hosts no more, and is not about to, has no game; nobody looks for a state that is not elected.
    fn stop_hosting(&mut self, index: usize) {
        let Some(session) = &mut self.peers[index].session else { return };
        let (hosts, searches) = match *session.migration.role() {
            Role::Host { epoch } => (Some(epoch), None),
            Role::Becoming { epoch, stage: Stage::Fetching { .. } } => (None, Some(epoch)),
            Role::Becoming { epoch, stage: Stage::Restoring } => (Some(epoch), None),
            Role::Waiting | Role::Guest { .. } | Role::Out => (None, None),
        };
        session.search.take_if(|search| Some(search.takeover.epoch()) != searches);
        let stopped = session.hosting.take_if(|hosting| Some(hosting.epoch) != hosts).is_some();
        if stopped && session.leaves_after_hand_over {
            self.leave(index);
        }
    }

    fn effect(&mut self, index: usize, effect: Effect) {
        let now = self.now;
        let Some(session) = &mut self.peers[index].session else { return };
        match effect {
            Effect::Dial { host, peer_key, epoch } => self.dial(index, host, peer_key, epoch, false),
            Effect::DialStandby { successor, peer_key, epoch } => self.dial(index, successor, peer_key, epoch, true),
            Effect::HangUp { peer } => self.hang_up(index, peer),
            Effect::Fetch { epoch } => self.search(index, epoch),
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
            Effect::Admit { guest, .. } => self.admit(index, guest),
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
                    if let Some(hosting) = &mut session.hosting {
                        hosting.streams.forget(connection);
                    }
                }
                self.trace(|| format!("peer {index}: {notice:?}"));
            }
        }
    }

    /// A host gives a seat that is new to its game a secret and an object; one that it knows gets its object back.
    pub(super) fn seat(&mut self, index: usize, seat: ConnectionId) {
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
