//! Event sockets: opened, and read to their end by a task each, so that pings are answered.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures_util::{SinkExt, StreamExt};
use protocol::id::LobbyId;
use protocol::message::{ClientMessage, NewsForm};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::Failure;
use super::http::PATIENCE;
use super::player::Player;

/// Ten thousand sockets are to fit into the generator.
const READ_BUFFER_BYTES: usize = 4096;

/// An open socket, after its first message.
pub(crate) type Socket = WebSocketStream<TcpStream>;

/// Opens a socket, says hello and waits for the first message.
pub(crate) async fn open(server: SocketAddr, player: &Player, lobby: LobbyId) -> Result<Socket, Failure> {
    let opened = tokio::time::timeout(PATIENCE, say_hello(server, player, lobby)).await;
    opened.map_err(|_| "no first message in time")?
}

async fn say_hello(server: SocketAddr, player: &Player, lobby: LobbyId) -> Result<Socket, Failure> {
    open_on(TcpStream::connect(server).await?, server, player, lobby).await
}

/// As [`open`], on a connection of the caller's.
pub(crate) async fn open_on(
    stream: TcpStream,
    server: SocketAddr,
    player: &Player,
    lobby: LobbyId,
) -> Result<Socket, Failure> {
    stream.set_nodelay(true)?;
    let mut request = format!("ws://{server}/v1/lobbies/{lobby}/events").into_client_request()?;
    request.headers_mut().insert("authorization", format!("Bearer {}", player.token).parse()?);
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES).write_buffer_size(0);
    let (mut socket, _) = tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await?;
    let hello = ClientMessage::Hello { peer_key: player.peer_key, after: None, form: NewsForm::Events };
    socket.send(Message::text(serde_json::to_string(&hello)?)).await?;
    match next_text(&mut socket).await {
        Some(_) => Ok(socket),
        None => Err("a socket was closed before its first message".into()),
    }
}

async fn next_text(socket: &mut Socket) -> Option<String> {
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Text(text) = message {
            return Some(text.as_str().to_owned());
        }
    }
    None
}

/// Reads a socket to its end; dropping it closes the socket.
#[derive(Debug)]
pub(crate) struct Ear {
    heard: Arc<Heard>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Heard {
    texts: Mutex<Vec<Instant>>,
    is_closed: AtomicBool,
}

impl Ear {
    pub(crate) fn of(mut socket: Socket) -> Self {
        let heard = Arc::new(Heard::default());
        let kept = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            while let Some(Ok(message)) = socket.next().await {
                if message.is_text() {
                    kept.texts.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
                }
            }
            kept.is_closed.store(true, Ordering::Relaxed);
        });
        Self { heard, task }
    }

    /// When each text came, since the last call.
    pub(crate) fn take(&self) -> Vec<Instant> {
        std::mem::take(&mut *self.heard.texts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many texts came since [`Self::take`].
    pub(crate) fn count(&self) -> usize {
        self.heard.texts.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The server has closed it.
    pub(crate) fn is_closed(&self) -> bool {
        self.heard.is_closed.load(Ordering::Relaxed)
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.task.abort();
    }
}
