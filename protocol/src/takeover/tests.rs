//! An election, and who holds what.

use std::time::Duration;

use super::*;

const EPOCH: HostEpoch = HostEpoch(5);
const A: ConnectionId = ConnectionId(1);
const B: ConnectionId = ConnectionId(2);
const MS: Duration = Duration::from_millis(1);

fn generation(seq: u64) -> Generation {
    Generation { epoch: HostEpoch(4), seq }
}

struct Play {
    takeover: Takeover,
    now: Instant,
}

impl Play {
    /// One that was elected holding this, warm or not, among members A and B.
    fn new(own: Option<u64>, warm: bool) -> Self {
        let now = crate::tests::start();
        Self { takeover: Takeover::new(EPOCH, own.map(generation), warm, [A, B], now), now }
    }

    /// The same, once the lobby has answered.
    fn told(own: Option<u64>, warm: bool, lobby: Option<u64>) -> Self {
        let mut play = Self::new(own, warm);
        assert_eq!(play.polls(), Some(Step::AskLobby { newer_than: own.map(generation) }));
        play.lobby_has(lobby);
        play
    }

    fn lobby_has(&mut self, newer: Option<u64>) {
        self.takeover.handle_lobby(newer.map_or(LobbyHas::NothingNewer, |seq| LobbyHas::Newer(generation(seq))));
    }

    fn polls(&mut self) -> Option<Step> {
        self.takeover.poll(self.now)
    }

    fn later(&mut self, time: Duration) -> Option<Step> {
        self.now += time;
        self.polls()
    }

    fn arrives(&mut self, member: ConnectionId, holds: Option<u64>) {
        self.takeover.handle_hello(member, holds.map(generation));
    }
}

fn ask(member: ConnectionId, seq: u64) -> Option<Step> {
    Some(Step::AskMember { member, generation: generation(seq) })
}

const OWN: Option<Step> = Some(Step::Use(Source::Own));
const LOBBYS: Option<Step> = Some(Step::Use(Source::Lobby));

#[test]
fn a_warm_one_needs_only_the_lobbys_word() {
    let mut play = Play::new(Some(7), true);
    assert_eq!(
        (play.takeover.epoch(), play.polls()),
        (EPOCH, Some(Step::AskLobby { newer_than: Some(generation(7)) }))
    );
    assert_eq!((play.polls(), play.takeover.poll_timeout()), (None, None));
    play.arrives(A, Some(9));
    play.lobby_has(None);
    assert_eq!((play.polls(), play.polls(), play.takeover.poll_timeout()), (OWN, None, None));
}

#[test]
fn a_warm_one_that_the_lobby_is_ahead_of_looks_around() {
    let mut play = Play::told(Some(7), true, Some(8));
    assert_eq!(play.polls(), None);
    play.arrives(A, Some(9));
    play.arrives(B, None);
    assert_eq!(play.polls(), ask(A, 9));
    play.takeover.handle_state(A, generation(9));
    assert_eq!(play.polls(), OWN);
}

#[test]
fn another_waits_a_moment_for_the_members_and_then_takes_what_there_is() {
    let mut play = Play::told(Some(7), false, None);
    assert_eq!((play.polls(), play.takeover.poll_timeout()), (None, Some(play.now + limits::NEWEST_STATE_WAIT)));
    assert_eq!(play.later(limits::NEWEST_STATE_WAIT - MS), None);
    assert_eq!(play.later(MS), OWN);
}

#[test]
fn nobody_waits_for_members_that_have_come_or_are_gone() {
    let mut play = Play::told(None, false, Some(3));
    play.arrives(A, None);
    assert_eq!(play.polls(), None);
    play.takeover.handle_gone(B);
    assert_eq!(play.polls(), LOBBYS);
}

#[test]
fn the_one_that_has_the_newest_is_asked_unless_the_lobby_has_it() {
    let mut play = Play::told(Some(2), false, Some(4));
    play.arrives(A, Some(5));
    play.arrives(B, Some(6));
    assert_eq!((play.polls(), play.polls()), (ask(B, 6), None));
    play.takeover.handle_state(B, generation(6));
    assert_eq!(play.polls(), OWN);
    let mut play = Play::told(Some(2), false, Some(6));
    play.arrives(A, Some(5));
    play.arrives(B, Some(6));
    assert_eq!(play.polls(), LOBBYS);
}

#[test]
fn a_member_that_does_not_send_what_it_has_in_time_is_passed_over() {
    let mut play = Play::told(None, false, None);
    play.arrives(A, Some(5));
    play.arrives(B, Some(6));
    assert_eq!(play.polls(), ask(B, 6));
    assert_eq!(play.takeover.poll_timeout(), Some(play.now + limits::STATE_FROM_MEMBER_TIMEOUT));
    assert_eq!(play.later(limits::STATE_FROM_MEMBER_TIMEOUT), ask(A, 5));
    play.takeover.handle_gone(A);
    assert_eq!(play.polls(), Some(Step::Use(Source::Nothing)));
}

#[test]
fn a_member_that_arrives_again_is_asked_again() {
    let mut play = Play::told(None, false, None);
    play.takeover.handle_gone(B);
    play.arrives(A, Some(5));
    assert_eq!(play.polls(), ask(A, 5));
    play.arrives(A, Some(5));
    assert_eq!(play.polls(), ask(A, 5));
}

#[test]
fn a_lobby_that_could_not_be_asked_is_asked_again() {
    let mut play = Play::new(Some(7), true);
    play.polls();
    play.takeover.handle_lobby_failed();
    assert_eq!(play.polls(), Some(Step::AskLobby { newer_than: Some(generation(7)) }));
    play.lobby_has(None);
    assert_eq!(play.polls(), OWN);
}

#[test]
fn nothing_at_all_is_an_answer() {
    let mut play = Play::told(None, true, None);
    assert_eq!(play.later(limits::NEWEST_STATE_WAIT), Some(Step::Use(Source::Nothing)));
}

#[test]
fn a_state_of_an_epoch_to_come_is_nobodys() {
    let mut play = Play::told(Some(7), false, None);
    play.takeover.handle_hello(A, Some(Generation { epoch: HostEpoch(u64::MAX), seq: 0 }));
    play.arrives(B, None);
    assert_eq!(play.polls(), OWN);
}
