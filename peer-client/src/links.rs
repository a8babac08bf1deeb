//! What comes on the links of a session, and what becomes of it.

use std::time::Instant;

use bytes::Bytes;
use protocol::frame::{PeerBody, PeerFrame};
use protocol::id::ConnectionId;
use protocol::migration::{Admission, Role as Part};
use tokio::sync::OwnedSemaphorePermit;

use crate::driver::Driver;
use crate::event::{Delivery, Message};
use crate::link::LinkId;

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
        match self.shared.lock().links.get_mut(&peer).filter(|link| link.id == id) {
            Some(link) => link.heard_at = now,
            None => return,
        }
        let Ok(frame) = PeerFrame::decode(bytes) else { return self.fail(peer, "a frame that is none") };
        match self.migration.admit(peer, frame.epoch, now) {
            Admission::Accept => {}
            refused @ (Admission::Stale | Admission::Ahead) => {
                self.shared.lock().stale_frames += 1;
                return tracing::trace!(%peer, ?refused, epoch = %frame.epoch, "a frame was dropped");
            }
        }
        match frame.body {
            PeerBody::Heartbeat { .. } => {}
            PeerBody::Unreliable(payload) => {
                if self.plays_with(peer) {
                    let payload = bytes.slice_ref(payload);
                    self.outbox.push_unreliable(Message { from: peer, delivery: Delivery::Unreliable, payload });
                }
            }
            PeerBody::Reliable { number, payload } => {
                let Some(budget) = budget else { return self.fail(peer, "a reliable message in a datagram") };
                if !self.is_next(peer, number) {
                    return self.fail(peer, "a reliable message out of order");
                }
                let payload = bytes.slice_ref(payload);
                self.outbox.push_reliable(Message { from: peer, delivery: Delivery::Reliable, payload }, budget);
            }
            PeerBody::Welcome(welcome) => self.welcomed(peer, welcome, now),
            PeerBody::Refused(reason) => self.refused_by_host(peer, reason, now),
            PeerBody::Objects(changes) => self.objects_changed(peer, changes),
            PeerBody::Goodbye => self.said_goodbye(peer, now),
            PeerBody::Hello(_) => self.fail(peer, "a second hello"),
        }
    }

    /// Messages count in the game alone.
    fn plays_with(&self, peer: ConnectionId) -> bool {
        self.shared.lock().links.get(&peer).is_some_and(|link| link.in_game)
    }

    fn is_next(&self, peer: ConnectionId, number: u64) -> bool {
        let mut state = self.shared.lock();
        let Some(link) = state.links.get_mut(&peer).filter(|link| link.in_game) else { return false };
        link.received += 1;
        link.received == number
    }

    fn fail(&self, peer: ConnectionId, what: &str) {
        tracing::warn!(%peer, what, "a peer broke the protocol: its link is closed");
        if let Some(link) = self.shared.lock().links.get(&peer) {
            link.close();
        }
    }

    fn said_goodbye(&mut self, peer: ConnectionId, now: Instant) {
        self.migration.handle_goodbye(peer, now);
        if matches!(self.migration.role(), Part::Host { .. } | Part::Becoming { .. }) {
            self.migration.handle_link_down(peer, now);
            self.hang_up(peer);
        }
    }

    pub(crate) fn link_down(&mut self, peer: ConnectionId, id: LinkId, now: Instant) {
        let removed = {
            let mut state = self.shared.lock();
            if state.links.get(&peer).is_none_or(|link| link.id != id) {
                return;
            }
            state.links.remove(&peer)
        };
        if let Some(link) = removed {
            self.dialing.ended(&link);
        }
        self.migration.handle_link_down(peer, now);
    }

    pub(crate) fn hang_up(&self, peer: ConnectionId) {
        let link = self.shared.lock().links.remove(&peer);
        drop(link);
    }
}
