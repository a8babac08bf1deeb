//! An event socket that takes no more from its client than was agreed.

use std::time::Instant;

use axum::extract::ws::{Message, WebSocket};
use protocol::message::CloseReason;
use tokio_tungstenite::tungstenite;

use super::End;
use crate::listener::bucket::{Bucket, Rate};

/// A socket, and how often its client may still say something.
pub(crate) struct Inbound {
    socket: WebSocket,
    messages: Option<(Rate, Bucket)>,
}

impl Inbound {
    /// Without a rate the client may say as much as it likes.
    pub(crate) fn new(socket: WebSocket, rate: Option<Rate>) -> Self {
        Self { socket, messages: rate.map(|rate| (rate, Bucket::new(rate, Instant::now()))) }
    }

    /// The next message; pings, which are answered, count as well.
    ///
    /// # Errors
    /// The socket is to end: it has, or the message is too long, or one too many.
    pub(super) async fn recv(&mut self) -> Result<Message, End> {
        match self.socket.recv().await {
            Some(Ok(message)) if self.may_say_more() => Ok(message),
            Some(Ok(_)) => Err(End::Close(CloseReason::TooManyMessages)),
            Some(Err(error)) => Err(match error.into_inner().downcast_ref() {
                Some(tungstenite::Error::Capacity(_)) => End::Close(CloseReason::MessageTooLarge),
                Some(_) | None => End::Gone,
            }),
            None => Err(End::Gone),
        }
    }

    pub(super) async fn send(&mut self, message: Message) -> Result<(), axum::Error> {
        self.socket.send(message).await
    }

    /// Reads to the end, whatever comes.
    pub(super) async fn drain(&mut self) {
        while let Some(Ok(_)) = self.socket.recv().await {}
    }

    fn may_say_more(&mut self) -> bool {
        self.messages.as_mut().is_none_or(|(rate, bucket)| bucket.take(*rate, Instant::now()))
    }
}
