//! A member's event socket, as the service sees it.

use std::sync::Arc;

use protocol::id::{LobbyId, PeerKey, PlayerId};
use protocol::limits;
use protocol::lobby::{Command, Lobby};
use protocol::presence::{Lost, Seat, SocketId};
use tokio::sync::watch;

use super::commands::Applied;
use super::{Error, Service};
use crate::clock::wall;
use crate::events::Subscription;
use crate::presence::{Notices, Opened};
use crate::signalling::Mailbox;

/// An open socket in its seat. When it is dropped, the seat's lobby has lost its member, unless a newer socket is there.
#[derive(Debug)]
pub(crate) struct SeatSocket {
    service: Arc<Service>,
    pub(crate) seat: Seat,
    pub(crate) player: PlayerId,
    id: SocketId,
    /// The process at its other end.
    pub(crate) peer_key: PeerKey,
    pub(crate) notices: watch::Receiver<Notices>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) news: Subscription,
    /// The service sent the client away: its member has a term to come back.
    pub(crate) is_sent_away: bool,
    /// The lobby as it was when the socket opened, until that is sent.
    pub(crate) lobby: Option<Arc<Lobby>>,
}

impl Service {
    /// Refuses a socket before it is one.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the player has no seat; the store's.
    pub(crate) async fn expect_socket(&self, player: PlayerId, id: LobbyId) -> Result<(), Error> {
        self.seat_of(id, player).await.map(|_| ())
    }

    /// A ticket with which a member opens its event socket once.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the player has no seat; the store's.
    pub(crate) async fn ticket(&self, player: PlayerId, id: LobbyId) -> Result<String, Error> {
        self.seat_of(id, player).await?;
        self.auth.ticket(player, id, wall()).map_err(Error::Sign)
    }

    /// Takes a ticket. Returns whose it was.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`] if it is none for this lobby, or was used before, at any instance; the store's.
    pub(crate) async fn use_ticket(&self, id: LobbyId, ticket: &str) -> Result<PlayerId, Error> {
        let now = wall();
        let claims = self.auth.verify_ticket(ticket, id, now).map_err(|_| Error::Unauthenticated)?;
        let mut what = [0; 16];
        what.copy_from_slice(&blake3::hash(claims.jti.as_bytes()).as_bytes()[..16]);
        let until = now.after(limits::SOCKET_TICKET_LIFE + limits::CLOCK_LEEWAY);
        if self.stored(self.store.use_up(what, now, until).await)? {
            Ok(claims.sub)
        } else {
            Err(Error::Unauthenticated)
        }
    }

    /// A socket said hello.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the player has no seat; that the lobby is closed; the store's.
    pub(crate) async fn open_socket(
        self: &Arc<Self>,
        player: PlayerId,
        id: LobbyId,
        peer_key: PeerKey,
    ) -> Result<SeatSocket, Error> {
        let connection = self.seat_of(id, player).await?;
        let seat = (id, connection);
        // Before the lobby is told: a loss that was noticed earlier is moot then.
        let Opened { socket, notices, mailbox } = self.leases.opened(seat, peer_key);
        let holder = self.leases.instance();
        let refused = match self.ask(id, Command::Connect { connection, player, peer_key, holder }, true).await {
            Ok(Applied { lobby, news: Some(news) }) => {
                let (service, lobby) = (Arc::clone(self), Some(lobby));
                let (id, is_sent_away) = (socket, false);
                let socket =
                    SeatSocket { service, seat, player, id, peer_key, notices, mailbox, news, is_sent_away, lobby };
                // One that came before the service stopped was told so; this one came after.
                return if self.is_stopping() { Err(Error::Busy) } else { Ok(socket) };
            }
            Ok(Applied { news: None, .. }) => Error::Panicked,
            Err(refused) => refused,
        };
        self.leases.refused(seat, socket);
        // Its lobby may have it as connected here all the same, also by another process whose lease this one has replaced.
        self.look_after(id, &refused).await;
        Err(refused)
    }
}

impl SeatSocket {
    /// Something came.
    pub(crate) fn heard(&self) {
        self.service.leases.heard(self.seat, self.id);
    }
}

impl Drop for SeatSocket {
    fn drop(&mut self) {
        match self.service.leases.closed(self.seat, self.id) {
            Some(_) if self.service.is_stopping() => {}
            Some(Lost { seat, peer_key, holder, .. }) if self.is_sent_away => {
                self.service.leases.take_over([(seat, peer_key, holder)].into_iter());
            }
            Some(lost) => self.service.lose(lost),
            None => {}
        }
    }
}
