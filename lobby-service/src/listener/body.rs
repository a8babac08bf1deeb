//! The bodies of requests and answers, as they pass: how fast the one comes, when the other is done.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::BoxError;
use axum::body::Body as AnyBody;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Instant;

use super::limits::ListenerLimits;
use super::pace::{Least, Pace, Timer};
use super::watched::{Phase, State};

/// A request's body. It ends with an error if it comes too slowly, which its connection's state tells.
#[derive(Debug)]
pub(super) struct RequestBody {
    body: Incoming,
    is_over: bool,
    until: Instant,
    least: Least,
    pace: Pace,
    timer: Timer,
    state: Arc<State>,
}

impl RequestBody {
    pub(super) fn new(body: Incoming, limits: &ListenerLimits, state: Arc<State>) -> Self {
        let now = Instant::now();
        let pause = Duration::from_millis(limits.body_pause_max_ms);
        Self {
            body,
            is_over: false,
            until: now + Duration::from_millis(limits.body_timeout_ms),
            least: Least { pause, bytes_per_s: limits.bytes_per_s_min },
            pace: Pace::new(now),
            timer: Timer::default(),
            state,
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Ready(frame) => {
                this.is_over |= frame.is_none();
                let bytes = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map_or(0, Bytes::len);
                this.pace.count(bytes, Instant::now());
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending => {
                let deadline = this.pace.deadline(this.least).min(this.until);
                ready!(this.timer.poll_until(context, deadline));
                this.state.body_is_late();
                Poll::Ready(Some(Err(io::Error::from(io::ErrorKind::TimedOut).into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if !self.is_over && !self.body.is_end_stream() {
            self.state.leave_body();
        }
    }
}

/// An answer's body. The exchange is over with it.
#[derive(Debug)]
pub(super) struct AnswerBody {
    body: AnyBody,
    state: Arc<State>,
}

impl AnswerBody {
    pub(super) const fn new(body: AnyBody, state: Arc<State>) -> Self {
        Self { body, state }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.state.follow(Phase::Exchange, Phase::Idle);
    }
}
