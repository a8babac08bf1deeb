//! What comes on the links of a session, and what becomes of it.

use std::time::Instant;

use bytes::Bytes;
use protocol::frame::{PeerBody, PeerFrame};
use protocol::id::ConnectionId;
use protocol::journal::{Class, Receipt};
use protocol::limits;
use protocol::lobby::Presence;
use protocol::migration::{Admission, Role as Part};
use tokio::sync::OwnedSemaphorePermit;

use crate::driver::Driver;
use crate::event::{Delivery, Message};
use crate::link::{LinkHandle, LinkId};
use crate::outbox::Up;
use crate::paths::Place;

impl Driver {
    /// The one place where frames come in: fenced by their epoch before anything else.
    pub(crate) fn frame(
        &mut self,
        peer: ConnectionId,
        id: LinkId,
        bytes: &Bytes,
        budget: Option<OwnedSemaphorePermit>,
        now: Instant,
    ) {
        let Ok(frame) = PeerFrame::decode(bytes) else { return self.fail_link(peer, id, "a frame that is none") };
        let place = match self.shared.lock().link_mut(peer, id) {
            Some((link, place)) => {
                link.way.heard(now);
                if let PeerBody::Ping { number } = frame.body {
                    return link.pong(number);
                }
                if let PeerBody::Pong { number } = frame.body {
                    return link.measured(number, now);
                }
                place
            }
            None => return,
        };
        if let PeerBody::Hello(hello) = frame.body {
            return self.said_hello_again(peer, id, frame.epoch, hello, now);
        }
        if place == Place::Standby {
            // It carries nothing of the game until its other end is host, and a hello makes it a guest's link.
            return;
        }
        match self.migration.admit(peer, frame.epoch, now) {
            Admission::Accept => {
                if self.follows(peer) && self.is_in_game(peer) {
                    self.timeline.heard(peer, now);
                }
            }
            refused @ (Admission::Stale | Admission::Ahead) => {
                self.shared.lock().stale_frames += 1;
                return tracing::trace!(%peer, ?refused, epoch = %frame.epoch, "a frame was dropped");
            }
        }
        if place == Place::Spare {
            // What came there was to wait for room before it was read.
            drop(budget);
            return self.on_spare(peer, id, bytes, frame, now);
        }
        match frame.body {
            PeerBody::Heartbeat { tick, received, received_stable } => {
                if self.follows(peer) {
                    self.announced_tick = self.announced_tick.max(tick);
                }
                self.shared.lock().streams.heard(peer, received, received_stable);
            }
            PeerBody::Unreliable(payload) => {
                if self.plays_with(peer) {
                    let payload = bytes.slice_ref(payload);
                    self.outbox.push_unreliable(Message { from: peer, delivery: Delivery::Unreliable, payload });
                }
            }
            PeerBody::Reliable { number, payload } => {
                self.reliable(peer, Class::Reliable, number, bytes.slice_ref(payload), budget);
            }
            PeerBody::AfterStable { number, payload } => {
                self.reliable(peer, Class::AfterStable, number, bytes.slice_ref(payload), budget);
            }
            PeerBody::State(record) => self.state_frame(peer, bytes.slice_ref(record)),
            PeerBody::StateTaken { generation } => self.state_taken(peer, generation, now),
            PeerBody::StateWanted => self.state_wanted(peer, now),
            PeerBody::StateAsked { generation } => {
                if self.follows(peer) {
                    self.state_asked(peer, generation);
                }
            }
            PeerBody::LastState { generation } => {
                if self.follows(peer) {
                    self.held.last = Some(generation);
                }
            }
            PeerBody::Durable { number } => {
                if self.follows(peer) {
                    self.shared.lock().own.handle_durable(number);
                }
            }
            PeerBody::Welcome(welcome) => self.welcomed(peer, id, welcome, now),
            PeerBody::Refused(reason) => self.refused_by_host(peer, reason, now),
            PeerBody::Objects(changes) => self.objects_changed(peer, changes),
            PeerBody::Goodbye => self.said_goodbye(peer, now),
            // Taken above.
            PeerBody::Hello(_) | PeerBody::Ping { .. } | PeerBody::Pong { .. } => {}
        }
    }

    /// Messages count in the game alone.
    fn plays_with(&self, peer: ConnectionId) -> bool {
        self.shared.lock().links.get(&peer).is_some_and(|link| link.in_game)
    }

    /// A numbered message: the game has it once, whatever links and hosts it came by.
    pub(crate) fn reliable(
        &mut self,
        peer: ConnectionId,
        class: Class,
        number: u64,
        payload: Bytes,
        budget: Option<OwnedSemaphorePermit>,
    ) {
        // In a datagram it is an early copy: taken if it is the next one and there is room for it. The other is on its way.
        let is_copy = budget.is_none();
        let Some(budget) = budget.or_else(|| self.unread.reserve(peer, payload.len())) else { return };
        let hosts = matches!(self.migration.role(), Part::Host { .. } | Part::Becoming { .. });
        let mut stream = None;
        let receipt = {
            let mut state = self.shared.lock();
            if !state.links.get(&peer).is_some_and(|link| link.in_game) {
                Receipt::Gap
            } else if !hosts {
                state.own.receive(class, number)
            } else if class == Class::Reliable {
                stream = state.streams.stream(peer);
                state.streams.receive(peer, number)
            } else {
                Receipt::Gap
            }
        };
        match receipt {
            Receipt::Repeated => {}
            // It, or what is missing before it, is on its way on another link, or will be said again.
            Receipt::Gap if is_copy || self.is_moving(peer) => {}
            Receipt::Gap => self.fail(peer, "a reliable message out of order"),
            Receipt::Next => {
                let delivery = match class {
                    Class::Reliable => Delivery::Reliable,
                    Class::AfterStable => Delivery::AfterStable,
                };
                let up = stream.map(|stream| Up { epoch: self.migration.epoch(), from: peer, stream, number });
                let bytes = payload.len();
                self.outbox.push_reliable(Message { from: peer, delivery, payload }, up, budget);
                if !hosts {
                    self.has_heard(bytes);
                }
            }
        }
    }

    /// A host keeps what it says until it knows that it was heard: it is told at once of much.
    fn has_heard(&mut self, bytes: usize) {
        self.unsaid_messages += 1;
        self.unsaid_bytes += bytes;
        if self.unsaid_messages >= limits::HEARD_MESSAGES || self.unsaid_bytes >= limits::HEARD_BYTES {
            self.beat();
        }
    }

    /// From the host to its successor, or from a member that was asked.
    fn state_frame(&mut self, peer: ConnectionId, record: Bytes) {
        match self.migration.role() {
            Part::Guest { .. } if self.follows(peer) => self.state_came(peer, record),
            Part::Becoming { .. } => self.state_came(peer, record),
            Part::Guest { .. } | Part::Host { .. } | Part::Waiting | Part::Out => {}
        }
    }

    /// The game with this peer is about to go on at another link.
    fn is_moving(&self, peer: ConnectionId) -> bool {
        self.shared.lock().links.get(&peer).is_some_and(|link| link.resuming.is_some())
    }

    fn fail_link(&self, peer: ConnectionId, id: LinkId, what: &str) {
        tracing::warn!(%peer, what, "a peer broke the protocol: its link is closed");
        if let Some((link, _)) = self.shared.lock().link_mut(peer, id) {
            link.close();
        }
    }

    pub(crate) fn fail(&self, peer: ConnectionId, what: &str) {
        tracing::warn!(%peer, what, "a peer broke the protocol: its link is closed");
        if let Some(link) = self.shared.lock().links.get(&peer) {
            link.close();
        }
    }

    fn said_goodbye(&mut self, peer: ConnectionId, now: Instant) {
        self.migration.handle_goodbye(peer, now);
        if matches!(self.migration.role(), Part::Host { .. } | Part::Becoming { .. }) {
            self.lost_link(peer, now);
            self.hang_up(peer);
        }
    }

    pub(crate) fn link_down(&mut self, peer: ConnectionId, id: LinkId, now: Instant) {
        let removed = {
            let mut state = self.shared.lock();
            match state.link_mut(peer, id) {
                None => return,
                Some((_, Place::Spare)) => {
                    drop(state);
                    return self.spare_down(peer, now);
                }
                Some((_, Place::Primary | Place::Standby)) => {}
            }
            drop(state);
            if self.falls_back(peer, now) {
                return;
            }
            let mut state = self.shared.lock();
            match state.links.get(&peer) {
                // Another way to it is still being tried: the next dial goes on with that.
                Some(link) if !link.is_open() && link.spare.is_some() => {
                    self.dialing.ended(link);
                    None
                }
                Some(_) | None => state.links.remove(&peer),
            }
        };
        if let Some(link) = removed {
            self.dialing.ended(&link);
            self.is_away(peer, &link);
        }
        self.lost_link(peer, now);
    }

    /// What a link's end means to everything that rested on it.
    pub(crate) fn lost_link(&mut self, peer: ConnectionId, now: Instant) {
        self.feed.handle_link_down(peer);
        self.hand_over.handle_link_down(peer);
        self.act_on_hand_over(now);
        self.is_gone(peer, now);
        if self.follows(peer) {
            self.held.last = None;
        }
        self.migration.handle_link_down(peer, now);
    }

    /// A guest that was in the game and is still there for the lobby: what is said meanwhile is kept for it.
    fn is_away(&self, peer: ConnectionId, link: &LinkHandle) {
        let hosts = matches!(self.migration.role(), Part::Host { .. });
        let presence = self.migration.lobby().member(peer).map(|member| member.presence);
        if hosts && link.in_game && matches!(presence, Some(Presence::Connected { .. })) {
            self.shared.lock().away.insert(peer);
        }
    }

    /// As [`Self::hang_up`], of a guest that will be back.
    pub(crate) fn hang_up_guest(&self, peer: ConnectionId) {
        let link = self.shared.lock().links.remove(&peer);
        if let Some(link) = link {
            self.is_away(peer, &link);
        }
    }

    pub(crate) fn hang_up(&self, peer: ConnectionId) {
        let link = self.shared.lock().links.remove(&peer);
        drop(link);
    }
}
