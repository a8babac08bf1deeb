//! What waits to be sent reliably on one link: bounded, so that a peer that does not keep up is noticed.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use protocol::frame::{PeerBody, PeerFrame};
use protocol::id::HostEpoch;
use protocol::journal::Class;
use protocol::limits;
use tokio::sync::Notify;

/// Bytes of all frames that wait for a link: the largest welcome, and all that both journals of a peer hold, said again. A peer that is
/// further behind is cut off, and gets everything anew when it returns.
const QUEUE_BYTES_MAX: usize = limits::SNAPSHOT_BYTES_MAX + 3 * limits::JOURNAL_BYTES_MAX;
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
    finishing: bool,
}

#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) head: Bytes,
    pub(crate) payload: Bytes,
}

impl Queue {
    /// Queues a numbered message. Returns false if too much waits.
    pub(crate) fn push_message(&self, epoch: HostEpoch, class: Class, number: u64, payload: Bytes) -> bool {
        let body = match class {
            Class::Reliable => PeerBody::Reliable { number, payload: &[] },
            Class::AfterStable => PeerBody::AfterStable { number, payload: &[] },
        };
        let header = PeerFrame { epoch, body }.to_vec();
        self.push(Frame { head: with_length(&header, payload.len()), payload })
    }

    /// Queues a frame of the library's own. Returns false if too much waits.
    pub(crate) fn push_control(&self, epoch: HostEpoch, body: PeerBody<'_>) -> bool {
        let frame = Bytes::from(PeerFrame { epoch, body }.to_vec());
        self.push(Frame { head: with_length(&[], frame.len()), payload: frame })
    }

    fn push(&self, frame: Frame) -> bool {
        let mut waiting = self.lock();
        let bytes = frame.head.len() + frame.payload.len();
        if waiting.bytes + bytes > QUEUE_BYTES_MAX {
            return false;
        }
        waiting.bytes += bytes;
        waiting.frames.push_back(frame);
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
    pub(crate) fn written(&self, bytes: usize) {
        self.lock().bytes -= bytes;
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
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
    async fn frames_leave_in_the_order_in_which_they_were_queued() {
        let queue = Queue::default();
        assert!(queue.push_control(EPOCH, PeerBody::Hello(b"hello")));
        assert!(queue.push_message(EPOCH, Class::Reliable, 1, Bytes::from("a")));
        assert!(queue.push_message(EPOCH, Class::AfterStable, 1, Bytes::from("b")));
        let frames = queue.batch().await;
        let wire = |frame: &Frame| [&frame.head[..], &frame.payload[..]].concat();
        let bodies: Vec<_> = frames.iter().map(wire).collect();
        for (bytes, body) in bodies.iter().zip([
            PeerBody::Hello(b"hello"),
            PeerBody::Reliable { number: 1, payload: b"a" },
            PeerBody::AfterStable { number: 1, payload: b"b" },
        ]) {
            let (length, frame) = bytes.split_first_chunk::<4>().unwrap();
            assert_eq!(u32::from_be_bytes(*length) as usize, frame.len());
            assert_eq!(PeerFrame::decode(frame), Ok(PeerFrame { epoch: EPOCH, body }));
        }
    }

    #[tokio::test]
    async fn a_full_queue_says_so_and_takes_frames_again_once_some_are_written() {
        let queue = Queue::default();
        let payload = Bytes::from(vec![0; limits::MESSAGE_BYTES_MAX]);
        let push = |number| queue.push_message(EPOCH, Class::Reliable, number, payload.clone());
        let sent = (1..).take_while(|number| push(*number)).count();
        let first = queue.batch().await.remove(0);
        assert!(!push(sent as u64), "they are not written yet");
        queue.written(first.head.len() + first.payload.len());
        assert!(push(sent as u64));
    }

    #[tokio::test]
    async fn a_finished_queue_is_emptied_first() {
        let queue = Queue::default();
        assert!(queue.push_control(EPOCH, PeerBody::Goodbye));
        queue.finish();
        assert_eq!(queue.batch().await.len(), 1);
        assert!(queue.batch().await.is_empty());
    }
}
