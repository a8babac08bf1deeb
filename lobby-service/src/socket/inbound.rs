//! An event socket that takes no more from its client than was agreed.

use std::time::Instant;

use axum::extract::ws::{Message, WebSocket};
use protocol::limits;
use protocol::message::CloseReason;
use tokio_tungstenite::tungstenite;

use super::End;
use crate::listener::bucket::{Bucket, Rate};

/// A socket, and how often its client may still say something.
pub(crate) struct Inbound {
    socket: WebSocket,
    allowance: Option<Allowance>,
}

impl Inbound {
    /// Without a rate the client may say as much as it likes.
    pub(crate) fn new(socket: WebSocket, rate: Option<Rate>) -> Self {
        Self { socket, allowance: rate.and_then(|rate| Allowance::new(rate, Instant::now())) }
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

    /// The message that came last is a signal. Returns false for one too many.
    pub(super) fn counts_as_signal(&mut self) -> bool {
        self.allowance.as_mut().is_none_or(|allowance| allowance.counts_as_signal(Instant::now()))
    }

    pub(super) async fn send(&mut self, message: Message) -> Result<(), axum::Error> {
        self.socket.send(message).await
    }

    /// Reads to the end, whatever comes.
    pub(super) async fn drain(&mut self) {
        while let Some(Ok(_)) = self.socket.recv().await {}
    }

    fn may_say_more(&mut self) -> bool {
        self.allowance.as_mut().is_none_or(|allowance| allowance.take(Instant::now()))
    }
}

/// What a client may still say. Signals have a rate of their own, since a host answers all its guests at once. What is beyond that is
/// dropped, and nobody is sent away for it: others can make a host answer. What is far beyond that counts as a message like any other.
#[derive(Debug)]
struct Allowance {
    messages: (Rate, Bucket),
    signals: (Rate, Bucket),
    flood: (Rate, Bucket),
}

impl Allowance {
    fn new(rate: Rate, now: Instant) -> Option<Self> {
        let full = |rate: Rate| (rate, Bucket::new(rate, now));
        let signals = Rate::new(limits::SIGNALS_PER_S, limits::SIGNALS_BURST)?;
        let flood = Rate::new(limits::SIGNAL_FLOOD_PER_S, 2 * limits::SIGNALS_BURST)?;
        Some(Self { messages: full(rate), signals: full(signals), flood: full(flood) })
    }

    /// Whether another message may come.
    fn take(&mut self, now: Instant) -> bool {
        let (rate, bucket) = &mut self.messages;
        bucket.take(*rate, now)
    }

    /// Whether the message that was taken last, a signal, is within the rate of signals. It counts only there unless there is a flood of them.
    fn counts_as_signal(&mut self, now: Instant) -> bool {
        let (rate, bucket) = &mut self.signals;
        let is_within = bucket.take(*rate, now);
        let (rate, flood) = &mut self.flood;
        if flood.take(*rate, now) {
            self.messages.1.give_back(self.messages.0);
        }
        is_within
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn allowance(now: Instant) -> Allowance {
        Allowance::new(Rate::new(50, 100).unwrap(), now).unwrap()
    }

    #[test]
    fn a_host_answers_the_largest_crowd_at_once_and_goes_on_to_report() {
        let now = Instant::now();
        let mut host = allowance(now);
        assert!((0..4 * limits::MEMBERS_MAX).all(|_| host.take(now) && host.counts_as_signal(now)));
        assert!((0..100).all(|_| host.take(now)), "signals have taken nothing of the other messages");
        assert!(!host.take(now));
    }

    #[test]
    fn signals_beyond_their_rate_are_dropped_and_a_flood_of_them_ends_the_socket() {
        let start = Instant::now();
        let mut flood = allowance(start);
        let (mut said, mut forwarded) = (0, 0);
        while flood.take(start) {
            said += 1;
            forwarded += u32::from(flood.counts_as_signal(start));
        }
        assert_eq!((said, forwarded), (2 * limits::SIGNALS_BURST + 100, limits::SIGNALS_BURST));
        let later = start + Duration::from_secs(1);
        let signals = (0..500).filter(|_| flood.take(later) && flood.counts_as_signal(later)).count();
        assert_eq!(signals, limits::SIGNALS_PER_S as usize);
        assert!(flood.take(later), "what others made it answer has cost it nothing");
    }
}
