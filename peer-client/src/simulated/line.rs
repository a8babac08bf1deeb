//! What is under way from this peer's socket.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::NetworkControl;

/// Datagrams that are under way: with the longest delay and jitter, ten times what a member may send through a relay. Above it the
/// one that would have arrived next is dropped, which is the oldest but for jitter.
const UNDER_WAY_MAX: usize = 16 * 1024;

/// The way out of a socket. Dropped: what is under way still arrives.
#[derive(Debug)]
pub(crate) struct Line {
    control: NetworkControl,
    under_way: Arc<UnderWay>,
    /// It leads straight to other machines, not to the relay.
    is_straight: bool,
}

#[derive(Debug, Default)]
struct UnderWay {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    datagrams: BinaryHeap<Reverse<Datagram>>,
    /// Datagrams that were sent so far.
    sent: u64,
    is_closed: bool,
}

/// Ordered by its arrival; those that arrive together by their number.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Datagram {
    at: Instant,
    number: u64,
    to: SocketAddr,
    bytes: Vec<u8>,
}

/// What the task does next.
enum Next {
    Send(Datagram),
    WaitUntil(Instant),
    Wait,
    End,
}

impl Line {
    /// Lets what is sent here out of that socket when it is due.
    pub(crate) fn new(socket: UdpSocket, control: NetworkControl) -> Self {
        let under_way = Arc::new(UnderWay::default());
        tokio::spawn(deliver(socket, control.clone(), under_way.clone()));
        Self { control, under_way, is_straight: false }
    }

    /// The same for one that leads straight to other machines.
    pub(crate) fn straight(socket: UdpSocket, control: NetworkControl) -> Self {
        let mut line = Self::new(socket, control);
        line.is_straight = true;
        line
    }

    /// Sends a datagram, to whatever fate.
    pub(crate) fn send(&self, bytes: &[u8], to: SocketAddr) {
        let mut state = self.under_way.lock();
        let number = state.sent;
        state.sent += 1;
        let shared = &self.control.0;
        shared.sent.fetch_add(1, Ordering::Relaxed);
        let fate = if self.is_cut() { [None, None] } else { self.control.network().fate(number) };
        let (lost, doubled) = (fate[0].is_none(), fate[1].is_some());
        shared.lost.fetch_add(lost.into(), Ordering::Relaxed);
        shared.doubled.fetch_add(doubled.into(), Ordering::Relaxed);
        let now = Instant::now();
        let datagram = |late: Duration| Datagram { at: now + late, number, to, bytes: bytes.to_vec() };
        let overflowed = fate.into_iter().flatten().filter(|late| state.push(datagram(*late))).count();
        shared.overflowed.fetch_add(overflowed as u64, Ordering::Relaxed);
        drop(state);
        self.under_way.changed.notify_one();
    }

    /// Whether what comes in now is lost; if so, it counts.
    pub(crate) fn loses_arrival(&self) -> bool {
        let is_lost = self.is_cut();
        self.control.0.lost.fetch_add(is_lost.into(), Ordering::Relaxed);
        is_lost
    }

    fn is_cut(&self) -> bool {
        self.control.is_partitioned() || self.is_straight && self.control.is_straight_cut()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.under_way.lock().is_closed = true;
        self.under_way.changed.notify_one();
    }
}

impl UnderWay {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns true if another was dropped for it.
    fn push(&mut self, datagram: Datagram) -> bool {
        let is_full = self.datagrams.len() >= UNDER_WAY_MAX;
        if is_full {
            self.datagrams.pop();
        }
        self.datagrams.push(Reverse(datagram));
        is_full
    }

    fn next(&mut self, now: Instant) -> Next {
        match self.datagrams.peek().map(|Reverse(datagram)| datagram.at) {
            Some(at) if at > now => Next::WaitUntil(at),
            Some(_) => self.datagrams.pop().map_or(Next::Wait, |Reverse(datagram)| Next::Send(datagram)),
            None if self.is_closed => Next::End,
            None => Next::Wait,
        }
    }
}

async fn deliver(socket: UdpSocket, control: NetworkControl, under_way: Arc<UnderWay>) {
    loop {
        let next = under_way.lock().next(Instant::now());
        match next {
            Next::Send(_) if control.is_partitioned() => {
                control.0.lost.fetch_add(1, Ordering::Relaxed);
            }
            Next::Send(datagram) => {
                if let Err(error) = socket.send_to(&datagram.bytes, datagram.to).await {
                    tracing::trace!(%error, "a datagram was not sent");
                }
            }
            Next::WaitUntil(at) => tokio::select! {
                () = sleep_until(at) => {}
                () = under_way.changed.notified() => {}
            },
            Next::Wait => under_way.changed.notified().await,
            Next::End => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::simulated::{NetworkCounts, SimulatedNetwork};

    const MS: Duration = Duration::from_millis(1);
    const END: &[u8] = b"end";

    struct Bench {
        line: Line,
        control: NetworkControl,
        receiver: UdpSocket,
        to: SocketAddr,
    }

    async fn bench(network: SimulatedNetwork) -> Bench {
        let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let control = NetworkControl::new(network);
        let to = receiver.local_addr().unwrap();
        Bench { line: Line::new(sender, control.clone()), control, receiver, to }
    }

    impl Bench {
        async fn receive(&self) -> Vec<u8> {
            let mut buffer = [0; 100];
            let length = self.receiver.recv(&mut buffer).await.unwrap();
            buffer[..length].to_vec()
        }

        /// What arrives before the end, which is sent over a network that does nothing more.
        async fn received_before_end(&self) -> Vec<Vec<u8>> {
            self.control.set(SimulatedNetwork::new(0).delay(self.control.network().delay));
            self.line.send(END, self.to);
            let mut received = Vec::new();
            loop {
                match self.receive().await {
                    end if end == END => return received,
                    other => received.push(other),
                }
            }
        }
    }

    async fn arrivals(network: SimulatedNetwork) -> Vec<Vec<u8>> {
        let bench = bench(network).await;
        (0..64_u8).for_each(|number| bench.line.send(&[number], bench.to));
        bench.received_before_end().await
    }

    #[tokio::test]
    async fn the_same_seed_loses_and_doubles_the_same_datagrams() {
        let network = |seed| SimulatedNetwork::new(seed).loss(0.4).duplication(0.3);
        let first = arrivals(network(7)).await;
        assert!(!first.is_empty() && first.len() != 64);
        assert_eq!(arrivals(network(7)).await, first);
        assert_ne!(arrivals(network(8)).await, first);
    }

    #[tokio::test]
    async fn nothing_arrives_before_its_delay() {
        let bench = bench(SimulatedNetwork::new(7).delay(60 * MS).jitter(30 * MS)).await;
        let sent_at = Instant::now();
        (0..16).for_each(|number| bench.line.send(&[number], bench.to));
        for _ in 0..16 {
            bench.receive().await;
            assert!(sent_at.elapsed() >= 60 * MS, "{:?}", sent_at.elapsed());
        }
    }

    #[tokio::test]
    async fn jitter_lets_one_datagram_overtake_another() {
        let bench = bench(SimulatedNetwork::new(7).jitter(50 * MS)).await;
        (0..32).for_each(|number| bench.line.send(&[number], bench.to));
        let mut received = Vec::new();
        while received.len() < 32 {
            received.push(bench.receive().await[0]);
        }
        assert!(!received.is_sorted());
        received.sort_unstable();
        assert_eq!(received, (0..32).collect::<Vec<_>>(), "but none is lost");
    }

    #[tokio::test]
    async fn full_loss_loses_everything() {
        let bench = bench(SimulatedNetwork::new(7).loss(1.0)).await;
        (0..100).for_each(|number| bench.line.send(&[number], bench.to));
        assert_eq!(bench.received_before_end().await, Vec::<Vec<u8>>::new());
        let expected = NetworkCounts { sent: 101, lost: 100, ..NetworkCounts::default() };
        assert_eq!(bench.control.counts(), expected);
    }

    #[tokio::test]
    async fn a_partition_loses_what_is_sent_and_what_is_under_way() {
        let bench = bench(SimulatedNetwork::new(7).delay(20 * MS)).await;
        bench.line.send(b"under way", bench.to);
        bench.control.partition(true);
        bench.line.send(b"sent", bench.to);
        assert!(bench.line.loses_arrival());
        // One that is due later is noticed only after the first was.
        while bench.control.counts().lost < 3 {
            tokio::task::yield_now().await;
        }
        bench.control.partition(false);
        assert!(!bench.line.loses_arrival());
        assert_eq!(bench.received_before_end().await, Vec::<Vec<u8>>::new());
    }

    #[tokio::test]
    async fn what_is_sent_in_a_partition_is_lost_though_it_would_arrive_after_it() {
        let bench = bench(SimulatedNetwork::new(7).delay(20 * MS)).await;
        bench.control.partition(true);
        bench.line.send(b"sent", bench.to);
        bench.control.partition(false);
        assert_eq!(bench.received_before_end().await, Vec::<Vec<u8>>::new());
        assert_eq!(bench.control.counts().lost, 1);
    }

    #[tokio::test]
    async fn a_full_line_drops_the_oldest_and_counts_it() {
        let bench = bench(SimulatedNetwork::new(7).delay(crate::simulated::DELAY_MAX)).await;
        (0..=UNDER_WAY_MAX).for_each(|number| bench.line.send(&number.to_be_bytes(), bench.to));
        assert_eq!(bench.control.counts().overflowed, 1);
        assert_eq!(bench.receive().await, 1_usize.to_be_bytes());
    }

    #[tokio::test]
    async fn what_is_under_way_arrives_though_its_sender_is_gone() {
        let Bench { line, receiver, to, .. } = bench(SimulatedNetwork::new(7).delay(20 * MS)).await;
        line.send(b"goodbye", to);
        drop(line);
        let mut buffer = [0; 100];
        assert_eq!(receiver.recv(&mut buffer).await.unwrap(), 7);
    }
}
