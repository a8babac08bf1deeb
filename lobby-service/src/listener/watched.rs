//! A connection that is watched: whoever is too slow at the other end of it is cut off.
//!
//! ```text
//!             first byte            header ends              answer ends
//!   (start) ─────────────▶ Header ───────────────▶ Exchange ─────────────▶ Idle ──first byte──▶ Header …
//!    │ header_timeout                                  │ 101                │ keep_alive
//!    └────────────────────▶ closed                     ▼                    └────────▶ closed
//!                                                    Socket: its own code watches it
//! ```
//! A body that comes too slowly is seen where it is read ([`super::body`]); an answer that is read too slowly, here.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;

use super::limits::ListenerLimits;
use super::pace::{Least, Pace, Timer};
use super::places::Place;

/// Time for which the rest of a refused body is read and dropped: a socket that is closed before loses the answer too.
const DRAIN: Duration = Duration::from_secs(2);
/// Bytes of that rest that are read at most.
const DRAIN_BYTES_MAX: usize = 256 * 1024;
/// Bytes of it that are read at a time.
const DRAIN_STEP_BYTES: usize = 8 * 1024;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The header of a request is on its way, or the first one has not begun.
    Header,
    /// A request is received, handled and answered.
    Exchange,
    /// It waits for its next request.
    Idle,
    /// It has become a WebSocket.
    Socket,
}

/// What a connection is doing and since when, for who reads and writes it, who handles its requests, and who waits for it.
#[derive(Debug)]
pub(super) struct State {
    phase: Mutex<(Phase, Instant)>,
    /// The handler did not take the whole body of the request: more of it may come.
    is_body_left: AtomicBool,
    /// The body came too slowly.
    is_body_late: AtomicBool,
}

impl State {
    pub(super) fn new() -> Arc<Self> {
        let phase = Mutex::new((Phase::Header, Instant::now()));
        Arc::new(Self { phase, is_body_left: AtomicBool::new(false), is_body_late: AtomicBool::new(false) })
    }

    /// A request has begun.
    pub(super) fn begin_exchange(&self) {
        self.enter(Phase::Exchange);
        self.is_body_left.store(false, Ordering::Relaxed);
        self.is_body_late.store(false, Ordering::Relaxed);
    }

    pub(super) fn phase(&self) -> Phase {
        self.lock().0
    }

    pub(super) fn enter(&self, phase: Phase) {
        *self.lock() = (phase, Instant::now());
    }

    /// Enters a phase, if it is in the one before.
    pub(super) fn follow(&self, before: Phase, phase: Phase) {
        let mut current = self.lock();
        if current.0 == before {
            *current = (phase, Instant::now());
        }
    }

    pub(super) fn leave_body(&self) {
        self.is_body_left.store(true, Ordering::Relaxed);
    }

    pub(super) fn body_is_late(&self) {
        self.is_body_late.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_body_late(&self) -> bool {
        self.is_body_late.load(Ordering::Relaxed)
    }

    /// When the connection has waited too long for its client, if it waits.
    pub(super) fn deadline(&self, limits: &ListenerLimits) -> Option<Instant> {
        let (phase, since) = *self.lock();
        match phase {
            Phase::Header => Some(since + limits.header_timeout()),
            Phase::Idle => Some(since + limits.keep_alive()),
            Phase::Exchange | Phase::Socket => None,
        }
    }

    /// What is in there is whole at any time.
    fn lock(&self) -> MutexGuard<'_, (Phase, Instant)> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection, encrypted or not.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Calls a method of either.
macro_rules! either {
    ($stream:expr, $inner:ident => $call:expr) => {
        match $stream {
            Stream::Plain($inner) => $call,
            Stream::Tls($inner) => $call,
        }
    };
}

/// A connection with its place, under the limits.
#[derive(Debug)]
pub(super) struct Watched {
    stream: Stream,
    state: Arc<State>,
    least_read: Least,
    /// While the client does not read.
    blocked: Option<Pace>,
    writing: Timer,
    drain: Option<Drain>,
    _place: Place,
}

#[derive(Debug)]
struct Drain {
    until: Instant,
    timer: Timer,
    bytes: usize,
}

impl Watched {
    pub(super) fn new(stream: Stream, state: Arc<State>, limits: &ListenerLimits, place: Place) -> Self {
        let pause = Duration::from_millis(limits.write_timeout_ms);
        Self {
            stream,
            state,
            least_read: Least { pause, bytes_per_s: limits.bytes_per_s_min },
            blocked: None,
            writing: Timer::default(),
            drain: None,
            _place: place,
        }
    }

    /// Looks at what a write or a flush has done.
    fn watch_write<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        match written {
            Poll::Ready(Ok(done)) => {
                if let Some(pace) = &mut self.blocked {
                    pace.count(bytes(&done), Instant::now());
                }
                Poll::Ready(Ok(done))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                let pace = *self.blocked.get_or_insert_with(|| Pace::new(Instant::now()));
                if self.state.phase() == Phase::Socket {
                    return Poll::Pending;
                }
                let deadline = pace.deadline(self.least_read);
                self.writing.poll_until(context, deadline).map(|()| Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }

    /// Reads and drops what is left of a refused body.
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let drain = self.drain.get_or_insert_with(|| Drain {
            until: Instant::now() + DRAIN,
            timer: Timer::default(),
            bytes: 0,
        });
        let mut scrap = [0; DRAIN_STEP_BYTES];
        while drain.bytes < DRAIN_BYTES_MAX {
            let mut scrap = ReadBuf::new(&mut scrap);
            match either!(&mut self.stream, inner => Pin::new(inner).poll_read(context, &mut scrap)) {
                Poll::Ready(Ok(())) if !scrap.filled().is_empty() => drain.bytes += scrap.filled().len(),
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return drain.timer.poll_until(context, drain.until),
            }
        }
        Poll::Ready(())
    }

    fn tcp(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = either!(&mut self.stream, inner => Pin::new(inner).poll_read(context, buffer));
        if read.is_ready() {
            self.state.follow(Phase::Idle, Phase::Header);
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = either!(&mut self.stream, inner => Pin::new(inner).poll_write(context, bytes));
        self.watch_write(context, written, |&count| count)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = either!(&mut self.stream, inner => Pin::new(inner).poll_write_vectored(context, pieces));
        self.watch_write(context, written, |&count| count)
    }

    fn is_write_vectored(&self) -> bool {
        either!(&self.stream, inner => inner.is_write_vectored())
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = either!(&mut self.stream, inner => Pin::new(inner).poll_flush(context));
        ready!(self.watch_write(context, flushed, |()| 0))?;
        self.blocked = None;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.drain.is_none() {
            let shut = either!(&mut self.stream, inner => Pin::new(inner).poll_shutdown(context));
            ready!(self.watch_write(context, shut, |()| 0))?;
        }
        if self.state.is_body_left.load(Ordering::Relaxed) {
            self.poll_drain(context).map(Ok)
        } else {
            Poll::Ready(Ok(()))
        }
    }
}

impl Drop for Watched {
    /// The system would go on to offer what a client does not read, for minutes.
    fn drop(&mut self) {
        if self.blocked.is_some()
            && let Err(error) = self.tcp().set_zero_linger()
        {
            tracing::debug!(%error, "a connection ends by itself");
        }
    }
}
