//! A host hands over, in two phases ([`protocol::hand_over`]): because its game asks for it, because it leaves, or because whoever
//! manages the lobby asks for it.

use std::time::Instant;

use protocol::frame::PeerBody;
use protocol::hand_over::{Action, CommitAnswer, GivenUp, Wish};
use protocol::id::ConnectionId;
use protocol::migration::Role as Part;

use crate::driver::{Driver, Input};
use crate::error::Error;
use crate::event::Event;

impl Driver {
    /// Begins, if this peer hosts and none is under way. False: it does not.
    pub(crate) fn begin_hand_over(&mut self, to: ConnectionId, wish: Wish, now: Instant) -> bool {
        let is_linked = self.shared.lock().links.get(&to).is_some_and(|link| link.in_game);
        if !matches!(self.migration.role(), Part::Host { .. }) || !is_linked {
            return false;
        }
        let acknowledged = self.feed.acknowledged(to).filter(|_| self.snapshots.newest.is_some());
        if !self.hand_over.begin(to, wish, acknowledged, now) {
            return false;
        }
        self.event(Event::HandOverBegun { to });
        self.feed_successor(now);
        if acknowledged.is_none() {
            // Something to prepare the successor with.
            match self.snapshots.newest.clone() {
                Some(newest) => self.offer(newest.image, now),
                None => self.ask_for_state(),
            }
        }
        self.act_on_hand_over(now);
        true
    }

    /// Does what the lobby's wish means to its host.
    pub(crate) fn heed_lobbys_wish(&mut self, now: Instant) {
        let asked = self.migration.lobby().hand_over.map(|asked| asked.to);
        match (asked, self.hand_over.under_way()) {
            (Some(to), None) if self.lobbys_wish != Some(to) => {
                self.lobbys_wish = Some(to);
                if !self.begin_hand_over(to, Wish::Operator, now) {
                    tracing::info!(%to, "the lobby asks for a hand-over to a member that is not in the game");
                }
            }
            (None, Some((_, Wish::Operator))) => {
                self.lobbys_wish = None;
                self.hand_over.cancel();
                self.act_on_hand_over(now);
            }
            (None, _) => self.lobbys_wish = None,
            (Some(_), _) => {}
        }
    }

    pub(crate) fn act_on_hand_over(&mut self, now: Instant) {
        while let Some(action) = self.hand_over.poll_action() {
            match action {
                Action::Freeze => {
                    self.shared.lock().freeze_wanted = true;
                    self.ask_for_last_state(now);
                }
                Action::Commit { to } => self.commit_hand_over(to),
                Action::GoOn { to, why, wish } => self.go_on_hosting(to, why, wish, now),
            }
        }
    }

    /// A game that gives its state at each tick has its next one for its last; another is asked.
    pub(crate) fn ask_for_last_state(&mut self, now: Instant) {
        if self.hand_over.is_freezing() && !self.snapshots.gives_unasked(now) {
            self.ask_for_state();
        }
    }

    fn commit_hand_over(&mut self, to: ConnectionId) {
        if let Some(generation) = self.snapshots.newest.as_ref().map(|newest| newest.image.generation()) {
            self.tell(to, PeerBody::LastState { generation });
        }
        let (service, lobby, epoch) = (self.service.clone(), self.lobby, self.migration.epoch());
        self.spawn(async move {
            let answer = match service.transfer(lobby, epoch, to).await {
                Ok(()) => CommitAnswer::Done,
                // The epoch has moved: by an answer that was lost, or otherwise. The lobby's event will tell.
                Err(Error::Refused { code, .. }) if code == "stale_epoch" => CommitAnswer::Done,
                Err(Error::Refused { status, code, .. }) if status < 500 && status != 429 => {
                    tracing::info!(code, "the lobby refused a hand-over");
                    CommitAnswer::Refused
                }
                Err(error) => {
                    tracing::debug!(%error, "a hand-over was not answered");
                    CommitAnswer::Unknown
                }
            };
            Input::Committed { epoch, answer }
        });
    }

    fn go_on_hosting(&mut self, to: ConnectionId, why: GivenUp, wish: Wish, now: Instant) {
        {
            let mut state = self.shared.lock();
            (state.freeze_wanted, state.frozen) = (false, false);
        }
        self.show_role();
        self.event(Event::HandOverFailed { to, why });
        self.feed_successor(now);
        if wish == Wish::Leave {
            self.leave_with_a_snapshot();
        }
    }

    /// This peer hosts no more: a hand-over that was under way has done what it should, or is of no more use.
    pub(crate) fn end_hand_over(&mut self) {
        self.hand_over.handle_replaced();
        self.lobbys_wish = None;
        let mut state = self.shared.lock();
        (state.freeze_wanted, state.frozen) = (false, false);
    }
}
