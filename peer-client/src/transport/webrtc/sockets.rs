//! The sockets and tasks that the crate works with: its own, and sockets over a simulated network where there is one.
//!
//! Its own let the system put datagrams together. Buffers for that take 40 KiB a link (measured, debug build: 279 KiB with, 239 without),
//! and without it a burst is more than the buffer of a socket holds: what is lost then costs a second of SCTP's patience (16 MiB over
//! loopback: 0.55 s with, 2 to 3 s without).

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::ReadBuf;
use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, RecvMeta, Runtime, TokioRuntime,
    Transmit,
};

use super::shared::Shared;
use crate::simulated::{Line, NetworkControl};

/// A name that is not found by then is not there. The crate's one task waits meanwhile.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(1);

/// What the crate runs on.
#[derive(Debug)]
pub(super) struct LinkRuntime {
    pub(super) network: Option<NetworkControl>,
    /// Learns when the crate's task is gone.
    pub(super) link: Weak<Shared>,
}

type BoxedFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Ends the link when the crate's task does, however it does.
struct EndsLink(Weak<Shared>);

impl Drop for EndsLink {
    fn drop(&mut self) {
        if let Some(link) = self.0.upgrade() {
            link.end("its connection is gone");
        }
    }
}

impl Runtime for LinkRuntime {
    fn spawn(&self, future: BoxedFuture<'static, ()>) -> Box<dyn JoinHandle> {
        let ends_link = EndsLink(self.link.clone());
        TokioRuntime.spawn(Box::pin(async move {
            let _ends_link = ends_link;
            future.await;
        }))
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let Some(network) = &self.network else { return TokioRuntime.wrap_udp_socket(socket) };
        socket.set_nonblocking(true)?;
        let way_out = tokio::net::UdpSocket::from_std(socket.try_clone()?)?;
        let line = Line::straight(way_out, network.clone());
        Ok(Arc::new(LateSocket { io: tokio::net::UdpSocket::from_std(socket)?, line }))
    }

    fn wrap_tcp_listener(&self, listener: std::net::TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>> {
        TokioRuntime.wrap_tcp_listener(listener)
    }

    fn connect_tcp<'a>(&'a self, address: SocketAddr) -> BoxedFuture<'a, io::Result<Arc<dyn AsyncTcpStream>>> {
        TokioRuntime.connect_tcp(address)
    }

    fn resolve_host<'a>(&'a self, host: &'a str) -> BoxedFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            let found = tokio::time::timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host(host)).await;
            Ok(found.map_err(|_| io::ErrorKind::TimedOut)??.collect())
        })
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

/// A socket over a simulated network.
#[derive(Debug)]
struct LateSocket {
    io: tokio::net::UdpSocket,
    /// What is sent goes this way.
    line: Line,
}

impl AsyncUdpSocket for LateSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    fn poll_send(&self, _: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        self.line.send(transmit.contents, transmit.destination);
        Poll::Ready(Ok(transmit.contents.len()))
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let (Some(buffer), Some(meta)) = (buffers.first_mut(), meta.first_mut()) else { return Poll::Ready(Ok(0)) };
        loop {
            let mut read = ReadBuf::new(buffer);
            let source = ready!(self.io.poll_recv_from(cx, &mut read))?;
            let length = read.filled().len();
            if self.line.loses_arrival() {
                continue;
            }
            *meta = RecvMeta::default();
            (meta.addr, meta.len, meta.stride) = (source, length, length.max(1));
            return Poll::Ready(Ok(1));
        }
    }
}
