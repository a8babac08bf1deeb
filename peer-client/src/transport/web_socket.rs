//! The relay by WebSocket, where UDP does not get through: each binary message is one relay frame.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use protocol::limits;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

/// Time for the connection and its upgrade.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A relay that takes nothing for this long has gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes read and written at a time: some frames.
const BUFFER_BYTES: usize = 16 * 1024;
/// Bytes that the system keeps: what waits there is too old to be dropped for something newer.
const SEND_BUFFER_BYTES: u32 = 128 * 1024;
/// Frames that go out together.
const FRAMES_TOGETHER_MAX: usize = 16;

/// Frames that wait, for one task. When it is full the oldest is dropped, as a network would.
#[derive(Debug, Default)]
pub(crate) struct FrameQueue(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    frames: VecDeque<Vec<u8>>,
    reader: Option<Waker>,
}

/// What goes to the relay and what comes from it by WebSocket.
#[derive(Debug, Default)]
pub(crate) struct WebSocketQueues {
    pub(crate) outgoing: FrameQueue,
    pub(crate) incoming: FrameQueue,
}

impl FrameQueue {
    pub(crate) fn push(&self, frame: Vec<u8>) {
        let reader = {
            let mut waiting = self.lock();
            if waiting.frames.len() >= limits::RELAY_WEBSOCKET_QUEUE_MAX {
                waiting.frames.pop_front();
            }
            waiting.frames.push_back(frame);
            waiting.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// The next frame, if one is there.
    pub(crate) fn try_next(&self) -> Option<Vec<u8>> {
        self.lock().frames.pop_front()
    }

    /// Ready when a frame is there.
    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut waiting = self.lock();
        if waiting.frames.is_empty() {
            waiting.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    fn clear(&self) {
        self.lock().frames.clear();
    }

    async fn next(&self) -> Vec<u8> {
        loop {
            poll_fn(|cx| self.poll_ready(cx)).await;
            if let Some(frame) = self.try_next() {
                return frame;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connects to the relay and carries frames both ways, until that ends. What waits to go out at the end is lost.
pub(crate) async fn carry(relay: SocketAddr, queues: Arc<WebSocketQueues>) {
    let end = match timeout(CONNECT_TIMEOUT, connect(relay)).await {
        Ok(Ok(socket)) => {
            let (sink, stream) = socket.split();
            tokio::select! {
                end = read(stream, &queues.incoming) => end,
                end = write(sink, &queues.outgoing) => end,
            }
        }
        Ok(Err(error)) => Err(error),
        Err(_late) => Err(Error::Io(std::io::ErrorKind::TimedOut.into())),
    };
    queues.outgoing.clear();
    if let Err(error) = end {
        tracing::debug!(%error, "no WebSocket to the relay");
    }
}

async fn connect(relay: SocketAddr) -> Result<WebSocketStream<TcpStream>, Error> {
    let socket = if relay.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    // A game's packets are small and must not wait for each other.
    socket.set_nodelay(true)?;
    let stream = socket.connect(relay).await?;
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_message_size(Some(limits::RELAY_FRAME_BYTES_MAX))
        .max_frame_size(Some(limits::RELAY_FRAME_BYTES_MAX));
    let url = format!("ws://{relay}/relay");
    let (socket, _answer) = tokio_tungstenite::client_async_with_config(url, stream, Some(config)).await?;
    Ok(socket)
}

async fn read(mut stream: SplitStream<WebSocketStream<TcpStream>>, incoming: &FrameQueue) -> Result<(), Error> {
    while let Some(message) = stream.next().await {
        match message? {
            Message::Binary(frame) => incoming.push(frame.into()),
            Message::Close(_) => return Ok(()),
            Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
    Ok(())
}

async fn write(mut sink: SplitSink<WebSocketStream<TcpStream>, Message>, outgoing: &FrameQueue) -> Result<(), Error> {
    loop {
        let first = outgoing.next().await;
        let rest = std::iter::from_fn(|| outgoing.try_next()).take(FRAMES_TOGETHER_MAX - 1);
        let send = async {
            for frame in std::iter::once(first).chain(rest) {
                sink.feed(Message::Binary(frame.into())).await?;
            }
            sink.flush().await
        };
        timeout(WRITE_TIMEOUT, send).await.map_err(|_stuck| Error::Io(std::io::ErrorKind::TimedOut.into()))??;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_what_nobody_takes_the_oldest_is_dropped_and_a_reader_is_woken() {
        let queue = Arc::new(FrameQueue::default());
        let reader = tokio::spawn({
            let queue = queue.clone();
            async move { queue.next().await }
        });
        tokio::task::yield_now().await;
        queue.push(b"one".to_vec());
        assert_eq!(reader.await.unwrap(), b"one");
        let most = limits::RELAY_WEBSOCKET_QUEUE_MAX;
        (0..most + 3).for_each(|number| queue.push(number.to_be_bytes().to_vec()));
        assert_eq!(queue.try_next(), Some(3_usize.to_be_bytes().to_vec()));
        assert_eq!(std::iter::from_fn(|| queue.try_next()).count(), most - 1);
    }
}
