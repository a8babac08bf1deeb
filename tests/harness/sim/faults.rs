//! What goes wrong, and when: each kind is switched on or off by the seed, at least two are on.

use std::time::Duration;

use fastrand::Rng;
use protocol::relay::{Limits, RelayTable};

use super::network::Node;
use super::peer::{Life, PeerItem};
use super::service::ServiceItem;
use super::{Item, Sim, rng_bytes};

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
    CrashService,
    CrashRelay,
    SlowRestore,
    ResetHostSocket,
}

const KINDS: [Kind; 12] = [
    Kind::Kill,
    Kind::KillHost,
    Kind::Freeze,
    Kind::FreezeHost,
    Kind::Leave,
    Kind::ResetSocket,
    Kind::CutFromService,
    Kind::CutFromRelay,
    Kind::CrashService,
    Kind::CrashRelay,
    Kind::SlowRestore,
    Kind::ResetHostSocket,
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
    mean_gap_ms: u64,
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
        let (drop, duplicate, late) = (share(0.2), share(0.3), share(0.1));
        Self {
            kinds,
            drop,
            duplicate,
            late,
            late_ms: if rng.bool() { 300 } else { 5000 },
            jitter_us: if rng.bool() { 2000 } else { 40_000 },
            slow_restore,
            mean_gap_ms: rng.u64(1500..12_000),
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
            Kind::KillHost => self.kill(host),
            Kind::Freeze => self.freeze(anybody),
            Kind::FreezeHost => self.freeze(host),
            Kind::Leave => self.start_leaving(anybody),
            Kind::ResetSocket => self.reset_socket(anybody),
            Kind::ResetHostSocket => self.reset_socket(host),
            Kind::CutFromService => self.partition(anybody, host, Node::Service),
            Kind::CutFromRelay => self.partition(anybody, host, Node::Relay),
            Kind::CrashService => self.crash_service(),
            Kind::CrashRelay => self.crash_relay(),
            Kind::SlowRestore => self.kill(host),
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
        if matches!(self.peers[peer].life, Life::Dead) {
            return;
        }
        self.stats.kills += 1;
        self.kill_process(peer);
        // Mostly it is started again, now and then after its seat was given up.
        let back_ms = match self.rng.u8(0..4) {
            0 => self.rng.u64(50..400),
            1 => self.rng.u64(4000..12_000),
            _ => self.rng.u64(500..4000),
        };
        let process = self.peers[peer].process;
        self.after(Duration::from_millis(back_ms), Item::Peer { peer, process, item: PeerItem::Start });
    }

    fn freeze(&mut self, peer: usize) {
        if !matches!(self.peers[peer].life, Life::Running) {
            return;
        }
        self.stats.freezes += 1;
        self.peers[peer].life = Life::Frozen(Vec::new());
        let process = self.peers[peer].process;
        let thaw_ms = if self.rng.bool() { self.rng.u64(100..2000) } else { self.rng.u64(2000..14_000) };
        self.after(Duration::from_millis(thaw_ms), Item::Peer { peer, process, item: PeerItem::Thaw });
    }

    fn reset_socket(&mut self, peer: usize) {
        let Some(socket) = self.peers[peer].open_socket() else { return };
        self.stats.socket_resets += 1;
        let process = self.peers[peer].process;
        self.soon(1..20, Item::Service(ServiceItem::SocketClosed(socket)));
        self.soon(1..20, Item::Peer { peer, process, item: PeerItem::SocketClosed(socket) });
    }

    fn partition(&mut self, anybody: usize, host: usize, other: Node) {
        let peer = if self.rng.bool() { host } else { anybody };
        let node = Node::Peer(peer, 0);
        let until = self.now + Duration::from_millis(self.rng.u64(300..12_000));
        self.stats.partitions += 1;
        let way = self.rng.u8(0..4);
        self.stats.one_way_partitions += u64::from(way < 2);
        if way != 0 {
            self.network.cut(node, other, until);
        }
        if way != 1 {
            self.network.cut(other, node, until);
        }
        self.trace(|| format!("cut {peer} {other:?} way {way} for {:?}", until - self.now));
    }

    fn crash_service(&mut self) {
        if !self.service.up {
            return;
        }
        self.stats.service_crashes += 1;
        self.service_down();
        self.soon(100..9000, Item::Service(ServiceItem::Boot));
    }

    fn crash_relay(&mut self) {
        self.stats.relay_crashes += 1;
        let secret = rng_bytes(&mut self.rng);
        self.relay = RelayTable::new(Limits::default(), secret, self.now);
    }

    /// All faults end: ways are open, the frozen thaw, the dead are started.
    pub(super) fn heal(&mut self) {
        self.trace(|| "heal".into());
        self.network.heal();
        if !self.service.up {
            self.after(Duration::ZERO, Item::Service(ServiceItem::Boot));
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
