//! A host feeds its successor: each state as the difference to the one before, off the driver's thread.

use std::time::Instant;

use protocol::id::ConnectionId;
use protocol::limits;
use protocol::migration::Role as Part;
use protocol::snapshot::{Generation, Image};
use protocol::standby::Job;

use crate::driver::{Driver, Input};
use crate::strategy::Strategy;

impl Driver {
    /// A state may go to the successor.
    pub(crate) fn offer(&mut self, image: Image, now: Instant) {
        if !matches!(self.migration.role(), Part::Host { .. }) {
            return;
        }
        let handing_over = self.hand_over.under_way().is_some();
        match self.chooser.strategy() {
            Strategy::Automatic | Strategy::Replica => self.feed.offer(image, now),
            // The last difference is what a hand-over is about.
            Strategy::BaseAndDeltas | Strategy::Snapshot if handing_over => self.feed.offer(image, now),
            Strategy::BaseAndDeltas | Strategy::Snapshot => {}
        }
        self.pump_feed(now);
    }

    /// Whoever would be elected is fed, once it is in the game; during a hand-over whoever it goes to.
    pub(crate) fn feed_successor(&mut self, now: Instant) {
        let to = match self.hand_over.under_way() {
            Some((to, _)) => Some(to),
            None => self.migration.lobby().successor,
        };
        let has_link = |to: &ConnectionId| self.shared.lock().links.get(to).is_some_and(|link| link.in_game);
        self.feed.set_successor(to.filter(has_link));
        self.pump_feed(now);
    }

    pub(crate) fn pump_feed(&mut self, now: Instant) {
        let Some(job) = self.feed.poll_job(now) else { return };
        let epoch = self.migration.epoch();
        self.spawn(async move {
            let encoding = tokio::task::spawn_blocking(move || {
                let record = match &job.base {
                    Some(base) => job.state.delta_from(base, None),
                    None => job.state.to_record(None),
                };
                (job, record.ok())
            });
            match encoding.await {
                Ok((job, record)) => Input::Encoded { epoch, job: Some(Box::new(job)), record },
                Err(_) => Input::Encoded { epoch, job: None, record: None },
            }
        });
    }

    pub(crate) fn encoded(&mut self, job: &Job<Image>, record: Option<&[u8]>, now: Instant) {
        let sent = record.filter(|record| {
            self.shared.lock().links.get(&job.to).is_some_and(|link| link.in_game && link.send_state(record))
        });
        self.feed.handle_sent(job, sent.map(<[u8]>::len), now);
        self.shared.lock().state_bytes_sent += sent.map_or(0, |record| record.len() as u64);
        match sent {
            Some(record) => self.chooser.saw(job.state.bytes().len(), record.len()),
            // Once it is in the game again it is fed from the beginning.
            None if !self.is_in_game(job.to) => self.feed.handle_link_down(job.to),
            // What was sent before may never arrive, or this one did not go: it begins anew, after a while.
            None => {
                self.feed.handle_wanted(job.to);
                self.feed.hold_off(now + limits::DIAL_RETRY);
            }
        }
        if sent.is_some() {
            self.pump_feed(now);
        }
    }

    pub(crate) fn state_taken(&mut self, from: ConnectionId, generation: Generation, now: Instant) {
        self.feed.handle_taken(from, generation, now);
        self.hand_over.handle_taken(from, generation, now);
        if !self.lobby_reachable
            && let Some(held) = self.feed.acknowledged(from)
        {
            // Warm is as durable as it gets.
            self.settle_state(held);
        }
        self.pump_feed(now);
    }

    pub(crate) fn state_wanted(&mut self, from: ConnectionId, now: Instant) {
        self.feed.handle_wanted(from);
        self.pump_feed(now);
    }
}
