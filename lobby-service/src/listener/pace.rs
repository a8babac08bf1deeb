//! How slowly bytes may come or go, and the timers that watch it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// The least that is asked of the other side.
#[derive(Debug, Clone, Copy)]
pub(super) struct Least {
    /// The longest time without a byte; also the head start before the average counts.
    pub(super) pause: Duration,
    /// On average. 0 asks for none.
    pub(super) bytes_per_s: u64,
}

/// What has come or gone since we wait for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    began: Instant,
    last: Instant,
    bytes: u64,
}

impl Pace {
    pub(super) const fn new(now: Instant) -> Self {
        Self { began: now, last: now, bytes: 0 }
    }

    pub(super) fn count(&mut self, bytes: usize, now: Instant) {
        self.last = now;
        self.bytes += bytes as u64;
    }

    /// When it is too slow, unless more comes.
    pub(super) fn deadline(&self, least: Least) -> Instant {
        let paused = self.last + least.pause;
        match self.bytes.checked_div(least.bytes_per_s) {
            Some(earned_s) => paused.min(self.began + least.pause + Duration::from_secs(earned_s)),
            None => paused,
        }
    }
}

/// A timer that costs nothing until it is asked for, and little when its time moves on.
#[derive(Debug, Default)]
pub(super) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Ready at that time. It may be another one at each call.
    pub(super) fn poll_until(&mut self, context: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(context));
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const LEAST: Least = Least { pause: Duration::from_secs(5), bytes_per_s: 100 };

    #[test]
    fn whoever_pauses_or_trickles_is_too_slow() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut pace = Pace::new(start);
        assert_eq!(pace.deadline(LEAST), at(5), "nothing came");
        pace.count(10_000, at(1));
        assert_eq!(pace.deadline(LEAST), at(6), "much came, and then nothing");
        let mut trickle = Pace::new(start);
        (1..8).for_each(|s| trickle.count(10, at(s)));
        assert_eq!(trickle.deadline(LEAST), at(5), "70 bytes are less than a second's");
        assert_eq!(trickle.deadline(Least { bytes_per_s: 0, ..LEAST }), at(12));
    }

    #[tokio::test]
    async fn a_timer_follows_its_deadline_both_ways() {
        let (start, mut timer) = (Instant::now(), Timer::default());
        let far = poll_fn(|context| Poll::Ready(timer.poll_until(context, start + Duration::from_secs(60)))).await;
        assert!(far.is_pending());
        for ms in [20, 40] {
            let deadline = start + Duration::from_millis(ms);
            poll_fn(|context| timer.poll_until(context, deadline)).await;
            assert!(start.elapsed() >= Duration::from_millis(ms) && start.elapsed() < Duration::from_secs(30));
        }
    }
}
