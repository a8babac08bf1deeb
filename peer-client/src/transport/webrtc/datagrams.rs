//! What goes over the unreliable channel: frames that may be lost, and early copies of some that may not.
//!
//! SCTP waits for at least a second until it sends again what was lost, if nothing follows it, and the crate has no setting for that
//! (measured at 5 % loss: 1.2 s, sometimes 3 s). So a numbered message that fits is sent on this channel as well, three times while there is
//! little to send; whoever gets it takes it if it is the next one, and drops the one that comes on the reliable channel later.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use protocol::frame::{PeerBody, PeerFrame};
use protocol::limits;

/// Bytes of datagrams that wait, on their way out and on their way in each; above it the oldest is dropped.
const WAITING_BYTES_MAX: usize = 256 * 1024;
/// What a waiting datagram costs beside its bytes.
const OVERHEAD_BYTES: usize = 64;
/// An early copy is sent again after this long, long before SCTP would.
const AGAIN_AFTER: Duration = Duration::from_millis(20);
/// So often. The first copy is often in one packet with what it is a copy of, and lost with it.
const AGAIN_TIMES: usize = 2;
/// So many at most wait for being sent again: above it, much is being sent, which makes SCTP find its losses soon.
const AGAIN_MAX: usize = 16;
/// After a frame that messages must not overtake none is copied for this long: SCTP's first try and its first repetition.
pub(super) const HELD_BACK: Duration = Duration::from_secs(1);
/// More of the reliable channel's bytes than this wait: it is busy, and copies would only add to that.
pub(super) const BUSY_BYTES: usize = limits::CHANNEL_MESSAGE_BYTES_MAX;

/// Datagrams that wait.
#[derive(Debug, Default)]
pub(super) struct Datagrams {
    waiting: VecDeque<Bytes>,
    bytes: usize,
}

impl Datagrams {
    /// Adds one; the oldest make room for it. One that is too long is lost.
    pub(super) fn push(&mut self, datagram: Bytes) {
        if datagram.len() > limits::DATAGRAM_BYTES_MAX {
            return tracing::trace!(bytes = datagram.len(), "a datagram that is too long was dropped");
        }
        self.bytes += datagram.len() + OVERHEAD_BYTES;
        self.waiting.push_back(datagram);
        while self.bytes > WAITING_BYTES_MAX {
            let _ = self.pop();
        }
    }

    /// The oldest.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let datagram = self.waiting.pop_front()?;
        self.bytes -= datagram.len() + OVERHEAD_BYTES;
        Some(datagram)
    }
}

/// Early copies that are to be sent again: when, how often, and what.
#[derive(Debug, Default)]
pub(super) struct Again(VecDeque<(Instant, usize, Bytes)>);

impl Again {
    /// Keeps a copy that was just sent.
    pub(super) fn push(&mut self, copy: Bytes, now: Instant) {
        if self.0.len() < AGAIN_MAX {
            self.0.push_back((now + AGAIN_AFTER, AGAIN_TIMES, copy));
        }
    }

    /// Those whose time has come.
    pub(super) fn due(&mut self, now: Instant) -> Option<Bytes> {
        let (_, times, copy) = self.0.pop_front_if(|(at, ..)| *at <= now)?;
        if times > 1 {
            self.0.push_back((now + AGAIN_AFTER, times - 1, copy.clone()));
        }
        Some(copy)
    }

    /// When the next one's time comes.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.0.front().map(|(at, ..)| *at)
    }
}

/// The numbered messages among whole frames, each after its length, that fit into a datagram; up to the first frame that none of them
/// may overtake: whether there was one is told too.
pub(super) fn early_copies(chunks: &[Bytes]) -> (Vec<Bytes>, bool) {
    let (mut copies, mut rest) = (Vec::new(), Chunks(chunks.iter().cloned().collect()));
    while let Some(length) = rest.length() {
        let kind = rest.0.iter().find_map(|chunk| chunk.first().copied());
        if length > 0 && kind.is_some_and(|kind| COMES_FIRST.contains(&kind)) {
            return (copies, true);
        }
        if length > limits::DATAGRAM_BYTES_MAX {
            rest.skip(length);
            continue;
        }
        let frame = rest.take(length);
        let is_numbered = PeerFrame::decode(&frame)
            .is_ok_and(|frame| matches!(frame.body, PeerBody::Reliable { .. } | PeerBody::AfterStable { .. }));
        if is_numbered {
            copies.push(frame);
        }
    }
    (copies, false)
}

/// Kinds of frames that say what later messages rest on: hello, welcome, objects.
const COMES_FIRST: [u8; 3] = [1, 2, 7];

/// Bytes in pieces.
struct Chunks(VecDeque<Bytes>);

impl Chunks {
    /// The length of the next frame.
    fn length(&mut self) -> Option<usize> {
        let head: [u8; 4] = self.take(4)[..].try_into().ok()?;
        Some(u32::from_be_bytes(head) as usize)
    }

    /// The next bytes, as far as there are so many.
    fn take(&mut self, length: usize) -> Bytes {
        let mut taken = Vec::with_capacity(length);
        self.walk(length, |part| taken.extend_from_slice(part));
        taken.into()
    }

    fn skip(&mut self, length: usize) {
        self.walk(length, |_| ());
    }

    fn walk(&mut self, mut length: usize, mut each: impl FnMut(&[u8])) {
        while length > 0 {
            let Some(chunk) = self.0.front_mut() else { return };
            let part = chunk.len().min(length);
            each(&chunk[..part]);
            chunk.advance(part);
            length -= part;
            if chunk.is_empty() {
                self.0.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::id::HostEpoch;

    use super::*;

    fn frame(body: PeerBody<'_>) -> Vec<u8> {
        PeerFrame { epoch: HostEpoch(3), body }.to_vec()
    }

    fn with_length(frame: &[u8]) -> Vec<u8> {
        [&(frame.len() as u32).to_be_bytes(), frame].concat()
    }

    #[test]
    fn the_oldest_datagrams_make_room_for_new_ones() {
        let mut datagrams = Datagrams::default();
        for number in 0..10_000_u32 {
            let mut datagram = vec![0; 996];
            datagram.extend_from_slice(&number.to_be_bytes());
            datagrams.push(datagram.into());
            assert!(datagrams.bytes <= WAITING_BYTES_MAX);
        }
        datagrams.push(vec![0; limits::DATAGRAM_BYTES_MAX + 1].into());
        let kept: Vec<_> = std::iter::from_fn(|| datagrams.pop()).collect();
        assert_eq!(kept.len(), WAITING_BYTES_MAX / (1000 + OVERHEAD_BYTES));
        assert_eq!(kept.last().unwrap()[996..], 9_999_u32.to_be_bytes());
        assert_eq!(datagrams.bytes, 0);
    }

    #[test]
    fn numbered_messages_that_fit_are_copied_however_their_bytes_are_cut() {
        let small = frame(PeerBody::Reliable { number: 1, payload: b"small" });
        let after = frame(PeerBody::AfterStable { number: 2, payload: b"stable" });
        let fits = frame(PeerBody::Reliable { number: 3, payload: &[0; limits::DATAGRAM_BYTES_MAX - 17] });
        let large = frame(PeerBody::Reliable { number: 4, payload: &[0; limits::DATAGRAM_BYTES_MAX - 16] });
        let goodbye = frame(PeerBody::Goodbye);
        let all: Vec<u8> =
            [&goodbye, &small, &large, &after, &fits].into_iter().flat_map(|frame| with_length(frame)).collect();
        for cut in [1, 3, 7, 1000, all.len()] {
            let chunks: Vec<_> = all.chunks(cut).map(Bytes::copy_from_slice).collect();
            let copies = [&small, &after, &fits].map(|frame| Bytes::copy_from_slice(frame)).to_vec();
            assert_eq!(early_copies(&chunks), (copies, false), "in pieces of {cut}");
        }
    }

    #[test]
    fn bytes_that_are_no_whole_frames_are_not_copied() {
        for wrong in [&[][..], &[0, 0], &[0, 0, 0, 9, 4], &[0xff; 64], &[0; 64]] {
            assert_eq!(early_copies(&[Bytes::copy_from_slice(wrong)]), (Vec::new(), false));
        }
    }

    #[test]
    fn no_message_is_copied_past_a_frame_that_it_may_rest_on() {
        let message = frame(PeerBody::Reliable { number: 1, payload: b"small" });
        for first in [PeerBody::Hello(b""), PeerBody::Welcome(b"hello"), PeerBody::Objects(&[0; 2000])] {
            let all: Vec<u8> =
                [&message, &frame(first), &message].into_iter().flat_map(|frame| with_length(frame)).collect();
            for cut in [1, 3, 2000, all.len()] {
                let chunks: Vec<_> = all.chunks(cut).map(Bytes::copy_from_slice).collect();
                assert_eq!(early_copies(&chunks), (vec![Bytes::copy_from_slice(&message)], true), "in pieces of {cut}");
            }
        }
    }

    #[test]
    fn a_copy_is_sent_again_twice_and_few_wait_for_that() {
        let (mut again, mut now) = (Again::default(), Instant::now());
        for _ in 0..100 {
            again.push(Bytes::from_static(b"copy"), now);
        }
        for _ in 0..AGAIN_TIMES {
            assert_eq!(again.due(now), None);
            now = again.next_at().unwrap();
            assert_eq!(std::iter::from_fn(|| again.due(now)).count(), AGAIN_MAX);
        }
        assert_eq!(again.next_at(), None);
    }
}
