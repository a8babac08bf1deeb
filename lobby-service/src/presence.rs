//! Who is connected: the shell around [`protocol::presence::Presence`], with the sockets that its seats hold.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use protocol::commit::{Head, Version};
use protocol::id::{ConnectionId, HostEpoch, InstanceId, LobbyId, PeerKey};
use protocol::limits;
use protocol::message::{CloseReason, Event, EventBody};
use protocol::presence::{Lost, Presence, Seat, SocketId};
use tokio::sync::watch;

use crate::events::farewell;
use crate::service::Service;
use crate::signalling::Mailbox;

/// If the task wakes this much later than it wished to, the process (or the machine) was stopped for a while, and what did
/// not come in the meantime says nothing about the members.
pub(crate) const STALL: Duration = Duration::from_secs(1);
/// Time between two looks.
const PULSE: Duration = Duration::from_millis(500);

/// What a socket is told by others than its client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Notices {
    /// To close.
    pub(crate) close: Option<CloseReason>,
    /// To challenge its client as host of this epoch.
    pub(crate) challenge: Option<HostEpoch>,
}

/// An open socket.
#[derive(Debug)]
struct Socket {
    /// The process at its other end.
    peer_key: PeerKey,
    notices: watch::Sender<Notices>,
    mailbox: Arc<Mailbox>,
}

/// A socket that has just opened, as whoever serves it sees it.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) socket: SocketId,
    pub(crate) notices: watch::Receiver<Notices>,
    pub(crate) mailbox: Arc<Mailbox>,
}

#[derive(Debug)]
struct State {
    machine: Presence,
    sockets: BTreeMap<SocketId, Socket>,
    by_seat: BTreeMap<Seat, SocketId>,
    /// From which version on the stored lobby says that the seat is heard here.
    held_since: BTreeMap<Seat, Version>,
    next: SocketId,
    /// When this process was seen to run last.
    pulse: Instant,
    /// It was stopped since, and nobody was told yet.
    has_stalled: bool,
}

/// Why a member's socket is closed that has left by these events, or by others that are not known.
fn farewell_to(member: ConnectionId, events: &[Event]) -> CloseReason {
    let reason = |event: &Event| {
        let EventBody::MemberLeft { connection, reason, .. } = event.body else { return None };
        (connection == member).then(|| farewell(reason))
    };
    events.iter().rev().find_map(reason).unwrap_or(CloseReason::NotMember)
}

/// The leases and the sockets of all members.
#[derive(Debug)]
pub(crate) struct Leases {
    state: Mutex<State>,
}

impl Leases {
    /// The leases of an instance, none yet.
    pub(crate) fn new(instance: InstanceId) -> Self {
        let machine = Presence::new(instance, limits::LEASE);
        let (sockets, by_seat, held_since) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (next, pulse, has_stalled) = (SocketId(1), Instant::now(), false);
        Self { state: Mutex::new(State { machine, sockets, by_seat, held_since, next, pulse, has_stalled }) }
    }

    /// Whose leases these are.
    pub(crate) fn instance(&self) -> InstanceId {
        self.lock().machine.instance()
    }

    /// The instance's own lease was lost to another one, which has taken over its members: all sockets are closed, and it starts
    /// anew under another name.
    pub(crate) fn start_anew(&self, instance: InstanceId) {
        let mut state = self.lock();
        state.machine = Presence::new(instance, limits::LEASE);
        // Sockets that end now lose nobody for a term.
        state.machine.renew_all(Instant::now());
        state.held_since.clear();
        state.by_seat.clear();
        state.close_all(CloseReason::GoingAway);
    }

    /// Members of an instance that is gone, or of this one's that have no lease: each gets a full term to be heard.
    pub(crate) fn take_over(&self, members: impl Iterator<Item = (Seat, PeerKey, InstanceId)>) {
        let (mut state, now) = (self.lock(), Instant::now());
        members.for_each(|(seat, key, holder)| state.machine.take_over(seat, key, holder, now));
    }

    /// The stored lobby says from this version on that the seat is heard here.
    pub(crate) fn settled(&self, seat: Seat, version: Version) {
        let mut state = self.lock();
        if state.machine.is_known(seat) {
            state.held_since.insert(seat, version);
        }
    }

    /// A lobby was saved: whoever has left it, or is heard by another instance now, is let go here. Nobody is lost by it.
    pub(crate) fn let_go(&self, head: &Head, events: &[Event]) {
        let mut state = self.lock();
        let (id, here) = (head.lobby.id(), state.machine.instance());
        let seats = (id, ConnectionId(0))..=(id, ConnectionId(u32::MAX));
        // One that has just come, and is not saved as held here yet, stays.
        let before = state.held_since.range(seats).filter(|&(_, &since)| since < head.version);
        let gone = |&(&seat, _): &(&Seat, &Version)| match head.lobby.holder_of(seat.1) {
            Some(holder) => (holder != here).then_some((seat, CloseReason::Replaced)),
            None => (!head.lobby.has_member(seat.1)).then(|| (seat, farewell_to(seat.1, events))),
        };
        let gone: Vec<_> = before.filter_map(|held| gone(&held)).collect();
        for (seat, reason) in gone {
            tracing::debug!(?seat, ?reason, "a member is let go");
            state.forget(seat, reason);
        }
    }

    /// A socket said hello. The seat's former one is closed.
    pub(crate) fn opened(&self, seat: Seat, peer_key: PeerKey) -> Opened {
        let mut state = self.lock();
        // Whatever the stored lobby says, it says of an earlier socket.
        state.held_since.remove(&seat);
        let socket = state.next;
        state.next = SocketId(socket.0 + 1);
        if let Some(replaced) = state.machine.opened(seat, peer_key, socket, Instant::now()) {
            state.close(replaced, CloseReason::Replaced);
        }
        let (notices, receiver) = watch::channel(Notices::default());
        let mailbox = Arc::<Mailbox>::default();
        state.sockets.insert(socket, Socket { peer_key, notices, mailbox: Arc::clone(&mailbox) });
        state.by_seat.insert(seat, socket);
        Opened { socket, notices: receiver, mailbox }
    }

    /// Where signals wait for a process, if it has the seat's socket.
    pub(crate) fn mailbox(&self, seat: Seat, peer_key: PeerKey) -> Option<Arc<Mailbox>> {
        let state = self.lock();
        let socket = state.by_seat.get(&seat).and_then(|socket| state.sockets.get(socket))?;
        (socket.peer_key == peer_key).then(|| Arc::clone(&socket.mailbox))
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
        state.held_since.remove(&seat);
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
        state.check_pulse(Instant::now());
        state.sockets.remove(&socket);
        if state.by_seat.get(&seat) == Some(&socket) {
            state.by_seat.remove(&seat);
        }
        let lost = state.machine.closed(seat, socket, Instant::now());
        if lost.is_some() {
            state.held_since.remove(&seat);
        }
        lost
    }

    /// A socket was refused its seat: no lease rests on it, not even for the term that there is after an outage.
    pub(crate) fn refused(&self, seat: Seat, socket: SocketId) {
        let mut state = self.lock();
        state.sockets.remove(&socket);
        if state.by_seat.get(&seat) == Some(&socket) {
            state.by_seat.remove(&seat);
            state.held_since.remove(&seat);
            state.machine.forget(seat);
        }
    }

    /// A seat was given up; its socket is closed.
    pub(crate) fn forget(&self, seat: Seat) {
        self.lock().forget(seat, CloseReason::NotMember);
    }

    /// Whether a process has a lease.
    pub(crate) fn is_held_by(&self, seat: Seat, peer_key: PeerKey) -> bool {
        self.lock().machine.is_held_by(seat, peer_key)
    }

    /// Whether a seat is looked after here.
    pub(crate) fn is_known(&self, seat: Seat) -> bool {
        self.lock().machine.is_known(seat)
    }

    /// The lobby is gone: its sockets are closed.
    pub(crate) fn close_lobby(&self, id: LobbyId) {
        let state = self.lock();
        let seats = (id, ConnectionId(0))..=(id, ConnectionId(u32::MAX));
        state.by_seat.range(seats).for_each(|(_, &socket)| state.close(socket, CloseReason::LobbyClosed));
    }

    /// Has a challenge sent on the seat's socket, if it has one.
    pub(crate) fn challenge(&self, seat: Seat, epoch: HostEpoch) {
        let state = self.lock();
        if let Some(socket) = state.by_seat.get(&seat).and_then(|socket| state.sockets.get(socket)) {
            socket.notices.send_modify(|notices| notices.challenge = Some(epoch));
        }
    }

    /// Closes all sockets.
    pub(crate) fn close_all(&self, reason: CloseReason) {
        self.lock().close_all(reason);
    }

    /// Closes so many sockets that are not being closed yet.
    pub(crate) fn close_some(&self, count: usize, reason: CloseReason) {
        let state = self.lock();
        let open = state.sockets.iter().filter(|(_, socket)| socket.notices.borrow().close.is_none());
        open.take(count).for_each(|(&socket, _)| state.close(socket, reason));
    }

    /// Open sockets.
    pub(crate) fn socket_count(&self) -> usize {
        self.lock().sockets.len()
    }

    /// Members that are looked after here.
    pub(crate) fn seat_count(&self) -> usize {
        self.lock().machine.len()
    }

    /// Whether the process was stopped for a while since the last call. What queued up meanwhile says nothing about the members.
    pub(crate) fn has_stalled(&self) -> bool {
        let mut state = self.lock();
        state.check_pulse(Instant::now());
        std::mem::take(&mut state.has_stalled)
    }

    /// After an outage nobody is lost by it.
    pub(crate) fn renew_all(&self) {
        self.lock().machine.renew_all(Instant::now());
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.lock().machine.poll_timeout()
    }

    /// Members whose leases have run out by then. Their sockets are closed.
    pub(crate) fn expired_by(&self, now: Instant) -> Vec<Lost> {
        let mut state = self.lock();
        state.check_pulse(Instant::now());
        let mut lost = Vec::new();
        while let Some(one) = state.machine.poll_lost(now) {
            if let Some(socket) = one.socket {
                state.close(socket, CloseReason::LeaseExpired);
            }
            state.held_since.remove(&one.seat);
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
    /// The task that watches the leases looks at this every [`PULSE`]. Whatever comes first after a stop sees that it was longer.
    fn check_pulse(&mut self, now: Instant) {
        if now.saturating_duration_since(self.pulse) > PULSE + STALL {
            self.machine.renew_all(now);
            self.has_stalled = true;
        }
        self.pulse = now;
    }

    fn forget(&mut self, seat: Seat, reason: CloseReason) {
        self.held_since.remove(&seat);
        if let Some(socket) = self.machine.forget(seat) {
            self.close(socket, reason);
        }
    }

    fn close_all(&self, reason: CloseReason) {
        self.sockets.keys().for_each(|&socket| self.close(socket, reason));
    }

    fn close(&self, socket: SocketId, reason: CloseReason) {
        if let Some(socket) = self.sockets.get(&socket) {
            socket.notices.send_modify(|notices| {
                notices.close.get_or_insert(reason);
            });
        }
    }
}

/// Tells the lobbies whose members' leases have run out. Runs until the service stops.
pub(crate) async fn watch(service: Arc<Service>) {
    loop {
        let now = Instant::now();
        let next = service.leases.poll_timeout().map_or(now + PULSE, |at| at.clamp(now, now + PULSE));
        tokio::time::sleep_until(next.into()).await;
        service.notice_stall();
        for lost in service.leases.expired_by(Instant::now()) {
            service.lose(lost);
        }
    }
}
