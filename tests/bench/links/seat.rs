//! A host whose game does what it is told, and guests whose messages are read by whoever measures.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use peer_client::protocol::id::ConnectionId;
use peer_client::{
    Client, Delivery, LobbyOptions, Message, NetworkControl, Output, Path, Recipient, Request, SavedState, SendError,
    Session, SimulatedNetwork,
};
use tests::service::TestService;
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{sleep_until, timeout};

use super::{Failure, payload};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a game looks again that could not send: the shortest time that the runtime's clock knows.
const AGAIN: Duration = Duration::from_millis(1);
/// Messages that may be lost have no backpressure: so many are under way.
const UNRELIABLE_UNDER_WAY: u64 = 256;
/// Those that did not arrive by then are lost.
const LOST_AFTER: Duration = Duration::from_millis(20);
/// Messages that are sent before the game looks what came.
const TURN: u64 = 64;
/// Bytes of a greeting, and of other messages that show when they were sent.
pub(crate) const SMALL_BYTES: usize = 100;

/// Messages that a host sends to a guest.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) to: ConnectionId,
    pub(crate) delivery: Delivery,
    pub(crate) bytes: usize,
    pub(crate) messages: u64,
    pub(crate) pace: Pace,
}

/// How fast.
#[derive(Debug, Clone)]
pub(crate) enum Pace {
    /// One each so often. Each says when it was sent.
    Each(Duration),
    /// As fast as the session takes them, or as they arrive.
    Flood(Arc<Arrivals>),
}

/// What has arrived of a flood.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    messages: AtomicU64,
    changed: Notify,
}

impl Arrivals {
    pub(crate) fn add(&self, total: u64) {
        self.messages.store(total, Ordering::Relaxed);
        if total.is_multiple_of(TURN) {
            self.changed.notify_one();
        }
    }
}

/// A host, whose game runs in a task until this is dropped.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) network: Option<NetworkControl>,
    join_code: String,
    jobs: mpsc::UnboundedSender<Job>,
    game: AbortHandle,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.game.abort();
    }
}

impl Host {
    pub(crate) async fn start(
        service: &TestService,
        path: Path,
        network: Option<SimulatedNetwork>,
    ) -> Result<Self, Failure> {
        let client = sign_in(service, path, network).await?;
        let session = client.host(LobbyOptions { name: "links".into(), ..LobbyOptions::default() }).await?;
        let (network, join_code) = (session.network().cloned(), session.join_code().to_string());
        let (jobs, waiting) = mpsc::unbounded_channel();
        let game = Game { session, jobs: waiting, greet: Vec::new(), sending: None };
        Ok(Self { network, join_code, jobs, game: tokio::spawn(game.run()).abort_handle() })
    }

    /// Gives the game something to send, instead of what it sends.
    pub(crate) fn send(&self, job: Job) {
        // Its game has ended: nothing arrives, which is noticed.
        let _ = self.jobs.send(job);
    }
}

/// A client that is never elected.
pub(crate) async fn guest_client(
    service: &TestService,
    path: Path,
    network: Option<SimulatedNetwork>,
) -> Result<Client, Failure> {
    let builder = Client::builder(service.url("http", "")).can_host(false).path(path);
    Ok(with(builder, network).sign_in().await?)
}

async fn sign_in(service: &TestService, path: Path, network: Option<SimulatedNetwork>) -> Result<Client, Failure> {
    Ok(with(Client::builder(service.url("http", "")).path(path), network).sign_in().await?)
}

fn with(builder: peer_client::ClientBuilder, network: Option<SimulatedNetwork>) -> peer_client::ClientBuilder {
    match network {
        Some(network) => builder.simulated_network(network),
        None => builder,
    }
}

/// A guest.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) session: Session,
}

impl Guest {
    /// Joins a host. Returns how long it took from its seat to the first message of the host, too.
    pub(crate) async fn join(client: &Client, host: &Host) -> Result<(Self, Duration), Failure> {
        let session = client.join_code(&host.join_code).await?;
        let known = Instant::now();
        let mut guest = Self { session };
        guest.message(Delivery::Reliable).await?;
        Ok((guest, known.elapsed()))
    }

    /// A host and a guest of its own, in game by this path.
    pub(crate) async fn with_host(
        service: &TestService,
        path: Path,
        networks: [Option<SimulatedNetwork>; 2],
    ) -> Result<(Host, Self), Failure> {
        let [of_host, of_guest] = networks;
        let host = Host::start(service, path, of_host).await?;
        let client = guest_client(service, path, of_guest).await?;
        let (guest, _) = Self::join(&client, &host).await?;
        Ok((host, guest))
    }

    pub(crate) fn me(&self) -> ConnectionId {
        self.session.me()
    }

    /// What comes next.
    pub(crate) async fn output(&mut self) -> Result<Output, Failure> {
        match timeout(PATIENCE, self.session.next()).await {
            Ok(output) => Ok(output.ok_or("a session ended")?),
            Err(_) => {
                let (role, links) = (self.session.role(), self.session.links());
                Err(format!("nothing came to {}, which is {role:?} with {links:?}", self.me()).into())
            }
        }
    }

    /// The next message that came in this way. Others are dropped.
    pub(crate) async fn message(&mut self, delivery: Delivery) -> Result<Message, Failure> {
        loop {
            if let Output::Message(message) = self.output().await?
                && message.delivery == delivery
            {
                return Ok(message);
            }
        }
    }
}

/// A host's game: echoes what guests say, greets those that come, and sends what it is told to.
struct Game {
    session: Session,
    jobs: mpsc::UnboundedReceiver<Job>,
    /// Those who are let in, and may not be in yet.
    greet: Vec<ConnectionId>,
    sending: Option<Sending>,
}

/// A job at work.
struct Sending {
    job: Job,
    payload: Bytes,
    sent: u64,
    /// Messages that are not waited for any more.
    lost: u64,
    arrived: u64,
    arrived_at: Instant,
    next_at: Instant,
}

impl Sending {
    fn new(job: Job) -> Self {
        let (payload, now) = (payload::stamped(job.bytes), Instant::now());
        Self { job, payload, sent: 0, lost: 0, arrived: 0, arrived_at: now, next_at: now }
    }

    /// Whether so many are under way that more would only be lost.
    fn is_ahead(&mut self, arrivals: &Arrivals, now: Instant) -> bool {
        if self.job.delivery != Delivery::Unreliable {
            return false;
        }
        let arrived = arrivals.messages.load(Ordering::Relaxed);
        if arrived > self.arrived {
            (self.arrived, self.arrived_at) = (arrived, now);
        } else if now >= self.arrived_at + LOST_AFTER {
            (self.lost, self.arrived_at) = (self.sent - arrived, now);
        }
        self.sent.saturating_sub(arrived + self.lost) >= UNRELIABLE_UNDER_WAY
    }
}

impl Game {
    async fn run(mut self) {
        loop {
            let again_at = self.work();
            let arrivals = self.sending.as_ref().and_then(|sending| match &sending.job.pace {
                Pace::Flood(arrivals) => Some(arrivals.clone()),
                Pace::Each(_) => None,
            });
            tokio::select! {
                output = self.session.next() => match output {
                    Some(output) => self.output(output),
                    None => return,
                },
                job = self.jobs.recv() => match job {
                    Some(job) => self.sending = Some(Sending::new(job)),
                    None => return,
                },
                () = changed(arrivals.as_deref()) => {}
                () = at(again_at) => {}
            }
        }
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Request(Request::AcceptPlayer(request)) => {
                self.greet.push(request.connection);
                request.accept();
            }
            Output::Request(Request::SaveState(request)) => request.answer(SavedState::default()),
            Output::Request(Request::RestoreState(request)) => request.done(),
            Output::Event(_) => {}
            Output::Message(message) => {
                // One that cannot be echoed is missed by whoever waits for it.
                let _ = self.session.send(Recipient::One(message.from), message.delivery, message.payload);
            }
        }
    }

    /// Does what can be done now. Returns when to try again.
    fn work(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let Self { session, greet, .. } = self;
        greet.retain(|&guest| {
            session.send(Recipient::One(guest), Delivery::Reliable, payload::stamped(SMALL_BYTES)).is_err()
        });
        let greeting = (!greet.is_empty()).then_some(now + AGAIN);
        let sending = self.send(now);
        if self.sending.as_ref().is_some_and(|sending| sending.sent == sending.job.messages) {
            self.sending = None;
        }
        greeting.into_iter().chain(sending).min()
    }

    fn send(&mut self, now: Instant) -> Option<Instant> {
        let sending = self.sending.as_mut()?;
        let Job { to, delivery, bytes, messages, pace } = sending.job.clone();
        let to = Recipient::One(to);
        match pace {
            Pace::Each(interval) => {
                if now >= sending.next_at && self.session.send(to, delivery, payload::stamped(bytes)).is_ok() {
                    sending.sent += 1;
                    sending.next_at += interval;
                }
                Some(sending.next_at.max(now + AGAIN))
            }
            Pace::Flood(arrivals) => {
                for _ in 0..TURN.min(messages - sending.sent) {
                    if sending.is_ahead(&arrivals, now) {
                        return Some(now + AGAIN);
                    }
                    match self.session.send(to, delivery, sending.payload.clone()) {
                        Ok(()) => sending.sent += 1,
                        Err(SendError::Full | SendError::NotConnected) => return Some(now + AGAIN),
                        Err(SendError::TooLarge { .. } | SendError::HostOnly) => return None,
                    }
                }
                Some(now)
            }
        }
    }
}

async fn changed(arrivals: Option<&Arrivals>) {
    match arrivals {
        Some(arrivals) => arrivals.changed.notified().await,
        None => std::future::pending().await,
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
