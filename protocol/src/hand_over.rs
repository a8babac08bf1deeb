//! A planned hand-over, as its host sees it: two phases, and until the second has ended nothing is lost by giving up (P17).
//!
//! ```text
//!   Preparing ──successor is warm──▶ Freezing ──last state given──▶ Frozen ──acknowledged──▶ Committing ──▶ another hosts
//!       │ link down, too late            │                             │                        │ refused
//!       └────────────────────────────────┴──────────── the host goes on ◀─────────────────────────┘
//! ```
//!
//! The game stands still from the tick of its last state on. Committing is the lobby's: it moves the epoch. If its answer is lost the
//! host stays frozen until the lobby says what became of it, or until its patience ends: then it goes on at its epoch, and if it was
//! replaced after all, is demoted as any host is. Once it knows that the epoch has moved it never goes on.

use std::time::Instant;

use crate::id::ConnectionId;
use crate::limits;
use crate::planted::{self, Bug};
use crate::snapshot::Generation;

/// Why a host hands over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// The game asked for it.
    Game,
    /// It leaves.
    Leave,
    /// Who manages the lobby asked for it.
    Operator,
}

/// Why the host goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivenUp {
    /// The successor is gone.
    SuccessorGone,
    /// It took too long.
    TooLate,
    /// The lobby did not agree.
    Refused,
    /// Somebody took the wish back.
    Cancelled,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Have the game give its state, the last one: from then on it stands still. Then call [`HandOver::handle_frozen`].
    Freeze,
    /// Ask the lobby to make the successor host, then call [`HandOver::handle_commit`].
    Commit {
        /// Whom.
        to: ConnectionId,
    },
    /// The host goes on; the game runs again.
    GoOn {
        /// Who was meant.
        to: ConnectionId,
        /// Why.
        why: GivenUp,
        /// What for.
        wish: Wish,
    },
}

/// The lobby's answer to the commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitAnswer {
    /// The epoch has moved; the lobby's event says so too.
    Done,
    /// It has not, and will not.
    Refused,
    /// Nobody knows.
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Preparing,
    Freezing,
    Frozen {
        generation: Generation,
    },
    Committing,
    /// The answer is unknown: asked again at this time.
    Unsure {
        again_at: Instant,
    },
    /// The epoch has moved. What that means comes with the lobby's event, which may be late.
    Committed,
}

#[derive(Debug, Clone, Copy)]
struct Under {
    to: ConnectionId,
    wish: Wish,
    phase: Phase,
    until: Instant,
}

/// A host's hand-over, if one is under way.
#[derive(Debug, Default)]
pub struct HandOver {
    under: Option<Under>,
    actions: std::collections::VecDeque<Action>,
}

impl HandOver {
    /// Begins, unless one is under way. `acknowledged` is what the successor holds.
    pub fn begin(&mut self, to: ConnectionId, wish: Wish, acknowledged: Option<Generation>, now: Instant) -> bool {
        if self.under.is_some() {
            return false;
        }
        self.under = Some(Under { to, wish, phase: Phase::Preparing, until: now + limits::HAND_OVER_PATIENCE });
        if let Some(generation) = acknowledged {
            self.handle_taken(to, generation, now);
        }
        true
    }

    /// Whether one is under way, for whom and what for.
    #[must_use]
    pub fn under_way(&self) -> Option<(ConnectionId, Wish)> {
        self.under.map(|under| (under.to, under.wish))
    }

    /// The game stands still, or is about to.
    #[must_use]
    pub const fn is_freezing(&self) -> bool {
        matches!(self.under, Some(Under { phase: Phase::Freezing, .. }))
    }

    /// The successor holds this state.
    pub fn handle_taken(&mut self, from: ConnectionId, generation: Generation, now: Instant) {
        let Some(under) = self.under.as_mut().filter(|under| under.to == from) else { return };
        match under.phase {
            Phase::Preparing => {
                under.phase = Phase::Freezing;
                under.until = under.until.min(now + limits::FREEZE_MAX);
                self.actions.push_back(Action::Freeze);
            }
            Phase::Frozen { generation: last } if generation >= last => self.commit(),
            Phase::Freezing | Phase::Frozen { .. } | Phase::Committing | Phase::Unsure { .. } | Phase::Committed => {}
        }
    }

    /// The game has given its last state, and stands still.
    pub fn handle_frozen(&mut self, generation: Generation) {
        let Some(under) = &mut self.under else { return };
        if under.phase == Phase::Freezing {
            under.phase = Phase::Frozen { generation };
            if planted::is(Bug::CommitWithoutAcknowledgement) {
                self.commit();
            }
        }
    }

    /// The game does not give a state.
    pub fn handle_not_frozen(&mut self) {
        if self.is_freezing() {
            self.give_up(GivenUp::TooLate);
        }
    }

    /// The lobby has answered.
    pub fn handle_commit(&mut self, answer: CommitAnswer, now: Instant) {
        let Some(under) = &mut self.under else { return };
        if !matches!(under.phase, Phase::Committing) {
            return;
        }
        match answer {
            CommitAnswer::Done => under.phase = Phase::Committed,
            CommitAnswer::Unknown => under.phase = Phase::Unsure { again_at: now + limits::DIAL_RETRY },
            CommitAnswer::Refused => self.give_up(GivenUp::Refused),
        }
    }

    /// Another host is there, or this one is none any more for another reason: nothing is left to do.
    pub fn handle_replaced(&mut self) {
        self.under = None;
        self.actions.clear();
    }

    /// The link to a member is down.
    pub fn handle_link_down(&mut self, peer: ConnectionId) {
        let before_commit = |under: &Under| match under.phase {
            Phase::Preparing | Phase::Freezing | Phase::Frozen { .. } => true,
            // Whether it is host by now is the lobby's to say.
            Phase::Committing | Phase::Unsure { .. } | Phase::Committed => false,
        };
        if self.under.is_some_and(|under| under.to == peer && before_commit(&under)) {
            self.give_up(GivenUp::SuccessorGone);
        }
    }

    /// Somebody took the wish back.
    pub fn cancel(&mut self) {
        if self
            .under
            .is_some_and(|under| matches!(under.phase, Phase::Preparing | Phase::Freezing | Phase::Frozen { .. }))
        {
            self.give_up(GivenUp::Cancelled);
        }
    }

    /// What is to be done next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Self::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.under.and_then(|under| match under.phase {
            Phase::Unsure { again_at } => Some(again_at.min(under.until)),
            Phase::Preparing | Phase::Freezing | Phase::Frozen { .. } | Phase::Committing => Some(under.until),
            Phase::Committed => None,
        })
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let Some(under) = &mut self.under else { return };
        if under.phase == Phase::Committed {
            return;
        }
        if under.until <= now {
            if !(planted::is(Bug::HandOverAbandoned) && matches!(under.phase, Phase::Frozen { .. })) {
                self.give_up(GivenUp::TooLate);
            }
        } else if matches!(under.phase, Phase::Unsure { again_at } if again_at <= now) {
            self.commit();
        }
    }

    fn commit(&mut self) {
        if let Some(under) = &mut self.under {
            under.phase = Phase::Committing;
            self.actions.push_back(Action::Commit { to: under.to });
        }
    }

    fn give_up(&mut self, why: GivenUp) {
        if let Some(Under { to, wish, .. }) = self.under.take() {
            self.actions.clear();
            self.actions.push_back(Action::GoOn { to, why, wish });
        }
    }
}

#[cfg(test)]
mod tests;
