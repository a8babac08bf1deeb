//! What waits to be sent reliably on one link: bounded, so that a peer that does not keep up is noticed.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use protocol::frame::{PeerBody, PeerFrame};
use protocol::id::HostEpoch;
use protocol::limits;
use tokio::sync::Notify;

use crate::error::SendError;

/// Reliable messages that wait for a link.
const MESSAGES_MAX: usize = 1024;
/// Their bytes. At least one of the largest fits.
const MESSAGE_QUEUE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of all frames that wait for a link, welcomes and changes of the ownership table included: one of the largest
/// welcomes fits. A peer that is further behind is cut off, and gets everything anew when it returns.
const QUEUE_BYTES_MAX: usize = limits::SNAPSHOT_BYTES_MAX + 2 * MESSAGE_QUEUE_BYTES_MAX;
/// Frames that are handed to the transport at once.
const BATCH_FRAMES: usize = 64;

/// What waits to be sent reliably on one link.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    frames: VecDeque<Frame>,
    /// Bytes queued and not yet handed to the transport.
    bytes: usize,
    messages: usize,
    message_bytes: usize,
    /// The number of the newest message.
    number: u64,
    finishing: bool,
}

#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) head: Bytes,
    pub(crate) payload: Bytes,
    /// Of the game, so that its budget counts.
    pub(crate) is_message: bool,
}

impl Queue {
    pub(crate) fn push_message(&self, epoch: HostEpoch, payload: Bytes) -> Result<(), SendError> {
        let mut waiting = self.lock();
        let full = waiting.messages >= MESSAGES_MAX || waiting.message_bytes + payload.len() > MESSAGE_QUEUE_BYTES_MAX;
        if full || waiting.finishing {
            return Err(if full { SendError::Full } else { SendError::NotConnected });
        }
        waiting.number += 1;
        waiting.messages += 1;
        waiting.message_bytes += payload.len();
        let header = PeerFrame { epoch, body: PeerBody::Reliable { number: waiting.number, payload: &[] } }.to_vec();
        waiting.push(Frame { head: with_length(&header, payload.len()), payload, is_message: true });
        drop(waiting);
        self.changed.notify_one();
        Ok(())
    }

    /// Returns false if too much waits.
    pub(crate) fn push_control(&self, epoch: HostEpoch, body: PeerBody<'_>) -> bool {
        let frame = Bytes::from(PeerFrame { epoch, body }.to_vec());
        let mut waiting = self.lock();
        if waiting.bytes + frame.len() > QUEUE_BYTES_MAX {
            return false;
        }
        waiting.push(Frame { head: with_length(&[], frame.len()), payload: frame, is_message: false });
        drop(waiting);
        self.changed.notify_one();
        true
    }

    pub(crate) fn finish(&self) {
        self.lock().finishing = true;
        self.changed.notify_one();
    }

    /// The next frames; none: it is finished.
    pub(crate) async fn batch(&self) -> Vec<Frame> {
        loop {
            let changed = self.changed.notified();
            {
                let mut waiting = self.lock();
                if !waiting.frames.is_empty() || waiting.finishing {
                    let count = waiting.frames.len().min(BATCH_FRAMES);
                    return waiting.frames.drain(..count).collect();
                }
            }
            changed.await;
        }
    }

    /// These were handed to the transport: there is room for others.
    pub(crate) fn written(&self, bytes: usize, messages: usize, message_bytes: usize) {
        let mut waiting = self.lock();
        waiting.bytes -= bytes;
        waiting.messages -= messages;
        waiting.message_bytes -= message_bytes;
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn push(&mut self, frame: Frame) {
        self.bytes += frame.head.len() + frame.payload.len();
        self.frames.push_back(frame);
    }
}

/// A frame's header, after the length of header and payload.
fn with_length(header: &[u8], payload_bytes: usize) -> Bytes {
    let length = u32::try_from(header.len() + payload_bytes).expect("queued frames are far smaller than 4 GiB");
    [&length.to_be_bytes(), header].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: HostEpoch = HostEpoch(3);

    #[tokio::test]
    async fn messages_are_numbered_from_one_in_the_order_in_which_they_were_sent() {
        let queue = Queue::default();
        assert!(queue.push_control(EPOCH, PeerBody::Hello(b"hello")));
        for payload in ["a", "b"] {
            queue.push_message(EPOCH, Bytes::from(payload)).unwrap();
        }
        let frames = queue.batch().await;
        let wire = |frame: &Frame| [&frame.head[..], &frame.payload[..]].concat();
        let bodies: Vec<_> = frames.iter().map(wire).collect();
        for (bytes, body) in bodies.iter().zip([
            PeerBody::Hello(b"hello"),
            PeerBody::Reliable { number: 1, payload: b"a" },
            PeerBody::Reliable { number: 2, payload: b"b" },
        ]) {
            let (length, frame) = bytes.split_first_chunk::<4>().unwrap();
            assert_eq!(u32::from_be_bytes(*length) as usize, frame.len());
            assert_eq!(PeerFrame::decode(frame), Ok(PeerFrame { epoch: EPOCH, body }));
        }
    }

    #[tokio::test]
    async fn a_full_queue_says_so_and_takes_messages_again_once_some_are_written() {
        let queue = Queue::default();
        let payload = Bytes::from(vec![0; limits::MESSAGE_BYTES_MAX]);
        let mut sent = 0;
        while queue.push_message(EPOCH, payload.clone()).is_ok() {
            sent += 1;
        }
        assert_eq!(sent * limits::MESSAGE_BYTES_MAX, MESSAGE_QUEUE_BYTES_MAX);
        assert_eq!(queue.push_message(EPOCH, payload.clone()), Err(SendError::Full));
        assert_eq!(queue.batch().await.len(), sent);
        assert_eq!(queue.push_message(EPOCH, payload.clone()), Err(SendError::Full), "they are not written yet");
        queue.written(0, 1, payload.len());
        assert_eq!(queue.push_message(EPOCH, payload), Ok(()));
    }

    #[tokio::test]
    async fn a_finished_queue_is_emptied_first_and_takes_no_messages() {
        let queue = Queue::default();
        assert!(queue.push_control(EPOCH, PeerBody::Goodbye));
        queue.finish();
        assert_eq!(queue.push_message(EPOCH, Bytes::new()), Err(SendError::NotConnected));
        assert_eq!(queue.batch().await.len(), 1);
        assert!(queue.batch().await.is_empty());
    }
}
