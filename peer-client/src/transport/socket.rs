//! One UDP socket for everything: relay frames from and to the relay, QUIC from and to everybody else. Where UDP does not reach the
//! relay, its frames go by a WebSocket.
//!
//! QUIC sees IPv6 addresses alone. A peer that is reached through the relay has one that is made of its connection id, in a range that
//! no network routes; an IPv4 address is mapped.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use protocol::frame::{RELAY_DATA_HEADER_BYTES, RelayFrame};
use protocol::id::{ConnectionId, SessionTag};
use protocol::limits;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::sync::mpsc;

use super::web_socket::WebSocketQueues;
use crate::simulated::{Line, NetworkControl};

/// Relay control frames that wait for the binding. They are answers to single questions, which are asked again.
pub(crate) const CONTROL_FRAMES_MAX: usize = 64;
/// Datagrams that are looked at before other tasks get their turn.
const DATAGRAMS_A_TURN: usize = 64;
/// `fd75:6e64::/96`: a unique local prefix (RFC 4193), followed by the connection id.
const RELAYED_PREFIX: [u16; 2] = [0xfd75, 0x6e64];
const RELAYED_PORT: u16 = 1;

/// The address by which QUIC knows a peer behind the relay.
pub(crate) fn relayed(peer: ConnectionId) -> SocketAddr {
    let [a, b, c, d] = peer.0.to_be_bytes();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let ip = Ipv6Addr::new(RELAYED_PREFIX[0], RELAYED_PREFIX[1], 0, 0, 0, 0, high, low);
    SocketAddr::new(ip.into(), RELAYED_PORT)
}

/// Whether it is such an address.
pub(crate) fn is_relayed(address: SocketAddr) -> bool {
    relayed_peer(address).is_some()
}

fn relayed_peer(address: SocketAddr) -> Option<ConnectionId> {
    let IpAddr::V6(ip) = address.ip() else { return None };
    let segments = ip.segments();
    if segments[..2] != RELAYED_PREFIX || segments[2..6] != [0; 4] {
        return None;
    }
    Some(ConnectionId(u32::from(segments[6]) << 16 | u32::from(segments[7])))
}

/// What brings frames to the relay and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Carrier {
    /// Datagrams.
    #[default]
    Udp,
    /// Messages of a WebSocket: UDP does not get through.
    WebSocket,
}

/// A control frame of the relay.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ControlFrame {
    pub(crate) carrier: Carrier,
    pub(crate) bytes: Vec<u8>,
}

/// The way to the relay.
#[derive(Debug, Clone, Copy, Default)]
struct Relay {
    address: Option<SocketAddr>,
    session: Option<SessionTag>,
    carrier: Carrier,
    heard_at: Option<Instant>,
    data_at: Option<Instant>,
}

/// The socket, for QUIC and for the binding at the relay.
#[derive(Debug)]
pub(crate) struct PeerSocket {
    io: tokio::net::UdpSocket,
    /// What is sent goes this way, where the network is simulated.
    line: Option<Line>,
    /// Written by the binding, read for each datagram; held for a few instructions.
    relay: Mutex<Relay>,
    control: mpsc::Sender<ControlFrame>,
    /// Between this socket and the task that has the WebSocket, if there is one.
    web: Arc<WebSocketQueues>,
}

impl PeerSocket {
    /// Opens the socket. The receiver gets the relay's control frames.
    ///
    /// # Errors
    /// Those of binding a UDP socket.
    pub(crate) fn bind(
        listen: SocketAddr,
        network: Option<&NetworkControl>,
    ) -> io::Result<(Self, mpsc::Receiver<ControlFrame>)> {
        let socket = std::net::UdpSocket::bind(listen)?;
        socket.set_nonblocking(true)?;
        let line = network.map(|network| simulated(&socket, network)).transpose()?;
        let (control, frames) = mpsc::channel(CONTROL_FRAMES_MAX);
        let io = tokio::net::UdpSocket::from_std(socket)?;
        Ok((Self { io, line, relay: Mutex::default(), control, web: Arc::default() }, frames))
    }

    /// Where the real socket listens.
    pub(crate) fn listens_on(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    /// Talks to the relay at this address from now on.
    pub(crate) fn set_relay(&self, address: SocketAddr) {
        let mut relay = self.relay();
        if relay.address != Some(address) {
            *relay = Relay { address: Some(address), ..Relay::default() };
        }
    }

    /// The relay has bound this socket in this session, by this carrier.
    pub(crate) fn set_session(&self, session: SessionTag, carrier: Carrier) {
        let mut relay = self.relay();
        (relay.session, relay.carrier) = (Some(session), carrier);
    }

    /// By which carrier the relay was bound last.
    pub(crate) fn carrier(&self) -> Carrier {
        self.relay().carrier
    }

    /// What a WebSocket to the relay carries.
    pub(crate) fn web_socket(&self) -> &Arc<WebSocketQueues> {
        &self.web
    }

    /// The relay's address.
    pub(crate) fn relay_address(&self) -> Option<SocketAddr> {
        self.relay().address
    }

    /// The session, once bound.
    pub(crate) fn session(&self) -> Option<SessionTag> {
        self.relay().session
    }

    /// Whether an address is of a family that this socket can send to.
    pub(crate) fn reaches(&self, address: SocketAddr) -> bool {
        address.is_ipv4() || self.io.local_addr().is_ok_and(|local| local.is_ipv6())
    }

    /// When anything last came from the relay.
    pub(crate) fn relay_heard_at(&self) -> Option<Instant> {
        self.relay().heard_at
    }

    /// When data last came through the relay.
    pub(crate) fn relay_data_at(&self) -> Option<Instant> {
        self.relay().data_at
    }

    /// Waits until the system takes datagrams: at first it is not known to.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.io.writable().await
    }

    /// Sends a control frame to the relay, by the carrier that it was bound by. It may be lost, as any datagram.
    pub(crate) fn send_control(&self, frame: &RelayFrame<'_>) {
        self.send_control_by(self.carrier(), frame);
    }

    /// As [`Self::send_control`], by this carrier.
    pub(crate) fn send_control_by(&self, carrier: Carrier, frame: &RelayFrame<'_>) {
        let Some(address) = self.relay_address() else { return };
        if let Err(error) = self.send_to_relay(carrier, &frame.to_vec(), address) {
            tracing::trace!(%error, "a control frame for the relay was not sent");
        }
    }

    fn send_to_relay(&self, carrier: Carrier, frame: &[u8], address: SocketAddr) -> io::Result<()> {
        match carrier {
            Carrier::Udp => self.send_datagram(frame, address),
            Carrier::WebSocket => {
                self.web.outgoing.push(frame.to_vec());
                Ok(())
            }
        }
    }

    fn relay(&self) -> std::sync::MutexGuard<'_, Relay> {
        self.relay.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one way out.
    fn send_datagram(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        match &self.line {
            None => self.io.try_send_to(bytes, self.real(to)).map(drop),
            Some(line) => {
                line.send(bytes, self.real(to));
                Ok(())
            }
        }
    }

    /// The address as this socket's family needs it.
    fn real(&self, address: SocketAddr) -> SocketAddr {
        let canonical = SocketAddr::new(address.ip().to_canonical(), address.port());
        match (self.io.local_addr(), canonical) {
            (Ok(SocketAddr::V6(_)), SocketAddr::V4(_)) => mapped(canonical),
            (Ok(_) | Err(_), _) => canonical,
        }
    }

    /// Receives one datagram for QUIC: its length and the address of its sender. `None`: it was not for QUIC.
    fn try_recv(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, SocketAddr)>> {
        if let Some(frame) = self.web.incoming.try_next() {
            let Some(room) = buffer.get_mut(..frame.len()) else { return Ok(None) };
            room.copy_from_slice(&frame);
            return Ok(self.take_relay_frame(Carrier::WebSocket, buffer, frame.len()));
        }
        let (length, source) = self.io.try_recv_from(buffer)?;
        if self.line.as_ref().is_some_and(Line::loses_arrival) {
            return Ok(None);
        }
        let source = SocketAddr::new(source.ip().to_canonical(), source.port());
        if self.relay_address() != Some(source) {
            // Nobody but the relay speaks for those behind it.
            return Ok(relayed_peer(source).is_none().then(|| (length, mapped(source))));
        }
        Ok(self.take_relay_frame(Carrier::Udp, buffer, length))
    }

    /// Takes a frame of the relay apart. Returns what is in it for QUIC.
    fn take_relay_frame(&self, carrier: Carrier, buffer: &mut [u8], length: usize) -> Option<(usize, SocketAddr)> {
        let session = {
            let mut relay = self.relay();
            relay.heard_at = Some(Instant::now());
            relay.session
        };
        match RelayFrame::decode(&buffer[..length]) {
            Ok(RelayFrame::Data { session: tag, peer, payload }) if Some(tag) == session => {
                let payload_bytes = payload.len();
                self.relay().data_at = Some(Instant::now());
                buffer.copy_within(RELAY_DATA_HEADER_BYTES..length, 0);
                Some((payload_bytes, relayed(peer)))
            }
            Ok(RelayFrame::Data { .. }) => None,
            Ok(_) => {
                // Full: the binding asks again for what it misses.
                let _ = self.control.try_send(ControlFrame { carrier, bytes: buffer[..length].to_vec() });
                None
            }
            Err(error) => {
                tracing::trace!(%error, "a datagram of the relay was dropped");
                None
            }
        }
    }

    fn send_relayed(&self, peer: ConnectionId, payload: &[u8]) -> io::Result<()> {
        let relay = *self.relay();
        let (Some(address), Some(session)) = (relay.address, relay.session) else { return Ok(()) };
        let mut frame = [0; limits::RELAY_FRAME_BYTES_MAX];
        let length = RELAY_DATA_HEADER_BYTES + payload.len();
        let Some(room) = frame.get_mut(..length) else { return Ok(()) };
        room[..RELAY_DATA_HEADER_BYTES].copy_from_slice(&RelayFrame::data_header(session, peer));
        room[RELAY_DATA_HEADER_BYTES..].copy_from_slice(payload);
        self.send_to_relay(relay.carrier, room, address)
    }
}

/// A way out of the same socket, which the simulated network takes its time for.
fn simulated(socket: &std::net::UdpSocket, network: &NetworkControl) -> io::Result<Line> {
    let way_out = tokio::net::UdpSocket::from_std(socket.try_clone()?)?;
    Ok(Line::new(way_out, network.clone()))
}

/// An address as QUIC sees it.
pub(crate) fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

impl AsyncUdpSocket for PeerSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Poller { socket: self, writable: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let sent = match relayed_peer(transmit.destination) {
            Some(peer) => self.send_relayed(peer, transmit.contents),
            None => self.send_datagram(transmit.contents, transmit.destination),
        };
        match sent {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                // An unreachable network is a lost datagram: the link's own time-out decides.
                tracing::trace!(%error, "a datagram was not sent");
                Ok(())
            }
            other => other,
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let room = bufs.len().min(meta.len());
        let mut filled = 0;
        for _ in 0..DATAGRAMS_A_TURN {
            if filled == room {
                return Poll::Ready(Ok(filled));
            }
            match self.try_recv(&mut bufs[filled]) {
                Ok(Some((len, addr))) => {
                    meta[filled] = RecvMeta { addr, len, stride: len, ecn: None, dst_ip: None };
                    filled += 1;
                }
                Ok(None) => {}
                // Some systems report an unreachable peer here: of no interest to the others.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Poll::Ready(Err(error)),
                Err(_) if filled > 0 => return Poll::Ready(Ok(filled)),
                Err(_) => match (self.io.poll_recv_ready(cx), self.web.incoming.poll_ready(cx)) {
                    (Poll::Ready(Err(error)), _) => return Poll::Ready(Err(error)),
                    (Poll::Ready(Ok(())), _) | (_, Poll::Ready(())) => {}
                    (Poll::Pending, Poll::Pending) => return Poll::Pending,
                },
            }
        }
        if filled > 0 {
            return Poll::Ready(Ok(filled));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        // Always IPv6 to QUIC, or it would refuse the addresses of relayed peers.
        Ok(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), self.io.local_addr()?.port()))
    }
}

type Writable = Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>;

/// Waits until the socket takes datagrams again, for one of many waiting tasks.
struct Poller {
    socket: Arc<PeerSocket>,
    writable: Option<Writable>,
}

impl std::fmt::Debug for Poller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Poller").finish_non_exhaustive()
    }
}

impl UdpPoller for Poller {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = self.socket.clone();
        let writable =
            self.writable.get_or_insert_with(|| Box::pin(async move { socket.io.writable().await }) as Writable);
        let ready = writable.as_mut().poll(cx);
        if ready.is_ready() {
            self.writable = None;
        }
        ready
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use protocol::frame::HostHint;

    use super::*;
    use crate::simulated::SimulatedNetwork;

    const SESSION: SessionTag = SessionTag(7);

    /// A socket that is bound at a relay, which is a plain socket here.
    async fn bound() -> (Arc<PeerSocket>, tokio::net::UdpSocket, mpsc::Receiver<ControlFrame>) {
        bound_over(None).await
    }

    async fn bound_over(
        network: Option<&NetworkControl>,
    ) -> (Arc<PeerSocket>, tokio::net::UdpSocket, mpsc::Receiver<ControlFrame>) {
        let relay = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (socket, frames) = PeerSocket::bind((Ipv4Addr::LOCALHOST, 0).into(), network).unwrap();
        socket.set_relay(relay.local_addr().unwrap());
        socket.set_session(SESSION, Carrier::Udp);
        (Arc::new(socket), relay, frames)
    }

    async fn receive(socket: &PeerSocket) -> (Vec<u8>, SocketAddr) {
        let mut buffer = [0; 2000];
        let mut meta = [RecvMeta::default()];
        let received = std::future::poll_fn(|cx| socket.poll_recv(cx, &mut [IoSliceMut::new(&mut buffer)], &mut meta));
        assert_eq!(received.await.unwrap(), 1);
        (buffer[..meta[0].len].to_vec(), meta[0].addr)
    }

    fn transmit(destination: SocketAddr, contents: &[u8]) -> Transmit<'_> {
        Transmit { destination, ecn: None, contents, segment_size: None, src_ip: None }
    }

    #[test]
    fn the_address_of_a_relayed_peer_is_its_connection_id() {
        for id in [0, 1, 0x0001_0000, u32::MAX] {
            assert_eq!(relayed_peer(relayed(ConnectionId(id))), Some(ConnectionId(id)));
        }
        assert_eq!(relayed_peer(mapped((Ipv4Addr::LOCALHOST, 1).into())), None);
    }

    #[tokio::test]
    async fn what_goes_to_a_relayed_peer_is_wrapped_and_what_comes_from_it_is_unwrapped() {
        let (socket, relay, _frames) = bound().await;
        let peer = ConnectionId(5);
        socket.writable().await.unwrap();
        socket.try_send(&transmit(relayed(peer), b"out")).unwrap();
        let mut buffer = [0; 2000];
        let (length, source) = relay.recv_from(&mut buffer).await.unwrap();
        let sent = RelayFrame::Data { session: SESSION, peer, payload: b"out" };
        assert_eq!(RelayFrame::decode(&buffer[..length]), Ok(sent));
        let back = RelayFrame::Data { session: SESSION, peer, payload: b"in" };
        relay.send_to(&back.to_vec(), source).await.unwrap();
        assert_eq!(receive(&socket).await, (b"in".to_vec(), relayed(peer)));
    }

    #[tokio::test]
    async fn by_websocket_the_same_frames_go_out_and_come_in() {
        let (socket, _relay, mut frames) = bound().await;
        socket.set_session(SESSION, Carrier::WebSocket);
        let peer = ConnectionId(5);
        socket.try_send(&transmit(relayed(peer), b"out")).unwrap();
        let sent = RelayFrame::Data { session: SESSION, peer, payload: b"out" };
        assert_eq!(socket.web_socket().outgoing.try_next(), Some(sent.to_vec()));
        let receiving = tokio::spawn({
            let socket = socket.clone();
            async move { receive(&socket).await }
        });
        tokio::task::yield_now().await;
        let moved = RelayFrame::HostMoved { session: SESSION, host: HostHint::NONE }.to_vec();
        let back = RelayFrame::Data { session: SESSION, peer, payload: b"in" };
        for frame in [moved.clone(), vec![0; 5000], back.to_vec()] {
            socket.web_socket().incoming.push(frame);
        }
        assert_eq!(receiving.await.unwrap(), (b"in".to_vec(), relayed(peer)));
        assert_eq!(frames.recv().await, Some(ControlFrame { carrier: Carrier::WebSocket, bytes: moved }));
    }

    #[tokio::test]
    async fn control_frames_go_to_the_binding_and_only_the_relay_speaks_for_relayed_peers() {
        let (socket, relay, mut frames) = bound().await;
        let address = socket.listens_on().unwrap();
        let stranger = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let forged = RelayFrame::Data { session: SESSION, peer: ConnectionId(1), payload: b"forged" }.to_vec();
        let moved = RelayFrame::HostMoved { session: SESSION, host: HostHint::NONE }.to_vec();
        let other_session = RelayFrame::Data { session: SessionTag(8), peer: ConnectionId(1), payload: b"x" }.to_vec();
        relay.send_to(&moved, address).await.unwrap();
        relay.send_to(&other_session, address).await.unwrap();
        stranger.send_to(&forged, address).await.unwrap();
        // It arrives as what it is: bytes of a stranger, which QUIC will not understand.
        assert_eq!(receive(&socket).await, (forged, mapped(stranger.local_addr().unwrap())));
        assert_eq!(frames.recv().await, Some(ControlFrame { carrier: Carrier::Udp, bytes: moved }));
    }

    /// Sends one datagram each way out: to the relay, through it, and straight. All of them arrive at the relay's socket here.
    async fn send_all(socket: &PeerSocket, relay: &tokio::net::UdpSocket) {
        socket.writable().await.unwrap();
        socket.send_control(&RelayFrame::KeepAlive { session: SESSION, padding: [0; 12] });
        socket.try_send(&transmit(relayed(ConnectionId(5)), b"relayed")).unwrap();
        socket.try_send(&transmit(mapped(relay.local_addr().unwrap()), b"straight")).unwrap();
    }

    async fn receive_three(relay: &tokio::net::UdpSocket) {
        let mut buffer = [0; 2000];
        for _ in 0..3 {
            relay.recv_from(&mut buffer).await.unwrap();
        }
    }

    #[tokio::test]
    async fn over_the_real_network_everything_is_sent_at_once() {
        let (socket, relay, _frames) = bound().await;
        assert!(socket.line.is_none());
        send_all(&socket, &relay).await;
        receive_three(&relay).await;
    }

    #[tokio::test]
    async fn over_a_simulated_network_every_datagram_is_late_whichever_way_it_goes() {
        let delay = std::time::Duration::from_millis(50);
        let network = NetworkControl::new(SimulatedNetwork::new(7).delay(delay));
        let (socket, relay, _frames) = bound_over(Some(&network)).await;
        let sent_at = Instant::now();
        send_all(&socket, &relay).await;
        assert_eq!(relay.try_recv(&mut [0; 2000]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        receive_three(&relay).await;
        assert!(sent_at.elapsed() >= delay, "{:?}", sent_at.elapsed());
        assert_eq!(network.counts().sent, 3);
    }

    #[tokio::test]
    async fn what_comes_in_a_partition_is_lost_and_nobody_was_heard() {
        let network = NetworkControl::new(SimulatedNetwork::new(7));
        let (socket, relay, _frames) = bound_over(Some(&network)).await;
        let address = socket.listens_on().unwrap();
        network.partition(true);
        relay.send_to(b"lost", address).await.unwrap();
        while network.counts().lost == 0 {
            socket.io.readable().await.unwrap();
            match socket.try_recv(&mut [0; 2000]) {
                Ok(received) => assert_eq!(received, None),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        assert_eq!(socket.relay_heard_at(), None);
        network.partition(false);
        let back = RelayFrame::Data { session: SESSION, peer: ConnectionId(5), payload: b"in" };
        relay.send_to(&back.to_vec(), address).await.unwrap();
        assert_eq!(receive(&socket).await, (b"in".to_vec(), relayed(ConnectionId(5))));
    }
}
