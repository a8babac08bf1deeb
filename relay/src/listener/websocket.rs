//! WebSockets for peers whose UDP is blocked: one binary message is one frame.
//!
//! To the table each has an address of its own, of a range that no network routes; nothing that comes by UDP may have one. It is never
//! used again, so that nobody inherits what was bound there.

mod connection;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::limits;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::config::WebSocketLimits;
use crate::outgoing::Outgoing;

/// `fd75:7773::/64`: a unique local prefix (RFC 4193), followed by the connection's number.
const PREFIX: u128 = 0xfd75_7773 << 96;
const PORT: u16 = 1;
/// Frames that were read and wait for the event loop. The connections wait meanwhile, and TCP has their peers wait.
const HEARD_MAX: usize = 1024;
/// Connections that the system keeps until they are taken.
const BACKLOG: u32 = 1024;
/// Bytes that the system keeps for one peer: what waits there is too old to be dropped for something newer.
const SEND_BUFFER_BYTES: u32 = 128 * 1024;
/// After a refusal of the system, as where too many files are open, nobody is let in for so long.
const PAUSE: Duration = Duration::from_millis(100);

/// What comes from a connection.
#[derive(Debug)]
pub(crate) enum Heard {
    /// It has become a WebSocket.
    Opened,
    /// A frame.
    Frame(SocketAddr, Vec<u8>),
    /// It has ended.
    Closed(SocketAddr),
}

/// Whether an address is one of a WebSocket.
pub(crate) fn is_websocket(address: SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V6(ip) => ip.to_bits() >> 64 == PREFIX >> 64,
        IpAddr::V4(_) => false,
    }
}

fn address_of(number: u64) -> SocketAddr {
    SocketAddr::new(Ipv6Addr::from_bits(PREFIX | u128::from(number)).into(), PORT)
}

/// Opens the socket for connections.
///
/// # Errors
/// The operating system's.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Connections of a relay that has just ended may linger. Elsewhere than on Unix it would let others take the port as well.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    // Those who are let in inherit it.
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// One connection, ended when it is dropped.
#[derive(Debug)]
struct Connection {
    network: IpAddr,
    outgoing: Arc<Outgoing>,
    /// When something last came of which the table took notice.
    heard_at: Instant,
    task: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The socket for connections, and the connections.
#[derive(Debug)]
pub(crate) struct WebSocketListener {
    socket: TcpListener,
    limits: WebSocketLimits,
    connections: BTreeMap<SocketAddr, Connection>,
    /// How many there are of each network.
    networks: BTreeMap<IpAddr, usize>,
    next_number: u64,
    paused_until: Instant,
    heard: mpsc::Sender<Heard>,
}

impl WebSocketListener {
    /// The receiver gets what comes from all connections.
    pub(crate) fn new(socket: TcpListener, limits: WebSocketLimits, now: Instant) -> (Self, mpsc::Receiver<Heard>) {
        let (heard, hears) = mpsc::channel(HEARD_MAX);
        let (connections, networks) = (BTreeMap::new(), BTreeMap::new());
        (Self { socket, limits, connections, networks, next_number: 1, paused_until: now, heard }, hears)
    }

    /// Waits for somebody who connects.
    pub(crate) async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        tokio::time::sleep_until(self.paused_until.into()).await;
        self.socket.accept().await
    }

    /// Lets somebody in. Returns false if there are too many.
    pub(crate) fn admit(&mut self, accepted: io::Result<(TcpStream, SocketAddr)>, now: Instant) -> bool {
        let (stream, source) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "nobody could be let in");
                self.paused_until = now + PAUSE;
                return true;
            }
        };
        let network = network(source.ip());
        let of_network = self.networks.entry(network).or_default();
        if self.connections.len() >= self.limits.connections || *of_network >= self.limits.per_address {
            forget_unused(&mut self.networks, network);
            return false;
        }
        *of_network += 1;
        let address = address_of(self.next_number);
        self.next_number += 1;
        let outgoing = Arc::new(Outgoing::default());
        let task = tokio::spawn(connection::serve(stream, address, outgoing.clone(), self.heard.clone()));
        let connection = Connection { network, outgoing, heard_at: now, task: task.abort_handle() };
        self.connections.insert(address, connection);
        true
    }

    /// The table took notice of something that came from there.
    pub(crate) fn heard(&mut self, address: SocketAddr, now: Instant) {
        if let Some(connection) = self.connections.get_mut(&address) {
            connection.heard_at = now;
        }
    }

    /// Where the frames for an address wait; `None` if the connection has ended.
    pub(crate) fn outgoing(&self, address: SocketAddr) -> Option<&Outgoing> {
        self.connections.get(&address).map(|connection| &*connection.outgoing)
    }

    /// Ends a connection, if it is there.
    pub(crate) fn close(&mut self, address: SocketAddr) {
        let Some(connection) = self.connections.remove(&address) else { return };
        if let Some(of_network) = self.networks.get_mut(&connection.network) {
            *of_network -= 1;
        }
        forget_unused(&mut self.networks, connection.network);
    }

    /// Ends those from which nothing came for too long.
    pub(crate) fn close_idle(&mut self, idle: Duration, now: Instant) {
        let is_idle = |connection: &Connection| now.saturating_duration_since(connection.heard_at) >= idle;
        let idle: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, connection)| is_idle(connection))
            .map(|(&address, _)| address)
            .collect();
        for address in idle {
            tracing::debug!("a WebSocket is closed: nothing came on it");
            self.close(address);
        }
    }
}

fn forget_unused(networks: &mut BTreeMap<IpAddr, usize>, network: IpAddr) {
    if networks.get(&network) == Some(&0) {
        networks.remove(&network);
    }
}

/// One IPv6 customer has at least 2^64 addresses.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address @ IpAddr::V4(_) => address,
    }
}

const _: () =
    assert!(limits::RELAY_WEBSOCKETS_PER_ADDRESS_MAX < limits::RELAY_WEBSOCKETS_MAX, "one address leaves room");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_websockets_are_their_own_and_no_others() {
        assert_eq!(address_of(1).to_string(), "[fd75:7773::1]:1");
        assert!(is_websocket(address_of(0)) && is_websocket(address_of(u64::MAX)));
        for other in ["127.0.0.1:1", "[::1]:1", "[fd75:7773:0:1::1]:1", "[fd75:6e64::1]:1"] {
            assert!(!is_websocket(other.parse().unwrap()), "{other}");
        }
    }
}
