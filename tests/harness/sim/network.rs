//! The network between peers, relay and service: latency, and what goes wrong on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use protocol::frame::{RELAY_DATA_HEADER_BYTES, RelayFrame};
use protocol::relay::{Action, DropReason};

use super::{Item, Sim, TICK};
use crate::sim::peer::PeerItem;
use crate::sim::service::ServiceItem;

/// Who sends and receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Node {
    /// An instance of the lobby service.
    Service(usize),
    /// The relay.
    Relay,
    /// A peer's process: which peer, which process of it.
    Peer(usize, u32),
}

impl Node {
    /// Partitions know machines, not processes.
    const fn machine(self) -> Machine {
        match self {
            Self::Service(instance) => (0, instance),
            Self::Relay => (1, 0),
            Self::Peer(peer, _) => (2, peer),
        }
    }

    /// The address that the relay sees.
    pub(super) fn address(self) -> SocketAddr {
        let Self::Peer(peer, process) = self else { return SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1) };
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, peer as u8)), 1000 + process as u16)
    }

    /// The peer behind an address.
    fn of(address: SocketAddr) -> Option<Self> {
        let IpAddr::V4(ip) = address.ip() else { return None };
        Some(Self::Peer(ip.octets()[3] as usize, u32::from(address.port() - 1000)))
    }
}

/// A kind of machine, and which one.
type Machine = (u8, usize);

/// Which ways are cut, and in which order the bytes of a connection arrive.
#[derive(Debug, Default)]
pub(super) struct Network {
    cuts: Vec<(Machine, Machine, Instant)>,
    last_arrival: BTreeMap<(u64, bool), Instant>,
    /// Links that were cut for so long that both sides will find them broken.
    broken: BTreeSet<u64>,
}

impl Network {
    /// Cuts the way from one machine to another.
    pub(super) fn cut(&mut self, from: Node, to: Node, until: Instant) {
        self.cuts.push((from.machine(), to.machine(), until));
    }

    pub(super) fn heal(&mut self) {
        self.cuts.clear();
    }

    /// Until when the way is cut, if it is.
    pub(super) fn cut_until(&self, from: Node, to: Node, now: Instant) -> Option<Instant> {
        let way = (from.machine(), to.machine());
        self.cuts.iter().filter(|(a, b, until)| (*a, *b) == way && *until > now).map(|&(_, _, until)| until).max()
    }

    /// Nothing arrives on this link any more. Returns whether that is news.
    pub(super) fn break_link(&mut self, link: u64) -> bool {
        self.broken.insert(link)
    }

    pub(super) fn is_broken(&self, link: u64) -> bool {
        self.broken.contains(&link)
    }

    /// When something sent now on a connection arrives: after all that was sent on it before, and not while it is cut.
    pub(super) fn in_order(&mut self, socket: u64, to_peer: bool, earliest: Instant) -> Instant {
        let last = self.last_arrival.entry((socket, to_peer)).or_insert(earliest);
        *last = earliest.max(*last);
        *last
    }
}

impl Sim {
    /// Sends a datagram, with whatever the network does to it.
    pub(super) fn send_datagram(&mut self, from: Node, to: Node, bytes: Vec<u8>) {
        let healed = self.healed();
        let faults = &self.faults;
        if self.network.cut_until(from, to, self.now).is_some() || (!healed && self.rng.f64() < faults.drop) {
            self.stats.datagrams_dropped += 1;
            return;
        }
        let mut delay = Duration::from_micros(self.rng.u64(300..faults.jitter_us));
        if !healed && self.rng.f64() < faults.late {
            self.stats.datagrams_late += 1;
            delay += Duration::from_millis(self.rng.u64(50..faults.late_ms));
        }
        if !healed && self.rng.f64() < faults.duplicate {
            self.stats.datagrams_duplicated += 1;
            let again = delay + Duration::from_millis(self.rng.u64(0..400));
            self.after(again, Item::Datagram { from, to, bytes: bytes.clone() });
        }
        self.after(delay, Item::Datagram { from, to, bytes });
    }

    pub(super) fn handle_datagram(&mut self, from: Node, to: Node, bytes: &[u8]) {
        match to {
            Node::Relay => self.relay_datagram(from, bytes),
            Node::Peer(peer, process) => self.handle_peer(peer, process, PeerItem::Datagram(bytes.to_vec())),
            Node::Service(_) => {}
        }
    }

    /// What the relay's shell does; tokens stand for themselves here.
    fn relay_datagram(&mut self, from: Node, bytes: &[u8]) {
        let source = from.address();
        let before = self.relay.host_of(self.lobby);
        match self.relay.handle_datagram(source, bytes, self.now) {
            Action::Forward { to, header, payload } => {
                let Some(to) = Node::of(to) else { return };
                let datagram = [&header[..], payload].concat();
                self.check_forward(from, to, header);
                self.send_datagram(Node::Relay, to, datagram);
            }
            Action::Reply(reply) => self.send_datagram(Node::Relay, from, reply),
            Action::VerifyMember { token } => {
                let reply = match self.read_member_token(token) {
                    Some(connection) => {
                        let tag = self.rng.u32(..);
                        self.relay.bind(source, self.lobby, connection, tag, self.now)
                    }
                    None => self.relay.refuse(DropReason::BadToken),
                };
                self.send_datagram(Node::Relay, from, reply);
            }
            Action::VerifyGrant { token } => {
                let reply = match self.read_grant(token) {
                    Some(host) => self.relay.grant(source, self.lobby, host, self.now),
                    None => self.relay.refuse(DropReason::BadToken),
                };
                self.send_datagram(Node::Relay, from, reply);
            }
            Action::AnswerStun(_) | Action::Nothing | Action::Drop(_) => {}
        }
        self.after_relay(before);
    }

    /// Sends what the table wants sent, and checks that its host only moves forward (P2).
    fn after_relay(&mut self, before: Option<protocol::frame::HostHint>) {
        while let Some((to, bytes)) = self.relay.poll_transmit() {
            if let Some(to) = Node::of(to) {
                self.send_datagram(Node::Relay, to, bytes);
            }
        }
        while let Some(sound) = self.relay.poll_sound() {
            let instance = self.instance_of_relay();
            self.soon(0..5, Item::Service { instance, item: ServiceItem::Sound(sound) });
        }
        let after = self.relay.host_of(self.lobby);
        if let (Some(before), Some(after)) = (before, after) {
            if after.epoch < before.epoch {
                self.violation("P2", format!("the relay's host went from epoch {} to {}", before.epoch, after.epoch));
            }
            self.stats.relay_hosts_moved += u64::from(after.epoch > before.epoch);
        }
    }

    pub(super) fn relay_tick(&mut self) {
        let before = self.relay.host_of(self.lobby);
        self.relay.handle_timeout(self.now);
        self.after_relay(before);
        self.after(TICK, Item::RelayTick);
    }

    /// P14: only between members, and as who they are.
    fn check_forward(&mut self, from: Node, to: Node, header: [u8; RELAY_DATA_HEADER_BYTES]) {
        let Ok(RelayFrame::Data { peer: named, .. }) = RelayFrame::decode(&header) else { return };
        let seat = |node| match node {
            Node::Peer(peer, _) => self.checker.seat_of(self.peers[peer].player),
            Node::Service(_) | Node::Relay => None,
        };
        if seat(from) != Some(named) || seat(to).is_none() {
            self.violation("P14", format!("the relay forwards from {from:?} to {to:?} in the name of {named}"));
        }
    }
}
