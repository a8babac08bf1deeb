//! A member's event socket, as the service sees it.

use std::sync::Arc;

use protocol::id::{LobbyId, PeerKey, PlayerId};
use protocol::lobby::{Command, Lobby};
use protocol::presence::{Seat, SocketId};
use tokio::sync::watch;

use super::commands::Applied;
use super::{Error, Service};
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
        let (socket, signals) = self.leases.opened(seat, peer_key);
        let holder = self.leases.instance();
        let refused = match self.ask(id, Command::Connect { connection, player, peer_key, holder }, true).await {
            Ok(Applied { lobby, news: Some(news) }) => {
                let (service, lobby) = (Arc::clone(self), Some(lobby));
                let socket = SeatSocket { service, seat, player, id: socket, signals, news, lobby };
                // One that came before the service stopped was told so; this one came after.
                return if self.is_stopping() { Err(Error::Busy) } else { Ok(socket) };
            }
            Ok(Applied { news: None, .. }) => Error::Panicked,
            Err(refused) => refused,
        };
        self.leases.closed(seat, socket);
        // Its lobby may have it as connected here all the same, also by another process whose lease this one has replaced.
        self.look_after(id).await;
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
        if let Some(lost) = self.service.leases.closed(self.seat, self.id)
            && !self.service.is_stopping()
        {
            self.service.lose(lost);
        }
    }
}
