//! The event socket: a member hears what happens in its lobby, and is heard.

mod inbound;
pub(crate) mod relay;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocketUpgrade};
use protocol::error::Rejection;
use protocol::id::{EventSeq, LobbyId, PeerKey, PlayerId};
use protocol::limits;
use protocol::lobby::{Lobby, Viewer};
use protocol::message::{ClientMessage, CloseReason, NewsForm, ServerMessage};
use protocol::signal::Signal;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use crate::auth::random;
use crate::events::{Ends, Published, Sight, write};
use crate::presence::Notices;
use crate::service::{Error, SeatSocket, Service};
use crate::signalling::{Outcome, Process};
use crate::store::StoreError;
pub(crate) use inbound::Inbound;

/// Bytes read at a time: messages from clients are small, and there are many sockets.
const READ_BUFFER_BYTES: usize = 1024;
/// Times that a socket tries to read what it has to send, and the pause between two: together less than a lease.
const READS_MAX: u32 = 16;
const READ_PAUSE: Duration = Duration::from_millis(250);
/// A client that does not read for this long is too slow.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);
/// After this time, and some more that is drawn for each, a client may come back to a service that stops.
const COME_BACK_MS: u64 = 200;
/// Clients that come back in one second, about: the others are told to come later.
const COME_BACK_PER_S: u64 = 1000;
/// Whatever their number, all are back well within a lease.
const COME_BACK_SPREAD_MAX_MS: u64 = limits::LEASE.as_millis() as u64 / 2;

/// Why a socket ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The client closed it, or is gone.
    Gone,
    /// We close it.
    Close(CloseReason),
}

/// A socket with buffers of a known size: each message goes out at once, and the next one waits for it.
pub(crate) fn bounded(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade
        .max_message_size(limits::SOCKET_MESSAGE_BYTES_MAX)
        .max_frame_size(limits::SOCKET_MESSAGE_BYTES_MAX)
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * limits::SOCKET_ANSWER_BYTES_MAX)
}

/// Serves one socket to its end.
pub(crate) async fn serve(mut socket: Inbound, service: Arc<Service>, lobby: LobbyId, player: PlayerId) {
    let sockets_of = Arc::clone(&service);
    // What is done once or rarely is boxed, here and below: it would take room in each of many sockets that only wait.
    let (end, seat) = match Box::pin(hello(&mut socket)).await {
        Ok((peer_key, after, form)) => match said_since(&mut socket).await {
            Err(end) => (end, None),
            Ok(said) => match Box::pin(service.open_socket(player, lobby, peer_key)).await {
                Ok(seat) => Conversation { service, seat, form, sent: EventSeq(0) }.run(&mut socket, after, said).await,
                Err(error) => (End::Close(refused(&error)), None),
            },
        },
        Err(end) => (end, None),
    };
    // A service that stops waits for its seats. Whoever is closed for another reason is lost before the farewell.
    let _seat = seat.filter(|_| end == End::Close(CloseReason::GoingAway)).map(|mut seat| {
        seat.is_sent_away = true;
        seat
    });
    if let End::Close(reason) = end {
        Box::pin(close(&mut socket, reason, sockets_of.leases.socket_count())).await;
    }
}

async fn hello(socket: &mut Inbound) -> Result<(PeerKey, Option<EventSeq>, NewsForm), End> {
    let first = async {
        loop {
            match socket.recv().await? {
                Message::Text(text) => return Ok(text),
                Message::Ping(_) | Message::Pong(_) => {}
                Message::Binary(_) => return Err(End::Close(CloseReason::Malformed)),
                Message::Close(_) => return Err(End::Gone),
            }
        }
    };
    let text = timeout(limits::HELLO_TIMEOUT, first).await.map_err(|_| End::Close(CloseReason::NoHello))??;
    match serde_json::from_str(&text) {
        Ok(ClientMessage::Hello { peer_key, after, form }) => Ok((peer_key, after, form)),
        Ok(ClientMessage::Report { .. } | ClientMessage::Hears { .. } | ClientMessage::Signal { .. }) => {
            Err(End::Close(CloseReason::NoHello))
        }
        Err(_) => Err(End::Close(CloseReason::Malformed)),
    }
}

/// What a client has said after its hello, if anything.
///
/// # Errors
/// It may have gone: the hello may be as old as a stop of this process, and the client connected elsewhere.
async fn said_since(socket: &mut Inbound) -> Result<Option<Message>, End> {
    tokio::select! {
        biased;
        message = socket.recv() => match message? {
            Message::Close(_) => Err(End::Gone),
            message @ (Message::Text(_) | Message::Binary(_) | Message::Ping(_) | Message::Pong(_)) => Ok(Some(message)),
        },
        () = std::future::ready(()) => Ok(None),
    }
}

fn refused(error: &Error) -> CloseReason {
    match error {
        Error::NotFound => CloseReason::NotMember,
        Error::Rejected(Rejection::Closed) => CloseReason::LobbyClosed,
        // Another process has the seat: whoever has its secret reconnects first.
        Error::Rejected(Rejection::SeatTaken) => CloseReason::Replaced,
        Error::Rejected(_)
        | Error::Snapshot(_)
        | Error::Unauthenticated
        | Error::EpochRequired
        | Error::NoOpenLobbies
        | Error::KeyReused
        | Error::RefreshReused
        | Error::IssuerAway
        | Error::Quota(_)
        | Error::Busy
        | Error::Store(_)
        | Error::Sign(_)
        | Error::Panicked => {
            tracing::error!(%error, "a socket could not be served");
            CloseReason::GoingAway
        }
    }
}

/// Says why, in a message for programs and in the close code, and gives the client a moment to hear it.
async fn close(socket: &mut Inbound, reason: CloseReason, sockets: usize) {
    let retry_after_ms = match reason {
        CloseReason::GoingAway => Some(come_back_ms(sockets, u64::from_be_bytes(random()))),
        CloseReason::TooSlow | CloseReason::LeaseExpired => Some(0),
        CloseReason::TooManyMessages
        | CloseReason::MessageTooLarge
        | CloseReason::Malformed
        | CloseReason::NoHello
        | CloseReason::Kicked
        | CloseReason::Banned
        | CloseReason::NotMember
        | CloseReason::Replaced
        | CloseReason::LobbyClosed => None,
    };
    let closing = Message::Text(write(&ServerMessage::Closing { reason, retry_after_ms }));
    let frame = Message::Close(Some(CloseFrame { code: reason.code(), reason: "".into() }));
    let goodbye = async {
        socket.send(closing).await?;
        socket.send(frame).await?;
        socket.drain().await;
        Ok::<(), axum::Error>(())
    };
    // The client may be gone already, or not answer.
    let _ = timeout(SEND_TIMEOUT, goodbye).await;
}

/// When one of so many clients may come back: not all at the same time.
fn come_back_ms(sockets: usize, entropy: u64) -> u64 {
    let spread_ms = (sockets as u64 * 1000 / COME_BACK_PER_S).clamp(COME_BACK_MS, COME_BACK_SPREAD_MAX_MS);
    COME_BACK_MS + entropy % spread_ms
}

/// A socket with a seat.
struct Conversation {
    service: Arc<Service>,
    seat: SeatSocket,
    form: NewsForm,
    /// The newest event that was sent.
    sent: EventSeq,
}

impl Conversation {
    /// Returns why it ended, and the seat.
    async fn run(
        mut self,
        socket: &mut Inbound,
        after: Option<EventSeq>,
        said: Option<Message>,
    ) -> (End, Option<SeatSocket>) {
        match self.talk(socket, after, said).await {
            Ok(never) => match never {},
            Err(end) => (end, Some(self.seat)),
        }
    }

    async fn talk(
        &mut self,
        socket: &mut Inbound,
        after: Option<EventSeq>,
        said: Option<Message>,
    ) -> Result<std::convert::Infallible, End> {
        if let Some(message) = said {
            self.handle_message(socket, message)?;
        }
        match (after, self.seat.lobby.take()) {
            (Some(after), _) => self.sent = after,
            (None, Some(lobby)) => Box::pin(self.send_view(socket, &lobby)).await?,
            (None, None) => Box::pin(self.send_whole(socket)).await?,
        }
        self.send_news(socket).await?;
        let mut ping = interval_at(Instant::now() + limits::SOCKET_PING, limits::SOCKET_PING);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                notices = next_notices(&mut self.seat.notices) => self.handle_notices(socket, notices).await?,
                message = socket.recv() => self.handle_message(socket, message?)?,
                (from, signal) = self.seat.mailbox.next() => Box::pin(self.send_signal(socket, from, signal)).await?,
                () = self.seat.news.changed() => self.send_news(socket).await?,
                _ = ping.tick() => send(socket, Message::Ping("".into())).await?,
            }
        }
    }

    async fn handle_notices(&self, socket: &mut Inbound, notices: Notices) -> Result<(), End> {
        match notices {
            Notices { close: Some(reason), .. } => Err(End::Close(reason)),
            Notices { challenge: Some(epoch), .. } => {
                send(socket, Message::Text(write(&ServerMessage::Challenge { epoch }))).await
            }
            Notices { close: None, challenge: None } => Ok(()),
        }
    }

    /// Whatever comes is a sign of life.
    fn handle_message(&self, socket: &mut Inbound, message: Message) -> Result<(), End> {
        let malformed = Err(End::Close(CloseReason::Malformed));
        match message {
            Message::Text(text) => {
                self.seat.heard();
                let Ok(said) = serde_json::from_str(&text) else { return malformed };
                if let ClientMessage::Signal { to, peer_key, signal } = said {
                    self.handle_signal(socket, Process { connection: to, peer_key }, signal);
                    return Ok(());
                }
                if self.service.told_by_member(self.seat.seat, said) { Ok(()) } else { malformed }
            }
            Message::Ping(_) | Message::Pong(_) => {
                self.seat.heard();
                Ok(())
            }
            Message::Binary(_) => malformed,
            Message::Close(_) => Err(End::Gone),
        }
    }

    fn handle_signal(&self, socket: &mut Inbound, to: Process, signal: Signal) {
        if socket.counts_as_signal() {
            self.service.signalled(self.seat.seat, self.seat.peer_key, to, signal);
        } else {
            self.service.metrics.signalled(Outcome::Excess);
        }
    }

    /// Sends a signal after what whoever said it may have known.
    async fn send_signal(&mut self, socket: &mut Inbound, from: Process, signal: Signal) -> Result<(), End> {
        self.send_news(socket).await?;
        // It may have waited while the lobby's settings changed.
        let Ok(Some(signal)) = self.service.admitted(self.seat.seat.0, signal) else { return Ok(()) };
        let Process { connection, peer_key } = from;
        send(socket, Message::Text(write(&ServerMessage::Signal { from: connection, peer_key, signal }))).await
    }

    /// Sends all events after the newest that was sent, or the whole lobby if they are not kept any more.
    async fn send_news(&mut self, socket: &mut Inbound) -> Result<(), End> {
        loop {
            let recent = self.service.rooms.events_after(self.seat.seat.0, self.sent);
            let events = match recent {
                Some(recent) => Some(recent),
                None => Box::pin(self.stored_news()).await?,
            };
            let Some(events) = events else {
                Box::pin(self.send_whole(socket)).await?;
                continue;
            };
            if events.is_empty() {
                return Ok(());
            }
            if self.form == NewsForm::Lobby {
                Box::pin(self.send_whole(socket)).await?;
            }
            for event in events {
                if self.form == NewsForm::Events {
                    send(socket, Message::Text(self.text_of(&event).clone())).await?;
                    self.sent = event.seq;
                }
                self.check_over(event.ends)?;
            }
        }
    }

    /// An event as this member sees it.
    fn text_of<'a>(&self, event: &'a Published) -> &'a axum::extract::ws::Utf8Bytes {
        let (lobby, connection) = self.seat.seat;
        event.text_for(connection, || {
            self.service.rooms.visit(lobby, |room| {
                let lobby = &room.head.lobby;
                Sight { is_host: lobby.host_writer() == Some(connection), relay_only: lobby.settings().relay_only }
            })
        })
    }

    /// What is not recent any more.
    async fn stored_news(&self) -> Result<Option<Vec<Arc<Published>>>, End> {
        let mut attempts = 0;
        loop {
            match self.service.stored_events_after(self.seat.seat.0, self.sent).await {
                Ok(events) => return Ok(events),
                Err(error) => self.wait_for_store(error, &mut attempts).await?,
            }
        }
    }

    /// While the store is away the client is not sent away: it would find nothing better elsewhere.
    async fn wait_for_store(&self, error: Error, attempts: &mut u32) -> Result<(), End> {
        *attempts += 1;
        let is_away = matches!(error, Error::Store(StoreError::Unavailable(_)));
        if !is_away || *attempts >= READS_MAX || self.service.is_stopping() {
            return Err(End::Close(refused(&error)));
        }
        tokio::time::sleep(READ_PAUSE).await;
        Ok(())
    }

    /// # Errors
    /// Ends the socket with the event that ended its seat or its lobby.
    fn check_over(&self, ends: Ends) -> Result<(), End> {
        match ends {
            Ends::Seat(connection, reason) if connection == self.seat.seat.1 && !self.is_member() => {
                Err(End::Close(reason))
            }
            Ends::Lobby => Err(End::Close(CloseReason::LobbyClosed)),
            Ends::Seat(..) | Ends::Nothing => Ok(()),
        }
    }

    /// An old event may tell of a seat that was given up and taken again before this socket opened.
    fn is_member(&self) -> bool {
        let (lobby, connection) = self.seat.seat;
        self.service
            .rooms
            .visit(lobby, |room| room.head.lobby.seat_of(self.seat.player) == Some(connection))
            .unwrap_or(false)
    }

    /// The lobby as it is now: what led to it is not kept any more.
    async fn send_whole(&mut self, socket: &mut Inbound) -> Result<(), End> {
        let mut attempts = 0;
        loop {
            match self.service.lobby(self.seat.seat.0).await {
                Ok(lobby) => return self.send_view(socket, &lobby).await,
                Err(error) => self.wait_for_store(error, &mut attempts).await?,
            }
        }
    }

    async fn send_view(&mut self, socket: &mut Inbound, lobby: &Lobby) -> Result<(), End> {
        let lobby = lobby.view(Viewer::Member(self.seat.seat.1));
        self.sent = lobby.seq;
        send(socket, Message::Text(write(&ServerMessage::Resync { lobby }))).await
    }
}

/// Waits for the next notice. The sender lives in the table of sockets, which has this socket until its seat is dropped.
async fn next_notices(notices: &mut watch::Receiver<Notices>) -> Notices {
    match notices.changed().await {
        Ok(()) => *notices.borrow_and_update(),
        Err(_) => std::future::pending().await,
    }
}

async fn send(socket: &mut Inbound, message: Message) -> Result<(), End> {
    match timeout(SEND_TIMEOUT, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(End::Gone),
        Err(_) => Err(End::Close(CloseReason::TooSlow)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_come_back_spread_over_time_and_within_a_lease() {
        let latest = |sockets| (0..10_000).map(|entropy| come_back_ms(sockets, entropy)).max().unwrap();
        assert!((0..10_000).all(|entropy| come_back_ms(1, entropy) >= COME_BACK_MS));
        assert!(latest(10) < 2 * COME_BACK_MS, "few need no time");
        assert!(latest(2_000) > 2_000);
        assert!(latest(1_000_000) < limits::LEASE.as_millis() as u64);
    }
}
