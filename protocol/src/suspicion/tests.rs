//! Who is believed, and when.

use std::time::Duration;

use super::*;
use crate::lobby::tests::{HOLDER, NOW, lobby, newcomer};
use crate::time::Timestamp;

/// Guest `n` sits at connection `n`; the host at 0.
struct Play {
    suspicion: Suspicion,
    lobby: Lobby,
    now: Instant,
    told: Vec<Verdict>,
}

const EPOCH: HostEpoch = HostEpoch::FIRST;

impl Play {
    /// A host and its guests, who all hear it.
    fn of(guests: u8) -> Self {
        let mut lobby = lobby();
        for guest in 1..=guests {
            lobby = lobby.apply(Command::Join(newcomer(guest)), NOW).unwrap().0;
        }
        let (suspicion, now) = (Suspicion::new(EPOCH), crate::tests::start());
        let mut play = Self { suspicion, lobby, now, told: Vec::new() };
        for guest in 1..=guests {
            play.reports(guest, true);
        }
        play
    }

    fn later(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self.assess()
    }

    fn assess(&mut self) -> &mut Self {
        self.told.extend(self.suspicion.assess(&self.lobby, self.now));
        self
    }

    fn reports(&mut self, guest: u8, hears: bool) -> &mut Self {
        self.suspicion.handle_report(ConnectionId(guest.into()), EPOCH, hears, self.now);
        self.assess()
    }

    fn relay(&mut self, heard: bool) -> &mut Self {
        self.suspicion.handle_relay(EPOCH, heard);
        self.assess()
    }

    fn answers(&mut self, hears: &[u32]) -> &mut Self {
        self.suspicion.handle_answer(EPOCH, hears.iter().copied().map(ConnectionId), self.now);
        self.assess()
    }

    /// Something happens to the lobby; the machine is told.
    fn lobby_does(&mut self, command: Command) -> &mut Self {
        self.lobby = self.lobby.clone().apply(command, NOW).unwrap().0;
        self.suspicion.handle_lobby(&self.lobby, self.now);
        self.assess()
    }

    fn host_loses_lobby(&mut self) -> &mut Self {
        self.lobby_does(Command::Disconnect {
            connection: ConnectionId(0),
            peer_key: newcomer(0).peer_key,
            holder: HOLDER,
        })
    }

    /// What was to be done since the last time.
    fn verdicts(&mut self) -> Vec<Verdict> {
        std::mem::take(&mut self.told)
    }
}

const CHALLENGE: Verdict = Verdict::Challenge { host: ConnectionId(0), epoch: EPOCH };
const SILENT: Verdict = Verdict::Tell(Command::HostSilent { epoch: EPOCH });
const HEARD: Verdict = Verdict::Tell(Command::HostHeard { epoch: EPOCH });
const MOMENT: Duration = Duration::from_millis(20);

#[test]
fn after_the_service_was_away_the_first_to_come_back_are_not_the_majority() {
    let mut play = Play::of(3);
    play.suspicion = Suspicion::resumed(EPOCH, play.now + limits::LEASE);
    play.reports(1, false).later(limits::LEASE - MOMENT);
    assert_eq!(play.verdicts(), []);
    assert_eq!(play.suspicion.poll_timeout(), Some(play.now + MOMENT));
    play.later(MOMENT);
    assert_eq!(play.verdicts(), [CHALLENGE], "by now whoever is there has said so");
}

#[test]
fn one_liar_moves_nothing() {
    let mut play = Play::of(3);
    play.reports(1, false).later(limits::CHALLENGE_TIMEOUT * 3);
    assert_eq!(play.verdicts(), [], "the others hear it");
    let mut play = Play::of(2);
    play.reports(1, false).relay(true).later(limits::CHALLENGE_TIMEOUT * 3);
    assert_eq!(play.verdicts(), [], "half is no majority");
}

#[test]
fn two_guests_do_not_outweigh_a_relay_that_hears_the_host() {
    let mut play = Play::of(2);
    play.relay(true).reports(1, false).reports(2, false).later(MOMENT).answers(&[]).later(limits::CHALLENGE_TIMEOUT);
    assert!(!play.verdicts().contains(&SILENT));
    play.relay(false).later(limits::CHALLENGE_TIMEOUT);
    assert_eq!(play.verdicts(), [SILENT], "now the relay agrees");
}

#[test]
fn a_single_guest_that_lies_is_outweighed_by_the_relay_and_by_the_host() {
    let mut play = Play::of(1);
    play.relay(true).reports(1, false).later(limits::CHALLENGE_TIMEOUT).later(limits::CHALLENGE_TIMEOUT);
    assert!(!play.verdicts().contains(&SILENT), "the relay hears the host");
    let mut play = Play::of(1);
    play.reports(1, false).answers(&[1]).later(limits::CHALLENGE_TIMEOUT);
    assert!(!play.verdicts().contains(&SILENT), "the host hears the guest");
}

#[test]
fn a_majority_opens_one_challenge_and_a_host_that_does_not_answer_is_silent() {
    let mut play = Play::of(3);
    play.reports(1, false).reports(2, false).reports(3, false);
    assert_eq!(play.verdicts(), [CHALLENGE]);
    assert_eq!(play.suspicion.poll_timeout(), Some(play.now + limits::CHALLENGE_TIMEOUT));
    play.later(limits::CHALLENGE_TIMEOUT - MOMENT);
    assert_eq!(play.verdicts(), []);
    play.later(MOMENT);
    assert_eq!(play.verdicts(), [SILENT]);
}

#[test]
fn the_lobby_is_told_once_and_the_host_asked_again_only_if_that_had_no_effect() {
    let mut play = Play::of(3);
    play.reports(1, false).reports(2, false).later(limits::CHALLENGE_TIMEOUT).later(MOMENT);
    assert_eq!(play.verdicts(), [CHALLENGE, SILENT]);
    play.later(limits::CHALLENGE_TIMEOUT).later(limits::CHALLENGE_TIMEOUT);
    assert_eq!(play.verdicts(), [CHALLENGE, SILENT]);
    play.lobby_does(Command::HostSilent { epoch: EPOCH }).later(limits::CHALLENGE_TIMEOUT);
    assert_eq!((play.verdicts(), play.suspicion.poll_timeout()), (Vec::new(), None), "nothing is due for a lost host");
}

#[test]
fn a_host_that_admits_to_hear_nobody_is_silent_at_once() {
    let mut play = Play::of(3);
    play.relay(true).reports(1, false).reports(2, false).answers(&[]);
    assert_eq!(play.verdicts(), [CHALLENGE, SILENT]);
}

#[test]
fn a_guest_that_the_host_hears_is_disputed_and_does_not_count() {
    let mut play = Play::of(3);
    play.reports(1, false).reports(2, false).answers(&[2, 3]);
    assert_eq!(play.verdicts(), [CHALLENGE], "one of three is left");
    play.later(limits::CHALLENGE_TIMEOUT);
    assert_eq!(play.verdicts(), [CHALLENGE], "asked again while the majority says so");
    play.answers(&[3]);
    assert_eq!(play.verdicts(), [SILENT], "two of three");
}

#[test]
fn a_host_cannot_dispute_its_guests_and_the_relay() {
    let mut play = Play::of(3);
    play.relay(false).reports(1, false).reports(2, false).answers(&[1, 2, 3]);
    assert_eq!(play.verdicts(), [CHALLENGE, SILENT]);
}

#[test]
fn if_all_guests_and_the_relay_agree_the_host_is_not_asked() {
    let mut play = Play::of(3);
    play.reports(1, false).relay(false).reports(2, false);
    assert_eq!(play.verdicts(), [CHALLENGE], "one of them hears it");
    play.later(MOMENT).reports(3, false);
    assert_eq!(play.verdicts(), [SILENT], "its answer would not count");
    let mut play = Play::of(2);
    play.relay(false).reports(1, false).reports(2, false);
    assert_eq!(play.verdicts(), [CHALLENGE], "two are too few");
    let mut play = Play::of(7);
    play.suspicion = Suspicion::new(EPOCH);
    play.relay(false).reports(1, false).reports(2, false).reports(3, false);
    assert_eq!(play.verdicts(), [CHALLENGE], "most of them have not said anything yet");
}

#[test]
fn a_silent_relay_alone_moves_nothing() {
    let mut play = Play::of(3);
    play.relay(false).reports(1, false).later(limits::CHALLENGE_TIMEOUT * 2);
    assert_eq!(play.verdicts(), []);
}

#[test]
fn a_majority_that_hears_the_host_again_ends_the_challenge() {
    let mut play = Play::of(3);
    play.reports(1, false).reports(2, false).later(MOMENT).reports(2, true).later(limits::CHALLENGE_TIMEOUT);
    assert_eq!((play.verdicts(), play.suspicion.poll_timeout()), (vec![CHALLENGE], None));
}

#[test]
fn an_answer_that_nobody_asked_for_is_kept_for_no_challenge() {
    let mut play = Play::of(3);
    play.answers(&[1, 2, 3]).reports(1, false).reports(2, false).later(limits::CHALLENGE_TIMEOUT);
    assert_eq!(play.verdicts(), [CHALLENGE, SILENT]);
}

#[test]
fn what_is_said_of_another_epoch_is_ignored() {
    let mut play = Play::of(3);
    for epoch in [HostEpoch(0), HostEpoch(2)] {
        for guest in 1..=3 {
            play.suspicion.handle_report(ConnectionId(guest), epoch, false, play.now);
        }
        play.suspicion.handle_relay(epoch, false);
        play.later(limits::CHALLENGE_TIMEOUT);
    }
    assert_eq!(play.verdicts(), []);
}

#[test]
fn a_new_epoch_forgets_what_was_said_of_the_old_host() {
    let mut play = Play::of(3);
    play.reports(1, false).reports(2, false).reports(3, false);
    play.lobby_does(Command::Leave { connection: ConnectionId(0), player: newcomer(0).player });
    play.lobby_does(Command::Ready { connection: ConnectionId(1), epoch: HostEpoch(2) });
    play.verdicts();
    play.later(limits::CHALLENGE_TIMEOUT * 2);
    assert_eq!((play.verdicts(), play.suspicion.poll_timeout()), (Vec::new(), None));
}

#[test]
fn guests_who_are_gone_have_no_voice() {
    let mut play = Play::of(4);
    play.reports(1, false).reports(2, false);
    assert_eq!(play.verdicts(), [], "two of four");
    play.lobby_does(Command::Disconnect {
        connection: ConnectionId(3),
        peer_key: newcomer(3).peer_key,
        holder: HOLDER,
    });
    assert_eq!(play.verdicts(), [CHALLENGE], "two of three");
}

#[test]
fn only_reports_from_after_the_loss_vouch_for_a_lost_host() {
    let mut play = Play::of(3);
    play.later(MOMENT).host_loses_lobby();
    assert_eq!(play.verdicts(), [], "what they said before may not be true any more");
    play.later(MOMENT).reports(1, true);
    assert_eq!(play.verdicts(), []);
    play.reports(2, true);
    assert_eq!(play.verdicts(), [HEARD], "two of three, both after the loss");
}

#[test]
fn a_vouch_is_renewed_while_the_guests_repeat_it_and_not_with_every_word() {
    let mut play = Play::of(3);
    play.host_loses_lobby().later(MOMENT).reports(1, true).reports(2, true);
    play.lobby_does(Command::HostHeard { epoch: EPOCH });
    play.verdicts();
    for _ in 0..10 {
        play.later(limits::REPORT_INTERVAL).reports(1, true).reports(2, true).reports(3, true);
        assert_eq!(play.verdicts(), [HEARD]);
    }
    play.later(limits::VOUCH);
    assert_eq!(play.verdicts(), [], "nobody repeats it");
}

#[test]
fn nobody_vouches_for_a_host_that_cannot_be_running_the_game() {
    let mut play = Play::of(3);
    let key = crate::id::PeerKey::from_bytes([0xEE; 32]);
    play.lobby = play
        .lobby
        .apply(
            Command::Connect { connection: ConnectionId(0), player: newcomer(0).player, peer_key: key, holder: HOLDER },
            Timestamp(NOW.0 + 9),
        )
        .unwrap()
        .0;
    play.suspicion.handle_lobby(&play.lobby, play.now);
    play.later(MOMENT).reports(1, true).reports(2, true).reports(3, true);
    assert_eq!(play.verdicts(), [], "its process is another one");
}
