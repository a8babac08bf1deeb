//! A member's event socket, as the service sees it.

use std::sync::Arc;

use protocol::id::{LobbyId, PeerKey, PlayerId};
use protocol::lobby::{Command, Lobby};
use protocol::presence::{Seat, SocketId};
use tokio::sync::watch;

use super::{Error, Service, to_the_end};
use crate::events::Subscription;
use crate::presence::Signals;

/// An open socket in its seat. When it is dropped, the seat's lobby has lost its member, unless a newer socket is there.
#[derive(Debug)]
pub(crate) struct SeatSocket {
    service: Arc<Service>,
    pub(crate) seat: Seat,
    pub(crate) player: PlayerId,
    id: SocketId,
    pub(crate) signals: watch::Receiver<Signals>,
    pub(crate) news: Subscription,
    /// The lobby as it was when the socket opened.
    pub(crate) lobby: Box<Lobby>,
}

impl Service {
    /// Refuses a socket before it is one.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the player has no seat; the store's.
    pub(crate) async fn expect_socket(&self, player: PlayerId, id: LobbyId) -> Result<(), Error> {
        self.lobby_of(id, player).await.map(|_| ())
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
        let service = Arc::clone(self);
        to_the_end(async move {
            let _turn = service.turn(id).await;
            let (_, connection) = service.lobby_of(id, player).await?;
            let lobby = service.decide(id, Command::Connect { connection, player, peer_key }).await?;
            let seat = (id, connection);
            let (socket, signals) = service.leases.opened(seat, peer_key);
            let news = service.rooms.subscribe(&lobby, service.clock.back_by(lobby.created_at()));
            let socket = SeatSocket { service: Arc::clone(&service), seat, player, id: socket, signals, news, lobby };
            // One that came before the service stopped was told so; this one came after.
            if service.is_stopping() { Err(Error::Busy) } else { Ok(socket) }
        })
        .await
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
        if let Some(lost) = self.service.leases.closed(self.seat, self.id)
            && !self.service.is_stopping()
        {
            self.service.lose(lost);
        }
    }
}
