//! The listener: takes connections, watches them, and hands their requests to the router.
//!
//! Whoever connects is a stranger. Each connection has a place (so many in total, so many for one address), and each thing that
//! it may take its time for has a limit: [`ListenerLimits`] has them all. What is refused or cut off costs little.

mod body;
pub(crate) mod bucket;
mod descriptors;
mod limits;
mod pace;
mod places;
pub(crate) mod tls;
mod watched;

use std::convert::Infallible;
use std::future::poll_fn;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use protocol::error::ErrorCode;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tower::ServiceExt;

use crate::error::Problem;
use body::{AnswerBody, RequestBody};
use bucket::{Bucket, Rate};
pub use limits::ListenerLimits;
use pace::Timer;
use places::{Place, Places};
pub(crate) use tls::Tls;
pub use tls::TlsError;
use watched::{Phase, State, Stream, Watched};

/// Pause after the system has no room for another connection: others have to end first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The smallest buffer that hyper takes.
const BUFFER_BYTES_MIN: usize = 8 * 1024;
/// Bytes that the system keeps of an answer before they are sent: whoever does not read takes little of its memory.
#[cfg(target_os = "linux")]
const UNSENT_BYTES_MAX: u32 = 32 * 1024;
/// To connections that have no place. There is always room for it in a new one.
const NO_PLACE: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// What all connections share.
struct Listener {
    limits: ListenerLimits,
    http: http1::Builder,
    router: Router,
    tls: Option<Arc<Tls>>,
    /// Event sockets that may be opened.
    sockets: Option<(Rate, Mutex<Bucket>)>,
}

/// Serves connections until `stop` is ready; then it takes no more, and returns when those that are left have had their answers.
/// Event sockets are not waited for.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ListenerLimits,
    tls: Option<Arc<Tls>>,
    stop: impl Future<Output = ()>,
) {
    let places = Places::new(&limits, descriptors::make_room_for(limits.connections_max));
    let sockets = limits.sockets().map(|rate| (rate, Mutex::new(Bucket::new(rate, Instant::now()))));
    let http = http(&limits);
    let shared = Arc::new(Listener { limits, http, router, tls, sockets });
    let (stopping, running) = watch::channel(());
    let mut stop = pin!(stop);
    loop {
        let (stream, from) = tokio::select! {
            connection = accept(&listener) => connection,
            () = &mut stop => break,
        };
        match places.take(from.ip()) {
            Some(place) => {
                tokio::spawn(Arc::clone(&shared).handle_connection(stream, from, place, running.clone()));
            }
            None => refuse(stream, from, shared.tls.is_some()),
        }
    }
    drop((listener, running));
    stopping.send_replace(());
    stopping.closed().await;
}

fn http(limits: &ListenerLimits) -> http1::Builder {
    let mut http = http1::Builder::new();
    // Time-outs are the connection's own: it knows more than one kind of silence.
    http.header_read_timeout(None)
        .max_headers(limits.header_lines_max)
        .max_header_size(limits.header_bytes_max)
        .max_buf_size(limits.header_bytes_max.max(BUFFER_BYTES_MIN));
    http
}

/// The next connection.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};

    let mut is_known = false;
    loop {
        match listener.accept().await {
            Ok(connection) => return connection,
            Err(error) if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) => {}
            Err(error) => {
                if !std::mem::replace(&mut is_known, true) {
                    tracing::error!(%error, "the system has no room for another connection");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Says so in one packet, which nobody waits for, and closes.
fn refuse(stream: TcpStream, from: SocketAddr, is_tls: bool) {
    tracing::debug!(%from, "there is no place for another connection");
    if !is_tls && let Ok(mut stream) = stream.into_std() {
        // Whoever does not take it sees the connection closed.
        let _ = stream.write(NO_PLACE);
    }
}

impl Listener {
    async fn handle_connection(
        self: Arc<Self>,
        stream: TcpStream,
        from: SocketAddr,
        place: Place,
        mut running: watch::Receiver<()>,
    ) {
        if let Err(error) = configure(&stream) {
            tracing::debug!(%error, "a connection keeps its defaults");
        }
        let stream = tokio::select! {
            stream = self.shake_hands(stream) => stream,
            _ = running.changed() => return,
        };
        let Some(stream) = stream else { return };
        let state = State::new();
        let watched = Watched::new(stream, Arc::clone(&state), &self.limits, place);
        let service = service_fn(|request| Arc::clone(&self).answer(request, from, Arc::clone(&state)));
        let mut connection = pin!(self.http.serve_connection(TokioIo::new(watched), service).with_upgrades());
        // Polled after the connection, whose phase may have changed by that.
        let mut timer = Timer::default();
        let watch = poll_fn(|context| match connection.as_mut().poll(context) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending => match state.deadline(&self.limits) {
                Some(deadline) => timer.poll_until(context, deadline).map(|()| None),
                None => Poll::Pending,
            },
        });
        let result = tokio::select! {
            result = watch => result,
            _ = running.changed() => {
                if state.phase() != Phase::Exchange {
                    return;
                }
                connection.as_mut().graceful_shutdown();
                Some(connection.await)
            }
        };
        match result {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                tracing::debug!(%from, error = &error as &dyn std::error::Error, "a connection has failed");
            }
            None => tracing::debug!(%from, phase = ?state.phase(), "a connection was too slow"),
        }
    }

    /// The stream itself, or encrypted; `None` if that fails or takes too long.
    async fn shake_hands(&self, stream: TcpStream) -> Option<Stream> {
        let Some(tls) = &self.tls else { return Some(Stream::Plain(stream)) };
        let hands = tokio::time::timeout(self.limits.tls_handshake_timeout(), tls.acceptor().accept(stream));
        match hands.await {
            Ok(Ok(stream)) => Some(Stream::Tls(Box::new(stream))),
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake has failed");
                None
            }
            Err(_) => None,
        }
    }

    async fn answer(
        self: Arc<Self>,
        mut request: Request<Incoming>,
        from: SocketAddr,
        state: Arc<State>,
    ) -> Result<Response<AnswerBody>, Infallible> {
        state.begin_exchange();
        let is_socket = is_socket(&request);
        let answer = if is_socket && !self.may_open_socket() {
            Problem::new(ErrorCode::Unavailable, "too many event sockets are being opened").into_response()
        } else {
            if is_socket && let Some(rate) = self.limits.socket_messages() {
                request.extensions_mut().insert(rate);
            }
            self.route(request, from, &state).await
        };
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            state.enter(Phase::Socket);
        }
        Ok(answer.map(|body| AnswerBody::new(body, state)))
    }

    async fn route(&self, request: Request<Incoming>, from: SocketAddr, state: &Arc<State>) -> Response<Body> {
        let mut request = request.map(|body| Body::new(RequestBody::new(body, &self.limits, Arc::clone(state))));
        request.extensions_mut().insert(ConnectInfo(from));
        let Ok(answer) = self.router.clone().oneshot(request).await;
        if !state.is_body_late() {
            return answer;
        }
        let mut answer = Problem::new(ErrorCode::RequestTimeout, "the body came too slowly").into_response();
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        answer
    }

    fn may_open_socket(&self) -> bool {
        self.sockets.as_ref().is_none_or(|(rate, bucket)| {
            bucket.lock().unwrap_or_else(PoisonError::into_inner).take(*rate, Instant::now())
        })
    }
}

fn is_socket(request: &Request<Incoming>) -> bool {
    request.headers().get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Answers are small, and must not wait for each other.
fn configure(stream: &TcpStream) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
    stream.set_nodelay(true)
}
