//! Waits for the session, without a runtime of its own: the thread sleeps until the session has something, or until a time.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use peer_client::{Output, Session};

/// Wakes a thread that is parked.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The next thing that the session has; `None`: there was nothing until this time, or the session is over.
pub(crate) fn next_until(session: &mut Session, until: Instant) -> Option<Output> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut next = pin!(session.next());
    loop {
        if let Poll::Ready(output) = next.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        thread::park_timeout(left);
    }
}
