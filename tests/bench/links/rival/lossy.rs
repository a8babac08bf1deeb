//! The crate's own sockets, of whose datagrams a part is lost.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, RecvMeta, Runtime, TokioRuntime,
    Transmit,
};

type BoxedFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How much is lost. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Loss(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    part: f64,
    random: fastrand::Rng,
}

impl Loss {
    /// Nothing is lost yet.
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State { part: 0.0, random: fastrand::Rng::with_seed(seed) })))
    }

    /// From now on this part of all datagrams.
    pub(crate) fn set(&self, part: f64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).part = part;
    }

    fn strikes(&self) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let part = state.part;
        state.random.f64() < part
    }
}

/// What the crate runs on.
#[derive(Debug)]
pub(super) struct LossyRuntime(pub(super) Loss);

impl Runtime for LossyRuntime {
    fn spawn(&self, future: BoxedFuture<'static, ()>) -> Box<dyn JoinHandle> {
        TokioRuntime.spawn(future)
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let socket = TokioRuntime.wrap_udp_socket(socket)?;
        Ok(Arc::new(LossySocket { socket, loss: self.0.clone() }))
    }

    fn wrap_tcp_listener(&self, listener: std::net::TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>> {
        TokioRuntime.wrap_tcp_listener(listener)
    }

    fn connect_tcp<'a>(&'a self, address: SocketAddr) -> BoxedFuture<'a, io::Result<Arc<dyn AsyncTcpStream>>> {
        TokioRuntime.connect_tcp(address)
    }

    fn resolve_host<'a>(&'a self, host: &'a str) -> BoxedFuture<'a, io::Result<Vec<SocketAddr>>> {
        TokioRuntime.resolve_host(host)
    }

    fn sleep(&self, duration: Duration) -> BoxedFuture<'static, ()> {
        TokioRuntime.sleep(duration)
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        TokioRuntime.interval(period)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        TokioRuntime.block_on(future);
    }
}

/// One datagram at a time, so that each has its own fate.
#[derive(Debug)]
struct LossySocket {
    socket: Arc<dyn AsyncUdpSocket>,
    loss: Loss,
}

impl AsyncUdpSocket for LossySocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        if self.loss.strikes() {
            return Poll::Ready(Ok(transmit.contents.len()));
        }
        self.socket.poll_send(cx, transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.socket.poll_recv(cx, buffers, meta)
    }

    fn max_gro_segments(&self) -> usize {
        self.socket.max_gro_segments()
    }
}
