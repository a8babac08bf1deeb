//! What the TypeScript ports of this crate's machines are checked by: bytes both ways, and transcripts of what the machines do.
//!
//! Each test computes one file of `peer-client/web/vectors` and fails where the committed one is another. The tests in
//! `peer-client/web/test/protocol` read the files and do the same.

mod committed;
mod detector;
mod feed;
mod frames;
mod hand_over;
mod journal;
mod limits;
mod lobby;
mod messages;
mod migration;
mod play;
mod shapes;
mod signals;
mod snapshots;
mod takeover;

use committed::assert_committed;

#[test]
fn limits_are_as_committed() {
    assert_committed("limits", &limits::cases());
}

#[test]
fn frames_are_as_committed() {
    assert_committed("frames", &frames::cases());
}

#[test]
fn messages_are_as_committed() {
    assert_committed("messages", &messages::cases());
}

#[test]
fn snapshots_are_as_committed() {
    assert_committed("snapshots", &snapshots::cases());
}

#[test]
fn signals_are_as_committed() {
    assert_committed("signals", &signals::cases());
}

#[test]
fn views_of_a_lobby_are_as_committed() {
    assert_committed("lobby", &lobby::cases());
}

#[test]
fn what_detectors_do_is_as_committed() {
    assert_committed("detector", &detector::cases());
}

#[test]
fn what_journals_do_is_as_committed() {
    assert_committed("journal", &journal::cases());
}

#[test]
fn what_migrations_do_is_as_committed() {
    assert_committed("migration", &migration::cases());
}

#[test]
fn what_feeds_do_is_as_committed() {
    assert_committed("feed", &feed::cases());
}

#[test]
fn what_takeovers_do_is_as_committed() {
    assert_committed("takeover", &takeover::cases());
}

#[test]
fn what_hand_overs_do_is_as_committed() {
    assert_committed("hand-over", &hand_over::cases());
}
