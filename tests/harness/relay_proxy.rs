//! A relay behind a network that may block UDP: what comes by TCP always gets through.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::udp_proxy::UdpProxy;

/// Tries to find a port that is free for UDP and for TCP.
const TRIES_MAX: usize = 32;

/// The relay's address as peers behind that network see it.
#[derive(Debug)]
pub struct RelayProxy {
    udp: UdpProxy,
    tcp: JoinHandle<()>,
}

impl RelayProxy {
    /// Forwards everything to this relay.
    ///
    /// # Errors
    /// Those of the sockets.
    pub async fn to(relay: SocketAddr) -> io::Result<Self> {
        let mut refusal = io::ErrorKind::AddrInUse.into();
        for _ in 0..TRIES_MAX {
            let udp = UdpProxy::to(relay)?;
            match TcpListener::bind(udp.address()).await {
                Ok(listener) => return Ok(Self { udp, tcp: tokio::spawn(forward(listener, relay)) }),
                Err(error) => refusal = error,
            }
        }
        Err(refusal)
    }

    /// Where peers find the relay.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.udp.address()
    }

    /// Swallows every datagram from now on, in both directions.
    pub fn block_udp(&self) {
        self.udp.cut();
    }
}

impl Drop for RelayProxy {
    fn drop(&mut self) {
        self.tcp.abort();
    }
}

async fn forward(listener: TcpListener, relay: SocketAddr) {
    let mut connections = JoinSet::new();
    while let Ok((mut near, _)) = listener.accept().await {
        connections.spawn(async move {
            if let Ok(mut far) = TcpStream::connect(relay).await {
                // Either end may go at any time.
                drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
            }
        });
    }
}
