//! Who is there, and whether the lobby knows: what the instances owe to the members, whatever happens to instances and database.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use protocol::id::{ConnectionId, PeerKey, PlayerId};
use protocol::limits;
use protocol::message::{Event, EventBody};

use super::checker::SETTLED;
use super::network::Node;
use super::peer::Life;
use super::{Sim, TICK};

/// Within this time the lobby knows of a member who has a socket.
const NOTICED: Duration = Duration::from_secs(3);
/// Within this time it knows of one who has none: an instance's lease and the turn in which another one sees that it has ended,
/// the full term that it gives, and a moment. It begins anew when something happens to an instance or to the database.
const MISSED: Duration = Duration::from_secs(limits::LEASE.as_secs() * 2 + 2 + 2);
/// A late request of a process that is gone, and has its seat, is a sign of life to whoever takes it: for one more term, and until the
/// next look at who is held by nobody.
const STRAY: Duration = Duration::from_secs(limits::LEASE.as_secs() * 2);

/// What was seen of each peer.
pub(super) struct Attendance {
    /// Since when it has a socket that nothing has disturbed; and whether that was for long enough to count on it.
    linked_since: Vec<Option<Instant>>,
    settled: Vec<bool>,
    /// For how long the lobby has held a process for connected that has no socket.
    missed: BTreeMap<(ConnectionId, PeerKey), Duration>,
    /// Processes that are gone, and whose requests came after that.
    strays: BTreeSet<PeerKey>,
}

impl Attendance {
    pub(super) fn new(peers: usize) -> Self {
        Self {
            linked_since: vec![None; peers],
            settled: vec![false; peers],
            missed: BTreeMap::new(),
            strays: BTreeSet::new(),
        }
    }

    /// Something happened to this peer itself: its process, its socket, its network.
    pub(super) fn disturb(&mut self, peer: usize) {
        self.linked_since[peer] = None;
        self.settled[peer] = false;
    }
}

impl Sim {
    pub(super) fn disturb(&mut self, peer: usize) {
        self.attendance.disturb(peer);
    }

    /// Whether a way between this peer and an instance is cut.
    pub(super) fn is_cut(&self, index: usize) -> bool {
        let node = Node::Peer(index, self.peers[index].process);
        let ways = (0..self.service.instances.len())
            .flat_map(|instance| [(node, Node::Service(instance)), (Node::Service(instance), node)]);
        ways.into_iter().any(|(from, to)| self.network.cut_until(from, to, self.now).is_some())
    }

    /// A process asks for the seat that it has. It may be gone by now.
    pub(super) fn asks_again(&mut self, player: PlayerId, key: PeerKey) {
        let Some((lobby, _)) = self.service.row() else { return };
        let has_seat = lobby.connected().any(|(_, its, _)| its == key);
        let is_gone =
            !self.peers.iter().any(|peer| peer.player == player && peer.key == key && !matches!(peer.life, Life::Dead));
        if has_seat && is_gone {
            self.attendance.strays.insert(key);
        }
    }

    /// Looks at all of them.
    pub(super) fn check_attendance(&mut self) {
        let Some((lobby, _)) = self.service.row() else { return };
        for index in 0..self.peers.len() {
            if self.is_cut(index) || !matches!(self.peers[index].life, Life::Running) {
                self.disturb(index);
            }
            let linked = self.reaches_lobby(index);
            let since = self.attendance.linked_since[index].filter(|_| linked).or(linked.then_some(self.now));
            self.attendance.linked_since[index] = since;
            let Some(seat) = self.peers[index].seat() else { continue };
            let linked_for = since.map_or(Duration::ZERO, |since| self.now - since);
            let steady = self.now.saturating_duration_since(self.service.steady_since);
            let is_member = lobby.seat_of(self.peers[index].player) == Some(seat);
            if is_member && linked_for.min(steady) > NOTICED && !lobby.is_connected(seat) {
                self.violation("P10", format!("seat {seat} has had a socket for {linked_for:?} and is not connected"));
            }
            self.attendance.settled[index] |= linked_for > SETTLED && lobby.is_connected(seat);
        }
        let up = self.service.is_up(self.now) && self.now >= self.service.steady_since + TICK;
        let before = std::mem::take(&mut self.attendance.missed);
        let gone: Vec<_> = lobby.connected().filter(|&(seat, key, _)| !self.is_anywhere(seat, key)).collect();
        for (seat, key, _) in gone {
            let missed = before.get(&(seat, key)).filter(|_| up).copied().unwrap_or_default() + TICK;
            self.attendance.missed.insert((seat, key), missed);
            let stray = if self.attendance.strays.contains(&key) { STRAY } else { Duration::ZERO };
            if missed > MISSED + stray {
                self.violation("P9", format!("seat {seat} has been gone for {missed:?} and is still connected"));
            }
        }
    }

    /// Whether this process runs and has, or may be about to have, a socket.
    fn is_anywhere(&self, seat: ConnectionId, key: PeerKey) -> bool {
        self.peers.iter().any(|peer| {
            peer.key == key && matches!(peer.life, Life::Running) && peer.seat().is_none_or(|own| own == seat)
        })
    }

    /// P10: nobody is disconnected by what happens to instances or to the database, if its client is well and finds another one.
    pub(super) fn check_attendance_of(&mut self, events: &[Event]) {
        for event in events {
            let EventBody::MemberDisconnected { connection } = event.body else { continue };
            let settled = (0..self.peers.len())
                .find(|&index| self.peers[index].seat() == Some(connection) && self.attendance.settled[index]);
            if let Some(index) = settled
                && !self.is_cut(index)
            {
                self.violation("P10", format!("seat {connection} was disconnected though its client was well"));
            }
        }
    }
}
