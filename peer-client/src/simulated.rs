//! A bad network, for a developer's desk: delay, jitter, loss, duplication and a pulled plug, on this peer alone.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use peer_client::{Client, LobbyOptions, SimulatedNetwork};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let network = SimulatedNetwork::new(7).delay(Duration::from_millis(40)).jitter(Duration::from_millis(10)).loss(0.02);
//! let client = Client::builder("http://127.0.0.1:8080").simulated_network(network).sign_in().await?;
//! let session = client.host(LobbyOptions { name: "arena".into(), ..LobbyOptions::default() }).await?;
//! if let Some(network) = session.network() {
//!     network.partition(true); // the guests lose their host, and so does the lobby
//! }
//! # Ok(())
//! # }
//! ```

mod events;
mod line;
mod requests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_tungstenite::tungstenite::Error;

pub(crate) use events::EventSocket;
pub(crate) use line::Line;
pub(crate) use requests::exchange;

use self::events::{LateSocket, Wire};
use crate::session::Session;

/// Longest delay, and longest jitter. With more a request would not be answered within its time-out.
pub const DELAY_MAX: Duration = Duration::from_secs(1);

/// What the network does to what this peer sends. To give both directions of a link a delay, give one to both peers.
///
/// - **Datagrams** (links to peers, whether relayed or direct, and what is said to the relay) are late by the delay and up to the jitter,
///   so that one may overtake another; lost; or doubled. What becomes of the *n*-th datagram of a session follows from the seed
///   and *n* alone. Peers with the same seed lose the same ones: give each its own.
/// - **The lobby** is reached over TCP, which loses nothing. Requests wait one delay before they are sent and one before their
///   answer is there; messages of the event socket are late by one delay in both directions, in order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SimulatedNetwork {
    delay: Duration,
    jitter: Duration,
    loss: f64,
    duplication: f64,
    seed: u64,
}

impl SimulatedNetwork {
    /// A network that does nothing yet.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { delay: Duration::ZERO, jitter: Duration::ZERO, loss: 0.0, duplication: 0.0, seed }
    }

    /// How late everything is, one way. At most [`DELAY_MAX`].
    #[must_use]
    pub fn delay(self, delay: Duration) -> Self {
        Self { delay: delay.min(DELAY_MAX), ..self }
    }

    /// How much later a datagram may be, each one by its own part of it, all equally likely. At most [`DELAY_MAX`].
    #[must_use]
    pub fn jitter(self, jitter: Duration) -> Self {
        Self { jitter: jitter.min(DELAY_MAX), ..self }
    }

    /// The part of the datagrams that is lost: 0 to 1.
    #[must_use]
    pub const fn loss(self, loss: f64) -> Self {
        Self { loss: part(loss), ..self }
    }

    /// The part of the datagrams that arrives twice: 0 to 1.
    #[must_use]
    pub const fn duplication(self, duplication: f64) -> Self {
        Self { duplication: part(duplication), ..self }
    }

    /// What becomes of a datagram: how late it and its double are; `None`: there is none.
    fn fate(&self, number: u64) -> [Option<Duration>; 2] {
        let draw = |which| random(self.seed, number.wrapping_mul(DRAWS).wrapping_add(which));
        let late = |which| self.delay + self.jitter.mul_f64(draw(which));
        if draw(0) < self.loss {
            return [None, None];
        }
        [Some(late(1)), (draw(2) < self.duplication).then(|| late(3))]
    }
}

/// Random numbers of one datagram.
const DRAWS: u64 = 4;

/// A part of something, from 0 to 1; what is no number is none of it.
const fn part(part: f64) -> f64 {
    if part.is_nan() { 0.0 } else { part.clamp(0.0, 1.0) }
}

/// The n-th number from a seed, 0 to less than 1: SplitMix64 (Steele, Lea and Flood, 2014), whose state only counts.
fn random(seed: u64, number: u64) -> f64 {
    let mut mixed = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    // The 53 bits that an f64 holds exactly.
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

/// Changes the simulated network of a client while it runs, see [`Session::network`]. Clones are the same network. The sessions of one client share it.
#[derive(Debug, Clone)]
pub struct NetworkControl(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    condition: watch::Sender<Condition>,
    sent: AtomicU64,
    lost: AtomicU64,
    doubled: AtomicU64,
    overflowed: AtomicU64,
}

#[derive(Debug, Clone, Copy)]
struct Condition {
    network: SimulatedNetwork,
    is_partitioned: bool,
    /// No datagram passes on WebRTC links.
    is_straight_cut: bool,
}

/// What became of the datagrams so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NetworkCounts {
    /// Handed to the network by this peer.
    pub sent: u64,
    /// Lost by chance, or in a partition, in either direction.
    pub lost: u64,
    /// Sent twice.
    pub doubled: u64,
    /// Dropped because too many were under way: the oldest first.
    pub overflowed: u64,
}

impl NetworkControl {
    pub(crate) fn new(network: SimulatedNetwork) -> Self {
        Self(Arc::new(Shared {
            condition: watch::Sender::new(Condition { network, is_partitioned: false, is_straight_cut: false }),
            sent: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            doubled: AtomicU64::new(0),
            overflowed: AtomicU64::new(0),
        }))
    }

    /// What the network does from now on. What is under way arrives as it would have.
    pub fn set(&self, network: SimulatedNetwork) {
        self.0.condition.send_modify(|condition| condition.network = network);
    }

    /// What the network does.
    #[must_use]
    pub fn network(&self) -> SimulatedNetwork {
        self.0.condition.borrow().network
    }

    /// Pulls the plug of this peer, or puts it back. Nothing comes and nothing goes: not from or to peers, relay or lobby. Datagrams
    /// that are under way are lost. Requests to the lobby and messages of the event socket are held, as TCP would: they go on
    /// if the network is whole again before their time-out.
    pub fn partition(&self, is_partitioned: bool) {
        self.0.condition.send_modify(|condition| condition.is_partitioned = is_partitioned);
    }

    /// Whether the plug is pulled.
    #[must_use]
    pub fn is_partitioned(&self) -> bool {
        self.0.condition.borrow().is_partitioned
    }

    /// Cuts the ways from machine to machine that WebRTC has found, or mends them: links through the relay go on.
    pub fn cut_straight_ways(&self, is_cut: bool) {
        self.0.condition.send_modify(|condition| condition.is_straight_cut = is_cut);
    }

    fn is_straight_cut(&self) -> bool {
        self.0.condition.borrow().is_straight_cut
    }

    /// What became of the datagrams so far.
    #[must_use]
    pub fn counts(&self) -> NetworkCounts {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Shared { sent, lost, doubled, overflowed, .. } = &*self.0;
        NetworkCounts { sent: of(sent), lost: of(lost), doubled: of(doubled), overflowed: of(overflowed) }
    }

    /// When what is said over TCP now is there.
    fn arrival(&self) -> Instant {
        Instant::now() + self.network().delay
    }

    /// Waits as something does that goes one way over TCP.
    async fn pass(&self) {
        sleep(self.network().delay).await;
        self.healed().await;
    }

    /// Opens an event socket: its handshake goes to the lobby and back.
    ///
    /// # Errors
    /// Those of connecting.
    pub(crate) async fn open(
        &self,
        connecting: impl Future<Output = Result<Wire, Error>>,
    ) -> Result<LateSocket, Error> {
        self.pass().await;
        let connected = connecting.await;
        self.pass().await;
        Ok(LateSocket::new(connected?, self.clone()))
    }

    /// Waits until the plug is in.
    async fn healed(&self) {
        let mut condition = self.0.condition.subscribe();
        let healed = condition.wait_for(|condition| !condition.is_partitioned).await;
        drop(healed.expect("the sender lives as long as this control"));
    }
}

impl Session {
    /// The simulated network, to change it while the game runs; `None`: the network is real, see
    /// [`crate::ClientBuilder::simulated_network`].
    #[must_use]
    pub const fn network(&self) -> Option<&NetworkControl> {
        self.network.as_ref()
    }

    pub(crate) fn with_network(mut self, network: Option<NetworkControl>) -> Self {
        self.network = network;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn bad(seed: u64) -> SimulatedNetwork {
        SimulatedNetwork::new(seed).delay(40 * MS).jitter(20 * MS).loss(0.1).duplication(0.2)
    }

    fn fates(network: SimulatedNetwork) -> Vec<[Option<Duration>; 2]> {
        (0..10_000).map(|number| network.fate(number)).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_fates_and_another_seed_gives_others() {
        assert_eq!(fates(bad(7)), fates(bad(7)));
        assert_ne!(fates(bad(7)), fates(bad(8)));
    }

    #[test]
    fn as_many_are_lost_and_doubled_as_was_asked_and_each_is_as_late_as_was_asked() {
        let fates = fates(bad(7));
        let lost = fates.iter().filter(|[first, _]| first.is_none()).count();
        let doubled = fates.iter().filter(|[_, double]| double.is_some()).count();
        assert!((900..1100).contains(&lost), "{lost} of 10000 lost");
        assert!((1650..1950).contains(&doubled), "{doubled} of 9000 doubled");
        let late: Vec<_> = fates.into_iter().flatten().flatten().collect();
        assert!(late.iter().all(|late| (40 * MS..60 * MS).contains(late)));
        assert!(late.iter().any(|late| *late < 42 * MS) && late.iter().any(|late| *late > 58 * MS));
    }

    #[test]
    fn a_network_that_does_nothing_delivers_everything_once_and_at_once() {
        assert!(fates(SimulatedNetwork::new(7)).iter().all(|fate| *fate == [Some(Duration::ZERO), None]));
    }

    #[test]
    fn what_makes_no_sense_is_brought_into_its_bounds() {
        let network = SimulatedNetwork::new(0).loss(7.0).duplication(f64::NAN).delay(Duration::MAX);
        assert_eq!(network, SimulatedNetwork::new(0).loss(1.0).duplication(0.0).delay(DELAY_MAX));
        assert!(fates(network).iter().all(|fate| *fate == [None, None]));
    }
}
