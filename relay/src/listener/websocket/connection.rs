//! One connection: a task that reads and writes, and is all that ever waits for its peer.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use protocol::limits;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::Heard;
use crate::outgoing::Outgoing;

const PATH: &str = "/relay";
/// Bytes read and written at a time: some frames.
const BUFFER_BYTES: usize = 8 * 1024;
/// Frames that go out together.
const FRAMES_TOGETHER_MAX: usize = 16;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("it did not become a WebSocket in time")]
    Handshake,
    #[error("it took nothing for too long")]
    Stuck,
    #[error("it said something else than frames")]
    NoFrame,
    #[error("the relay has stopped")]
    Stopped,
    #[error(transparent)]
    Socket(#[from] Error),
}

/// Serves a connection until it ends.
pub(super) async fn serve(stream: TcpStream, address: SocketAddr, outgoing: Arc<Outgoing>, heard: mpsc::Sender<Heard>) {
    if let Err(end) = run(stream, address, &outgoing, &heard).await {
        tracing::debug!(%end, "a WebSocket has ended");
    }
    // The event loop has ended if nobody takes it.
    let _ = heard.send(Heard::Closed(address)).await;
}

async fn run(
    stream: TcpStream,
    address: SocketAddr,
    outgoing: &Outgoing,
    heard: &mpsc::Sender<Heard>,
) -> Result<(), End> {
    // A game's packets are small and must not wait for each other.
    stream.set_nodelay(true).map_err(Error::Io)?;
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_message_size(Some(limits::RELAY_FRAME_BYTES_MAX))
        .max_frame_size(Some(limits::RELAY_FRAME_BYTES_MAX));
    let upgrade = tokio_tungstenite::accept_hdr_async_with_config(stream, only_relay, Some(config));
    let socket = timeout(limits::RELAY_WEBSOCKET_HANDSHAKE, upgrade).await.map_err(|_late| End::Handshake)??;
    heard.send(Heard::Opened).await.map_err(|_| End::Stopped)?;
    let (sink, stream) = socket.split();
    tokio::select! {
        end = read(stream, address, heard) => end,
        end = write(sink, outgoing) => end,
    }
}

#[expect(clippy::result_large_err, reason = "the library's own type")]
fn only_relay(request: &Request, response: Response) -> Result<Response, ErrorResponse> {
    if request.uri().path() == PATH {
        return Ok(response);
    }
    let mut refusal = ErrorResponse::new(None);
    *refusal.status_mut() = StatusCode::NOT_FOUND;
    Err(refusal)
}

async fn read(
    mut stream: SplitStream<WebSocketStream<TcpStream>>,
    address: SocketAddr,
    heard: &mpsc::Sender<Heard>,
) -> Result<(), End> {
    while let Some(message) = stream.next().await {
        match message? {
            Message::Binary(frame) => {
                heard.send(Heard::Frame(address, frame.into())).await.map_err(|_| End::Stopped)?;
            }
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Close(_) => return Ok(()),
            Message::Text(_) | Message::Frame(_) => return Err(End::NoFrame),
        }
    }
    Ok(())
}

async fn write(mut sink: SplitSink<WebSocketStream<TcpStream>, Message>, outgoing: &Outgoing) -> Result<(), End> {
    loop {
        let first = outgoing.next().await;
        let rest = std::iter::from_fn(|| outgoing.try_next()).take(FRAMES_TOGETHER_MAX - 1);
        let send = async {
            for frame in std::iter::once(first).chain(rest) {
                sink.feed(Message::Binary(frame.into())).await?;
            }
            sink.flush().await
        };
        timeout(limits::RELAY_IDLE_TIMEOUT, send).await.map_err(|_stuck| End::Stuck)??;
    }
}
