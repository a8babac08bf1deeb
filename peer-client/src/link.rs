//! A link to a peer, as session and driver use it: a bounded queue towards it, and one task that does the rest.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::frame::{PEER_HEADER_BYTES_MAX, PeerBody, PeerFrame};
use protocol::id::{ConnectionId, HostEpoch, PeerKey};
use protocol::journal::{Class, Offer};
use protocol::limits;
use protocol::paths::Way;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;

use crate::driver::Input;
use crate::error::SendError;
use crate::queue::{Frame, Queue};
use crate::request::SCENE_BYTES_MAX;
use crate::transport::link::{FrameReader, FrameWriter, Link, LinkError, LinkPath, LinkStream};

/// Bytes of frames that came from a peer, on this link or on one before it, and that the game has not taken yet; above it the peer has to wait.
const UNREAD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What a waiting frame costs beside its bytes.
const UNREAD_OVERHEAD_BYTES: usize = 64;

/// Tells a link from those to the same peer before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LinkId(pub(crate) u64);

/// States on their way to a link's own stream for them.
type StateSender = mpsc::Sender<Bytes>;

/// What a link is opened with.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) id: LinkId,
    pub(crate) epoch: HostEpoch,
    pub(crate) relayed: bool,
    pub(crate) standby: bool,
    pub(crate) peer_key: PeerKey,
    pub(crate) ends: HandleEnds,
}

/// What a handle keeps of the queues between it and its task.
#[derive(Debug)]
pub(crate) struct HandleEnds {
    pub(crate) queue: Arc<Queue>,
    states: StateSender,
    states_wanted: Arc<Semaphore>,
}

/// What a link's task keeps of them.
#[derive(Debug)]
pub(crate) struct TaskEnds {
    queue: Arc<Queue>,
    states: mpsc::Receiver<Bytes>,
    states_wanted: Arc<Semaphore>,
}

/// The queues of a new link.
pub(crate) fn queues() -> (HandleEnds, TaskEnds) {
    let (queue, states_wanted) = (Arc::new(Queue::default()), Arc::new(Semaphore::new(0)));
    let (states, waiting) = mpsc::channel(limits::FEED_IN_FLIGHT_MAX);
    let task = TaskEnds { queue: queue.clone(), states: waiting, states_wanted: states_wanted.clone() };
    (HandleEnds { queue, states, states_wanted }, task)
}

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
    /// What is known of its path.
    pub(crate) way: Way,
    /// Another link to the same process, on which both only show that they are there.
    pub(crate) spare: Option<Box<Self>>,
    /// Since when nothing is said on it, until the hello or the welcome with which the game goes on on it: then all that matters is said
    /// again.
    pub(crate) resuming: Option<Instant>,
    /// The round trip that is being measured.
    ping: Ping,
    /// It is for later: one of its ends is only the successor.
    pub(crate) standby: bool,
    /// Of the guest's hello: where its streams are.
    pub(crate) offer: Option<Offer>,
    /// The process at its other end.
    pub(crate) peer_key: PeerKey,
    queue: Arc<Queue>,
    states: StateSender,
    /// States are read from it once there is a permit.
    states_wanted: Arc<Semaphore>,
    /// Once it is up.
    link: Option<Link>,
    task: AbortHandle,
}

impl LinkHandle {
    pub(crate) fn new(opening: Opening, link: Option<Link>, task: AbortHandle, now: Instant) -> Self {
        let Opening { id, epoch, relayed, standby, peer_key, ends } = opening;
        Self {
            id,
            epoch,
            in_game: false,
            relayed,
            extra: Vec::new(),
            way: Way::new(link.as_ref().is_some_and(is_straight), now),
            spare: None,
            resuming: None,
            ping: Ping::default(),
            standby,
            offer: None,
            peer_key,
            queue: ends.queue,
            states: ends.states,
            states_wanted: ends.states_wanted,
            link,
            task,
        }
    }

    /// The link is up.
    pub(crate) fn opened(&mut self, link: Link, now: Instant) {
        self.way = Way::new(is_straight(&link), now);
        self.link = Some(link);
    }

    /// The way that its bytes take, once it is up.
    pub(crate) fn path(&self) -> Option<LinkPath> {
        self.link.as_ref().map(Link::path)
    }

    /// Whether it was ever up.
    pub(crate) const fn is_open(&self) -> bool {
        self.link.is_some()
    }

    /// Nothing came for longer than a peer that lives is ever silent.
    pub(crate) fn is_silent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.way.heard_at) >= limits::SUSPICION
    }

    /// Sends a message that may be lost.
    ///
    /// # Errors
    /// [`SendError::NotConnected`] before the link is up.
    pub(crate) fn send_unreliable(&self, payload: &Bytes) -> Result<(), SendError> {
        let link = self.link.as_ref().ok_or(SendError::NotConnected)?;
        link.send_datagram(PeerFrame { epoch: self.epoch, body: PeerBody::Unreliable(payload) }.to_vec());
        Ok(())
    }

    /// Queues a numbered message.
    pub(crate) fn say(&self, class: Class, number: u64, payload: Bytes) {
        if self.resuming.is_none() && !self.queue.push_message(self.epoch, class, number, payload) {
            self.is_too_far_behind();
        }
    }

    /// Sends a state on a stream of its own. Returns false if too many wait.
    pub(crate) fn send_state(&self, record: &[u8]) -> bool {
        let frame = PeerFrame { epoch: self.epoch, body: PeerBody::State(record) }.to_vec();
        self.states.try_send(frame.into()).is_ok()
    }

    /// States may come on this link from now on.
    pub(crate) fn want_states(&self) {
        if self.states_wanted.available_permits() == 0 {
            self.states_wanted.add_permits(1);
        }
    }

    /// Queues a frame of the library's own.
    pub(crate) fn tell(&self, body: PeerBody<'_>) {
        let goes_on = matches!(body, PeerBody::Hello(_) | PeerBody::Goodbye);
        if (goes_on || self.resuming.is_none()) && !self.queue.push_control(self.epoch, body) {
            self.is_too_far_behind();
        }
    }

    fn is_too_far_behind(&self) {
        tracing::debug!("a peer is too far behind: its link is closed");
        self.close();
    }

    /// Says that this peer is there, and how far it has heard.
    pub(crate) fn heartbeat(&self, tick: u64, (received, received_stable): (u64, u64)) {
        if let Some(link) = &self.link {
            let body = PeerBody::Heartbeat { tick, received, received_stable };
            link.send_datagram(PeerFrame { epoch: self.epoch, body }.to_vec());
        }
    }

    /// Measured on it, once it is up.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.way.round_trip.or_else(|| self.link.as_ref().map(Link::round_trip))
    }

    /// Begins to measure the round trip. What is measured still has no answer, and gets none any more.
    pub(crate) fn measure(&mut self, now: Instant) {
        let Some(link) = &self.link else { return };
        self.ping = Ping { number: self.ping.number + 1, sent_at: Some(now) };
        let body = PeerBody::Ping { number: self.ping.number };
        link.send_datagram(PeerFrame { epoch: self.epoch, body }.to_vec());
    }

    /// Answers a ping.
    pub(crate) fn pong(&self, number: u64) {
        if let Some(link) = &self.link {
            link.send_datagram(PeerFrame { epoch: self.epoch, body: PeerBody::Pong { number } }.to_vec());
        }
    }

    /// A ping was answered.
    pub(crate) fn measured(&mut self, number: u64, now: Instant) {
        if self.ping.number == number
            && let Some(sent_at) = self.ping.sent_at.take()
        {
            let measured = now.saturating_duration_since(sent_at);
            self.way.round_trip = Some(smoothed(self.way.round_trip, measured));
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

/// The round trip that is being measured.
#[derive(Debug, Default)]
struct Ping {
    number: u64,
    /// Until it is answered.
    sent_at: Option<Instant>,
}

/// Up as slowly as RFC 6298 does it, down at once: a long one is often of what was under way, or of a way that was cut, and one such would
/// keep a game off the better path for many pings. A short one is the way's own.
fn smoothed(before: Option<Duration>, measured: Duration) -> Duration {
    let before = before.unwrap_or(measured);
    measured.min((before * 7 + measured) / 8)
}

/// Neither our relay nor a TURN server carries it.
fn is_straight(link: &Link) -> bool {
    match link.path() {
        LinkPath::Direct | LinkPath::WebRtc { turned: false } => true,
        LinkPath::Relay | LinkPath::RelayWebSocket | LinkPath::WebRtc { turned: true } => false,
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

    /// Room for a frame that came in a datagram, if there is any.
    pub(crate) fn reserve(&mut self, peer: ConnectionId, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let cost = u32::try_from((bytes + UNREAD_OVERHEAD_BYTES).min(UNREAD_BYTES_MAX)).ok()?;
        self.of(peer).try_acquire_many_owned(cost).ok()
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
    pub(crate) ends: TaskEnds,
    /// What frames of this peer may still take.
    pub(crate) unread: Arc<Semaphore>,
    /// Bytes of a frame that this peer may send.
    pub(crate) frame_bytes_max: usize,
    pub(crate) inputs: mpsc::Sender<Input>,
}

impl Running {
    /// Passes frames both ways until the link is down, and reports that.
    pub(crate) async fn run(self) {
        let Self { peer, id, link, stream, ends, unread, frame_bytes_max, inputs } = self;
        let TaskEnds { queue, states, states_wanted } = ends;
        let (writer, reader) = stream.split();
        let ended = tokio::select! {
            ended = write(&queue, writer) => ended,
            ended = read(reader, &unread, frame_bytes_max, peer, id, &inputs) => ended,
            ended = read_datagrams(&link, peer, id, &inputs) => ended,
            ended = write_states(&link, states) => ended,
            ended = read_states(&link, &states_wanted, peer, id, &inputs) => ended,
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
        let bytes = frames.iter().map(|frame| frame.head.len() + frame.payload.len()).sum();
        let mut chunks: Vec<_> = frames.into_iter().flat_map(|Frame { head, payload }| [head, payload]).collect();
        writer.write(&mut chunks).await?;
        queue.written(bytes);
    }
}

/// States have a stream of their own, so that the game's messages do not wait behind a large one.
async fn write_states(link: &Link, mut states: mpsc::Receiver<Bytes>) -> Result<(), LinkError> {
    let mut writer = None;
    while let Some(frame) = states.recv().await {
        let length = u32::try_from(frame.len()).map_err(|_| LinkError::TooLarge)?;
        let writer = match &mut writer {
            Some(writer) => writer,
            empty => empty.insert(link.open_states().await?),
        };
        writer.write(&mut [Bytes::copy_from_slice(&length.to_be_bytes()), frame]).await?;
    }
    // The handle is gone, and with it this task.
    std::future::pending().await
}

async fn read_states(
    link: &Link,
    wanted: &Semaphore,
    peer: ConnectionId,
    id: LinkId,
    inputs: &mpsc::Sender<Input>,
) -> Result<(), LinkError> {
    // Whoever was not asked for states cannot make this peer keep any.
    let Ok(_permit) = wanted.acquire().await else { return Ok(()) };
    let mut reader = link.accept_states().await?;
    loop {
        let frame = reader.frame(HOST_FRAME_BYTES_MAX).await?;
        if inputs.send(Input::Frame { peer, id, frame, budget: None }).await.is_err() {
            return Ok(());
        }
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
    fn a_round_trip_on_a_way_that_was_cut_is_forgotten_with_the_next_one() {
        let ms = Duration::from_millis;
        let cut = smoothed(Some(ms(2)), ms(1002));
        assert_eq!(cut, ms(127));
        assert_eq!(smoothed(Some(cut), ms(2)), ms(2));
        assert_eq!(smoothed(None, ms(7)), ms(7));
    }

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
