//! A hand-over is asked for; until the host commits it, nothing has changed.

use super::*;

fn ask(to: Option<u32>) -> Command {
    Command::AskHandOver { by: Actor::Server, to: to.map(ConnectionId) }
}

fn asked(play: &Play) -> Option<u32> {
    play.lobby.hand_over().map(|asked| asked.to.0)
}

fn last(play: &Play) -> String {
    play.kinds().pop().unwrap()
}

/// A lobby whose host was asked to hand over to player 2.
fn preparing() -> Play {
    let mut play = Play::of(4);
    play.does(ask(Some(2)));
    assert_eq!((asked(&play), last(&play)), (Some(2), "hand_over_asked".into()));
    play
}

#[test]
fn the_host_commits_by_naming_its_successor_and_the_hand_over_is_done() {
    let mut play = preparing();
    let by = Actor::Host { connection: seat(0), epoch: play.lobby.epoch() };
    play.later(3_000).does(Command::Replace { by, to: Some(ConnectionId(2)) }).expect("2 is elected at 2");
    assert_eq!(asked(&play), None);
    assert!(!play.kinds().contains(&"hand_over_ended".into()), "the election says it");
    play.is_ready(2).expect("2 hosts at 2");
}

/// P17.
#[test]
fn a_hand_over_that_is_not_committed_in_time_leaves_the_old_host_running() {
    let mut play = preparing();
    play.later(9_999).does(Command::Due);
    assert_eq!(asked(&play), Some(2), "one millisecond is left");
    play.next_deadline().expect("0 hosts at 1");
    assert_eq!((asked(&play), last(&play)), (None, "hand_over_ended".into()));
    assert_eq!(play.lobby.due_at(), None);
}

/// P17.
#[test]
fn a_successor_that_is_gone_or_does_not_consent_any_more_ends_the_hand_over_and_nothing_else() {
    type Deed = fn(&mut Play);
    let deeds: [Deed; 4] = [
        |play| {
            play.vanishes(2);
        },
        |play| {
            play.leaves(2);
        },
        |play| {
            play.restarts(2);
        },
        |play| {
            let patch = MemberPatch { can_host: Some(false), ..MemberPatch::default() };
            play.does(Command::UpdateMember { connection: seat(2), patch });
        },
    ];
    for deed in deeds {
        let mut play = preparing();
        deed(&mut play);
        play.expect("0 hosts at 1");
        assert_eq!((asked(&play), last(&play)), (None, "hand_over_ended".into()));
    }
}

#[test]
fn a_host_that_is_lost_or_replaced_by_another_hands_over_to_nobody() {
    let mut play = preparing();
    play.vanishes(0).expect("0 is lost at 1");
    assert_eq!(asked(&play), None);
    play.returns(0).expect("0 hosts at 1");
    assert_eq!(asked(&play), None);
    play.does(ask(Some(2))).does(Command::Replace { by: Actor::Server, to: Some(ConnectionId(3)) });
    play.expect("3 is elected at 2");
    assert_eq!(asked(&play), None);
    let mut play = preparing();
    play.does(Command::Close { by: Actor::Server });
    assert_eq!((asked(&play), play.lobby.due_at()), (None, None));
    assert!(!play.kinds().contains(&"hand_over_ended".into()));
}

/// P16.
#[test]
fn asked_again_it_is_one_request_and_another_successor_takes_the_first_ones_place() {
    let mut play = preparing();
    let known = play.lobby.clone();
    play.later(4_000).does(ask(Some(2))).does(ask(None));
    assert_eq!(play.lobby, known, "not even its time begins anew");
    play.does(ask(Some(3)));
    assert_eq!(asked(&play), Some(3));
    assert_eq!(play.lobby.hand_over().unwrap().until, play.now.after(limits::HAND_OVER_TIMEOUT));
    let mut play = Play::of(3);
    play.does(ask(None));
    assert_eq!(asked(&play), Some(1), "whoever would be elected");
}

#[test]
fn only_a_host_that_is_there_hands_over_and_only_to_a_member_that_can_host() {
    let mut play = Play::of(3);
    play.vanishes(2);
    assert_eq!(play.tries(ask(Some(2))).err(), Some(Rejection::NotEligible(seat(2))));
    assert_eq!(play.tries(ask(Some(0))).err(), Some(Rejection::NotEligible(seat(0))), "it hosts");
    assert_eq!(play.tries(ask(Some(9))).err(), Some(Rejection::NotMember));
    let by = Actor::Host { connection: seat(0), epoch: HostEpoch(9) };
    let stale = play.tries(Command::AskHandOver { by, to: Some(seat(1)) }).err();
    assert!(matches!(stale, Some(Rejection::StaleEpoch { .. })));
    play.vanishes(0);
    assert_eq!(play.tries(ask(Some(1))).err(), Some(Rejection::NoHost));
    assert_eq!(Play::of(1).tries(ask(None)).err(), Some(Rejection::NobodyEligible));
}

#[test]
fn an_outage_of_the_service_takes_no_time_from_a_hand_over() {
    let mut play = preparing();
    play.later(60_000).does(Command::Resume);
    assert_eq!(play.lobby.hand_over().unwrap().until, play.now.after(limits::HAND_OVER_TIMEOUT));
}
