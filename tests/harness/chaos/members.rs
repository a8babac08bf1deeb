//! Groups of players, each of whom holds a socket to its lobby and opens it again, at any instance, whenever it ends.

mod listener;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use futures_util::future::join_all;
use protocol::id::{ConnectionId, HostEpoch, JoinCode, LobbyId};
use protocol::lobby::{HostState, Settings};
use protocol::message::{EventBody, LobbyView, ServerMessage};
use protocol::snapshot::Generation;
use reqwest::Method;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use super::world::{Player, World, reply};
use crate::history::{Answer, Outcome};

/// A lobby with so many events is left for a new one, while all its events are still kept.
const EVENTS_MAX: u64 = 600;
/// Between two requests of a member.
const THINK_MS: std::ops::Range<u64> = 100..500;
/// Between two times that a host leaves: one that leaves sooner counts as a failed election.
const REIGN_MS: std::ops::Range<u64> = 11_000..16_000;

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// What goes on in a lobby.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Three members stay: the host is never lost.
    Steady,
    /// The host leaves again and again, and comes back as a guest.
    Contested,
    /// Its creator stays; others come and go.
    Open,
}

impl Kind {
    fn settings(self) -> Settings {
        let (election_delay_ms, removal_delay_ms) = match self {
            // Longer than a client needs to find that an instance hangs and to go to another.
            Self::Steady => (6_000, 60_000),
            Self::Contested => (1_000, 20_000),
            Self::Open => (1_000, 10_000),
        };
        Settings { election_delay_ms, removal_delay_ms, ..Settings::default() }
    }

    const fn guests(self) -> usize {
        match self {
            Self::Steady | Self::Contested => 2,
            Self::Open => 0,
        }
    }
}

/// One lobby after the other, until the end.
pub(super) async fn group(world: Arc<World>, kind: Kind, seed: u64) {
    let mut rng = Rng::with_seed(seed);
    while !world.is_stopped() {
        let Some(creator) = world.sign_in(&mut rng).await else { return };
        let name = format!("{kind:?} {}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let is_steady = kind == Kind::Steady;
        let created = world.create(&mut rng, &creator, &name, &kind.settings(), is_steady).await;
        let Some(view) = created else { continue };
        if kind == Kind::Open {
            world.open_lobbies().push((view.id, view.join_code));
        }
        let (lobby, code) = (view.id, view.join_code);
        let place = Place { world: &world, lobby, code, kind, is_full: watch::Sender::new(false) };
        let host = place.host(creator, rng.fork());
        let guests = join_all((0..kind.guests()).map(|_| place.guest(rng.fork())));
        tokio::join!(host, guests);
        world.open_lobbies().retain(|(id, _)| *id != lobby);
    }
}

/// A lobby, to its members.
struct Place<'a> {
    world: &'a World,
    lobby: LobbyId,
    code: JoinCode,
    kind: Kind,
    /// It has had enough events.
    is_full: watch::Sender<bool>,
}

/// What a member knows.
#[derive(Debug, Clone)]
struct Known {
    connection: ConnectionId,
    epoch: HostEpoch,
    host: Option<ConnectionId>,
    /// Elected, and has not yet said that it is ready.
    elected: Option<HostEpoch>,
}

impl Place<'_> {
    /// The creator.
    async fn host(&self, player: Player, mut rng: Rng) {
        let connection = ConnectionId(0);
        let left = self.sit(&player, connection, &mut rng).await;
        self.come_back(left, player, rng).await;
    }

    /// Somebody who joins.
    async fn guest(&self, mut rng: Rng) {
        if let Some(player) = self.world.sign_in(&mut rng).await {
            self.come_back(Left::Acknowledged, player, rng).await;
        }
    }

    /// Takes a seat each time it was given up, until it is over.
    async fn come_back(&self, mut left: Left, mut player: Player, mut rng: Rng) {
        while !self.is_over() {
            match left {
                Left::Over => return,
                Left::Acknowledged => {}
                Left::Unknown => match self.world.sign_in(&mut rng).await {
                    Some(other) => player = other,
                    None => return,
                },
            }
            left = match self.world.join(&mut rng, &player, self.lobby, self.code).await {
                Outcome::Done(Answer::Seat(connection, _)) => self.sit(&player, connection, &mut rng).await,
                Outcome::Refused(_) => {
                    self.world.pause(Duration::from_secs(1)).await;
                    Left::Acknowledged
                }
                Outcome::Done(_) | Outcome::Unknown | Outcome::Failed => Left::Unknown,
            };
        }
    }

    fn is_over(&self) -> bool {
        self.world.is_stopped() || *self.is_full.borrow()
    }

    /// Listens and makes requests until the seat is given up or all is over.
    async fn sit(&self, player: &Player, connection: ConnectionId, rng: &mut Rng) -> Left {
        let known = Known { connection, epoch: HostEpoch::FIRST, host: None, elected: None };
        let known = Mutex::new(known);
        let left = watch::Sender::new(None);
        let (left_by_request, ()) =
            tokio::join!(self.work(player, &known, &left, rng.fork()), self.listen(player, &known, &left, rng.fork()));
        left_by_request
    }

    /// Makes requests.
    async fn work(
        &self,
        player: &Player,
        known: &Mutex<Known>,
        left: &watch::Sender<Option<Left>>,
        mut rng: Rng,
    ) -> Left {
        let look = || known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut numbers: BTreeMap<HostEpoch, u64> = BTreeMap::new();
        let mut leaves_at = Instant::now() + Duration::from_millis(rng.u64(REIGN_MS));
        while !self.is_over() && left.borrow().is_none() {
            self.world.pause(Duration::from_millis(rng.u64(THINK_MS))).await;
            let now = look();
            let is_host = now.host == Some(now.connection);
            if let Some(epoch) = now.elected {
                self.ready(player, epoch, known, &mut rng).await;
                leaves_at = Instant::now() + Duration::from_millis(rng.u64(REIGN_MS));
            } else if is_host && self.kind == Kind::Contested && Instant::now() > leaves_at {
                let last = numbers.get(&now.epoch).map(|&seq| Generation { epoch: now.epoch, seq });
                let given_up = self.give_up(player, last, &mut rng).await;
                if given_up != Left::Over {
                    left.send_replace(Some(given_up));
                    return given_up;
                }
            } else if is_host && rng.u8(..10) < 6 {
                let seq = numbers.entry(now.epoch).or_default();
                let generation = Generation { epoch: now.epoch, seq: *seq };
                *seq += 1;
                self.world.put(&mut rng, player, self.lobby, generation).await;
            } else if rng.bool() {
                self.world.read(&mut rng, player, self.lobby).await;
            } else {
                self.world.fetch(&mut rng, player, self.lobby, self.kind == Kind::Steady).await;
            }
        }
        left.borrow().unwrap_or(Left::Over)
    }

    async fn ready(&self, player: &Player, epoch: HostEpoch, known: &Mutex<Known>, rng: &mut Rng) {
        let path = format!("/v1/lobbies/{}/ready", self.lobby);
        let at = self.world.any_instance(rng);
        let request = self.world.request(at, player, Method::POST, &path).json(&json!({"epoch": epoch}));
        // What came of it comes as an event. It is said again until then.
        drop(reply(request).await);
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.epoch != epoch {
            known.elected = None;
        }
    }

    /// A host leaves, and then tries to upload all the same.
    async fn give_up(&self, player: &Player, last: Option<Generation>, rng: &mut Rng) -> Left {
        let left = match self.world.leave(rng, player, self.lobby).await {
            Outcome::Done(_) => Left::Acknowledged,
            // It was removed, or is still there.
            Outcome::Refused(_) => return Left::Over,
            Outcome::Unknown | Outcome::Failed => Left::Unknown,
        };
        if let Some(Generation { epoch, seq }) = last {
            self.world.put(rng, player, self.lobby, Generation { epoch, seq: seq + 1_000 }).await;
        }
        left
    }

    /// Learns from what came.
    fn learn(&self, known: &mut Known, message: &ServerMessage) {
        match message {
            ServerMessage::Resync { lobby } => learn_view(known, lobby),
            ServerMessage::Event(event) => {
                known.epoch = event.epoch;
                learn_event(known, &event.body);
                if event.seq.0 >= EVENTS_MAX {
                    self.is_full.send_replace(true);
                }
            }
            ServerMessage::Challenge { .. } | ServerMessage::Signal { .. } | ServerMessage::Closing { .. } => {}
        }
    }
}

/// How a seat ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// All is over; the seat is still taken.
    Over,
    /// It was given up, or taken away.
    Acknowledged,
    /// Perhaps.
    Unknown,
}

fn learn_view(known: &mut Known, lobby: &LobbyView) {
    known.epoch = lobby.epoch;
    known.host = lobby.host.host();
    let is_elected = matches!(lobby.host, HostState::Elected { host, .. } if host == known.connection);
    known.elected = is_elected.then_some(lobby.epoch);
}

fn learn_event(known: &mut Known, body: &EventBody) {
    match body {
        EventBody::HostElected { host, .. } => {
            known.host = Some(*host);
            known.elected = (*host == known.connection).then_some(known.epoch);
        }
        EventBody::HostReady { host } | EventBody::HostReturned { host } | EventBody::HostVouched { host } => {
            (known.host, known.elected) = (Some(*host), None);
        }
        EventBody::HostLost { .. } | EventBody::ElectionFailed { .. } | EventBody::HostParked { .. } => {
            (known.host, known.elected) = (None, None);
        }
        EventBody::MemberJoined { .. }
        | EventBody::MemberChanged { .. }
        | EventBody::MemberConnected { .. }
        | EventBody::MemberDisconnected { .. }
        | EventBody::MemberLeft { .. }
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
