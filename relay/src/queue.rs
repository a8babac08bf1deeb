//! Control frames that wait until the operating system takes them.

use std::collections::VecDeque;
use std::net::SocketAddr;

/// Frames that wait at most: one to each member of a large lobby.
const FRAMES_MAX: usize = 1024;

/// A bounded queue; the oldest frame makes room for a new one.
#[derive(Debug, Default)]
pub(crate) struct ControlQueue {
    frames: VecDeque<(SocketAddr, Vec<u8>)>,
}

impl ControlQueue {
    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Adds a frame. Returns whether the oldest was dropped for it.
    pub(crate) fn push(&mut self, to: SocketAddr, frame: Vec<u8>) -> bool {
        let full = self.frames.len() >= FRAMES_MAX;
        if full {
            self.frames.pop_front();
        }
        self.frames.push_back((to, frame));
        full
    }

    pub(crate) fn front(&self) -> Option<(SocketAddr, &[u8])> {
        self.frames.front().map(|(to, frame)| (*to, frame.as_slice()))
    }

    pub(crate) fn pop(&mut self) {
        self.frames.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_frame_makes_room_for_the_newest() {
        let to = SocketAddr::from(([127, 0, 0, 1], 9));
        let mut queue = ControlQueue::default();
        let dropped = (0..=FRAMES_MAX).filter(|&number| queue.push(to, number.to_be_bytes().to_vec())).count();
        assert_eq!(dropped, 1);
        assert_eq!(queue.front(), Some((to, 1_usize.to_be_bytes().as_slice())));
    }
}
