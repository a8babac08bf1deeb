//! What goes over the reliable channel of a link: two streams of bytes in one, each with a window of its own.
//!
//! ```text
//! 0        1
//! +--------+-----------------------+
//! | 0      | bytes of frames       |  messages, each frame after its length
//! | 1      | bytes of frames       |  states, the same
//! | 2      | taken0 u64 taken1 u64 |  what the sender of this has taken of either lane, since the link began
//! +--------+-----------------------+
//! ```
//!
//! SCTP has one receive buffer for all of its channels, and a browser empties it whether its page keeps up or not. So the windows are
//! counted here: a sender keeps back what the other side has no room for, and the other side ends a link on which more came.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use protocol::limits;

/// The lanes that carry frames.
pub(super) const LANES: usize = 2;
/// Messages.
pub(in crate::transport) const MESSAGES: usize = 0;
/// States.
pub(in crate::transport) const STATES: usize = 1;
/// The lane on which the others are acknowledged.
const TAKEN_LANE: u8 = 2;
/// Bytes of such a message.
const TAKEN_BYTES: usize = 17;
/// Bytes of frames in one message.
const CHUNK_BYTES_MAX: usize = limits::CHANNEL_MESSAGE_BYTES_MAX - 1;

/// Why a link is ended: its other end does what no peer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Violation {
    #[error("the peer sent more than its window")]
    Window,
    #[error("the peer took more than was sent")]
    Taken,
    #[error("the peer sent what is no message of a lane")]
    Malformed,
}

/// A message of the reliable channel.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LaneMessage {
    Bytes { lane: usize, bytes: BytesMut },
    Taken([u64; LANES]),
}

impl LaneMessage {
    /// Reads one.
    pub(super) fn decode(mut message: BytesMut) -> Result<Self, Violation> {
        if message.is_empty() || message.len() > limits::CHANNEL_MESSAGE_BYTES_MAX {
            return Err(Violation::Malformed);
        }
        let lane = message.get_u8();
        if usize::from(lane) < LANES {
            return Ok(Self::Bytes { lane: lane.into(), bytes: message });
        }
        if lane != TAKEN_LANE || message.len() != TAKEN_BYTES - 1 {
            return Err(Violation::Malformed);
        }
        Ok(Self::Taken([message.get_u64(), message.get_u64()]))
    }
}

/// Says how much of either lane was taken.
pub(super) fn taken_message(taken: [u64; LANES]) -> BytesMut {
    let mut message = BytesMut::with_capacity(TAKEN_BYTES);
    message.put_u8(TAKEN_LANE);
    taken.into_iter().for_each(|taken| message.put_u64(taken));
    message
}

/// One lane on its way out.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    waiting: VecDeque<Bytes>,
    waiting_bytes: usize,
    /// Bytes that the writer has handed over since the link began.
    written: u64,
    /// Of these, what the other side has taken.
    taken: u64,
}

impl Outgoing {
    /// Takes as much from the front of `chunk` as the other side has room for.
    pub(super) fn push(&mut self, chunk: &mut Bytes) {
        let room = limits::LANE_WINDOW_BYTES - (self.written - self.taken);
        let part = chunk.split_to(chunk.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
        if !part.is_empty() {
            self.written += part.len() as u64;
            self.waiting_bytes += part.len();
            self.waiting.push_back(part);
        }
    }

    /// Bytes that were not given to the channel yet.
    pub(super) const fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// The next message for the channel.
    pub(super) fn next_message(&mut self, lane: usize) -> Option<BytesMut> {
        if self.waiting_bytes == 0 {
            return None;
        }
        let length = self.waiting_bytes.min(CHUNK_BYTES_MAX);
        let mut message = BytesMut::with_capacity(1 + length);
        message.put_u8(u8::try_from(lane).expect("there are two lanes"));
        while message.len() <= length {
            let Some(chunk) = self.waiting.front_mut() else { break };
            message.put(chunk.split_to(chunk.len().min(1 + length - message.len())));
            if chunk.is_empty() {
                self.waiting.pop_front();
            }
        }
        self.waiting_bytes -= length;
        Some(message)
    }

    /// The other side has taken so much since the link began. What it said before and is late is of no interest.
    pub(super) fn handle_taken(&mut self, taken: u64) -> Result<(), Violation> {
        if taken > self.written - self.waiting_bytes as u64 {
            return Err(Violation::Taken);
        }
        self.taken = self.taken.max(taken);
        Ok(())
    }
}

/// One lane on its way in.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    waiting: VecDeque<BytesMut>,
    came: u64,
    taken: u64,
    /// What the other side was told of it.
    said: u64,
}

impl Incoming {
    /// Keeps what came until it is taken.
    pub(super) fn put(&mut self, bytes: BytesMut) -> Result<(), Violation> {
        self.came += bytes.len() as u64;
        if self.came - self.said > limits::LANE_WINDOW_BYTES {
            return Err(Violation::Window);
        }
        match self.waiting.back_mut() {
            // Small ones are kept together, or their bookkeeping would take more than they do.
            Some(last) if last.len() + bytes.len() <= CHUNK_BYTES_MAX => last.extend_from_slice(&bytes),
            Some(_) | None if bytes.is_empty() => {}
            Some(_) | None => self.waiting.push_back(bytes),
        }
        Ok(())
    }

    /// The next bytes.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        let bytes = self.waiting.pop_front()?;
        self.taken += bytes.len() as u64;
        Some(bytes.freeze())
    }

    /// Whether the other side should be told what was taken.
    pub(super) const fn is_to_be_said(&self) -> bool {
        self.taken - self.said >= limits::LANE_TAKEN_BYTES
    }

    /// What was taken, to be told.
    pub(super) const fn say(&mut self) -> u64 {
        self.said = self.taken;
        self.said
    }
}

const _: () = assert!(
    2 * limits::LANE_TAKEN_BYTES <= limits::LANE_WINDOW_BYTES,
    "a sender hears of room before it runs out of it"
);

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: usize = limits::LANE_WINDOW_BYTES as usize;

    fn bytes(length: usize) -> Bytes {
        (0..length).map(|index| index as u8).collect()
    }

    /// All that a lane would send now.
    fn sent(lane: &mut Outgoing) -> Vec<u8> {
        let mut sent = Vec::new();
        while let Some(message) = lane.next_message(MESSAGES) {
            assert!(message.len() <= limits::CHANNEL_MESSAGE_BYTES_MAX);
            let Ok(LaneMessage::Bytes { lane: MESSAGES, bytes }) = LaneMessage::decode(message) else { panic!() };
            sent.extend_from_slice(&bytes);
        }
        sent
    }

    #[test]
    fn what_is_written_comes_out_in_messages_of_their_size_whatever_the_chunks_were() {
        let mut lane = Outgoing::default();
        for length in [1, 5, CHUNK_BYTES_MAX, 3 * CHUNK_BYTES_MAX + 7, 0, 2] {
            let mut chunk = bytes(length);
            lane.push(&mut chunk);
            assert!(chunk.is_empty());
        }
        let expected: Vec<u8> =
            [1, 5, CHUNK_BYTES_MAX, 3 * CHUNK_BYTES_MAX + 7, 2].into_iter().flat_map(bytes).collect();
        assert_eq!(sent(&mut lane), expected);
        assert_eq!(lane.waiting_bytes(), 0);
    }

    #[test]
    fn a_sender_keeps_back_what_the_other_side_has_no_room_for() {
        let (mut lane, mut chunk) = (Outgoing::default(), bytes(WINDOW + 100));
        lane.push(&mut chunk);
        assert_eq!((chunk.len(), sent(&mut lane).len()), (100, WINDOW));
        lane.push(&mut chunk);
        assert_eq!(chunk.len(), 100);
        lane.handle_taken(60).unwrap();
        // Late news.
        lane.handle_taken(30).unwrap();
        lane.push(&mut chunk);
        assert_eq!((chunk.len(), sent(&mut lane).len()), (40, 60));
    }

    #[test]
    fn who_takes_what_was_not_sent_is_not_a_peer() {
        let mut lane = Outgoing::default();
        lane.push(&mut bytes(10));
        assert_eq!(lane.handle_taken(1), Err(Violation::Taken));
        sent(&mut lane);
        assert_eq!(lane.handle_taken(10), Ok(()));
        assert_eq!(lane.handle_taken(11), Err(Violation::Taken));
        assert_eq!(lane.handle_taken(u64::MAX), Err(Violation::Taken));
    }

    #[test]
    fn more_than_the_window_ends_the_link_and_taking_makes_room() {
        let mut lane = Incoming::default();
        lane.put(BytesMut::from(&bytes(WINDOW)[..])).unwrap();
        assert_eq!(lane.take().map(|bytes| bytes.len()), Some(WINDOW));
        assert!(lane.is_to_be_said());
        assert_eq!(lane.say(), WINDOW as u64);
        lane.put(BytesMut::from(&bytes(WINDOW)[..])).unwrap();
        assert_eq!(lane.put(BytesMut::from(&[0][..])), Err(Violation::Window));
    }

    #[test]
    fn what_came_in_bits_is_kept_in_few_pieces() {
        let mut lane = Incoming::default();
        for _ in 0..WINDOW {
            lane.put(BytesMut::from(&[7][..])).unwrap();
            lane.put(BytesMut::new()).unwrap();
        }
        assert!(lane.waiting.len() <= WINDOW / CHUNK_BYTES_MAX + 1, "{}", lane.waiting.len());
        let taken: usize = std::iter::from_fn(|| lane.take()).map(|bytes| bytes.len()).sum();
        assert_eq!(taken, WINDOW);
    }

    #[test]
    fn what_is_no_message_is_refused() {
        assert_eq!(LaneMessage::decode(taken_message([3, u64::MAX])), Ok(LaneMessage::Taken([3, u64::MAX])));
        let long = vec![0; limits::CHANNEL_MESSAGE_BYTES_MAX + 1];
        for wrong in [&[][..], &[3], &[2], &[2; 16], &[2; 18], &[255, 1, 2], &long] {
            assert_eq!(LaneMessage::decode(wrong.into()), Err(Violation::Malformed));
        }
    }
}
