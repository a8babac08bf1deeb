//! The game as one process plays it: it runs the arena while it is host, and shows the host's while it is a guest.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use peer_client::protocol::id::ConnectionId;
use peer_client::{Delivery, Event, Message, Output, Recipient, Request, RestoreState, Role, SavedState, Session};
use serde_json::json;

use crate::message::Packet;
use crate::seats;
use crate::trace;
use crate::world::{Input, Player, TICKS_PER_SECOND, World};

/// Processes write their status at the same ticks, so that it can be compared; and at least this often.
const STATUS_TICKS: u64 = TICKS_PER_SECOND / 5;
const STATUS_INTERVAL: Duration = Duration::from_millis(200);

/// One player's game.
#[derive(Debug)]
pub(crate) struct Game {
    session: Session,
    world: World,
    /// The epoch in which `world` was run.
    world_epoch: u64,
    /// What each player wanted last; only the host knows.
    inputs: BTreeMap<u32, Input>,
    /// Guests that have not seen the arena yet.
    newcomers: Vec<ConnectionId>,
    restoring: Option<(Instant, RestoreState)>,
    restore_delay: Duration,
    /// This peer has just become host: its first tick is due now.
    tick_is_due: bool,
    status_at: Instant,
    status_tick: u64,
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
    pub(crate) fn new(session: Session, seed: u64, restore_delay: Duration, now: Instant) -> Self {
        Self {
            session,
            world: World::new(seed),
            world_epoch: 0,
            inputs: BTreeMap::new(),
            newcomers: Vec::new(),
            restoring: None,
            restore_delay,
            tick_is_due: false,
            status_at: now,
            status_tick: 0,
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

    /// Takes what the session has for the game, and answers what it asks.
    ///
    /// # Errors
    /// Those of the trace.
    pub(crate) fn take_outputs(&mut self, now: Instant) -> io::Result<Vec<News>> {
        let mut news = Vec::new();
        while let Some(output) = self.session.poll() {
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
        match self.session.role() {
            Role::Host => self.run(input),
            Role::Guest => {
                // One that is lost is followed by the next.
                let _lost = self.session.send(Recipient::Host, Delivery::Unreliable, Packet::Input(input).encode());
                Ok(None)
            }
            Role::Waiting | Role::Joining | Role::Becoming => Ok(None),
        }
    }

    /// Writes the status when it is time.
    ///
    /// # Errors
    /// Those of the trace.
    pub(crate) fn write_status(&mut self, now: Instant) -> io::Result<()> {
        let status_tick = self.world.tick / STATUS_TICKS;
        if status_tick == self.status_tick && now < self.status_at + STATUS_INTERVAL {
            return Ok(());
        }
        (self.status_at, self.status_tick) = (now, status_tick);
        let player = |(connection, player): (&u32, &Player)| {
            let (enabled, coins) = (player.enabled, player.coins);
            json!({"connection": connection, "enabled": enabled, "coins": coins})
        };
        let objects = self.session.objects();
        trace::write(
            "status",
            json!({
                "role": role_name(self.session.role()),
                "epoch": self.session.epoch(),
                "world_epoch": self.world_epoch,
                "host": self.session.host(),
                "tick": self.world.tick,
                "players": self.world.players.iter().map(player).collect::<Vec<_>>(),
                "coins": self.world.coins(),
                "owned": objects.owned_by(self.session.me()).collect::<Vec<_>>(),
                "objects": objects.iter().count(),
            }),
        )
    }

    fn heed(&mut self, event: &Event) -> io::Result<()> {
        if let Event::SnapshotStored { generation, tick, bytes } = event {
            let (epoch, seq) = (generation.epoch, generation.seq);
            return trace::write("snapshot_stored", json!({"epoch": epoch, "seq": seq, "tick": tick, "bytes": bytes}));
        }
        self.tick_is_due |= matches!(event, Event::BecameHost { .. });
        if let Event::PlayerJoined { connection } | Event::PlayerReconnected { connection } = event {
            self.newcomers.push(*connection);
        }
        trace::write("event", trace::event(event))
    }

    fn answer(&mut self, request: Request, now: Instant) -> io::Result<()> {
        match request {
            Request::SaveState(request) => {
                let (tick, state) = (self.world.tick, self.world.encode());
                request.answer(SavedState { tick, elapsed: elapsed(tick), scene: "arena".into(), state });
                Ok(())
            }
            Request::RestoreState(request) => {
                self.restoring = Some((now + self.restore_delay, request));
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

    /// Takes a guest's wish or the host's arena. No guest can give the host an arena.
    fn receive(&mut self, message: &Message) -> io::Result<Option<News>> {
        let runs_the_game = matches!(self.session.role(), Role::Host | Role::Becoming);
        match (Packet::decode(&message.payload), runs_the_game) {
            (Some(Packet::Input(input)), true) => {
                self.inputs.insert(message.from.0, input);
                Ok(None)
            }
            (Some(Packet::World { epoch, world }), false) => match World::decode(&world) {
                Ok(world) => self.show(epoch, world, message.from),
                Err(error) => trace::write("malformed", json!({"error": error.to_string()})).map(|()| None),
            },
            (Some(Packet::Input(_) | Packet::World { .. }), _) => {
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
        self.note_epoch(epoch, from)
    }

    /// The host's tick.
    fn run(&mut self, input: Input) -> io::Result<Option<News>> {
        seats::seat_players(&self.session, &mut self.world)?;
        self.inputs.insert(self.me(), input);
        self.inputs.retain(|connection, _| self.world.players.contains_key(connection));
        let wish = |&connection: &u32| (connection, self.inputs.get(&connection).copied().unwrap_or_default());
        let wishes = self.world.players.keys().map(wish).collect();
        self.world.step(&wishes);
        self.session.set_tick(self.world.tick);
        let epoch = self.session.epoch().0;
        let packet = Packet::World { epoch, world: self.world.encode() }.encode();
        let fits = packet.len() <= self.session.max_unreliable_bytes();
        let delivery = if fits { Delivery::Unreliable } else { Delivery::Reliable };
        // A guest whose queue is full gets the next one.
        let _full = self.session.send(Recipient::Everyone, delivery, packet);
        let news = self.note_epoch(epoch, self.session.me())?;
        self.greet();
        Ok(news)
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
            request.done();
            return trace::write(
                "restored",
                json!({"generation": null, "tick": 0, "players": 0, "coins": self.world.coins()}),
            );
        };
        match World::decode(&snapshot.state) {
            Ok(world) => {
                let generation = json!({"epoch": snapshot.generation.epoch, "seq": snapshot.generation.seq});
                let secrets = seats::secrets_kept(snapshot, &world);
                self.inputs.clear();
                self.world = world;
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

    /// Tells of the first tick of each epoch.
    fn note_epoch(&mut self, epoch: u64, host: ConnectionId) -> io::Result<Option<News>> {
        if epoch <= self.world_epoch {
            return Ok(None);
        }
        self.world_epoch = epoch;
        trace::write("first_tick", json!({"epoch": epoch, "tick": self.world.tick, "host": host}))?;
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
    }
}
