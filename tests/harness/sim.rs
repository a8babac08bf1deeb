//! A whole system in virtual time, from one seed: the real `Lobby`, `Commit`, `Presence`, `Suspicion`, `Migration` and
//! `RelayTable` in one or two instances of the service over its in-memory store, over a network that drops, delays, duplicates,
//! reorders and partitions, with processes that crash, freeze, restart and leave, and a database that is away at times.
//!
//! After every step the checker looks at what it must never see. The first forty seconds have faults; the last twenty have
//! none, and by their end everybody must play with one host again.

#![expect(clippy::print_stdout, reason = "a replayed seed prints its trace")]

mod attendance;
mod checker;
mod commits;
mod faults;
mod game;
mod history;
mod hosting;
mod instance;
mod lease;
mod links;
mod network;
mod news;
mod outcomes;
mod peer;
mod service;
mod sockets;
mod takeover;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::time::{Duration, Instant};

use fastrand::Rng;
use protocol::id::LobbyId;
use protocol::lobby::Settings;
use protocol::relay::RelayTable;
use protocol::time::Timestamp;

use attendance::Attendance;
use checker::Checker;
use faults::Faults;
use history::History;
use network::{Network, Node};
use peer::{Peer, PeerItem};
use service::{Service, ServiceItem};

/// Virtual time of a run.
pub const RUN: Duration = Duration::from_secs(60);
/// From here on nothing goes wrong any more.
pub const HEAL: Duration = Duration::from_secs(40);
/// How often peers and service look at their clocks.
const TICK: Duration = Duration::from_millis(50);

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which promise of DESIGN.md section 10, or "panic".
    pub promise: &'static str,
    /// What was seen.
    pub what: String,
    /// When, in virtual time.
    pub at: Duration,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:.3} s: {}", self.promise, self.at.as_secs_f64(), self.what)
    }
}

macro_rules! stats {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// How often things happened in a run or a campaign.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct Stats { $($(#[$doc])* pub $name: u64,)* }

        impl Stats {
            /// Adds those of another run.
            pub fn add(&mut self, other: &Self) { $(self.$name += other.$name;)* }

            /// All of them by name.
            #[must_use]
            pub fn all(&self) -> Vec<(&'static str, u64)> { vec![$((stringify!($name), self.$name)),*] }
        }
    };
}

stats! {
    /// Elections that were saved.
    elections,
    /// Hosts that were ready after an election.
    migrations,
    /// Elected members that were never ready.
    winners_never_ready,
    /// Hosts that came back, or were heard, in time and stayed.
    hosts_returned,
    /// Hosts that lost only the lobby and stayed because their guests heard them.
    hosts_vouched,
    /// Hosts that were found silent although their socket lived.
    hosts_silent,
    /// Hosts that were demoted and learnt of it.
    hosts_demoted,
    /// Old hosts that played on as guests.
    old_hosts_as_guests,
    /// Snapshots and confirmations of an older epoch that the service refused.
    stale_writes_refused,
    /// Frames of an older epoch that a peer refused.
    stale_frames_refused,
    /// Saves that found another version and were decided anew.
    stale_saves,
    /// Snapshots that were acknowledged.
    snapshots_stored,
    /// Hosts moved at the relay.
    relay_hosts_moved,
    /// Lobbies without a host and without anybody eligible.
    parked,
    /// Lobbies paused after too many failed elections.
    paused_by_failures,
    /// Seats given up after the removal delay.
    seats_removed,
    /// Graceful leaves.
    leaves,
    /// Processes killed.
    kills,
    /// Processes started again.
    restarts,
    /// Processes frozen.
    freezes,
    /// Event sockets reset.
    socket_resets,
    /// Partitions, one-way and two-way.
    partitions,
    /// One-way partitions among them.
    one_way_partitions,
    /// Instances of the service killed.
    service_crashes,
    /// Instances frozen.
    instance_freezes,
    /// Instances that stopped in good order.
    instances_retired,
    /// All instances replaced, one after the other.
    rolling_restarts,
    /// Instances that came back after another one had taken over from them.
    instances_deposed,
    /// Instances that could not renew their lease for as long as it is.
    instances_resigned,
    /// Dead instances forgotten once nobody was held by them.
    instances_buried,
    /// Members of dead instances that got a term to be heard.
    members_taken_over,
    /// Members that an instance held without knowing it: their answer was lost.
    strangers_found,
    /// Members of dead instances that did not come back.
    heirs_lost_members,
    /// Members that are heard by another instance than before.
    holders_moved,
    /// Sockets closed because their member is heard elsewhere.
    sockets_moved,
    /// Commits of more than one command.
    commands_batched,
    /// Commits decided on a cached lobby that was not the newest any more.
    stale_caches_retried,
    /// Refusals and no-ops on a cached lobby that were decided anew on a newer one.
    confirms_found_newer,
    /// Commits whose answer was lost, and that were saved.
    unknown_commits_saved,
    /// Commits whose answer was lost, and that were not saved.
    unknown_commits_lost,
    /// Messages between instances that were lost.
    bus_messages_lost,
    /// Lost pokes that the comparison of versions made good.
    lost_pokes_repaired,
    /// Times that no instance reached the database.
    outages,
    /// Times that one instance did not reach it.
    instances_cut_off,
    /// Crashes of the relay.
    relay_crashes,
    /// Datagrams dropped by the network.
    datagrams_dropped,
    /// Datagrams delivered twice.
    datagrams_duplicated,
    /// Datagrams that came much later than those after them.
    datagrams_late,
    /// Winners that took too long to restore, on purpose.
    slow_restores,
    /// Links to the successor that were up.
    standby_links,
    /// Links that were there when their successor was elected.
    standby_links_taken,
    /// Links to the successor that broke.
    standby_links_cut,
    /// Elected members that went on from what their host had kept warm.
    takeovers_warm,
    /// Elected members that went on from what an earlier host had given them, or they had given as one.
    takeovers_from_own,
    /// Elected members that went on from the lobby's state.
    takeovers_from_lobby,
    /// Elected members that went on from another member's state.
    takeovers_from_members,
    /// Hosts and their successors killed together.
    host_and_successor_killed,
    /// Elections of another than the successor.
    others_elected,
    /// Messages to a host that were said again.
    inputs_replayed,
    /// Messages of a host that were said again.
    outputs_replayed,
    /// Welcomes that took back what an old host had said.
    taken_back,
    /// Welcomes after which something will never be heard.
    never_heard,
    /// Times that a host was told that inputs are lost.
    inputs_lost_told,
    /// Times that a game had to wait because a journal was full.
    journals_full,
    /// States sent whole to a successor.
    states_sent_whole,
    /// States sent as differences.
    deltas_sent,
    /// Times that a successor wanted a whole state.
    states_wanted,
    /// Messages that were released once their state was durable.
    after_stable_released,
    /// Hand-overs that began.
    hand_overs_begun,
    /// Hand-overs that the lobby committed.
    hand_overs_committed,
    /// Hand-overs given up because the successor was gone.
    hand_overs_without_successor,
    /// Hand-overs given up because they took too long.
    hand_overs_too_late,
    /// Hand-overs that the lobby refused.
    hand_overs_refused,
    /// Hand-overs that were cancelled.
    hand_overs_cancelled,
    /// Runs that ended with everybody in one game.
    ends_in_one_game,
}

/// Something that happens at a time.
enum Item {
    Peer { peer: usize, process: u32, item: PeerItem },
    Service { instance: usize, item: ServiceItem },
    Look,
    Datagram { from: Node, to: Node, bytes: Vec<u8> },
    RelayTick,
    Fault,
    Heal,
}

struct Entry {
    at: Instant,
    order: u64,
    /// Boxed, so that the queue moves little.
    item: Box<Item>,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// The system of one seed.
pub struct Sim {
    rng: Rng,
    start: Instant,
    now: Instant,
    queue: BinaryHeap<Reverse<Entry>>,
    next_order: u64,
    lobby: LobbyId,
    settings: Settings,
    network: Network,
    service: Service,
    relay: RelayTable,
    peers: Vec<Peer>,
    faults: Faults,
    checker: Checker,
    history: History,
    attendance: Attendance,
    stats: Stats,
    verbose: bool,
}

/// Runs a seed to its end.
///
/// # Errors
/// The first [`Violation`].
pub fn run(seed: u64, verbose: bool) -> Result<Stats, Violation> {
    let mut sim = Sim::new(seed, verbose);
    sim.begin();
    while let Some(Reverse(entry)) = sim.queue.pop() {
        if entry.at > sim.start + RUN {
            break;
        }
        sim.now = entry.at;
        sim.handle(*entry.item);
        if let Some(violation) = sim.checker.take_violation() {
            return Err(violation);
        }
    }
    sim.check_end();
    sim.checker.take_violation().map_or(Ok(sim.stats), Err)
}

impl Sim {
    fn new(seed: u64, verbose: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let start = Instant::now();
        let settings = Settings {
            election_delay_ms: *pick(&mut rng, &[0, 0, 200, 1000, 2000]),
            removal_delay_ms: *pick(&mut rng, &[3000, 8000, 60_000]),
            ready_timeout_ms: *pick(&mut rng, &[500, 1000, 2000]),
            ..Settings::default()
        };
        let peers: Vec<_> = (0..rng.usize(3..=8)).map(|index| Peer::new(index, &mut rng)).collect();
        let faults = Faults::draw(&mut rng);
        let lobby = LobbyId::from_bytes([7; 16]);
        let instances = if rng.u8(0..3) == 0 { 1 } else { 2 };
        Self {
            start,
            now: start,
            queue: BinaryHeap::new(),
            next_order: 0,
            lobby,
            settings,
            network: Network::default(),
            service: Service::new(lobby, instances, start),
            relay: RelayTable::new(protocol::relay::Limits::default(), rng_bytes(&mut rng), start),
            attendance: Attendance::new(peers.len()),
            peers,
            faults,
            checker: Checker::default(),
            history: History::default(),
            stats: Stats::default(),
            verbose,
            rng,
        }
    }

    fn begin(&mut self) {
        if self.verbose {
            let (peers, instances) = (self.peers.len(), self.service.instances.len());
            println!("settings {:?}\nfaults {:?}\npeers {peers}, instances {instances}", self.settings, self.faults);
        }
        self.create_lobby();
        for peer in 1..self.peers.len() {
            let at = self.now + Duration::from_millis(self.rng.u64(0..1500));
            self.at(at, Item::Peer { peer, process: 0, item: PeerItem::Start });
        }
        self.after(TICK, Item::Look);
        self.after(TICK, Item::RelayTick);
        let first = Duration::from_millis(self.rng.u64(2000..4000));
        self.after(first, Item::Fault);
        self.after(HEAL, Item::Heal);
    }

    fn handle(&mut self, item: Item) {
        match item {
            Item::Peer { peer, process, item } => self.handle_peer(peer, process, item),
            Item::Service { instance, item } => self.handle_service(instance, item),
            Item::Look => self.look(),
            Item::Datagram { from, to, bytes } => self.handle_datagram(from, to, &bytes),
            Item::RelayTick => self.relay_tick(),
            Item::Fault => self.fault(),
            Item::Heal => self.heal(),
        }
    }

    /// The checks that look at the whole system.
    fn look(&mut self) {
        self.checker_sample();
        self.check_waiting();
        self.check_attendance();
        self.after(TICK, Item::Look);
    }

    /// The database's clock, in virtual time.
    fn timestamp(&self) -> Timestamp {
        Timestamp(1_000_000).after(self.now - self.start)
    }

    fn at(&mut self, at: Instant, item: Item) {
        self.next_order += 1;
        self.queue.push(Reverse(Entry { at, order: self.next_order, item: Box::new(item) }));
    }

    fn after(&mut self, delay: Duration, item: Item) {
        self.at(self.now + delay, item);
    }

    fn soon(&mut self, ms: std::ops::Range<u64>, item: Item) {
        let delay = Duration::from_millis(self.rng.u64(ms));
        self.after(delay, item);
    }

    fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    fn healed(&self) -> bool {
        self.elapsed() >= HEAL
    }

    fn violation(&mut self, promise: &'static str, what: String) {
        let at = self.elapsed();
        self.checker.report(Violation { promise, what, at });
    }

    fn trace(&self, what: impl FnOnce() -> String) {
        if self.verbose {
            println!("{:9.3} {}", self.elapsed().as_secs_f64(), what());
        }
    }
}

fn pick<'a, T>(rng: &mut Rng, choices: &'a [T]) -> &'a T {
    &choices[rng.usize(..choices.len())]
}

fn rng_bytes<const N: usize>(rng: &mut Rng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill(&mut bytes);
    bytes
}
