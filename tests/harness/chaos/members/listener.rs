//! A member's sockets, one after the other, and what came on them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use protocol::id::EventSeq;
use protocol::message::{CloseReason, ServerMessage};
use tokio::sync::watch;
use tokio::time::Instant;

use super::super::socket::{Came, NoSocket, Socket};
use super::super::world::Player;
use super::{Known, Left, Place};
use crate::history::{Heard, Moment, Opening, Seen, Stream, digest};

/// Before another socket is opened.
const RETRY: Duration = Duration::from_millis(100);
/// Time to hear everything once nothing is broken any more.
const LAST_TIMEOUT: Duration = Duration::from_secs(20);

/// A listener at work.
struct Listener {
    stream: Stream,
    newest: Option<EventSeq>,
    last_sign: Instant,
    deadline: Option<Instant>,
}

/// Why a socket is not listened to any more.
enum End {
    /// It ended: another is opened.
    Socket,
    /// The seat is gone.
    Seat,
    /// All is over.
    Over,
}

impl Place<'_> {
    /// Listens until the seat is given up or all is over.
    pub(super) async fn listen(
        &self,
        player: &Player,
        known: &Mutex<Known>,
        left: &watch::Sender<Option<Left>>,
        mut rng: Rng,
    ) {
        let (lobby, openings) = (self.lobby, Vec::new());
        let stream = Stream { player: player.id, lobby, openings, expected: None, idle_max_us: 0 };
        let mut listener = Listener { stream, newest: None, last_sign: Instant::now(), deadline: None };
        let mut instance = rng.usize(..self.world.instances.len());
        while !self.is_over_for(&mut listener) && left.borrow().is_none() {
            listener.note_sign();
            let hello = self.world.now();
            let at = self.world.instances[instance];
            let end = match Socket::open(at, player, self.lobby, listener.newest).await {
                Ok(socket) => {
                    let (after, heard) = (listener.newest, Vec::new());
                    listener.stream.openings.push(Opening { hello, instance, after, alive: hello, heard });
                    self.listen_to(socket, &mut listener, known, left).await
                }
                Err(NoSocket::NoSeat) => End::Seat,
                Err(NoSocket::Failed) => End::Socket,
            };
            match end {
                End::Socket => {}
                End::Seat => {
                    left.send_if_modified(|left| left.is_none().then(|| *left = Some(Left::Acknowledged)).is_some());
                }
                End::Over => break,
            }
            // The next one answers if this one does not.
            instance = (instance + 1) % self.world.instances.len();
            tokio::time::sleep(RETRY).await;
        }
        self.world.write(|history| history.streams.push(listener.stream));
    }

    /// A lobby that is full is not listened to any more; else the end is when everything was heard.
    fn is_over_for(&self, listener: &mut Listener) -> bool {
        if let Some(all) = self.world.expected().borrow().as_ref() {
            listener.stream.expected = all.get(&self.lobby).map(|&seq| EventSeq(seq));
            listener.deadline.get_or_insert_with(|| Instant::now() + LAST_TIMEOUT);
        }
        let expected = listener.stream.expected;
        let is_late = listener.deadline.is_some_and(|deadline| Instant::now() > deadline);
        *self.is_full.borrow() || is_late || expected.is_some() && listener.newest >= expected
    }

    async fn listen_to(
        &self,
        mut socket: Socket,
        listener: &mut Listener,
        known: &Mutex<Known>,
        left: &watch::Sender<Option<Left>>,
    ) -> End {
        let mut expected = self.world.expected();
        let mut left = left.subscribe();
        while !self.is_over_for(listener) {
            tokio::select! {
                came = socket.hear() => match came {
                    Came::Ping => listener.note_ping(self.world.now()),
                    Came::Message(message) => {
                        listener.note(self.world.now(), &message);
                        self.learn(&mut known.lock().unwrap_or_else(PoisonError::into_inner), &message);
                    }
                    Came::End(code) if code == Some(CloseReason::NotMember.code()) => return End::Seat,
                    Came::End(code) if code == Some(CloseReason::LobbyClosed.code()) => return End::Over,
                    Came::End(_) => return End::Socket,
                },
                Ok(()) = expected.changed() => {}
                _ = left.wait_for(Option::is_some) => return End::Over,
            }
        }
        End::Over
    }
}

impl Listener {
    fn note_sign(&mut self) {
        let idle_us = u64::try_from(self.last_sign.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.stream.idle_max_us = self.stream.idle_max_us.max(idle_us);
        self.last_sign = Instant::now();
    }

    fn note_ping(&mut self, at: Moment) {
        self.note_sign();
        if let Some(opening) = self.stream.openings.last_mut() {
            opening.alive = at;
        }
    }

    fn note(&mut self, at: Moment, message: &ServerMessage) {
        self.note_ping(at);
        let heard = match message {
            ServerMessage::Event(event) => Heard::Event(event.seq, digest(event)),
            ServerMessage::Resync { lobby } => Heard::Resync(Seen::of(lobby)),
            ServerMessage::Challenge { .. } | ServerMessage::Signal { .. } | ServerMessage::Closing { .. } => return,
        };
        self.newest = match heard {
            Heard::Event(seq, _) => self.newest.max(Some(seq)),
            Heard::Resync(seen) => Some(seen.seq),
        };
        if let Some(opening) = self.stream.openings.last_mut() {
            opening.heard.push((at, heard));
        }
    }
}
