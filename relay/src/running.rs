//! A relay that runs: its handle.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use protocol::relay::{Counters, HostSound, RelayTable};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::control::Order;
use crate::desk::Desk;
use crate::eventloop::{Ends, EventLoop};
use crate::listener::udp::UdpListener;
use crate::listener::websocket::{self, WebSocketListener};
use crate::verifier::Verifier;

/// Orders that wait for the relay: a lobby of 1,000 that is closed member by member, and some.
const ORDERS_MAX: usize = 4096;
/// Sounds that wait for the service. Past it the relay keeps only the last of each lobby.
const SOUNDS_MAX: usize = 1024;
/// Where the system may choose the port: tries to find one that is free for UDP and for TCP.
const PORT_TRIES_MAX: usize = 32;

/// A running relay. Dropping it stops the relay too, without waiting for it.
#[derive(Debug)]
pub struct Running {
    /// The bound local address: of UDP, and of TCP for WebSockets.
    pub address: SocketAddr,
    orders: mpsc::Sender<Order>,
    sounds: Option<mpsc::Receiver<HostSound>>,
    counters: watch::Receiver<Counters>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// Binds the sockets and starts the relay on the calling tokio runtime.
///
/// # Errors
/// The operating system's, if it does not give the address or random bytes.
pub async fn start(config: Config, verifier: Verifier) -> io::Result<Running> {
    let (udp, tcp) = bind(config.listen).await?;
    let (address, now) = (udp.local_addr()?, Instant::now());
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)?;
    let desk = Desk::new(RelayTable::new(config.limits, secret, now), verifier, now);
    let websockets = WebSocketListener::new(tcp, config.websockets, now);
    let (orders, orders_in) = mpsc::channel(ORDERS_MAX);
    let (sounds_out, sounds) = mpsc::channel(SOUNDS_MAX);
    let (counters_out, counters) = watch::channel(Counters::default());
    let (stop, stopped) = oneshot::channel();
    let ends = Ends { orders: orders_in, sounds: sounds_out, counters: counters_out, stopped };
    let task = tokio::spawn(EventLoop::new(UdpListener::new(udp), websockets, desk, now).run(ends));
    Ok(Running { address, orders, sounds: Some(sounds), counters, stop, task })
}

/// Takes one port for both: peers know one address.
async fn bind(listen: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut tries = 1..=PORT_TRIES_MAX;
    loop {
        let udp = UdpSocket::bind(listen).await?;
        let address = udp.local_addr()?;
        match websocket::listen(address) {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) if listen.port() == 0 && error.kind() == io::ErrorKind::AddrInUse && tries.next().is_some() => {}
            Err(error) => {
                let text = format!("its TCP port {}, for WebSockets, cannot be opened: {error}", address.port());
                return Err(io::Error::new(error.kind(), text));
            }
        }
    }
}

impl Running {
    /// Where the lobby service's orders go in.
    #[must_use]
    pub fn orders(&self) -> mpsc::Sender<Order> {
        self.orders.clone()
    }

    /// Waits for the next host that falls silent or is heard again; `None` once the relay has stopped or somebody else has
    /// taken the sounds.
    pub async fn sound(&mut self) -> Option<HostSound> {
        self.sounds.as_mut()?.recv().await
    }

    /// Gives the sounds to somebody who waits for them elsewhere; `None` if they were taken before.
    pub fn take_sounds(&mut self) -> Option<mpsc::Receiver<HostSound>> {
        self.sounds.take()
    }

    /// What the relay has done, as of at most 100 ms ago.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters.borrow().clone()
    }

    /// Waits until the counters are as `wanted` says; `None` if the relay stops first.
    pub async fn counters_when(&self, wanted: impl FnMut(&Counters) -> bool) -> Option<Counters> {
        self.counters.clone().wait_for(wanted).await.ok().map(|counters| counters.clone())
    }

    /// Stops the relay and waits until its sockets are closed.
    pub async fn stop(self) {
        // An error means that it has ended already.
        let _ = self.stop.send(());
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the relay's task failed");
        }
    }
}
