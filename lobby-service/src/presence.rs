//! Who is connected: the shell around [`protocol::presence::Presence`], with the sockets that its seats hold.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use protocol::id::{HostEpoch, PeerKey};
use protocol::limits;
use protocol::message::CloseReason;
use protocol::presence::{Lost, Presence, Seat, SocketId};
use tokio::sync::watch;

use crate::service::Service;

/// If the task wakes this much later than it wished to, the process (or the machine) was stopped for a while, and what did
/// not come in the meantime says nothing about the members.
pub(crate) const STALL: Duration = Duration::from_secs(1);

/// What a socket is told by others than its client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Signals {
    /// To close.
    pub(crate) close: Option<CloseReason>,
    /// To challenge its client as host of this epoch.
    pub(crate) challenge: Option<HostEpoch>,
}

#[derive(Debug)]
struct State {
    machine: Presence,
    sockets: BTreeMap<SocketId, watch::Sender<Signals>>,
    by_seat: BTreeMap<Seat, SocketId>,
    next: SocketId,
}

/// The leases and the sockets of all members.
#[derive(Debug)]
pub(crate) struct Leases {
    state: Mutex<State>,
}

impl Default for Leases {
    fn default() -> Self {
        let machine = Presence::new(limits::LEASE);
        let (sockets, by_seat) = (BTreeMap::new(), BTreeMap::new());
        Self { state: Mutex::new(State { machine, sockets, by_seat, next: SocketId(1) }) }
    }
}

impl Leases {
    /// A socket said hello. The seat's former one is closed.
    pub(crate) fn opened(&self, seat: Seat, peer_key: PeerKey) -> (SocketId, watch::Receiver<Signals>) {
        let mut state = self.lock();
        let socket = state.next;
        state.next = SocketId(socket.0 + 1);
        if let Some(replaced) = state.machine.opened(seat, peer_key, socket, Instant::now()) {
            state.close(replaced, CloseReason::Replaced);
        }
        let (signals, receiver) = watch::channel(Signals::default());
        state.sockets.insert(socket, signals);
        state.by_seat.insert(seat, socket);
        (socket, receiver)
    }

    /// A member took its seat, or the service came back. A socket of another process in this seat is closed.
    pub(crate) fn give(&self, seat: Seat, peer_key: PeerKey) {
        let mut state = self.lock();
        if let Some(replaced) = state.machine.heartbeat(seat, peer_key, Instant::now()) {
            state.close(replaced, CloseReason::Replaced);
        }
    }

    /// A heartbeat by REST. A socket of another process in this seat is closed.
    pub(crate) fn beat(&self, seat: Seat, peer_key: PeerKey) {
        let mut state = self.lock();
        if let Some(replaced) = state.machine.beat(seat, peer_key, Instant::now()) {
            state.close(replaced, CloseReason::Replaced);
        }
    }

    /// Something came on a socket.
    pub(crate) fn heard(&self, seat: Seat, socket: SocketId) {
        self.lock().machine.heard(seat, socket, Instant::now());
    }

    /// A socket ended. Returns whom its lobby has lost by it, if anybody.
    pub(crate) fn closed(&self, seat: Seat, socket: SocketId) -> Option<Lost> {
        let mut state = self.lock();
        state.sockets.remove(&socket);
        if state.by_seat.get(&seat) == Some(&socket) {
            state.by_seat.remove(&seat);
        }
        state.machine.closed(seat, socket, Instant::now())
    }

    /// A seat was given up; its socket is closed.
    pub(crate) fn forget(&self, seat: Seat) {
        let mut state = self.lock();
        if let Some(socket) = state.machine.forget(seat) {
            state.close(socket, CloseReason::NotMember);
        }
    }

    /// Whether a process has a lease.
    pub(crate) fn is_held_by(&self, seat: Seat, peer_key: PeerKey) -> bool {
        self.lock().machine.is_held_by(seat, peer_key)
    }

    /// Has a challenge sent on the seat's socket, if it has one.
    pub(crate) fn challenge(&self, seat: Seat, epoch: HostEpoch) {
        let state = self.lock();
        if let Some(signals) = state.by_seat.get(&seat).and_then(|socket| state.sockets.get(socket)) {
            signals.send_modify(|signals| signals.challenge = Some(epoch));
        }
    }

    /// Closes all sockets.
    pub(crate) fn close_all(&self, reason: CloseReason) {
        let mut state = self.lock();
        let sockets: Vec<_> = state.sockets.keys().copied().collect();
        for socket in sockets {
            state.close(socket, reason);
        }
    }

    /// After an outage nobody is lost by it.
    pub(crate) fn renew_all(&self) {
        self.lock().machine.renew_all(Instant::now());
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.lock().machine.poll_timeout()
    }

    fn expired(&self) -> Vec<Lost> {
        let mut state = self.lock();
        let now = Instant::now();
        let mut lost = Vec::new();
        while let Some(one) = state.machine.poll_lost(now) {
            if let Some(socket) = one.socket {
                state.close(socket, CloseReason::LeaseExpired);
            }
            lost.push(one);
        }
        lost
    }

    /// Nothing in here panics half way, so that a poisoned lock guards a whole state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn close(&mut self, socket: SocketId, reason: CloseReason) {
        if let Some(signals) = self.sockets.get(&socket) {
            signals.send_modify(|signals| {
                signals.close.get_or_insert(reason);
            });
        }
    }
}

/// Tells the lobbies whose members' leases have run out. Runs until the service stops.
pub(crate) async fn watch(service: Arc<Service>) {
    let longest = limits::LEASE / 2;
    loop {
        let now = Instant::now();
        let planned = service.leases.poll_timeout().map_or(now + longest, |at| at.clamp(now, now + longest));
        tokio::time::sleep_until(planned.into()).await;
        if Instant::now() > planned + STALL {
            tracing::warn!("the process was stopped for a while; every member gets a full term");
            service.was_away();
        }
        for lost in service.leases.expired() {
            service.lose(lost);
        }
    }
}
