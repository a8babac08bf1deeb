//! What goes wrong, and when: each kind is switched on or off by the seed, at least two are on.

use std::time::Duration;

use fastrand::Rng;
use protocol::hand_over::Wish;
use protocol::relay::{Limits, RelayTable};

use super::instance::Doom;
use super::network::Node;
use super::peer::{Life, PeerItem};
use super::service::ServiceItem;
use super::{Item, Sim, pick, rng_bytes};

/// A kind of event that a seed may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Kill,
    KillHost,
    Freeze,
    FreezeHost,
    Leave,
    ResetSocket,
    CutFromService,
    CutFromRelay,
    KillInstance,
    KillAtSave,
    FreezeInstance,
    RollingRestart,
    Outage,
    CutFromDatabase,
    CrashRelay,
    SlowRestore,
    ResetHostSocket,
    KillHostAndSuccessor,
    KillHostWithoutSuccessor,
    CutStandby,
    HandOver,
    Flood,
}

const KINDS: [Kind; 22] = [
    Kind::Kill,
    Kind::KillHost,
    Kind::Freeze,
    Kind::FreezeHost,
    Kind::Leave,
    Kind::ResetSocket,
    Kind::CutFromService,
    Kind::CutFromRelay,
    Kind::KillInstance,
    Kind::KillAtSave,
    Kind::FreezeInstance,
    Kind::RollingRestart,
    Kind::Outage,
    Kind::CutFromDatabase,
    Kind::CrashRelay,
    Kind::SlowRestore,
    Kind::ResetHostSocket,
    Kind::KillHostAndSuccessor,
    Kind::KillHostWithoutSuccessor,
    Kind::CutStandby,
    Kind::HandOver,
    Kind::Flood,
];

/// The faults of a seed.
#[derive(Debug)]
pub(super) struct Faults {
    kinds: Vec<Kind>,
    pub(super) drop: f64,
    pub(super) duplicate: f64,
    pub(super) late: f64,
    pub(super) late_ms: u64,
    pub(super) jitter_us: u64,
    pub(super) slow_restore: bool,
    pub(super) bus_loss: f64,
    pub(super) bus_late_ms: u64,
    mean_gap_ms: u64,
    /// The game looks at what has come only now and then.
    pub(super) slow_game: bool,
    /// Ticks between two states, and time between two that the lobby gets.
    pub(super) give_every: u64,
    pub(super) upload_every_ms: u64,
}

impl Faults {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let mut kinds: Vec<Kind> = KINDS.into_iter().filter(|_| rng.u8(0..3) == 0).collect();
        while kinds.len() < 2 {
            let kind = KINDS[rng.usize(..KINDS.len())];
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        let slow_restore = kinds.contains(&Kind::SlowRestore);
        let mut share = |most: f64| if rng.bool() { rng.f64() * most } else { 0.0 };
        let (drop, duplicate, late, bus_loss) = (share(0.2), share(0.3), share(0.1), share(0.4));
        Self {
            kinds,
            drop,
            duplicate,
            late,
            late_ms: if rng.bool() { 300 } else { 5000 },
            jitter_us: if rng.bool() { 2000 } else { 40_000 },
            slow_restore,
            bus_loss,
            bus_late_ms: if rng.bool() { 20 } else { 500 },
            mean_gap_ms: rng.u64(1500..12_000),
            slow_game: rng.u8(0..4) == 0,
            give_every: rng.u64(1..4),
            upload_every_ms: *pick(rng, &[500, 1000, 3000]),
        }
    }
}

impl Sim {
    pub(super) fn fault(&mut self) {
        if self.healed() {
            return;
        }
        let kind = self.faults.kinds[self.rng.usize(..self.faults.kinds.len())];
        let anybody = self.rng.usize(..self.peers.len());
        let host = self.hosting_peer().unwrap_or(anybody);
        self.trace(|| format!("fault {kind:?} (peer {anybody}, host {host})"));
        match kind {
            Kind::Kill => self.kill(anybody),
            Kind::KillHost if self.rng.u8(0..8) == 0 => (0..self.peers.len()).for_each(|peer| self.kill(peer)),
            Kind::KillHost => self.kill(host),
            Kind::Freeze => self.freeze(anybody),
            Kind::FreezeHost => self.freeze(host),
            Kind::Leave => self.start_leaving(anybody),
            Kind::ResetSocket => self.reset_socket(anybody),
            Kind::ResetHostSocket => self.reset_socket(host),
            Kind::CutFromService => self.cut_from_service(anybody, host),
            Kind::CutFromRelay => self.partition(anybody, host, &[Node::Relay]),
            Kind::KillInstance => self.crash_instance(),
            Kind::KillAtSave => self.doom_instance(),
            Kind::FreezeInstance => self.stop_instance(),
            Kind::RollingRestart => self.rolling_restart(),
            Kind::Outage => self.start_outage(),
            Kind::CutFromDatabase => self.cut_from_database(),
            Kind::CrashRelay => self.crash_relay(),
            Kind::SlowRestore => self.kill(host),
            Kind::KillHostAndSuccessor => self.kill_host_and_successor(host),
            Kind::KillHostWithoutSuccessor => self.kill_host_without_successor(host),
            Kind::CutStandby => self.cut_standby(anybody),
            Kind::HandOver => self.wish_hand_over(host),
            // All of it has to be said again and again, so that it is rare.
            Kind::Flood => {
                if self.rng.u8(0..16) == 0 {
                    self.flood(anybody);
                }
            }
        }
        let gap = self.rng.u64(200..2 * self.faults.mean_gap_ms);
        self.after(Duration::from_millis(gap), Item::Fault);
    }

    /// The peer whose process runs the game at the newest epoch.
    fn hosting_peer(&self) -> Option<usize> {
        (0..self.peers.len())
            .filter(|&peer| self.peers[peer].hosts().is_some())
            .max_by_key(|&peer| self.peers[peer].hosts())
    }

    fn kill(&mut self, peer: usize) {
        // Mostly it is started again, now and then after its seat was given up.
        let back_ms = match self.rng.u8(0..8) {
            0 | 1 => self.rng.u64(50..400),
            2 => self.rng.u64(4000..12_000),
            3 => self.rng.u64(12_000..40_000),
            _ => self.rng.u64(500..4000),
        };
        self.kill_for(peer, back_ms);
    }

    /// Whom the lobby would elect now.
    fn successor(&self) -> Option<usize> {
        let successor = self.service.row()?.0.successor()?;
        self.peers.iter().position(|peer| peer.seat() == Some(successor))
    }

    fn kill_host_and_successor(&mut self, host: usize) {
        let Some(successor) = self.successor() else { return };
        self.stats.host_and_successor_killed += 1;
        self.kill(host);
        self.kill(successor);
    }

    /// The successor is away just when it is needed.
    fn kill_host_without_successor(&mut self, host: usize) {
        let Some(successor) = self.successor() else { return };
        self.reset_socket(successor);
        let until = self.now + Duration::from_millis(self.rng.u64(500..6000));
        for instance in 0..self.service.instances.len() {
            self.network.cut(Node::Peer(successor, 0), Node::Service(instance), until);
        }
        self.kill(host);
    }

    /// Now and then the wish is taken back.
    fn wish_hand_over(&mut self, host: usize) {
        let wish = *pick(&mut self.rng, &[Wish::Game, Wish::Operator]);
        if self.begin_hand_over(host, wish) && self.rng.u8(0..8) == 0 {
            self.cancel_hand_over(host);
        }
        if self.rng.u8(0..4) == 0 {
            let anybody = self.rng.usize(..self.peers.len());
            self.kill(self.successor().unwrap_or(anybody));
        }
    }

    /// Nobody is there any more to say that it is gone, and it does not come back for long.
    fn vanish(&mut self, peer: usize) {
        let back_ms = self.rng.u64(20_000..40_000);
        self.kill_for(peer, back_ms);
    }

    fn kill_for(&mut self, peer: usize, back_ms: u64) {
        if matches!(self.peers[peer].life, Life::Dead) {
            return;
        }
        self.stats.kills += 1;
        self.kill_process(peer);
        let process = self.peers[peer].process;
        self.after(Duration::from_millis(back_ms), Item::Peer { peer, process, item: PeerItem::Start });
    }

    fn freeze(&mut self, peer: usize) {
        if !matches!(self.peers[peer].life, Life::Running) {
            return;
        }
        self.stats.freezes += 1;
        self.disturb(peer);
        self.peers[peer].life = Life::Frozen(Vec::new());
        let process = self.peers[peer].process;
        let thaw_ms = if self.rng.bool() { self.rng.u64(100..2000) } else { self.rng.u64(2000..14_000) };
        self.after(Duration::from_millis(thaw_ms), Item::Peer { peer, process, item: PeerItem::Thaw });
    }

    fn reset_socket(&mut self, peer: usize) {
        let Some((instance, socket)) = self.peers[peer].open_socket() else { return };
        self.stats.socket_resets += 1;
        self.disturb(peer);
        let process = self.peers[peer].process;
        self.soon(1..20, Item::Service { instance, item: ServiceItem::SocketClosed(socket) });
        self.soon(1..20, Item::Peer { peer, process, item: PeerItem::SocketClosed(socket) });
    }

    /// From one instance, or from all.
    fn cut_from_service(&mut self, anybody: usize, host: usize) {
        let instances = self.service.instances.len();
        let one = self.rng.usize(..2 * instances);
        let cut: Vec<_> =
            (0..instances).filter(|&instance| one >= instances || instance == one).map(Node::Service).collect();
        self.partition(anybody, host, &cut);
    }

    fn partition(&mut self, anybody: usize, host: usize, others: &[Node]) {
        let peer = if self.rng.bool() { host } else { anybody };
        let node = Node::Peer(peer, 0);
        let until = self.now + Duration::from_millis(self.rng.u64(300..12_000));
        self.stats.partitions += 1;
        let way = self.rng.u8(0..4);
        self.stats.one_way_partitions += u64::from(way < 2);
        for &other in others {
            if way != 0 {
                self.network.cut(node, other, until);
            }
            if way != 1 {
                self.network.cut(other, node, until);
            }
        }
        self.trace(|| format!("cut {peer} {others:?} way {way} for {:?}", until - self.now));
    }

    fn an_instance(&mut self) -> Option<usize> {
        let instance = self.rng.usize(..self.service.instances.len());
        self.service.instances[instance].serves().then_some(instance)
    }

    /// Kills an instance, and sometimes somebody with it: nobody is there to see that it goes.
    fn crash_instance(&mut self) {
        let Some(instance) = self.an_instance() else { return };
        self.kill_instance(instance);
        if self.rng.u8(0..3) == 0 {
            let with_it = self.rng.usize(..self.peers.len());
            self.vanish(with_it);
        }
    }

    /// Kills an instance when it saves next.
    fn doom_instance(&mut self) {
        let Some(instance) = self.an_instance() else { return };
        let doom = *pick(&mut self.rng, &[Doom::BeforeSave, Doom::AfterSave]);
        self.service.instances[instance].doom = Some(doom);
    }

    fn stop_instance(&mut self) {
        let Some(instance) = self.an_instance() else { return };
        self.freeze_instance(instance);
        let thaw_ms = if self.rng.bool() { 100..4000 } else { 4000..16_000 };
        self.soon(thaw_ms, Item::Service { instance, item: ServiceItem::Thaw });
    }

    /// A new build: each instance in turn stops and starts.
    fn rolling_restart(&mut self) {
        self.stats.rolling_restarts += 1;
        let mut at = self.now;
        for instance in 0..self.service.instances.len() {
            self.at(at, Item::Service { instance, item: ServiceItem::Retire });
            at += Duration::from_millis(self.rng.u64(200..6000));
        }
    }

    /// Now, or when somebody saves next.
    fn start_outage(&mut self) {
        match self.an_instance() {
            Some(instance) if self.rng.bool() => self.service.instances[instance].doom = Some(Doom::Outage),
            Some(_) | None => self.outage(),
        }
    }

    /// An outage while a peer waits for an answer: now and then it does not live to hear it.
    pub(super) fn outage_with(&mut self, caller: Option<usize>) {
        self.outage();
        if let Some(peer) = caller.filter(|_| self.rng.bool()) {
            self.vanish(peer);
        }
    }

    fn outage(&mut self) {
        self.stats.outages += 1;
        let until = self.now + Duration::from_millis(self.rng.u64(100..10_000));
        self.trace(|| format!("outage for {:?}", until - self.now));
        self.service.outage_until = Some(until);
        self.service.steady_since = self.service.steady_since.max(until);
    }

    fn cut_from_database(&mut self) {
        let Some(instance) = self.an_instance() else { return };
        self.stats.instances_cut_off += 1;
        let until = self.now + Duration::from_millis(self.rng.u64(100..20_000));
        self.trace(|| format!("instance {instance} is cut off for {:?}", until - self.now));
        self.service.instances[instance].cut_until = Some(until);
        self.service.steady_since = self.service.steady_since.max(until);
    }

    fn crash_relay(&mut self) {
        self.stats.relay_crashes += 1;
        let secret = rng_bytes(&mut self.rng);
        self.relay = RelayTable::new(Limits::default(), secret, self.now);
    }

    /// All faults end: ways are open, the frozen thaw, the dead are started.
    pub(super) fn heal(&mut self) {
        self.trace(|| "heal".into());
        // What was sent on a way that was cut is on its way for as long as that was to last: those connections end.
        for peer in 0..self.peers.len() {
            if self.is_cut(peer) {
                self.reset_socket(peer);
            }
        }
        self.network.heal();
        self.service.outage_until = None;
        self.service.steady_since = self.now;
        for instance in 0..self.service.instances.len() {
            let at = &mut self.service.instances[instance];
            (at.cut_until, at.doom) = (None, None);
            for item in [ServiceItem::Thaw, ServiceItem::Boot] {
                self.after(Duration::ZERO, Item::Service { instance, item });
            }
        }
        for peer in 0..self.peers.len() {
            let process = self.peers[peer].process;
            let item = match self.peers[peer].life {
                Life::Running => continue,
                Life::Frozen(_) => PeerItem::Thaw,
                Life::Dead => PeerItem::Start,
            };
            self.soon(0..200, Item::Peer { peer, process, item });
        }
    }
}
