//! P17: a hand-over commits once the successor holds the last state, or the host goes on.

use std::time::Duration;

use super::*;
use crate::id::HostEpoch;

const TO: ConnectionId = ConnectionId(3);
const OTHER: ConnectionId = ConnectionId(4);
const MS: Duration = Duration::from_millis(1);
const COMMIT: Option<Action> = Some(Action::Commit { to: TO });

fn generation(seq: u64) -> Generation {
    Generation { epoch: HostEpoch(4), seq }
}

struct Play {
    hand_over: HandOver,
    now: Instant,
}

impl Play {
    /// The successor is not warm yet.
    fn preparing() -> Self {
        let mut play = Self { hand_over: HandOver::default(), now: crate::tests::start() };
        assert!(play.hand_over.begin(TO, Wish::Game, None, play.now));
        assert_eq!((play.acts(), play.hand_over.under_way()), (None, Some((TO, Wish::Game))));
        play
    }

    /// It is, and the game is to stand still.
    fn freezing() -> Self {
        let mut play = Self::preparing();
        play.taken(3);
        assert_eq!((play.acts(), play.hand_over.is_freezing()), (Some(Action::Freeze), true));
        play
    }

    /// It does, after state 9.
    fn frozen() -> Self {
        let mut play = Self::freezing();
        play.hand_over.handle_frozen(generation(9));
        assert_eq!((play.acts(), play.hand_over.is_freezing()), (None, false));
        play
    }

    /// The successor has that state, and the lobby is asked.
    fn committing() -> Self {
        let mut play = Self::frozen();
        play.taken(9);
        assert_eq!(play.acts(), COMMIT);
        play
    }

    fn taken(&mut self, seq: u64) {
        self.hand_over.handle_taken(TO, generation(seq), self.now);
    }

    fn acts(&mut self) -> Option<Action> {
        self.hand_over.poll_action()
    }

    fn answered(&mut self, answer: CommitAnswer) -> Option<Action> {
        self.hand_over.handle_commit(answer, self.now);
        self.acts()
    }

    fn later(&mut self, time: Duration) -> Option<Action> {
        self.now += time;
        self.hand_over.handle_timeout(self.now);
        self.acts()
    }

    /// Waits for as long as it takes.
    fn times_out(&mut self) -> Option<Action> {
        let at = self.hand_over.poll_timeout().unwrap();
        assert_eq!(self.later(at - self.now - MS), None);
        self.later(MS)
    }

    fn has_ended(&self) -> bool {
        self.hand_over.under_way().is_none() && self.hand_over.poll_timeout().is_none()
    }
}

fn goes_on(why: GivenUp) -> Option<Action> {
    Some(Action::GoOn { to: TO, why, wish: Wish::Game })
}

#[test]
fn it_commits_once_the_successor_has_the_last_state_and_ends_when_another_one_hosts() {
    let mut play = Play::frozen();
    play.taken(8);
    assert_eq!(play.acts(), None);
    play.taken(9);
    assert_eq!((play.acts(), play.acts()), (COMMIT, None));
    assert_eq!((play.answered(CommitAnswer::Done), play.hand_over.poll_timeout()), (None, None));
    assert_eq!((play.later(10 * limits::HAND_OVER_PATIENCE), play.has_ended()), (None, false));
    play.hand_over.handle_replaced();
    assert!(play.has_ended());
}

#[test]
fn with_a_warm_successor_the_game_freezes_at_once() {
    let mut play = Play { hand_over: HandOver::default(), now: crate::tests::start() };
    assert!(play.hand_over.begin(TO, Wish::Leave, Some(generation(1)), play.now));
    assert_eq!(play.acts(), Some(Action::Freeze));
}

#[test]
fn one_is_under_way_at_a_time() {
    let mut play = Play::preparing();
    assert!(!play.hand_over.begin(OTHER, Wish::Operator, Some(generation(1)), play.now));
    assert_eq!((play.hand_over.under_way(), play.acts()), (Some((TO, Wish::Game)), None));
}

#[test]
fn what_others_take_moves_nothing() {
    let mut play = Play::preparing();
    play.hand_over.handle_taken(OTHER, generation(9), play.now);
    assert_eq!(play.acts(), None);
    let mut play = Play::frozen();
    play.hand_over.handle_taken(OTHER, generation(9), play.now);
    play.hand_over.handle_link_down(OTHER);
    assert_eq!(play.acts(), None);
}

#[test]
fn until_the_commit_a_link_that_is_down_ends_it() {
    for mut play in [Play::preparing(), Play::freezing(), Play::frozen()] {
        play.hand_over.handle_link_down(TO);
        assert_eq!((play.acts(), play.has_ended()), (goes_on(GivenUp::SuccessorGone), true));
    }
    let mut play = Play::committing();
    play.hand_over.handle_link_down(TO);
    assert_eq!((play.acts(), play.has_ended()), (None, false));
}

#[test]
fn until_the_commit_it_can_be_cancelled() {
    for mut play in [Play::preparing(), Play::freezing(), Play::frozen()] {
        play.hand_over.cancel();
        assert_eq!((play.acts(), play.has_ended()), (goes_on(GivenUp::Cancelled), true));
    }
    let mut play = Play::committing();
    play.hand_over.cancel();
    assert_eq!((play.acts(), play.has_ended()), (None, false));
}

#[test]
fn a_cancelled_freeze_is_not_asked_for_any_more() {
    let mut play = Play::preparing();
    play.taken(3);
    play.hand_over.cancel();
    assert_eq!((play.acts(), play.acts()), (goes_on(GivenUp::Cancelled), None));
    play.hand_over.handle_frozen(generation(9));
    play.taken(9);
    assert_eq!(play.acts(), None);
}

#[test]
fn each_phase_has_its_time() {
    for mut play in [Play::preparing(), Play::freezing(), Play::frozen(), Play::committing()] {
        assert_eq!((play.times_out(), play.has_ended()), (goes_on(GivenUp::TooLate), true));
    }
    let mut play = Play::preparing();
    let begun_at = play.now;
    play.times_out();
    assert_eq!(play.now - begun_at, limits::HAND_OVER_PATIENCE);
    let mut play = Play::freezing();
    let frozen_at = play.now;
    play.times_out();
    assert_eq!(play.now - frozen_at, limits::FREEZE_MAX);
}

#[test]
fn a_freeze_late_in_the_preparation_has_only_what_is_left_of_it() {
    let mut play = Play::preparing();
    play.later(limits::HAND_OVER_PATIENCE - 300 * MS);
    play.taken(3);
    assert_eq!(play.acts(), Some(Action::Freeze));
    assert_eq!(play.hand_over.poll_timeout(), Some(play.now + 300 * MS));
}

#[test]
fn a_game_that_gives_no_state_goes_on() {
    let mut play = Play::freezing();
    play.hand_over.handle_not_frozen();
    assert_eq!((play.acts(), play.has_ended()), (goes_on(GivenUp::TooLate), true));
    let mut play = Play::frozen();
    play.hand_over.handle_not_frozen();
    assert_eq!(play.acts(), None);
}

#[test]
fn a_refused_commit_ends_it() {
    let mut play = Play::committing();
    assert_eq!((play.answered(CommitAnswer::Refused), play.has_ended()), (goes_on(GivenUp::Refused), true));
}

#[test]
fn an_unknown_commit_is_asked_again_while_its_time_lasts() {
    let mut play = Play::committing();
    assert_eq!(play.answered(CommitAnswer::Unknown), None);
    assert_eq!((play.later(limits::DIAL_RETRY - MS), play.later(MS)), (None, COMMIT));
    assert_eq!(play.answered(CommitAnswer::Unknown), None);
    assert_eq!(play.later(limits::FREEZE_MAX), goes_on(GivenUp::TooLate));
    let mut play = Play::committing();
    play.answered(CommitAnswer::Unknown);
    play.hand_over.handle_replaced();
    assert_eq!((play.later(limits::FREEZE_MAX), play.has_ended()), (None, true));
}

#[test]
fn an_answer_that_nobody_waits_for_changes_nothing() {
    for answer in [CommitAnswer::Done, CommitAnswer::Refused, CommitAnswer::Unknown] {
        assert_eq!(Play::frozen().answered(answer), None);
        let mut nothing = HandOver::default();
        nothing.handle_commit(answer, crate::tests::start());
        assert_eq!((nothing.poll_action(), nothing.poll_timeout()), (None, None));
    }
}

#[test]
fn another_can_begin_when_one_has_ended() {
    let mut play = Play::frozen();
    play.hand_over.cancel();
    assert!(play.hand_over.begin(OTHER, Wish::Operator, Some(generation(2)), play.now));
    assert_eq!((play.acts(), play.acts()), (goes_on(GivenUp::Cancelled), Some(Action::Freeze)));
}
