//! Players of a tiny game, in the process of the test: a real session each, and a state that tells whether anything was lost or came twice.
//!
//! Each player does numbered things. Whoever hosts counts them, looks whether each comes once and after the one before, and answers
//! each, reliably and after stable. Players look in the same way at the answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use peer_client::{
    Client, Delivery, Event, HostError, LinkPath, LobbyOptions, Message, MigrationTrace, Output, Path, Recipient,
    Request, RestoreState, Restored, Role, SavedState, SendError, Session, SimulatedNetwork, StateChange, StateKey,
    Strategy,
};
use protocol::id::{ConnectionId, LobbyId};
use protocol::lobby::{Settings, Visibility};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::service::TestService;

/// Longest wait for anything: far more than anything takes, so that a loaded machine fails no test.
const PATIENCE: Duration = Duration::from_secs(40);
/// 30 a second.
const TICK: Duration = Duration::from_millis(33);

/// What is different about a player.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Its name.
    pub name: &'static str,
    /// How it keeps its state, as a host.
    pub strategy: Strategy,
    /// How often it stores it.
    pub interval: Duration,
    /// What its game gives unasked.
    pub gives: Gives,
    /// Whether its game answers what players do.
    pub answers: bool,
    /// Whether its game can be restored.
    pub restores: bool,
    /// Seals its states.
    pub key: Option<[u8; 32]>,
    /// Where it keeps who it is.
    pub identity: Option<PathBuf>,
    /// How it reaches others.
    pub path: Path,
    /// It has a real network instead of a simulated one, and reaches the relay there.
    pub relay: Option<SocketAddr>,
}

/// What a game gives unasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gives {
    /// Its state, each tick.
    States,
    /// Its state once, then each tick what has changed.
    Changes,
    /// Nothing.
    Nothing,
}

impl Setup {
    /// A player whose game gives its state each tick.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            strategy: Strategy::Replica,
            interval: Duration::from_millis(250),
            gives: Gives::States,
            answers: true,
            restores: true,
            key: None,
            identity: None,
            path: Path::Relay,
            relay: None,
        }
    }

    /// Hosts that keep their states by themselves and store one each ten minutes, beside the first.
    #[must_use]
    pub fn rarely(self) -> Self {
        Self { strategy: Strategy::Snapshot, interval: Duration::from_secs(600), ..self }
    }
}

/// The game.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct World {
    /// Its tick.
    pub tick: u64,
    /// All that was done, in its order.
    pub chain: u64,
    /// What was done by each player.
    pub done: BTreeMap<u32, Done>,
    /// Ticks that did not follow the one before.
    pub ticks_out_of_order: u64,
}

/// What one player did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The number of the last thing.
    pub last: u64,
    /// How many things.
    pub count: u64,
    /// Things that did not follow the one before.
    pub out_of_order: u64,
    /// Answers that it was given, of each kind.
    pub answers: u64,
}

/// One tick, as a change of the world.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct TickDone {
    tick: u64,
    /// Who did which, and whether it was answered.
    done: Vec<(ConnectionId, u64, bool)>,
}

impl World {
    /// Counts that a player did the thing of this number, and whether it was answered.
    pub fn apply(&mut self, player: ConnectionId, number: u64, answered: bool) {
        let done = self.done.entry(player.0).or_default();
        done.out_of_order += u64::from(number != done.last + 1);
        (done.last, done.count) = (number, done.count + 1);
        done.answers += u64::from(answered);
        self.chain = (self.chain ^ number ^ (u64::from(player.0) << 48)).wrapping_mul(0x0100_0000_01b3).rotate_left(5);
    }

    fn apply_tick(&mut self, tick: &TickDone) {
        self.ticks_out_of_order += u64::from(tick.tick != self.tick + 1);
        self.tick = tick.tick;
        tick.done.iter().for_each(|&(player, number, answered)| self.apply(player, number, answered));
    }

    /// Whether this player's things up to this number were done once each, in their order.
    #[must_use]
    pub fn has_all_of(&self, player: ConnectionId, number: u64) -> bool {
        let done = self.done.get(&player.0).copied().unwrap_or_default();
        (done.last, done.count, done.out_of_order) == (number, number, 0)
    }
}

/// What a player has seen.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// What it is.
    pub role: Option<Role>,
    /// Its epoch.
    pub epoch: u64,
    /// Guests in its game, if it hosts.
    pub in_game: Vec<ConnectionId>,
    /// Who would be elected.
    pub successor: Option<ConnectionId>,
    /// The world, as far as it knows as a host.
    pub world: World,
    /// The world from which it went on, with changes applied.
    pub restored: Option<World>,
    /// Changes that came with it.
    pub changes: usize,
    /// Things that it has done, so that the session took them.
    pub said: u64,
    /// How often a journal was full.
    pub full: u64,
    /// Answers that it heard, in their order, without those that were taken back.
    pub heard: Vec<u64>,
    /// Answers that were taken back.
    pub taken_back: u64,
    /// Answers after stable that it heard.
    pub stable: Vec<u64>,
    /// The last migration.
    pub migrated: Option<MigrationTrace>,
    /// Ticks of its states that were stored.
    pub stored_ticks: Vec<u64>,
    /// Its successor is warm.
    pub is_warm: bool,
    /// By which paths it reaches the others, in the order of their connection ids.
    pub paths: Vec<LinkPath>,
    /// All that happened, but for what happens each second.
    pub events: Vec<Event>,
}

impl Seen {
    /// It is host or guest in a game.
    #[must_use]
    pub const fn plays(&self) -> bool {
        matches!(self.role, Some(Role::Host | Role::Guest))
    }

    /// Whether what was heard are these answers, once each, in their order.
    #[must_use]
    pub fn heard_all(&self, answers: u64) -> bool {
        self.heard.iter().copied().eq(1..=answers) && self.stable.iter().copied().eq(1..=answers)
    }

    /// Whether an event like this has happened.
    pub fn event(&self, like: impl Fn(&Event) -> bool) -> bool {
        self.events.iter().any(like)
    }
}

/// What a player is told to do.
#[derive(Debug, Clone, Copy)]
enum Order {
    Do(u64),
    SaveNow,
    HandOver(Option<ConnectionId>),
    Leave,
}

/// A player, whose game runs until it is dropped: to the others it crashes.
#[derive(Debug)]
pub struct Player {
    /// Its seat.
    pub me: ConnectionId,
    /// Its lobby.
    pub lobby: LobbyId,
    /// What others join by.
    pub join_code: String,
    network: Option<peer_client::NetworkControl>,
    name: &'static str,
    seen: watch::Receiver<Seen>,
    orders: mpsc::UnboundedSender<Order>,
    game: AbortHandle,
}

impl Drop for Player {
    fn drop(&mut self) {
        self.game.abort();
    }
}

impl Player {
    /// Hosts a lobby that elects without delay.
    pub async fn host(service: &TestService, setup: Setup) -> Self {
        Self::start(service, setup, None).await
    }

    /// Joins, and is in the game when this returns.
    pub async fn join(&self, service: &TestService, setup: Setup) -> Self {
        let player = Self::start(service, setup, Some(&self.join_code)).await;
        player.until("its place in the game", |seen| seen.role == Some(Role::Guest)).await;
        player
    }

    async fn start(service: &TestService, setup: Setup, join_code: Option<&str>) -> Self {
        let mut builder = Client::builder(format!("http://{}", service.address()))
            .player_name(setup.name)
            .strategy(setup.strategy)
            .path(setup.path)
            .snapshot_interval(setup.interval);
        builder = match setup.relay {
            None => builder.simulated_network(SimulatedNetwork::new(1)),
            Some(address) => builder.relay_address(address),
        };
        if let Some(key) = setup.key {
            builder = builder.state_key(StateKey::new(key));
        }
        if let Some(path) = &setup.identity {
            builder = builder.identity_file(path);
        }
        let client = builder.sign_in().await.expect("the service takes new players");
        let settings = Settings {
            election_delay_ms: 0,
            ready_timeout_ms: 1000,
            visibility: Visibility::Private,
            ..Settings::default()
        };
        let session = match join_code {
            None => client.host(LobbyOptions { name: "game".to_owned(), settings }).await,
            Some(code) => client.join_code(code).await,
        };
        let session = session.expect("there is a seat");
        let (sender, seen) = watch::channel(Seen::default());
        let (orders, ordered) = mpsc::unbounded_channel();
        let (me, lobby, join_code) = (session.me(), session.lobby().id, session.join_code().to_string());
        let network = session.network().cloned();
        let name = setup.name;
        let game = Game { session, setup, seen: Seen::default(), to_say: 0, tick_done: TickDone::default() };
        let game = tokio::spawn(game.run(ordered, sender)).abort_handle();
        Self { me, lobby, join_code, network, name, seen, orders, game }
    }

    /// Pulls its plug.
    ///
    /// # Panics
    /// If its network is real.
    #[must_use]
    pub const fn network(&self) -> &peer_client::NetworkControl {
        self.network.as_ref().expect("its network is simulated")
    }

    /// Waits until what this player has seen is as wished.
    ///
    /// # Panics
    /// If that does not come.
    pub async fn until(&self, what: &str, is_so: impl Fn(&Seen) -> bool) -> Seen {
        let mut seen = self.seen.clone();
        let found = timeout(PATIENCE, seen.wait_for(|seen| is_so(seen))).await;
        match found.map(|found| found.map(|seen| seen.clone())) {
            Ok(Ok(seen)) => seen,
            Ok(Err(_)) => panic!("{}: {what} did not happen before its end: {:?}", self.name, self.now()),
            Err(_) => panic!("{}: {what} did not happen: {:?}", self.name, self.now()),
        }
    }

    /// What it has seen so far.
    #[must_use]
    pub fn now(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Has it do so many more things.
    pub fn does(&self, things: u64) {
        self.order(Order::Do(things));
    }

    /// Has it store its state.
    pub fn saves_now(&self) {
        self.order(Order::SaveNow);
    }

    /// Has it hand over.
    pub fn hands_over(&self, to: Option<ConnectionId>) {
        self.order(Order::HandOver(to));
    }

    /// Has it leave.
    pub fn leaves(&self) {
        self.order(Order::Leave);
    }

    /// Ends it as a crash does: without a word.
    pub fn crashes(self) {
        drop(self);
    }

    fn order(&self, order: Order) {
        // The session may have ended: then the test finds out by what it waits for.
        let _ = self.orders.send(order);
    }
}

/// One player's game loop.
struct Game {
    session: Session,
    setup: Setup,
    seen: Seen,
    /// Things that it was told to do and has not yet done.
    to_say: u64,
    tick_done: TickDone,
}

impl Game {
    async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>, seen: watch::Sender<Seen>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                output = self.session.next() => match output {
                    Some(output) => self.take(output),
                    None => break,
                },
                Some(order) = orders.recv() => self.obey(order),
                _ = ticks.tick() => self.tick(),
            }
            self.act();
            (self.seen.role, self.seen.epoch) = (Some(self.session.role()), self.session.epoch().0);
            self.seen.in_game = self.session.in_game();
            self.seen.paths = self.session.links().iter().filter_map(|link| link.path).collect();
            self.seen.successor = self.session.lobby().successor;
            seen.send_replace(self.seen.clone());
        }
        seen.send_replace(self.seen);
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Do(things) => self.to_say += things,
            Order::SaveNow => self.session.save_now(),
            Order::HandOver(to) => self.session.hand_over(to).expect("a host can begin to hand over"),
            Order::Leave => self.session.start_leaving(),
        }
    }

    fn take(&mut self, output: Output) {
        match output {
            Output::Request(Request::SaveState(request)) => request.answer(self.saved()),
            Output::Request(Request::RestoreState(request)) => self.restore(request),
            Output::Request(Request::AcceptPlayer(request)) => request.accept(),
            Output::Event(event) => self.happened(event),
            Output::Message(message) => self.heard(&message),
        }
    }

    fn happened(&mut self, event: Event) {
        if let Event::TakenBack { numbers } = event {
            let kept = usize::try_from(numbers.from - 1).expect("few answers");
            self.seen.taken_back += (self.seen.heard.len() - kept) as u64;
            self.seen.heard.truncate(kept);
        }
        if let Event::Migrated(trace) = &event {
            self.seen.migrated = Some((**trace).clone());
        }
        if let Event::SnapshotStored { tick, .. } = event {
            self.seen.stored_ticks.push(tick);
        }
        if let Event::Migratability(report) = &event {
            self.seen.is_warm = report.is_warm;
            return;
        }
        if !matches!(event, Event::SnapshotStored { .. } | Event::PeersUpdated) {
            self.seen.events.push(event);
        }
    }

    fn heard(&mut self, message: &Message) {
        let number = number_in(message);
        match message.delivery {
            Delivery::AfterStable => self.seen.stable.push(number & !ANSWER),
            Delivery::Reliable if number & ANSWER != 0 => self.seen.heard.push(number & !ANSWER),
            Delivery::Reliable => self.count(message.from, number),
            Delivery::Unreliable => unreachable!("nobody says anything so"),
        }
    }

    /// A host counts what somebody did, and answers.
    fn count(&mut self, from: ConnectionId, number: u64) {
        let answered = self.setup.answers && from != self.session.me() && self.answer(from);
        self.seen.world.apply(from, number, answered);
        self.tick_done.done.push((from, number, answered));
    }

    fn answer(&self, to: ConnectionId) -> bool {
        let given = self.seen.world.done.get(&to.0).map_or(0, |done| done.answers);
        let payload = (ANSWER | (given + 1)).to_be_bytes().to_vec();
        let said = |delivery| self.session.send(Recipient::One(to), delivery, payload.clone());
        said(Delivery::Reliable).is_ok() && said(Delivery::AfterStable).is_ok()
    }

    /// Does what is to be done, as far as the session takes it.
    fn act(&mut self) {
        while self.to_say > 0 {
            let number = self.seen.said + 1;
            let me = self.session.me();
            let done = if self.session.is_host() {
                let done = self.seen.world.done.get(&me.0).map_or(0, |done| done.last);
                // What it said as a guest comes first.
                let is_next = done == self.seen.said;
                is_next.then(|| self.count(me, number)).ok_or(SendError::NotConnected)
            } else {
                self.session.send(Recipient::Host, Delivery::Reliable, number.to_be_bytes().to_vec())
            };
            match done {
                Ok(()) => (self.seen.said, self.to_say) = (number, self.to_say - 1),
                Err(error) => {
                    self.seen.full += u64::from(error == SendError::Full);
                    return;
                }
            }
        }
    }

    fn tick(&mut self) {
        if !self.session.is_host() {
            return;
        }
        self.seen.world.tick += 1;
        self.session.set_tick(self.seen.world.tick);
        let tick = TickDone { tick: self.seen.world.tick, ..std::mem::take(&mut self.tick_done) };
        let given = match self.setup.gives {
            Gives::States => self.session.give_state(self.saved()),
            Gives::Changes => {
                let change = serde_json::to_vec(&tick).expect("a tick is JSON");
                let change = StateChange { tick: tick.tick, elapsed: self.elapsed(), change };
                match self.session.give_change(change) {
                    Err(HostError::NoBase) => self.session.give_state(self.saved()),
                    given => given,
                }
            }
            Gives::Nothing => Ok(()),
        };
        given.expect("a host gives its state");
    }

    fn elapsed(&self) -> Duration {
        TICK * u32::try_from(self.seen.world.tick).expect("a short game")
    }

    fn saved(&self) -> SavedState {
        let state = serde_json::to_vec(&self.seen.world).expect("a world is JSON");
        SavedState { tick: self.seen.world.tick, elapsed: self.elapsed(), scene: String::new(), state }
    }

    fn restore(&mut self, request: RestoreState) {
        if !self.setup.restores {
            return request.failed("this game cannot be restored");
        }
        self.tick_done = TickDone::default();
        self.seen.world = request.snapshot().map(world).unwrap_or_default();
        self.seen.restored = Some(self.seen.world.clone());
        self.seen.changes = request.snapshot().map_or(0, |snapshot| snapshot.changes.len());
        request.done();
    }
}

/// Marks an answer.
const ANSWER: u64 = 1 << 63;

fn number_in(message: &Message) -> u64 {
    u64::from_be_bytes(message.payload.as_ref().try_into().expect("all messages are numbers"))
}

/// The world of a snapshot, with its changes.
fn world(snapshot: &Restored) -> World {
    let mut world: World = serde_json::from_slice(&snapshot.state).expect("a world was saved");
    for change in &snapshot.changes {
        world.apply_tick(&serde_json::from_slice(change).expect("a tick was saved"));
    }
    assert_eq!(world.tick, snapshot.tick);
    world
}
