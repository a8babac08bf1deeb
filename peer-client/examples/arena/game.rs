//! The game as one process plays it: it runs the arena while it is host, and shows the host's while it is a guest.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use peer_client::protocol::id::ConnectionId;
use peer_client::protocol::journal::Missing;
use peer_client::{Delivery, Event, Message, Output, Recipient, Request, RestoreState, Role, SavedState, Session};
use serde_json::json;

use crate::bank::Customer;
use crate::message::Packet;
use crate::seats;
use crate::status::Status;
use crate::stored::Vault;
use crate::trace;
use crate::wait;
use crate::world::{Input, TICKS_PER_SECOND, World};

/// A guest banks ten times a second.
const BANK_TICKS: u64 = TICKS_PER_SECOND / 10;

/// What a game is started with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    /// Of a new arena.
    pub(crate) seed: u64,
    /// Bytes of its states.
    pub(crate) state_bytes: usize,
    /// Part of the ballast that changes with each tick, in percent.
    pub(crate) churn: u8,
    /// How slow this game is to load.
    pub(crate) restore_delay: Duration,
}

/// A tick that was applied.
#[derive(Debug, Clone, Copy)]
struct Applied {
    tick: u64,
    at: Instant,
    at_us: u64,
}

/// One player's game.
#[derive(Debug)]
pub(crate) struct Game {
    session: Session,
    /// What was waited for, and is not taken yet.
    waiting: Option<Output>,
    setup: Setup,
    pub(crate) world: World,
    /// The epoch in which `world` was run.
    pub(crate) world_epoch: u64,
    /// The newest tick that was applied.
    applied: Option<Applied>,
    /// What only a host has.
    pub(crate) vault: Vault,
    /// What this process banks.
    pub(crate) customer: Customer,
    /// Ticks of this process's own.
    ticks: u64,
    /// What each player wanted last; only the host knows.
    inputs: BTreeMap<u32, Input>,
    /// Guests that have not seen the arena yet.
    newcomers: Vec<ConnectionId>,
    restoring: Option<(Instant, RestoreState)>,
    /// This peer has just become host: its first tick is due now.
    tick_is_due: bool,
    status: Status,
}

/// What may interest those who watch.
#[derive(Debug)]
pub(crate) enum News {
    /// An event of the session.
    Event(Event),
    /// The first tick of a new host is here.
    FirstTick {
        /// Its epoch.
        epoch: u64,
    },
}

impl Game {
    /// A player that has just taken its seat.
    pub(crate) fn new(session: Session, setup: Setup, now: Instant) -> Self {
        let hosts = session.host() == Some(session.me());
        let vault = if hosts { Vault::new(setup.seed, setup.state_bytes) } else { Vault::default() };
        Self {
            session,
            waiting: None,
            setup,
            world: World::new(setup.seed),
            world_epoch: 0,
            applied: None,
            vault,
            customer: Customer::new(fastrand::u64(1..)),
            ticks: 0,
            inputs: BTreeMap::new(),
            newcomers: Vec::new(),
            restoring: None,
            tick_is_due: false,
            status: Status::new(now),
        }
    }

    /// The seat.
    pub(crate) const fn session(&self) -> &Session {
        &self.session
    }

    /// The arena, as far as this process knows.
    pub(crate) const fn world(&self) -> &World {
        &self.world
    }

    /// This player's connection id.
    pub(crate) fn me(&self) -> u32 {
        self.session.me().0
    }

    /// A tick is due before its time.
    pub(crate) const fn tick_is_due(&self) -> bool {
        self.tick_is_due
    }

    /// Sleeps until the session has something for the game, or until this time.
    pub(crate) fn wait(&mut self, until: Instant) {
        if self.waiting.is_none() {
            self.waiting = wait::next_until(&mut self.session, until);
        }
    }

    /// Takes what the session has for the game, and answers what it asks.
    ///
    /// # Errors
    /// Those of the trace.
    pub(crate) fn take_outputs(&mut self, now: Instant) -> io::Result<Vec<News>> {
        let mut news = Vec::new();
        while let Some(output) = self.waiting.take().or_else(|| self.session.poll()) {
            match output {
                Output::Event(event) => {
                    self.heed(&event)?;
                    news.push(News::Event(event));
                }
                Output::Request(request) => self.answer(request, now)?,
                Output::Message(message) => news.extend(self.receive(&message)?),
            }
        }
        if self.restoring.as_ref().is_some_and(|(due, _)| *due <= now)
            && let Some((_, request)) = self.restoring.take()
            && self.session.role() == Role::Becoming
        {
            self.restore(request)?;
        }
        self.greet();
        Ok(news)
    }

    /// One tick: the host runs the arena, a guest says what it wants.
    ///
    /// # Errors
    /// Those of the trace.
    pub(crate) fn tick(&mut self, input: Input) -> io::Result<Option<News>> {
        self.tick_is_due = false;
        self.ticks += 1;
        match self.session.role() {
            Role::Host => self.run(input),
            Role::Guest => {
                // One that is lost is followed by the next.
                let _lost = self.session.send(Recipient::Host, Delivery::Unreliable, Packet::Input(input).encode());
                self.bank();
                Ok(None)
            }
            // Whoever is host next is told.
            Role::Waiting | Role::Joining => {
                self.bank();
                Ok(None)
            }
            Role::Becoming | Role::HandingOver => Ok(None),
        }
    }

    /// Says the next operation, if it is time.
    fn bank(&mut self) {
        if !self.ticks.is_multiple_of(BANK_TICKS) {
            return;
        }
        let (process, number) = self.customer.next();
        // What is not taken now, because too much waits, is said again the next time.
        if self.session.send(Recipient::Host, Delivery::Reliable, Packet::Bank { process, number }.encode()).is_ok() {
            self.customer.said = number;
        }
    }

    /// Writes the status when it is time.
    ///
    /// # Errors
    /// Those of the trace.
    pub(crate) fn write_status(&mut self, now: Instant) -> io::Result<()> {
        if self.status.is_due(self.world.tick, now) { crate::status::write(self) } else { Ok(()) }
    }

    /// Hands the game over.
    ///
    /// # Errors
    /// Those of the trace.
    pub(crate) fn hand_over(&self) -> io::Result<()> {
        match self.session.hand_over(None) {
            Ok(()) => Ok(()),
            Err(error) => trace::write("not_handed_over", json!({"error": error.to_string()})),
        }
    }

    fn heed(&mut self, event: &Event) -> io::Result<()> {
        if let Event::SnapshotStored { generation, tick, bytes } = event {
            let (epoch, seq) = (generation.epoch, generation.seq);
            return trace::write("snapshot_stored", json!({"epoch": epoch, "seq": seq, "tick": tick, "bytes": bytes}));
        }
        self.tick_is_due |= matches!(event, Event::BecameHost { .. });
        self.keep_count(event);
        if let Event::PlayerJoined { connection } | Event::PlayerReconnected { connection } = event {
            self.newcomers.push(*connection);
        }
        trace::write("event", trace::event(event))
    }

    /// What an event means for the receipts that are to come.
    fn keep_count(&mut self, event: &Event) {
        if let Event::TakenBack { numbers: Missing { from, to } } = event {
            self.customer.take_back(to.map(|to| to.saturating_sub(*from).saturating_add(1)));
        } else if matches!(event, Event::NeverHeard { .. } | Event::Demoted { .. }) {
            // What this process did as a host that was none any more is forgotten.
            self.customer.forget();
        }
    }

    fn answer(&mut self, request: Request, now: Instant) -> io::Result<()> {
        match request {
            Request::SaveState(request) => {
                request.answer(self.state(&self.world.encode()));
                Ok(())
            }
            Request::RestoreState(request) => {
                self.restoring = Some((now + self.setup.restore_delay, request));
                Ok(())
            }
            Request::AcceptPlayer(request) => {
                let extra = String::from_utf8_lossy(&request.extra).into_owned();
                let (connection, returning) = (request.connection, request.returning);
                request.accept();
                trace::write("accepted", json!({"connection": connection, "returning": returning, "extra": extra}))
            }
        }
    }

    /// The state with this arena, for whoever goes on from it.
    fn state(&self, world: &[u8]) -> SavedState {
        let tick = self.world.tick;
        SavedState { tick, elapsed: elapsed(tick), scene: "arena".into(), state: self.vault.encode(world) }
    }

    /// Takes a guest's wish or the host's arena. No guest can give the host an arena.
    fn receive(&mut self, message: &Message) -> io::Result<Option<News>> {
        let runs_the_game = matches!(self.session.role(), Role::Host | Role::Becoming | Role::HandingOver);
        let packet = Packet::decode(&message.payload);
        if message.delivery != Delivery::Unreliable && !matches!(packet, Some(Packet::Input(_) | Packet::Bank { .. })) {
            self.customer.hear();
        }
        match (packet, runs_the_game) {
            (Some(Packet::Bank { process, number }), true) => {
                self.vault.bank.take(message.from.0, process, number);
                Ok(None)
            }
            // Also a new host has receipts of the old one to hear.
            (Some(Packet::Receipt { process, number }), _) => {
                if self.customer.take(process, number) {
                    return Ok(None);
                }
                trace::write("stale", json!({"from": message.from, "receipt": number})).map(|()| None)
            }
            (Some(Packet::Input(input)), true) => {
                self.inputs.insert(message.from.0, input);
                Ok(None)
            }
            (Some(Packet::World { epoch, world }), false) => match World::decode(&world) {
                Ok(world) => self.show(epoch, world, message.from),
                Err(error) => trace::write("malformed", json!({"error": error.to_string()})).map(|()| None),
            },
            (Some(Packet::Input(_) | Packet::Bank { .. } | Packet::World { .. }), _) => {
                trace::write("stale", json!({"from": message.from})).map(|()| None)
            }
            (None, _) => trace::write("malformed", json!({"from": message.from})).map(|()| None),
        }
    }

    /// Shows the host's arena if it is newer than what is shown. The session has dropped what other epochs' hosts sent; the packet
    /// is not believed either if it speaks of another epoch.
    fn show(&mut self, epoch: u64, world: World, from: ConnectionId) -> io::Result<Option<News>> {
        if epoch < self.world_epoch || epoch != self.session.epoch().0 {
            trace::write("stale", json!({"epoch": epoch, "tick": world.tick, "from": from}))?;
            return Ok(None);
        }
        if (epoch, world.tick) <= (self.world_epoch, self.world.tick) {
            return Ok(None);
        }
        self.world = world;
        self.note_tick(epoch, from)
    }

    /// The host's tick. What it says belongs to the state that it gives at its end.
    fn run(&mut self, input: Input) -> io::Result<Option<News>> {
        seats::seat_players(&self.session, &mut self.world)?;
        self.inputs.insert(self.me(), input);
        self.inputs.retain(|connection, _| self.world.players.contains_key(connection));
        self.vault.bank.keep(|connection| self.world.players.contains_key(&connection));
        let wish = |&connection: &u32| (connection, self.inputs.get(&connection).copied().unwrap_or_default());
        let wishes = self.world.players.keys().map(wish).collect();
        self.world.step(&wishes);
        self.vault.ballast.churn(self.world.tick, self.setup.churn);
        self.session.set_tick(self.world.tick);
        let (epoch, world) = (self.session.epoch().0, self.world.encode());
        let state_of = world.clone();
        let packet = Packet::World { epoch, world }.encode();
        let fits = packet.len() <= self.session.max_unreliable_bytes();
        let delivery = if fits { Delivery::Unreliable } else { Delivery::Reliable };
        // A guest whose queue is full gets the next one.
        let _full = self.session.send(Recipient::Everyone, delivery, packet);
        self.say_receipts();
        let news = self.note_tick(epoch, self.session.me())?;
        self.greet();
        if let Err(error) = self.session.give_state(self.state(&state_of)) {
            trace::write("not_given", json!({"error": error.to_string()}))?;
        }
        Ok(news)
    }

    fn say_receipts(&mut self) {
        let (session, customer) = (&self.session, &mut self.customer);
        self.vault.bank.say_receipts(|connection, process, number| {
            if connection == session.me().0 {
                // What this player banked while it was a guest.
                return customer.take(process, number);
            }
            let receipt = Packet::Receipt { process, number }.encode();
            session.send(Recipient::One(ConnectionId(connection)), Delivery::Reliable, receipt).is_ok()
        });
    }

    /// Shows the arena to guests that have just come in: surely, and without waiting for the next tick.
    fn greet(&mut self) {
        let epoch = self.session.epoch().0;
        if self.session.role() != Role::Host {
            self.newcomers.clear();
        } else if self.world_epoch == epoch && !self.newcomers.is_empty() {
            let packet = Bytes::from(Packet::World { epoch, world: self.world.encode() }.encode());
            for guest in self.newcomers.drain(..) {
                // A guest that is away again sees it when it is back.
                let _away = self.session.send(Recipient::One(guest), Delivery::Reliable, packet.clone());
            }
        }
    }

    /// Goes on from what a host stored.
    fn restore(&mut self, request: RestoreState) -> io::Result<()> {
        let Some(snapshot) = request.snapshot() else {
            self.world = World::new(self.world.seed);
            self.vault = Vault::new(self.world.seed, self.setup.state_bytes);
            request.done();
            return trace::write(
                "restored",
                json!({"generation": null, "tick": 0, "players": 0, "coins": self.world.coins()}),
            );
        };
        match Vault::decode(&snapshot.state) {
            Ok((vault, world)) => {
                let generation = json!({"epoch": snapshot.generation.epoch, "seq": snapshot.generation.seq});
                let secrets = seats::secrets_kept(snapshot, &world);
                self.inputs.clear();
                (self.world, self.vault) = (world, vault);
                self.world.disable_all_but(self.me());
                request.done();
                trace::write(
                    "restored",
                    json!({
                        "generation": generation,
                        "tick": self.world.tick,
                        "players": self.world.players.len(),
                        "coins": self.world.coins(),
                        "secrets": secrets,
                    }),
                )
            }
            Err(error) => {
                request.failed(&error.to_string());
                trace::write("unrestored", json!({"error": error.to_string()}))
            }
        }
    }

    /// A tick was applied. Tells of the first one of each epoch, and for how long this process saw the game stand still.
    fn note_tick(&mut self, epoch: u64, host: ConnectionId) -> io::Result<Option<News>> {
        let applied = Applied { tick: self.world.tick, at: Instant::now(), at_us: trace::now_us() };
        let previous = self.applied.replace(applied);
        if epoch <= self.world_epoch {
            return Ok(None);
        }
        self.world_epoch = epoch;
        let pause = previous.map(|previous| trace::micros(applied.at.duration_since(previous.at)));
        trace::write(
            "first_tick",
            json!({
                "epoch": epoch,
                "tick": applied.tick,
                "host": host,
                "previous_tick": previous.map(|previous| previous.tick),
                "previous_at_us": previous.map(|previous| previous.at_us),
                "pause_us": pause,
            }),
        )?;
        if host == self.session.me() {
            seats::place_dispensers(&self.session, &self.world)?;
        }
        Ok(Some(News::FirstTick { epoch }))
    }
}

/// The game's time at a tick. It stands still while nobody runs the game.
const fn elapsed(tick: u64) -> Duration {
    Duration::from_micros(tick.saturating_mul(1_000_000) / TICKS_PER_SECOND)
}

/// A role as one word.
pub(crate) const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Waiting => "waiting",
        Role::Joining => "joining",
        Role::Guest => "guest",
        Role::Becoming => "becoming",
        Role::Host => "host",
        Role::HandingOver => "handing_over",
    }
}
