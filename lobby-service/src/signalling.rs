//! Signals: what the processes of two members tell each other before they have a link.
//!
//! ```text
//! sender's socket ─ checked, stripped ─▶ mailbox of the addressee's socket ─ after the news, stripped again ─▶ socket
//!                                └─ note ─▶ other instances ─▶ the same
//! ```
//! Of two processes the one hears the signals of the other in their order, and after all events that were published before. Nothing of
//! it is kept, and none is logged (P18). A signal that cannot be used, or that is one too many, is dropped, and no socket is closed for
//! it: a host is not to be lost because one of its guests is odd.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use protocol::id::{ConnectionId, LobbyId, PeerKey};
use protocol::limits;
use protocol::presence::Seat;
use protocol::signal::{Signal, SignalError};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::service::Service;

/// A process in a seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) connection: ConnectionId,
    pub(crate) peer_key: PeerKey,
}

/// A signal on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Forward {
    pub(crate) lobby: LobbyId,
    pub(crate) from: Process,
    pub(crate) to: Process,
    pub(crate) signal: Signal,
}

impl Forward {
    /// Bytes that it takes in a note.
    pub(crate) fn bytes(&self) -> usize {
        serde_json::to_vec(self).map_or(usize::MAX, |text| text.len() + 1)
    }
}

/// What became of a signal, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It waits for the addressee's socket, which is open here.
    Forwarded,
    /// So it does, and the oldest that waited was dropped for it.
    Overflowed,
    /// The other instances were told.
    Told,
    /// The addressee is not connected.
    Absent,
    /// It is none that can be used, or nothing of it may be forwarded.
    Refused,
    /// It was one too many.
    Excess,
}

impl Outcome {
    /// All of them.
    pub(crate) const ALL: [Self; 6] =
        [Self::Forwarded, Self::Overflowed, Self::Told, Self::Absent, Self::Refused, Self::Excess];

    /// As metrics name it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Overflowed => "overflowed",
            Self::Told => "told",
            Self::Absent => "absent",
            Self::Refused => "refused",
            Self::Excess => "excess",
        }
    }
}

/// Signals that wait for a socket.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    waiting: Mutex<VecDeque<(Process, Signal)>>,
    more: Notify,
}

impl Mailbox {
    /// Adds one. Returns false if the oldest was dropped for it.
    pub(crate) fn put(&self, from: Process, signal: Signal) -> bool {
        let mut waiting = self.lock();
        let has_room = waiting.len() < limits::SIGNALS_WAITING_MAX;
        if !has_room {
            // The sender's own goes first, so that nobody's flood costs the others theirs.
            let oldest = waiting.iter().position(|(sender, _)| *sender == from).unwrap_or(0);
            waiting.remove(oldest);
        }
        waiting.push_back((from, signal));
        self.more.notify_one();
        has_room
    }

    /// Waits for the next one. Nothing is lost if the wait is given up.
    pub(crate) async fn next(&self) -> (Process, Signal) {
        loop {
            let next = self.lock().pop_front();
            if let Some(next) = next {
                return next;
            }
            self.more.notified().await;
        }
    }

    /// Nothing in here panics half way, so that a poisoned lock guards whole signals.
    fn lock(&self) -> MutexGuard<'_, VecDeque<(Process, Signal)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service {
    /// A member's process says something to another's.
    pub(crate) fn signalled(&self, (lobby, connection): Seat, peer_key: PeerKey, to: Process, signal: Signal) {
        let from = Process { connection, peer_key };
        let outcome = self.forward(lobby, from, to, signal).unwrap_or_else(|error| {
            tracing::debug!(%lobby, connection = connection.0, %error, "a signal is dropped");
            Outcome::Refused
        });
        self.metrics.signalled(outcome);
    }

    fn forward(&self, lobby: LobbyId, from: Process, to: Process, signal: Signal) -> Result<Outcome, SignalError> {
        let both_are_there = self.rooms.visit(lobby, |room| {
            let lobby = &room.head.lobby;
            lobby.has_member(from.connection) && lobby.is_connected(to.connection)
        });
        let Some(signal) = self.admitted(lobby, signal)? else { return Ok(Outcome::Refused) };
        if both_are_there != Some(true) {
            return Ok(Outcome::Absent);
        }
        let forward = Forward { lobby, from, to, signal };
        let Some(forward) = self.deliver(forward) else { return Ok(Outcome::Forwarded) };
        if !self.instances.has_others() {
            return Ok(Outcome::Absent);
        }
        self.news.signalled(forward);
        Ok(Outcome::Told)
    }

    /// Puts a signal into the mailbox of the process that it is for. Gives it back if that process has no socket here.
    pub(crate) fn deliver(&self, forward: Forward) -> Option<Forward> {
        let seat = (forward.lobby, forward.to.connection);
        let Some(mailbox) = self.leases.mailbox(seat, forward.to.peer_key) else { return Some(forward) };
        if !mailbox.put(forward.from, forward.signal) {
            self.metrics.signalled(Outcome::Overflowed);
        }
        None
    }

    /// A signal as a lobby's settings, as far as they are known here, let it pass; `None` if nothing is left of it.
    ///
    /// # Errors
    /// It is none that can be used.
    pub(crate) fn admitted(&self, lobby: LobbyId, signal: Signal) -> Result<Option<Signal>, SignalError> {
        let relay_only = self.rooms.visit(lobby, |room| room.head.lobby.settings().relay_only).unwrap_or(true);
        let says_something = !is_empty(&signal);
        let admitted = signal.admitted(relay_only)?;
        // An empty list may have a meaning between the two: none is made here.
        Ok(Some(admitted).filter(|admitted| !says_something || !is_empty(admitted)))
    }
}

const fn is_empty(signal: &Signal) -> bool {
    match signal {
        Signal::Candidates { candidates, .. } => candidates.is_empty(),
        Signal::Offer { .. } | Signal::Answer { .. } | Signal::Close { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_mailbox_keeps_the_order_and_drops_the_oldest() {
        let mailbox = Mailbox::default();
        let from = Process { connection: ConnectionId(1), peer_key: PeerKey::from_bytes([1; 32]) };
        let close = |attempt| Signal::Close { attempt };
        let max = limits::SIGNALS_WAITING_MAX as u32;
        assert!((0..max).all(|attempt| mailbox.put(from, close(attempt))));
        assert!(!mailbox.put(from, close(max)), "one too many");
        for attempt in 1..=max {
            assert_eq!(mailbox.next().now_or_never(), Some((from, close(attempt))));
        }
        assert_eq!(mailbox.next().now_or_never(), None);
        mailbox.put(from, close(7));
        assert!(mailbox.next().now_or_never().is_some(), "a wait that was given up loses nothing");
    }
}
