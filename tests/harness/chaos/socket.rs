//! Event sockets that end for all kinds of reasons.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use protocol::id::{EventSeq, LobbyId};
use protocol::message::{ClientMessage, NewsForm, ServerMessage};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::world::Player;

/// An instance that does not answer for so long is left for another.
const OPEN_TIMEOUT: Duration = Duration::from_secs(2);
/// One that sends no ping for so long too: they come every two seconds, and a lease is six.
const SILENCE_MAX: Duration = Duration::from_millis(3_500);

/// An open one.
#[derive(Debug)]
pub(super) struct Socket {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoSocket {
    /// The player has no seat there.
    NoSeat,
    /// Nobody answered in time, or could.
    Failed,
}

impl From<tungstenite::Error> for NoSocket {
    fn from(error: tungstenite::Error) -> Self {
        let is_not_found = matches!(&error, tungstenite::Error::Http(response) if response.status() == 404);
        if is_not_found { Self::NoSeat } else { Self::Failed }
    }
}

/// What came.
#[derive(Debug)]
pub(super) enum Came {
    /// A message.
    Message(Box<ServerMessage>),
    /// A sign of life.
    Ping,
    /// The end, with its code if there was one.
    End(Option<u16>),
}

impl Socket {
    /// Opens one and says hello.
    pub(super) async fn open(
        at: SocketAddr,
        player: &Player,
        lobby: LobbyId,
        after: Option<EventSeq>,
    ) -> Result<Self, NoSocket> {
        timeout(OPEN_TIMEOUT, Self::try_open(at, player, lobby, after)).await.unwrap_or(Err(NoSocket::Failed))
    }

    async fn try_open(
        at: SocketAddr,
        player: &Player,
        lobby: LobbyId,
        after: Option<EventSeq>,
    ) -> Result<Self, NoSocket> {
        let mut request = format!("ws://{at}/v1/lobbies/{lobby}/events").into_client_request()?;
        let token = format!("Bearer {}", player.token).parse().map_err(|_| NoSocket::Failed)?;
        request.headers_mut().insert("authorization", token);
        let (mut socket, _) = tokio_tungstenite::connect_async(request).await?;
        let hello = ClientMessage::Hello { peer_key: player.peer_key, after, form: NewsForm::Events };
        socket.send(Message::text(serde_json::to_string(&hello).map_err(|_| NoSocket::Failed)?)).await?;
        Ok(Self { socket })
    }

    /// Waits for the next thing. Silence is an end.
    pub(super) async fn hear(&mut self) -> Came {
        match timeout(SILENCE_MAX, self.socket.next()).await {
            Ok(Some(Ok(Message::Text(text)))) => match serde_json::from_str(&text) {
                Ok(message) => Came::Message(Box::new(message)),
                Err(_) => Came::End(None),
            },
            Ok(Some(Ok(Message::Close(frame)))) => Came::End(frame.map(|frame| frame.code.into())),
            Ok(Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_)))) => Came::Ping,
            Ok(Some(Err(_)) | None) | Err(_) => Came::End(None),
        }
    }
}
