//! A link to a peer, as session and driver use it: a bounded queue towards it, and one task that does the rest.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use protocol::frame::{PEER_HEADER_BYTES_MAX, PeerBody, PeerFrame};
use protocol::id::{ConnectionId, HostEpoch};
use protocol::limits;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;

use crate::driver::Input;
use crate::error::SendError;
use crate::event::Delivery;
use crate::queue::{Frame, Queue};
use crate::request::SCENE_BYTES_MAX;
use crate::transport::quic::{FrameReader, FrameWriter, Link, LinkError, LinkStream};

/// Bytes of frames that came from a peer, on this link or on one before it, and that the game has not taken yet; above it the peer has to wait.
const UNREAD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What a waiting frame costs beside its bytes.
const UNREAD_OVERHEAD_BYTES: usize = 64;

/// Tells a link from those to the same peer before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LinkId(pub(crate) u64);

/// This peer's end of a link. Dropping it closes the link.
#[derive(Debug)]
pub(crate) struct LinkHandle {
    pub(crate) id: LinkId,
    /// The epoch that it was opened at, which all its frames carry.
    pub(crate) epoch: HostEpoch,
    /// The host has welcomed the guest.
    pub(crate) in_game: bool,
    /// It goes through the relay.
    pub(crate) relayed: bool,
    /// Of the guest's hello, until its game is asked.
    pub(crate) extra: Vec<u8>,
    /// When a frame came last; at first, when the link began.
    pub(crate) heard_at: Instant,
    /// The number of the newest reliable message that came.
    pub(crate) received: u64,
    queue: Arc<Queue>,
    /// Once it is up.
    link: Option<Link>,
    task: AbortHandle,
}

impl LinkHandle {
    pub(crate) const fn new(
        id: LinkId,
        epoch: HostEpoch,
        relayed: bool,
        queue: Arc<Queue>,
        link: Option<Link>,
        task: AbortHandle,
        now: Instant,
    ) -> Self {
        Self { id, epoch, in_game: false, relayed, extra: Vec::new(), heard_at: now, received: 0, queue, link, task }
    }

    /// The link is up.
    pub(crate) fn opened(&mut self, link: Link) {
        self.link = Some(link);
    }

    /// Whether it was ever up.
    pub(crate) const fn is_open(&self) -> bool {
        self.link.is_some()
    }

    /// Nothing came for longer than a peer that lives is ever silent.
    pub(crate) fn is_silent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.heard_at) >= limits::SUSPICION
    }

    /// Queues a message of the game.
    ///
    /// # Errors
    /// [`SendError::Full`]; [`SendError::NotConnected`] for an unreliable message before the link is up.
    pub(crate) fn send(&mut self, delivery: Delivery, payload: &Bytes) -> Result<(), SendError> {
        match delivery {
            Delivery::Reliable => self.queue.push_message(self.epoch, payload.clone()),
            Delivery::Unreliable => {
                let link = self.link.as_ref().ok_or(SendError::NotConnected)?;
                link.send_datagram(PeerFrame { epoch: self.epoch, body: PeerBody::Unreliable(payload) }.to_vec());
                Ok(())
            }
        }
    }

    /// Queues a frame of the library's own.
    pub(crate) fn tell(&self, body: PeerBody<'_>) {
        if !self.queue.push_control(self.epoch, body) {
            tracing::debug!("a peer is too far behind: its link is closed");
            self.close();
        }
    }

    /// Says that this peer is there.
    pub(crate) fn heartbeat(&self, tick: u64) {
        if let Some(link) = &self.link {
            link.send_datagram(PeerFrame { epoch: self.epoch, body: PeerBody::Heartbeat { tick } }.to_vec());
        }
    }

    /// Closes it when all that is queued has arrived.
    pub(crate) fn finish(&self) {
        self.queue.finish();
    }

    /// Waits until it is down.
    pub(crate) fn closed(&self) -> impl Future<Output = ()> + use<> {
        let link = self.link.clone();
        async move {
            if let Some(link) = link {
                link.closed().await;
            }
        }
    }

    /// Closes it at once; its task then reports that it is down.
    pub(crate) fn close(&self) {
        if let Some(link) = &self.link {
            link.close();
        }
    }
}

impl Drop for LinkHandle {
    fn drop(&mut self) {
        self.task.abort();
        self.close();
    }
}

/// What each peer's frames may take until the game reads them. A peer that dials anew goes on with what its old link has left.
#[derive(Debug, Default)]
pub(crate) struct UnreadBudgets {
    /// Those of which a link or an unread frame has a part.
    of_peers: BTreeMap<ConnectionId, Arc<Semaphore>>,
}

impl UnreadBudgets {
    pub(crate) fn of(&mut self, peer: ConnectionId) -> Arc<Semaphore> {
        self.of_peers.retain(|_, budget| Arc::strong_count(budget) > 1);
        self.of_peers.entry(peer).or_insert_with(|| Arc::new(Semaphore::new(UNREAD_BYTES_MAX))).clone()
    }
}

/// Bytes of a frame that a guest may send: a message or a hello.
pub(crate) const GUEST_FRAME_BYTES_MAX: usize = limits::MESSAGE_BYTES_MAX + PEER_HEADER_BYTES_MAX;
/// Bytes of a frame that a host may send: a welcome with the whole ownership table.
pub(crate) const HOST_FRAME_BYTES_MAX: usize = limits::SNAPSHOT_BYTES_MAX + PEER_HEADER_BYTES_MAX;

const _: () = assert!(
    limits::OBJECT_TABLE_BYTES_MAX + SCENE_BYTES_MAX + 1024 <= limits::SNAPSHOT_BYTES_MAX,
    "a welcome fits into a frame"
);

/// A link that is up, and what its task needs.
pub(crate) struct Running {
    pub(crate) peer: ConnectionId,
    pub(crate) id: LinkId,
    pub(crate) link: Link,
    pub(crate) stream: LinkStream,
    pub(crate) queue: Arc<Queue>,
    /// What frames of this peer may still take.
    pub(crate) unread: Arc<Semaphore>,
    /// Bytes of a frame that this peer may send.
    pub(crate) frame_bytes_max: usize,
    pub(crate) inputs: mpsc::Sender<Input>,
}

impl Running {
    /// Passes frames both ways until the link is down, and reports that.
    pub(crate) async fn run(self) {
        let Self { peer, id, link, stream, queue, unread, frame_bytes_max, inputs } = self;
        let (writer, reader) = stream.split();
        let ended = tokio::select! {
            ended = write(&queue, writer) => ended,
            ended = read(reader, &unread, frame_bytes_max, peer, id, &inputs) => ended,
            ended = read_datagrams(&link, peer, id, &inputs) => ended,
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "a link ended");
        }
        link.close();
        // The session has ended if nobody takes it.
        let _ = inputs.send(Input::LinkDown { peer, id }).await;
    }
}

async fn write(queue: &Queue, mut writer: FrameWriter) -> Result<(), LinkError> {
    loop {
        let frames = queue.batch().await;
        if frames.is_empty() {
            writer.finish().await;
            return Ok(());
        }
        let (mut bytes, mut messages, mut message_bytes) = (0, 0, 0);
        let mut chunks = Vec::with_capacity(2 * frames.len());
        for Frame { head, payload, is_message } in frames {
            bytes += head.len() + payload.len();
            messages += usize::from(is_message);
            message_bytes += if is_message { payload.len() } else { 0 };
            chunks.extend([head, payload]);
        }
        writer.write(&mut chunks).await?;
        queue.written(bytes, messages, message_bytes);
    }
}

async fn read(
    mut reader: FrameReader,
    unread: &Arc<Semaphore>,
    frame_bytes_max: usize,
    peer: ConnectionId,
    id: LinkId,
    inputs: &mpsc::Sender<Input>,
) -> Result<(), LinkError> {
    loop {
        let frame = reader.frame(frame_bytes_max).await?;
        let cost = (frame.len() + UNREAD_OVERHEAD_BYTES).min(UNREAD_BYTES_MAX);
        let cost = u32::try_from(cost).expect("the budget of a peer is far below 4 GiB");
        let Ok(budget) = unread.clone().acquire_many_owned(cost).await else { return Ok(()) };
        if inputs.send(Input::Frame { peer, id, frame, budget: Some(budget) }).await.is_err() {
            return Ok(());
        }
    }
}

async fn read_datagrams(
    link: &Link,
    peer: ConnectionId,
    id: LinkId,
    inputs: &mpsc::Sender<Input>,
) -> Result<(), LinkError> {
    loop {
        let frame = link.datagram().await?;
        if inputs.send(Input::Frame { peer, id, frame, budget: None }).await.is_err() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_dials_anew_goes_on_with_the_budget_of_its_old_link() {
        let mut budgets = UnreadBudgets::default();
        let (peer, other) = (ConnectionId(1), ConnectionId(2));
        let old_link = budgets.of(peer);
        let unread = old_link.clone().try_acquire_many_owned(1000).unwrap();
        drop(old_link);
        assert_eq!(budgets.of(peer).available_permits(), UNREAD_BYTES_MAX - 1000);
        assert_eq!(budgets.of(other).available_permits(), UNREAD_BYTES_MAX);
        drop(unread);
        assert_eq!(budgets.of(peer).available_permits(), UNREAD_BYTES_MAX);
        assert_eq!(budgets.of_peers.len(), 1, "a budget that nobody uses is forgotten");
    }
}
