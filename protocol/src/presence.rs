//! Who is connected: leases of all members that an instance of the service looks after.
//!
//! A live machine. A lease lives while something is heard on the member's socket, or its heartbeats come. One socket a seat:
//! a newer one replaces the older one, whose end then changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::id::{ConnectionId, InstanceId, LobbyId, PeerKey};
use crate::planted::{self, Bug};

/// A seat of a lobby.
pub type Seat = (LobbyId, ConnectionId);

/// One event socket, numbered by the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u64);

/// A member who is not connected any more: the lobby is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// Whose seat.
    pub seat: Seat,
    /// Of which process.
    pub peer_key: PeerKey,
    /// The instance that the lobby knows as the one that heard it: this one, or the one whose members it took over.
    pub holder: InstanceId,
    /// The socket to close, if it had one.
    pub socket: Option<SocketId>,
}

#[derive(Debug)]
struct Lease {
    peer_key: PeerKey,
    holder: InstanceId,
    /// A sign of life came here.
    heard: bool,
    socket: Option<SocketId>,
    until: Instant,
    /// Until when its heartbeats alone keep it.
    beats_until: Option<Instant>,
}

/// The leases.
#[derive(Debug)]
pub struct Presence {
    instance: InstanceId,
    term: Duration,
    leases: BTreeMap<Seat, Lease>,
    by_time: BTreeSet<(Instant, Seat)>,
    /// Until when the end of a socket loses nobody: see [`Self::renew_all`].
    lenient_until: Option<Instant>,
}

impl Presence {
    /// An instance without leases; each will last for `term` after the last sign of life.
    #[must_use]
    pub const fn new(instance: InstanceId, term: Duration) -> Self {
        Self { instance, term, leases: BTreeMap::new(), by_time: BTreeSet::new(), lenient_until: None }
    }

    /// Leases held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// The instance.
    #[must_use]
    pub const fn instance(&self) -> InstanceId {
        self.instance
    }

    /// Whether a seat has a lease here.
    #[must_use]
    pub fn is_known(&self, seat: Seat) -> bool {
        self.leases.contains_key(&seat)
    }

    /// Whether this process has a lease, and is heard here. Then a loss that was noticed before it took the lease must not be told
    /// to the lobby; and where the lobby has been told all the same, it is to be told [`crate::lobby::Command::Connect`] again.
    #[must_use]
    pub fn is_held_by(&self, seat: Seat, peer_key: PeerKey) -> bool {
        self.leases.get(&seat).is_some_and(|lease| lease.peer_key == peer_key && lease.heard)
    }

    /// A sign of life without a socket: a join, or a full term for all after the service was away.
    ///
    /// A lease of another process is taken over; its socket, if any, is returned to be closed.
    pub fn heartbeat(&mut self, seat: Seat, peer_key: PeerKey, now: Instant) -> Option<SocketId> {
        let (socket, beats_until, replaced) = match self.leases.get(&seat) {
            Some(lease) if lease.peer_key == peer_key => (lease.socket, lease.beats_until, None),
            Some(lease) => (None, None, lease.socket),
            None => (None, None, None),
        };
        let (holder, until) = (self.instance, now + self.term);
        self.put(seat, Lease { peer_key, holder, heard: true, socket, until, beats_until });
        replaced
    }

    /// Another instance has died, or this one has just started: its members get a full term to be heard here, or anywhere. So does
    /// whom the lobby holds for connected here, though nobody here knows of it: a join was saved, and its answer lost. A seat that
    /// is known here already is left as it is.
    pub fn take_over(&mut self, seat: Seat, peer_key: PeerKey, holder: InstanceId, now: Instant) {
        let forgets =
            planted::is(Bug::NobodyInherits) || (planted::is(Bug::LostAnswerIsForgotten) && holder == self.instance);
        if !self.leases.contains_key(&seat) && !forgets {
            let until = if planted::is(Bug::HeirGivesNoTerm) { now } else { now + self.term };
            self.put(seat, Lease { peer_key, holder, heard: false, socket: None, until, beats_until: None });
        }
    }

    /// A heartbeat by REST: as [`Self::heartbeat`], and for a term the end of a socket loses nobody.
    pub fn beat(&mut self, seat: Seat, peer_key: PeerKey, now: Instant) -> Option<SocketId> {
        let replaced = self.heartbeat(seat, peer_key, now);
        if let Some(lease) = self.leases.get_mut(&seat) {
            lease.beats_until = Some(now + self.term);
        }
        replaced
    }

    /// A socket said hello. Returns the one that it replaces.
    pub fn opened(&mut self, seat: Seat, peer_key: PeerKey, socket: SocketId, now: Instant) -> Option<SocketId> {
        let old = self.leases.get(&seat);
        let replaced = old.and_then(|lease| lease.socket);
        let beats_until = old.filter(|lease| lease.peer_key == peer_key).and_then(|lease| lease.beats_until);
        let (holder, until) = (self.instance, now + self.term);
        self.put(seat, Lease { peer_key, holder, heard: true, socket: Some(socket), until, beats_until });
        replaced
    }

    /// Something came on a socket. Returns false if the socket is not the seat's (any more).
    pub fn heard(&mut self, seat: Seat, socket: SocketId, now: Instant) -> bool {
        let Some(lease) = self.leases.get_mut(&seat).filter(|lease| lease.socket == Some(socket)) else { return false };
        self.by_time.remove(&(lease.until, seat));
        lease.until = now + self.term;
        self.by_time.insert((lease.until, seat));
        true
    }

    /// A socket ended. Returns whom the lobby has lost by it: nobody, if the seat has a newer socket, or its heartbeats come too, or
    /// the service was away a short time ago.
    pub fn closed(&mut self, seat: Seat, socket: SocketId, now: Instant) -> Option<Lost> {
        let lease = self.leases.get(&seat).filter(|lease| lease.socket == Some(socket))?;
        if let Some(until) = lease.beats_until.max(self.lenient_until).filter(|&until| until > now) {
            self.put(seat, Lease { socket: None, until, ..*lease });
            return None;
        }
        let lost = Lost { seat, peer_key: lease.peer_key, holder: lease.holder, socket: None };
        self.forget(seat);
        Some(lost)
    }

    /// A seat was given up. Returns its socket, to be closed.
    pub fn forget(&mut self, seat: Seat) -> Option<SocketId> {
        let lease = self.leases.remove(&seat)?;
        self.by_time.remove(&(lease.until, seat));
        lease.socket
    }

    /// When the next lease runs out.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.by_time.first().map(|&(until, _)| until)
    }

    /// One lease that has run out by `now`. Call until there is none.
    pub fn poll_lost(&mut self, now: Instant) -> Option<Lost> {
        let &(until, seat) = self.by_time.first()?;
        if until > now {
            return None;
        }
        self.by_time.remove(&(until, seat));
        let lease = self.leases.remove(&seat)?;
        Some(Lost { seat, peer_key: lease.peer_key, holder: lease.holder, socket: lease.socket })
    }

    /// Gives every lease a full term: after an outage of the service or of its database nobody is lost by it. Sockets that have
    /// ended meanwhile are seen to end from now on; their members too have a term to come back.
    pub fn renew_all(&mut self, now: Instant) {
        let until = now + self.term;
        self.lenient_until = (!planted::is(Bug::NoTermAfterAbsence)).then_some(until);
        self.by_time.clear();
        for (&seat, lease) in &mut self.leases {
            lease.until = until;
            self.by_time.insert((until, seat));
        }
    }

    fn put(&mut self, seat: Seat, lease: Lease) {
        self.by_time.insert((lease.until, seat));
        let until = lease.until;
        if let Some(old) = self.leases.insert(seat, lease)
            && old.until != until
        {
            self.by_time.remove(&(old.until, seat));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERM: Duration = Duration::from_secs(6);
    const ME: InstanceId = InstanceId::from_bytes([1; 8]);

    fn seat() -> Seat {
        (LobbyId::from_bytes([1; 16]), ConnectionId(2))
    }

    fn key(byte: u8) -> PeerKey {
        PeerKey::from_bytes([byte; 32])
    }

    #[test]
    fn the_end_of_a_replaced_socket_loses_nobody() {
        let (mut presence, now) = (Presence::new(ME, TERM), crate::tests::start());
        assert_eq!(presence.opened(seat(), key(1), SocketId(1), now), None);
        assert_eq!(presence.opened(seat(), key(1), SocketId(2), now), Some(SocketId(1)));
        assert_eq!(presence.closed(seat(), SocketId(1), now), None);
        assert!(!presence.heard(seat(), SocketId(1), now));
        let lost = presence.closed(seat(), SocketId(2), now).unwrap();
        assert_eq!((lost.seat, lost.peer_key), (seat(), key(1)));
        assert!(presence.is_empty() && presence.poll_timeout().is_none());
    }

    #[test]
    fn the_end_of_a_socket_loses_nobody_who_sends_heartbeats_too_and_a_join_is_no_heartbeat() {
        let (mut presence, now) = (Presence::new(ME, TERM), crate::tests::start());
        presence.heartbeat(seat(), key(1), now);
        presence.opened(seat(), key(1), SocketId(1), now);
        assert!(presence.closed(seat(), SocketId(1), now).is_some(), "it has only joined");
        presence.beat(seat(), key(1), now);
        let later = now + TERM / 2;
        presence.opened(seat(), key(1), SocketId(2), later);
        assert_eq!(presence.closed(seat(), SocketId(2), later), None);
        assert!(presence.is_held_by(seat(), key(1)));
        assert_eq!(presence.poll_timeout(), Some(now + TERM), "a term after its last heartbeat");
        presence.opened(seat(), key(1), SocketId(3), later);
        assert!(presence.closed(seat(), SocketId(3), now + TERM).is_some(), "the heartbeats have stopped");
    }

    #[test]
    fn a_lease_ends_a_term_after_the_last_sign_of_life() {
        let (mut presence, now) = (Presence::new(ME, TERM), crate::tests::start());
        presence.opened(seat(), key(1), SocketId(1), now);
        let heard = now + TERM / 2;
        assert!(presence.heard(seat(), SocketId(1), heard));
        assert_eq!(presence.poll_lost(now + TERM), None);
        assert_eq!(presence.poll_timeout(), Some(heard + TERM));
        let lost = presence.poll_lost(heard + TERM).unwrap();
        assert_eq!(lost.socket, Some(SocketId(1)));
        assert_eq!(presence.poll_lost(heard + TERM), None);
    }

    #[test]
    fn a_socket_that_ended_while_the_service_was_away_loses_nobody_for_a_term() {
        let (mut presence, now) = (Presence::new(ME, TERM), crate::tests::start());
        presence.opened(seat(), key(1), SocketId(1), now);
        let back = now + 2 * TERM;
        presence.renew_all(back);
        assert_eq!(presence.closed(seat(), SocketId(1), back), None);
        assert_eq!(presence.poll_lost(back + TERM / 2), None);
        assert!(presence.poll_lost(back + TERM).is_some(), "it did not come back");
        presence.opened(seat(), key(1), SocketId(2), back + TERM);
        assert!(presence.closed(seat(), SocketId(2), back + TERM).is_some(), "that time is over");
    }

    #[test]
    fn members_of_an_instance_that_died_have_a_term_to_be_heard_and_are_lost_in_its_name() {
        let (mut presence, now) = (Presence::new(ME, TERM), crate::tests::start());
        let (dead, here) = (InstanceId::from_bytes([2; 8]), (seat().0, ConnectionId(3)));
        presence.opened(here, key(3), SocketId(1), now);
        presence.take_over(here, key(3), dead, now);
        presence.take_over(seat(), key(1), dead, now);
        assert!(presence.is_held_by(here, key(3)), "it had come here already");
        assert!(!presence.is_held_by(seat(), key(1)), "it was not heard yet");
        presence.heard(here, SocketId(1), now + TERM);
        let lost = presence.poll_lost(now + TERM).unwrap();
        assert_eq!((lost.seat, lost.holder), (seat(), dead));
        assert_eq!(presence.poll_lost(now + TERM), None);
    }

    #[test]
    fn whom_the_lobby_holds_for_connected_here_is_lost_if_it_is_never_heard() {
        let (mut presence, now) = (Presence::new(ME, TERM), crate::tests::start());
        presence.take_over(seat(), key(1), ME, now);
        assert!(!presence.is_held_by(seat(), key(1)), "an earlier loss is to be told all the same");
        let lost = presence.poll_lost(now + TERM).unwrap();
        assert_eq!((lost.seat, lost.holder), (seat(), ME));
    }
}
