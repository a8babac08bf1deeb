//! Links between peers. A hello and what may be lost are datagrams through the relay; the rest is what QUIC makes of them: in order,
//! repeated until it arrives, and gone with the link.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use protocol::frame::{Hello, PeerBody, PeerFrame, RelayFrame, Welcome};
use protocol::id::{ConnectionId, HostEpoch, PeerKey};
use protocol::journal::{Class, Receipt, Resumed};
use protocol::limits;
use protocol::migration::{Admission, GuestLink, Role};

use super::network::Node;
use super::peer::{Life, PeerItem};
use super::{Item, Sim};

/// A link on which nothing comes for this long is down (QUIC's idle time-out).
const LINK_IDLE: Duration = Duration::from_secs(3);
/// Links that are for later are kept alive with every so many heartbeats.
const QUIET_BEATS: u8 = 10;

/// What comes on a link.
pub(super) enum Streamed {
    /// The other side has taken the link.
    Up,
    /// It is down.
    Down,
    Frame(Vec<u8>),
}

/// A link that another member has opened.
pub(super) struct Incoming {
    pub(super) link: u64,
    key: PeerKey,
    heard_at: Instant,
    pub(super) welcomed: bool,
    pub(super) hello: Hello,
}

/// A link to another member.
pub(super) struct Outgoing {
    link: u64,
    key: PeerKey,
    epoch: HostEpoch,
    is_standby: bool,
    /// What is said until it is up.
    hello: Option<Vec<u8>>,
    until: Instant,
}

/// The links of a peer.
#[derive(Default)]
pub(super) struct Links {
    pub(super) incoming: BTreeMap<ConnectionId, Incoming>,
    outgoing: BTreeMap<ConnectionId, Outgoing>,
    /// The newest link that each member opened: its hello may come again when it is gone.
    newest: BTreeMap<ConnectionId, u64>,
    beat_at: Option<Instant>,
    beats: u8,
}

impl Links {
    /// The link to or from a member, and the key of its process.
    fn to(&self, peer: ConnectionId) -> Option<(u64, PeerKey)> {
        let outgoing = self.outgoing.get(&peer).filter(|link| link.hello.is_none()).map(|link| (link.link, link.key));
        outgoing.or_else(|| self.incoming.get(&peer).map(|link| (link.link, link.key)))
    }

    fn heard(&mut self, from: ConnectionId, now: Instant) {
        if let Some(link) = self.incoming.get_mut(&from) {
            link.heard_at = now;
        }
        if let Some(link) = self.outgoing.get_mut(&from).filter(|link| link.hello.is_none()) {
            link.until = now + LINK_IDLE;
        }
    }
}

impl Sim {
    /// Opens a link, or takes the one that is open.
    pub(super) fn dial(&mut self, index: usize, to: ConnectionId, key: PeerKey, epoch: HostEpoch, is_standby: bool) {
        let link = self.peers[index].number();
        let until = self.now + Duration::from_secs(1);
        self.trace(|| format!("peer {index} dials {to} at {epoch}, for later: {is_standby}"));
        let Some(session) = &mut self.peers[index].session else { return };
        let holds = session.held.as_ref().map(protocol::snapshot::Image::generation);
        let hello =
            Hello { extra: Vec::new(), standby: is_standby, moves: false, offer: session.streams.offer(), holds };
        let hello = rmp_serde::to_vec_named(&hello).expect("a hello can be written");
        if let Some(open) = session.links.outgoing.get_mut(&to)
            && (open.key, open.hello.is_none(), is_standby) == (key, true, false)
        {
            (open.epoch, open.is_standby) = (epoch, false);
            self.stats.standby_links_taken += 1;
            return self.send_on_link(index, to, PeerFrame { epoch, body: PeerBody::Hello(&hello) });
        }
        let outgoing = Outgoing { link, key, epoch, is_standby, hello: Some(hello), until };
        session.links.outgoing.insert(to, outgoing);
        self.say_hello(index, to);
    }

    fn say_hello(&mut self, index: usize, to: ConnectionId) {
        let Some(session) = &self.peers[index].session else { return };
        let Some(&Outgoing { link, key, epoch, hello: Some(ref hello), .. }) = session.links.outgoing.get(&to) else {
            return;
        };
        let payload = [&link.to_be_bytes()[..], hello].concat();
        self.send_frame(index, to, key, PeerFrame { epoch, body: PeerBody::Hello(&payload) });
    }

    /// Sends a datagram on the link to another peer's process.
    fn send_frame(&mut self, index: usize, to: ConnectionId, to_key: PeerKey, frame: PeerFrame<'_>) {
        let peer = &self.peers[index];
        let Some(tag) = peer.session.as_ref().and_then(|session| session.binding.tag) else { return };
        let mut payload = [&peer.key.as_bytes()[..8], &to_key.as_bytes()[..8]].concat();
        frame.encode(&mut payload);
        let datagram = RelayFrame::Data { session: tag, peer: to, payload: &payload }.to_vec();
        let node = peer.node();
        self.send_datagram(node, Node::Relay, datagram);
    }

    /// Sends a frame on the stream of a link, if there is one.
    pub(super) fn send_on_link(&mut self, index: usize, to: ConnectionId, frame: PeerFrame<'_>) {
        let links = self.peers[index].session.as_ref().map(|session| &session.links);
        if let Some((link, key)) = links.and_then(|links| links.to(to)) {
            self.send_stream(index, link, key, Streamed::Frame(frame.to_vec()));
        }
    }

    fn send_stream(&mut self, index: usize, link: u64, key: PeerKey, streamed: Streamed) {
        let runs = |peer: &super::peer::Peer| peer.key == key && !matches!(peer.life, Life::Dead);
        let Some(to) = self.peers.iter().position(runs) else { return };
        let Some(from) = self.peers[index].seat() else { return };
        let (here, there) = (self.peers[index].node(), self.peers[to].node());
        let ways = [(here, Node::Relay), (Node::Relay, there)];
        let cut = ways.iter().filter_map(|&(a, b)| self.network.cut_until(a, b, self.now)).max();
        let ends = [(index, self.peers[to].seat()), (to, Some(from))];
        if cut.is_some_and(|until| until - self.now >= LINK_IDLE) && self.network.break_link(link) {
            for (end, other) in ends {
                let (process, Some(from)) = (self.peers[end].process, other) else { continue };
                let item = PeerItem::Stream { link, from, streamed: Streamed::Down };
                self.after(LINK_IDLE, Item::Peer { peer: end, process, item });
            }
        }
        if self.network.is_broken(link) {
            return;
        }
        let mut delay = Duration::from_micros(self.rng.u64(600..2 * self.faults.jitter_us));
        if !self.healed() && self.rng.f64() < self.faults.drop {
            delay += Duration::from_millis(self.rng.u64(20..300));
        }
        let at = self.network.in_order(link, index < to, cut.unwrap_or(self.now) + delay);
        let process = self.peers[to].process;
        self.at(at, Item::Peer { peer: to, process, item: PeerItem::Stream { link, from, streamed } });
    }

    /// What comes on the stream of a link that is still there.
    pub(super) fn streamed(&mut self, index: usize, link: u64, from: ConnectionId, streamed: Streamed) {
        let now = self.now;
        let Some(session) = &mut self.peers[index].session else { return };
        let outgoing = session.links.outgoing.get_mut(&from).filter(|open| open.link == link);
        let is_incoming = session.links.incoming.get(&from).is_some_and(|open| open.link == link);
        match (streamed, outgoing) {
            (_, None) if !is_incoming => {}
            (Streamed::Down, _) => self.link_down(index, from),
            (Streamed::Up, Some(open)) => {
                (open.hello, open.until) = (None, now + LINK_IDLE);
                if open.is_standby {
                    self.stats.standby_links += 1;
                    session.migration.handle_standby_up(from);
                }
            }
            (Streamed::Up, None) => {}
            (Streamed::Frame(bytes), _) => {
                if let Ok(frame) = PeerFrame::decode(&bytes) {
                    self.link_frame(index, from, frame);
                }
            }
        }
    }

    /// A datagram of a link: between two processes that have proven their keys.
    pub(super) fn link_datagram(&mut self, index: usize, from: ConnectionId, payload: &[u8]) {
        let now = self.now;
        let peer = &mut self.peers[index];
        let (Some((keys, frame)), Some(session)) = (payload.split_at_checked(16), &mut peer.session) else { return };
        let Some(their_key) = session.migration.lobby().member(from).map(|member| member.peer_key) else { return };
        if keys[..8] != their_key.as_bytes()[..8] || keys[8..] != peer.key.as_bytes()[..8] {
            return;
        }
        let Ok(frame) = PeerFrame::decode(frame) else { return };
        session.links.heard(from, now);
        if let PeerBody::Hello(payload) = frame.body {
            self.hello(index, from, their_key, frame.epoch, payload);
        } else {
            self.link_frame(index, from, frame);
        }
    }

    fn hello(&mut self, index: usize, from: ConnectionId, key: PeerKey, epoch: HostEpoch, payload: &[u8]) {
        let Some((link, hello)) = payload.split_first_chunk::<8>() else { return };
        let (link, Ok(hello)) = (u64::from_be_bytes(*link), rmp_serde::from_slice::<Hello>(hello)) else { return };
        let now = self.now;
        let Some(session) = &mut self.peers[index].session else { return };
        let newest = session.links.newest.get(&from);
        if newest.is_some_and(|&newest| newest >= link && newest >> 32 == link >> 32) {
            return;
        }
        if session.links.incoming.contains_key(&from) {
            self.link_down(index, from);
        }
        let Some(session) = &mut self.peers[index].session else { return };
        let taken = if hello.standby {
            session.migration.takes_standby(from)
        } else {
            session.migration.handle_hello(from, epoch, now)
        };
        self.trace(|| {
            format!("peer {index}: hello of {from} at {epoch}, for later: {}, taken: {taken}", hello.standby)
        });
        let Some(session) = &mut self.peers[index].session else { return };
        if taken {
            if let Some(search) = session.search.as_mut().filter(|_| !hello.standby) {
                search.takeover.handle_hello(from, hello.holds);
            }
            session.links.newest.insert(from, link);
            session.links.incoming.insert(from, Incoming { link, key, heard_at: now, welcomed: false, hello });
            self.send_stream(index, link, key, Streamed::Up);
        }
    }

    /// The member at the other end of a link that was for later holds this one for its host.
    fn hello_again(&mut self, index: usize, from: ConnectionId, epoch: HostEpoch, payload: &[u8]) {
        let Ok(hello) = rmp_serde::from_slice::<Hello>(payload) else { return };
        let now = self.now;
        let Some(session) = &mut self.peers[index].session else { return };
        let taken = session.migration.handle_hello(from, epoch, now);
        self.trace(|| format!("peer {index}: hello of {from} at {epoch} on its link, taken: {taken}"));
        if !taken {
            return self.refuse(index, from);
        }
        let Some(session) = &mut self.peers[index].session else { return };
        if let Some(search) = &mut session.search {
            search.takeover.handle_hello(from, hello.holds);
        }
        if let Some(open) = session.links.incoming.get_mut(&from) {
            (open.hello, open.welcomed) = (hello, false);
        }
    }

    fn link_frame(&mut self, index: usize, from: ConnectionId, frame: PeerFrame<'_>) {
        let now = self.now;
        let PeerFrame { epoch, body } = frame;
        if let PeerBody::Hello(payload) = body {
            return self.hello_again(index, from, epoch, payload);
        }
        let Some(session) = &mut self.peers[index].session else { return };
        match session.migration.admit(from, epoch, now) {
            Admission::Accept => {}
            Admission::Stale => {
                self.stats.stale_frames_refused += 1;
                return;
            }
            Admission::Ahead => return,
        }
        let known = self.peers[index].known;
        self.take_frame(index, from, epoch, body);
        if epoch < known {
            self.violation("P4", format!("peer {index} took a frame of epoch {epoch} though it knows {known}"));
        }
    }

    fn take_frame(&mut self, index: usize, from: ConnectionId, epoch: HostEpoch, body: PeerBody<'_>) {
        let now = self.now;
        let Some(session) = &mut self.peers[index].session else { return };
        match body {
            PeerBody::Welcome(welcome) => self.welcomed(index, from, epoch, welcome),
            PeerBody::Goodbye => session.migration.handle_goodbye(from, now),
            PeerBody::Reliable { number, payload } if session.hosting.is_some() => {
                self.host_receives(index, from, number, payload);
            }
            PeerBody::Reliable { number, payload } => self.guest_receives(index, Class::Reliable, number, payload),
            PeerBody::AfterStable { number, payload } => {
                self.guest_receives(index, Class::AfterStable, number, payload);
            }
            PeerBody::Durable { number } => session.streams.handle_durable(number),
            PeerBody::Heartbeat { received, received_stable, .. } => {
                if let Some(hosting) = &mut session.hosting {
                    hosting.streams.heard(from, received, received_stable);
                }
            }
            PeerBody::State(record) => self.state_comes(index, from, epoch, record),
            PeerBody::StateTaken { generation } => {
                if let Some(hosting) = &mut session.hosting {
                    hosting.feed.handle_taken(from, generation, now);
                    hosting.hand_over.handle_taken(from, generation, now);
                }
            }
            PeerBody::StateWanted => {
                self.stats.states_wanted += 1;
                if let Some(hosting) = &mut session.hosting {
                    hosting.feed.handle_wanted(from);
                }
            }
            PeerBody::StateAsked { .. } => self.state_asked(index, from),
            PeerBody::LastState { .. } => {}
            PeerBody::Unreliable(_)
            | PeerBody::Hello(_)
            | PeerBody::Refused(_)
            | PeerBody::Objects(_)
            | PeerBody::Ping { .. }
            | PeerBody::Pong { .. } => {}
        }
    }

    fn welcomed(&mut self, index: usize, from: ConnectionId, epoch: HostEpoch, welcome: &[u8]) {
        let now = self.now;
        let Some(session) = &mut self.peers[index].session else { return };
        let dialed = session.links.outgoing.get(&from).is_some_and(|open| !open.is_standby && open.epoch == epoch);
        let Ok(welcome) = rmp_serde::from_slice::<Welcome>(welcome) else { return };
        if !dialed {
            return;
        }
        session.migration.handle_welcome(from, now);
        let resumed = session.streams.handle_welcome(welcome.position);
        let me = session.me;
        let again: Vec<_> = session.streams.journal().after(resumed.say_after).map(|(n, p)| (n, p.clone())).collect();
        self.checker.in_game(epoch, me);
        self.resumed(index, &resumed);
        self.stats.inputs_replayed += again.len() as u64;
        for (number, payload) in again {
            self.send_on_link(index, from, PeerFrame { epoch, body: PeerBody::Reliable { number, payload: &payload } });
        }
    }

    /// The game is told what of its messages has become of another history.
    pub(super) fn resumed(&mut self, index: usize, resumed: &Resumed) {
        self.trace(|| format!("peer {index} goes on: {resumed:?}"));
        self.check_inputs_lost(index, resumed.inputs_lost);
        let Some(view) = self.peers[index].view_mut() else { return };
        if let Some(taken_back) = resumed.taken_back {
            view.take_back(taken_back.from);
            self.stats.taken_back += 1;
        }
        let Some(view) = self.peers[index].view_mut() else { return };
        if let Some(to) = resumed.never_heard.and_then(|never| never.to) {
            view.never_hears(to);
            self.stats.never_heard += 1;
        }
    }

    fn guest_receives(&mut self, index: usize, class: Class, number: u64, payload: &[u8]) {
        let Some(session) = &mut self.peers[index].session else { return };
        match session.streams.receive(class, number) {
            Receipt::Next => self.check_heard(index, class, number, payload),
            Receipt::Repeated => {}
            Receipt::Gap => self.violation("P11", format!("peer {index}: {class:?} {number} does not come next")),
        }
    }

    /// Closes the link that a member has opened; one to it may be under way.
    fn refuse(&mut self, index: usize, from: ConnectionId) {
        let links = self.peers[index].session.as_mut().map(|session| &mut session.links);
        if let Some(open) = links.and_then(|links| links.incoming.remove(&from)) {
            self.send_stream(index, open.link, open.key, Streamed::Down);
        }
    }

    /// Closes the link to or from a member, and tells it.
    pub(super) fn hang_up(&mut self, index: usize, peer: ConnectionId) {
        self.trace(|| format!("peer {index} hangs up on {peer}"));
        let Some(session) = &mut self.peers[index].session else { return };
        let incoming = session.links.incoming.remove(&peer).map(|open| (open.link, open.key));
        let outgoing = session.links.outgoing.remove(&peer).map(|open| (open.link, open.key));
        self.link_is_gone(index, peer);
        for (link, key) in incoming.into_iter().chain(outgoing) {
            self.send_stream(index, link, key, Streamed::Down);
        }
    }

    fn link_down(&mut self, index: usize, peer: ConnectionId) {
        let now = self.now;
        self.trace(|| format!("peer {index}: the link with {peer} is down"));
        let Some(session) = &mut self.peers[index].session else { return };
        session.links.incoming.remove(&peer);
        session.links.outgoing.remove(&peer);
        session.migration.handle_link_down(peer, now);
        self.link_is_gone(index, peer);
    }

    fn link_is_gone(&mut self, index: usize, peer: ConnectionId) {
        let Some(session) = &mut self.peers[index].session else { return };
        if let Some(hosting) = &mut session.hosting {
            hosting.feed.handle_link_down(peer);
            hosting.hand_over.handle_link_down(peer);
        }
        if let Some(search) = &mut session.search {
            search.takeover.handle_gone(peer);
        }
    }

    /// Both sides of a guest's link for later find it broken.
    pub(super) fn cut_standby(&mut self, index: usize) {
        let Some(session) = &self.peers[index].session else { return };
        let standby = session.links.outgoing.iter().find(|(_, open)| open.is_standby && open.hello.is_none());
        if let Some((&to, _)) = standby {
            self.stats.standby_links_cut += 1;
            let me = session.me;
            let successor = self.peers.iter().position(|peer| peer.seat() == Some(to));
            self.link_down(index, to);
            if let Some(successor) = successor {
                self.link_down(successor, me);
                self.pump(successor);
            }
            self.pump(index);
        }
    }

    pub(super) fn keep_links(&mut self, index: usize) {
        let now = self.now;
        let Some(session) = &self.peers[index].session else { return };
        let incoming = session.links.incoming.iter().filter(|(_, open)| now - open.heard_at >= LINK_IDLE);
        let outgoing = session.links.outgoing.iter().filter(|(_, open)| open.until <= now);
        let idle: BTreeSet<_> = incoming.map(|(&peer, _)| peer).chain(outgoing.map(|(&peer, _)| peer)).collect();
        idle.into_iter().for_each(|peer| self.link_down(index, peer));
        let Some(session) = &self.peers[index].session else { return };
        let dialed: Vec<_> = session.links.outgoing.iter().filter(|(_, open)| open.hello.is_some()).collect();
        let dialed: Vec<_> = dialed.into_iter().map(|(&peer, _)| peer).collect();
        dialed.into_iter().for_each(|peer| self.say_hello(index, peer));
    }

    /// A host sends the game's state to its guests, a guest its heartbeat to the host; links for later hear something now and then.
    pub(super) fn beat(&mut self, index: usize) {
        let now = self.now;
        let Some(session) = &mut self.peers[index].session else { return };
        if session.links.beat_at.is_some_and(|at| at > now) {
            return;
        }
        session.links.beat_at = Some(now + limits::HEARTBEAT);
        session.links.beats = (session.links.beats + 1) % QUIET_BEATS;
        let epoch = session.migration.epoch();
        let (received, received_stable) = session.streams.received(epoch);
        let heartbeat = PeerBody::Heartbeat { tick: 0, received, received_stable };
        let quiet = PeerBody::Heartbeat { tick: 0, received: 0, received_stable: 0 };
        let (busy, body): (BTreeSet<_>, _) = match session.migration.role() {
            Role::Host { .. } => (session.migration.guests_in_game().collect(), PeerBody::Unreliable(b"state")),
            Role::Guest { host, link: GuestLink::InGame { .. }, .. } => ([*host].into(), heartbeat),
            Role::Guest { .. } | Role::Waiting | Role::Becoming { .. } | Role::Out => (BTreeSet::new(), quiet),
        };
        let lobby = session.migration.lobby();
        let key_of = |seat: ConnectionId, body| Some((seat, lobby.member(seat)?.peer_key, body));
        let all = session.links.incoming.keys().chain(session.links.outgoing.keys());
        let later = all.filter(|peer| session.links.beats == 0 && !busy.contains(peer));
        let targets = busy.iter().map(|&seat| (seat, body)).chain(later.map(|&seat| (seat, quiet)));
        let targets: Vec<_> = targets.filter_map(|(seat, body)| key_of(seat, body)).collect();
        for (to, key, body) in targets {
            self.send_frame(index, to, key, PeerFrame { epoch, body });
        }
    }
}
