//! Frames that wait for one WebSocket.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use protocol::limits::RELAY_WEBSOCKET_QUEUE_MAX as FRAMES_MAX;
use tokio::sync::Notify;

/// Two bounded queues: the relay's own frames go first and are never left out; of a game's the oldest makes room.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    queues: Mutex<Queues>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Queues {
    control: VecDeque<Vec<u8>>,
    data: VecDeque<Vec<u8>>,
}

/// The relay's own frames are not taken: who is there does not read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Outgoing {
    /// Adds a packet of a game. Returns whether the oldest was dropped for it.
    pub(crate) fn push_data(&self, frame: Vec<u8>) -> bool {
        let mut queues = self.lock();
        let full = queues.data.len() >= FRAMES_MAX;
        if full {
            queues.data.pop_front();
        }
        queues.data.push_back(frame);
        drop(queues);
        self.changed.notify_one();
        full
    }

    /// Adds a frame of the relay's own.
    pub(crate) fn push_control(&self, frame: Vec<u8>) -> Result<(), Full> {
        let mut queues = self.lock();
        if queues.control.len() >= FRAMES_MAX {
            return Err(Full);
        }
        queues.control.push_back(frame);
        drop(queues);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits for the next frame. For one task alone.
    pub(crate) async fn next(&self) -> Vec<u8> {
        loop {
            if let Some(frame) = self.try_next() {
                return frame;
            }
            self.changed.notified().await;
        }
    }

    /// The next frame, if one waits.
    pub(crate) fn try_next(&self) -> Option<Vec<u8>> {
        let mut queues = self.lock();
        queues.control.pop_front().or_else(|| queues.data.pop_front())
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_packet_makes_room_and_the_relays_own_frames_are_refused_rather_than_dropped() {
        let outgoing = Outgoing::default();
        let frame = |number: usize| number.to_be_bytes().to_vec();
        let dropped = (0..FRAMES_MAX + 2).filter(|&number| outgoing.push_data(frame(number))).count();
        assert_eq!(dropped, 2);
        assert!((0..FRAMES_MAX).all(|number| outgoing.push_control(frame(number)).is_ok()));
        assert_eq!(outgoing.push_control(frame(0)), Err(Full));
        let control: Vec<_> = (0..FRAMES_MAX).filter_map(|_| outgoing.try_next()).collect();
        assert_eq!(control, (0..FRAMES_MAX).map(frame).collect::<Vec<_>>());
        assert_eq!(outgoing.try_next(), Some(frame(2)));
    }
}
