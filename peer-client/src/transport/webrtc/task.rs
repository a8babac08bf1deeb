//! The one task of a link: opens its connection, passes everything both ways, and closes it.

mod opening;

use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::limits;
use protocol::signal::{Description, Signal};
use tokio::sync::mpsc;
use tokio::time::sleep_until;
use webrtc::data_channel::DataChannelEvent;
use webrtc::peer_connection::{RTCIceCandidateType, StatsSelector};

use super::description::{Side, credentials};
use super::lanes::Violation;
use super::settings::{Connection, Event, Identity};
use super::shared::{Next, Room, Shared};
use super::sockets::LinkRuntime;
use super::{Signalling, Terms};
use crate::simulated::NetworkControl;

/// A link that is not up by then has failed: TURN allocations and checks through both take up to five seconds.
const OPEN_TIMEOUT: Duration = Duration::from_secs(12);
/// While it opens, the crate's task is woken this often. What one handshake leaves to be sent for the next, and the opening itself, it
/// would otherwise find at its next timer: measured over loopback, 27 ms with and 227 ms without.
pub(super) const NUDGE: Duration = Duration::from_millis(4);
/// Bytes that the crate has of a channel, not acknowledged by the other side: so much at least. Above it the rest waits where messages
/// still go before states, and where old datagrams are dropped. The crate sends all of it at once, and twice as much is more than the
/// buffer of a socket holds: what does not fit is lost, and SCTP finds that after a second (measured over loopback: 29 MiB/s with 64 KiB,
/// and 5 MiB/s with 128, with pauses of a second).
const CHANNEL_BYTES_MIN: usize = 64 * 1024;
/// And so much at most.
const CHANNEL_BYTES_MAX: usize = 256 * 1024;
/// Between the two, what a way needs that carries this much: with a round trip of 50 ms, all of it.
const BYTES_PER_SECOND: f64 = 5e6;
/// A full channel says when so much is left; should that be missed, it is looked at this often.
const FULL_RETRY: Duration = Duration::from_millis(20);
/// Somebody waits until all is delivered: how often that is looked at.
const FINISH_RETRY: Duration = Duration::from_millis(10);
/// The path and its round trip are looked up this often.
const MEASURE_INTERVAL: Duration = limits::PING_INTERVAL;
/// Events of the crate that wait. A connection has a few states, and a candidate for each network and server.
const EVENTS_MAX: usize = 256;

const RELIABLE: usize = 0;
const UNRELIABLE: usize = 1;

/// What a link is made of.
pub(super) struct Attempt {
    pub(super) side: Side,
    /// What the other side said of itself, if it offered.
    pub(super) offer: Option<Description>,
    pub(super) terms: Terms,
    pub(super) signalling: Signalling,
    pub(super) identity: Identity,
    pub(super) network: Option<NetworkControl>,
    pub(super) shared: Arc<Shared>,
}

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error(transparent)]
    Crate(#[from] webrtc::error::Error),
    #[error(transparent)]
    Violation(#[from] Violation),
    #[error("the system has no randomness: {0}")]
    Random(getrandom::Error),
    #[error("it did not open in time")]
    TimedOut,
    #[error("the peer is not the one that the lobby names")]
    Stranger,
    #[error("the peer cannot be reached")]
    Failed,
    #[error("the peer closed it")]
    Closed,
    #[error("the peer opened a channel of its own")]
    StrangeChannel,
}

impl Attempt {
    /// Runs the link until something ends it.
    pub(super) async fn run(self) {
        let (shared, attempt) = (self.shared.clone(), self.terms.attempt);
        let outgoing = self.signalling.outgoing.clone();
        if let Err(end) = self.open_and_pass().await {
            tracing::debug!(attempt, %end, "a WebRTC link ended");
            shared.end(&end.to_string());
        }
        // Full or gone: the other side will notice otherwise.
        let _ = outgoing.try_send(Signal::Close { attempt });
    }

    async fn open_and_pass(self) -> Result<(), End> {
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(End::Random)?;
        let own = credentials(random);
        let (events_in, events) = mpsc::channel(EVENTS_MAX);
        let runtime = LinkRuntime { network: self.network, link: Arc::downgrade(&self.shared) };
        let connection = Connection::new(self.identity, &self.terms, own.clone(), runtime, events_in).await?;
        let shared = self.shared.clone();
        let mut task = Task {
            connection,
            shared: self.shared,
            terms: self.terms,
            outgoing: self.signalling.outgoing,
            incoming: Some(self.signalling.incoming),
            events,
            remote_candidates: 0,
            is_described: false,
            is_open: [false; 2],
            // The one that answers speaks first.
            may_speak: self.side == Side::Answering,
            answers: self.side == Side::Answering,
            outstanding: [0; 2],
            bytes_max: [CHANNEL_BYTES_MIN; 2],
            shortest: Duration::MAX,
            full: false,
            finishing_bytes: 0,
            finish_at: Instant::now(),
            measure_at: Instant::now(),
            give_up_at: Instant::now() + OPEN_TIMEOUT,
        };
        let ended = tokio::select! {
            ended = task.live(self.side, self.offer, own) => ended,
            () = shared.closed() => Ok(()),
        };
        if let Err(error) = task.connection.connection.close().await {
            tracing::debug!(%error, "a WebRTC connection was not closed");
        }
        ended
    }
}

/// A link at work.
struct Task {
    connection: Connection,
    shared: Arc<Shared>,
    terms: Terms,
    outgoing: mpsc::Sender<Signal>,
    incoming: Option<mpsc::Receiver<Signal>>,
    events: mpsc::Receiver<Event>,
    /// Those that the crate was given.
    remote_candidates: usize,
    /// The crate knows who the other side is.
    is_described: bool,
    is_open: [bool; 2],
    /// The other side has its channels too: what comes for one that is not there yet is lost, and with it the channel. The side that
    /// answers has them last, and says so.
    may_speak: bool,
    answers: bool,
    /// Bytes of each channel that were not acknowledged when last looked at, and what was sent since.
    outstanding: [usize; 2],
    /// What each may have outstanding.
    bytes_max: [usize; 2],
    /// The shortest round trip that was measured.
    shortest: Duration,
    /// The reliable channel took no more when it was last tried.
    full: bool,
    /// Of what is outstanding there: sent after the last message that is to be delivered.
    finishing_bytes: usize,
    finish_at: Instant,
    measure_at: Instant,
    /// Until it is open.
    give_up_at: Instant,
}

/// What the task woke up for.
enum Woken {
    Channel(usize, Option<DataChannelEvent>),
    Event(Option<Event>),
    Signal(Option<Signal>),
    Work,
}

impl Task {
    async fn live(&mut self, side: Side, offer: Option<Description>, own: (String, String)) -> Result<(), End> {
        self.describe_self(side, offer, own).await?;
        loop {
            if self.shared_open() {
                self.send().await?;
                self.look_around().await?;
            } else {
                self.nudge().await?;
            }
            let wake_at = self.wake_at();
            let Connection { reliable, unreliable, .. } = &self.connection;
            let woken = tokio::select! {
                event = reliable.poll() => Woken::Channel(RELIABLE, event),
                event = unreliable.poll() => Woken::Channel(UNRELIABLE, event),
                event = self.events.recv() => Woken::Event(event),
                signal = next(&mut self.incoming) => Woken::Signal(signal),
                () = self.shared.work() => Woken::Work,
                () = sleep_until(wake_at.into()) => Woken::Work,
            };
            match woken {
                Woken::Channel(channel, event) => self.channel_event(channel, event).await?,
                Woken::Event(event) => self.event(event)?,
                Woken::Signal(Some(signal)) => self.signal(signal).await?,
                Woken::Signal(None) => self.incoming = None,
                Woken::Work => {}
            }
        }
    }

    fn shared_open(&self) -> bool {
        self.may_speak && self.is_open == [true; 2]
    }

    // What happens.

    fn event(&mut self, event: Option<Event>) -> Result<(), End> {
        let Some(event) = event else { return Err(End::Closed) };
        let mut candidates: Vec<_> = self.candidate_of(event)?.into_iter().collect();
        while candidates.len() < limits::SIGNAL_CANDIDATES_MAX
            && let Ok(event) = self.events.try_recv()
        {
            candidates.extend(self.candidate_of(event)?);
        }
        if !candidates.is_empty() {
            self.tell(Signal::Candidates { attempt: self.terms.attempt, candidates });
        }
        Ok(())
    }

    async fn channel_event(&mut self, channel: usize, event: Option<DataChannelEvent>) -> Result<(), End> {
        let was_open = self.shared_open();
        match event {
            Some(DataChannelEvent::OnMessage(message)) if channel == RELIABLE => {
                self.may_speak = true;
                self.shared.handle_reliable(message.data)?;
            }
            Some(DataChannelEvent::OnMessage(message)) => self.shared.handle_unreliable(message.data.freeze()),
            Some(DataChannelEvent::OnOpen) => {
                self.is_open[channel] = true;
            }
            Some(DataChannelEvent::OnClose | DataChannelEvent::OnClosing) | None => return Err(End::Closed),
            // Room: the loop looks.
            Some(DataChannelEvent::OnBufferedAmountLow) => {}
            Some(event) => tracing::trace!(?event, "a WebRTC channel said something"),
        }
        if self.shared_open() && !was_open {
            self.opened().await?;
        }
        Ok(())
    }

    // Passing on.

    async fn send(&mut self) -> Result<(), End> {
        loop {
            let room = self.room().await?;
            self.full = !room.reliable;
            match self.shared.next(room, Instant::now()) {
                Some(Next::Reliable(message)) => {
                    self.outstanding[RELIABLE] += message.len();
                    self.connection.reliable.send(message).await?;
                }
                Some(Next::Unreliable(message)) => {
                    self.outstanding[UNRELIABLE] += message.len();
                    self.connection.unreliable.send(message[..].into()).await?;
                }
                None => return Ok(()),
            }
        }
    }

    /// Which channels take something. The crate is asked when what is known of it says no.
    async fn room(&mut self) -> Result<Room, End> {
        let Connection { reliable, unreliable, .. } = &self.connection;
        let mut has_room = [true; 2];
        for (which, channel) in [reliable, unreliable].into_iter().enumerate() {
            if self.outstanding[which] >= self.bytes_max[which] {
                self.outstanding[which] = channel.outstanding_bytes().await?;
            }
            has_room[which] = self.outstanding[which] < self.bytes_max[which];
        }
        Ok(Room { reliable: has_room[RELIABLE], unreliable: has_room[UNRELIABLE] })
    }

    /// What is to be done now and then.
    async fn look_around(&mut self) -> Result<(), End> {
        let now = Instant::now();
        if self.shared.is_finishing() && now >= self.finish_at {
            self.finish_at = now + FINISH_RETRY;
            self.finish().await?;
        }
        if now >= self.measure_at {
            self.measure().await;
        }
        Ok(())
    }

    /// Sees whether all messages were acknowledged. The other side would do that after 200 ms, or with the second packet that comes: it
    /// gets one.
    async fn finish(&mut self) -> Result<(), End> {
        if self.connection.reliable.outstanding_bytes().await? <= self.finishing_bytes {
            self.shared.delivered();
            return Ok(());
        }
        let message = self.shared.taken_now();
        self.finishing_bytes += message.len();
        Ok(self.connection.reliable.send(message).await?)
    }

    /// Looks up the path and its round trip.
    async fn measure(&mut self) {
        let now = Instant::now();
        self.measure_at = now + MEASURE_INTERVAL;
        let connection = &self.connection.connection;
        let Some(sctp) = connection.sctp().await else { return };
        let Ok(Some(pair)) = sctp.transport().ice_transport().get_selected_candidate_pair().await else { return };
        let turned = [pair.local(), pair.remote()].iter().any(|end| end.typ == RTCIceCandidateType::Relay);
        let report = connection.get_stats(now, StatsSelector::None).await;
        let seconds = report.candidate_pairs().filter(|pair| pair.nominated).map(|pair| pair.current_round_trip_time);
        let round_trip = Duration::try_from_secs_f64(seconds.fold(0.0, f64::max)).unwrap_or_default();
        // The shortest: a longer one is of what is under way already.
        self.shortest = self.shortest.min(round_trip);
        self.bytes_max[RELIABLE] = under_way(self.shortest);
        self.shared.measured(round_trip, turned);
    }

    /// When the task has something to do, if nothing happens.
    fn wake_at(&self) -> Instant {
        let now = Instant::now();
        if !self.shared_open() {
            return now + NUDGE;
        }
        let full = self.full.then(|| now + FULL_RETRY);
        let finishing = self.shared.is_finishing().then_some(self.finish_at);
        [full, finishing, self.shared.next_at()].into_iter().flatten().fold(self.measure_at, Instant::min)
    }
}

/// Bytes of messages that may be under way on a path with this round trip.
fn under_way(round_trip: Duration) -> usize {
    let bytes = (round_trip.as_secs_f64() * BYTES_PER_SECOND) as usize;
    bytes.clamp(CHANNEL_BYTES_MIN, CHANNEL_BYTES_MAX)
}

/// The next signal; none comes any more once the sender is gone.
async fn next(incoming: &mut Option<mpsc::Receiver<Signal>>) -> Option<Signal> {
    match incoming {
        Some(incoming) => incoming.recv().await,
        None => std::future::pending().await,
    }
}
