//! The lobby service as its clients see it: one or two instances over one database, the real `Tables`. Each has the real `Commit`,
//! `Presence` and `Suspicion`; only what sockets, clocks and the way between the instances do is imitated.

use std::time::Instant;

use lobby_service::store::memory::Tables;
use lobby_service::store::{Change, NewSnapshot, Written};
use protocol::commit::Version;
use protocol::hand_over::CommitAnswer;
use protocol::id::{ConnectionId, EventSeq, HostEpoch, InstanceId, JoinCode, LobbyId, PeerKey, SecretHash};
use protocol::lobby::{Actor, Command, Lobby, NewLobby, Newcomer, Return, Viewer};
use protocol::message::{ClientMessage, LobbyView};
use protocol::migration::ReadyAnswer;
use protocol::presence::SocketId;
use protocol::relay::HostSound;
use protocol::snapshot::{Generation, Header, Image};

use super::commits::Waiting;
use super::instance::{Condition, Instance, Timer};
use super::network::Node;
use super::news::Bus;
use super::peer::PeerItem;
use super::{Item, Sim, TICK};

/// A request by REST. It goes to any instance.
#[derive(Debug, Clone)]
pub(super) enum Call {
    Join(Newcomer),
    Reconnect { newcomer: Newcomer, presented: SecretHash, next: SecretHash },
    Leave { connection: ConnectionId, player: protocol::id::PlayerId },
    Ready { connection: ConnectionId, epoch: HostEpoch },
    Snapshot { connection: ConnectionId, record: Vec<u8> },
    Fetch { epoch: HostEpoch, newer_than: Option<Generation> },
    HandOver { connection: ConnectionId, epoch: HostEpoch, to: ConnectionId },
    View,
}

/// Its answer.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    Joined {
        connection: ConnectionId,
        view: Box<LobbyView>,
        secret: SecretHash,
    },
    WrongSecret,
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
    FetchFailed {
        epoch: HostEpoch,
    },
    HandedOver(CommitAnswer),
    View(Box<LobbyView>),
    Refused,
    /// Nothing came back in time, or that the service does not know: it may have been done.
    Unknown,
}

/// What comes to an instance.
pub(super) enum ServiceItem {
    Boot,
    Thaw,
    Retire,
    /// A timer of one of its processes.
    Own {
        process: u32,
        timer: Timer,
    },
    Bus(Bus),
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

/// The instances, and the database that survives them.
pub(super) struct Service {
    pub(super) lobby: LobbyId,
    pub(super) tables: Tables,
    pub(super) instances: Vec<Instance>,
    /// Until when no instance reaches the database.
    pub(super) outage_until: Option<Instant>,
    /// When the last thing happened to an instance or to the database.
    pub(super) steady_since: Instant,
    next_id: u64,
}

impl Service {
    pub(super) fn new(lobby: LobbyId, instances: usize, now: Instant) -> Self {
        Self {
            lobby,
            tables: Tables::default(),
            instances: (0..instances).map(|_| Instance::new(now)).collect(),
            outage_until: None,
            steady_since: now,
            next_id: 0,
        }
    }

    pub(super) fn row(&self) -> Option<(Lobby, Version)> {
        self.tables.load(self.lobby)
    }

    pub(super) fn draw_id(&mut self) -> InstanceId {
        self.next_id += 1;
        InstanceId::from_bytes(self.next_id.to_le_bytes())
    }

    /// Whether a call of this instance to the database fails now.
    pub(super) fn store_fails(&self, instance: usize, now: Instant) -> bool {
        let cut = self.instances[instance].cut_until;
        [self.outage_until, cut].into_iter().flatten().any(|until| until > now)
    }

    /// Whether this instance runs, reaches the database and serves.
    pub(super) fn serves(&self, instance: usize, now: Instant) -> bool {
        self.instances[instance].serves() && !self.store_fails(instance, now)
    }

    /// Whether any instance does.
    pub(super) fn is_up(&self, now: Instant) -> bool {
        (0..self.instances.len()).any(|instance| self.serves(instance, now))
    }

    /// Whether this seat has an open socket of this process, at this instance.
    pub(super) fn has_socket(&self, instance: usize, connection: ConnectionId, key: PeerKey) -> bool {
        let instance = &self.instances[instance];
        instance.serves() && instance.sockets.values().any(|socket| socket.is_of(connection, key))
    }
}

impl Sim {
    /// All instances start, and peer 0 creates the lobby at the first.
    pub(super) fn create_lobby(&mut self) {
        for instance in 0..self.service.instances.len() {
            self.boot(instance);
            self.renew(instance);
        }
        let secret = SecretHash::from_bytes(std::array::from_fn(|_| self.rng.u8(..)));
        let newcomer = self.peers[0].newcomer(self.service.instances[0].id);
        let newcomer = Newcomer { secret: Some(secret), ..newcomer };
        self.peers[0].save(secret);
        let code = JoinCode::from_entropy(self.rng.u64(..));
        let new = NewLobby::new(self.lobby, code, "sim".into(), self.settings.clone());
        let created = Lobby::create(new, newcomer, self.timestamp());
        let Ok((lobby, events)) = created else { return self.violation("P16", "a valid lobby was refused".into()) };
        let view = lobby.view(Viewer::Members);
        self.checker.saved(None, &lobby, &events);
        let change = Change { expected: None, lobby: lobby.into(), events };
        if self.service.tables.write(change) != Written::Done {
            return self.violation("P16", "a new lobby was not created".into());
        }
        let (seat, key, now) = ((self.lobby, ConnectionId(0)), self.peers[0].key, self.now);
        self.service.instances[0].presence.heartbeat(seat, key, now);
        self.enter_lobby(0, ConnectionId(0), view, true);
        self.after(TICK, Item::Peer { peer: 0, process: 0, item: PeerItem::Tick });
    }

    pub(super) fn handle_service(&mut self, instance: usize, item: ServiceItem) {
        match (&mut self.service.instances[instance].condition, item) {
            (Condition::Down, ServiceItem::Boot) => self.boot(instance),
            (Condition::Frozen { .. }, ServiceItem::Thaw) => self.thaw_instance(instance),
            (_, ServiceItem::Boot | ServiceItem::Thaw) => {}
            (Condition::Frozen { backlog, .. }, item) => backlog.push(item),
            (Condition::Down, ServiceItem::Open { peer, process, socket, .. }) => {
                self.soon(1..10, Item::Peer { peer, process, item: PeerItem::SocketClosed(socket) });
            }
            (Condition::Down, ServiceItem::Rest { peer, process, request, .. }) => {
                self.answer(instance, peer, process, request, Answer::Unknown);
            }
            (Condition::Down, _) => {}
            (Condition::Up, item) => self.service_item(instance, item),
        }
    }

    fn service_item(&mut self, instance: usize, item: ServiceItem) {
        match item {
            ServiceItem::Boot | ServiceItem::Thaw => {}
            ServiceItem::Retire => self.retire(instance),
            ServiceItem::Own { process, timer } => {
                if self.service.instances[instance].process == process {
                    self.timer(instance, timer);
                }
            }
            ServiceItem::Bus(message) => self.bus_says(instance, message),
            ServiceItem::Open { peer, process, socket, connection, key, after } => {
                self.open(instance, socket, peer, process, (connection, key), after);
            }
            ServiceItem::Message { socket, message } => self.socket_message(instance, socket, message),
            ServiceItem::Pong { socket } => self.socket_alive(instance, socket),
            ServiceItem::SocketClosed(socket) => self.socket_closed(instance, socket),
            ServiceItem::Rest { peer, process, request, call } => self.rest(instance, peer, process, request, call),
            ServiceItem::Sound(sound) => self.relay_says(instance, sound),
        }
    }

    /// The relay is connected to the first instance that is not down.
    pub(super) fn instance_of_relay(&self) -> usize {
        let down = |instance: &Instance| matches!(instance.condition, Condition::Down);
        self.service.instances.iter().position(|instance| !down(instance)).unwrap_or(0)
    }

    fn rest(&mut self, instance: usize, peer: usize, process: u32, request: u64, call: Call) {
        let waiting = Waiting::Rest { peer, process, request };
        let fails = self.service.store_fails(instance, self.now);
        if !self.service.instances[instance].serves() || (fails && !matches!(call, Call::Snapshot { .. })) {
            return self.answer(instance, peer, process, request, Answer::Unknown);
        }
        match call {
            Call::Join(newcomer) => {
                self.asks_again(newcomer.player, newcomer.peer_key);
                let holder = self.service.instances[instance].id;
                self.execute(instance, Command::Join(Newcomer { holder, ..newcomer }), waiting);
            }
            Call::Reconnect { newcomer: Newcomer { player, peer_key, .. }, presented, next } => {
                let holder = self.service.instances[instance].id;
                let returning =
                    Return { player, presented, next, peer_key, direct_address: None, browser: false, holder };
                self.execute(instance, Command::Reconnect(returning), waiting);
            }
            Call::Leave { connection, player } => {
                self.execute(instance, Command::Leave { connection, player }, waiting);
            }
            Call::Ready { connection, epoch } => self.execute(instance, Command::Ready { connection, epoch }, waiting),
            Call::View => {
                let view = self.service.row().map(|(lobby, _)| Answer::View(Box::new(lobby.view(Viewer::Members))));
                self.answer(instance, peer, process, request, view.unwrap_or(Answer::Refused));
            }
            Call::HandOver { connection, epoch, to } => {
                let by = Actor::Host { connection, epoch };
                self.execute(instance, Command::Replace { by, to: Some(to) }, waiting);
            }
            Call::Fetch { epoch, newer_than } => {
                let latest = self.service.tables.latest_snapshot(self.lobby);
                let newer = latest.filter(|(header, _)| Some(header.generation) > newer_than);
                let record = newer.map(|(_, bytes)| bytes.to_vec());
                self.answer(instance, peer, process, request, Answer::Fetched { epoch, record });
            }
            Call::Snapshot { connection, record } => {
                // While the database is away it may be stored, or not; nobody is told.
                let reached = !fails || self.rng.bool();
                let answer = if reached { self.put_snapshot(connection, &record) } else { Answer::Unknown };
                self.answer(instance, peer, process, request, if fails { Answer::Unknown } else { answer });
            }
        }
    }

    /// P4 and P5 are checked here: what was accepted was of the epoch and the host of that moment, and newer than the last.
    fn put_snapshot(&mut self, connection: ConnectionId, record: &[u8]) -> Answer {
        let Ok(header) = Header::check(record) else { return Answer::NotStored };
        let generation = header.generation;
        let before = self.service.tables.latest_snapshot(self.lobby).map(|(header, _)| header.generation);
        let new = NewSnapshot { lobby: self.lobby, connection, header, record: record.to_vec().into() };
        let stored = self.service.tables.put_snapshot(&new).is_ok();
        let Some((lobby, _)) = self.service.row() else { return Answer::NotStored };
        if !stored {
            self.stats.stale_writes_refused += u64::from(generation.epoch < lobby.epoch());
            return Answer::NotStored;
        }
        self.stats.snapshots_stored += 1;
        if let Ok(snapshot) = Image::from_record(record, None).and_then(|image| image.decode()) {
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

    pub(super) fn answer(&mut self, instance: usize, peer: usize, process: u32, request: u64, answer: Answer) {
        if self.network.cut_until(Node::Service(instance), Node::Peer(peer, process), self.now).is_none() {
            self.soon(1..10, Item::Peer { peer, process, item: PeerItem::Answer { request, answer } });
        }
    }
}
