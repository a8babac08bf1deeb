//! One peer's part in the play: what comes in, what it does.

use std::time::Duration;

use super::*;
use crate::id::PlayerId;
use crate::lobby::tests::{HOLDER, NOW, lobby, newcomer};
use crate::lobby::{Command, Lobby, Viewer};
use crate::time::Timestamp;

/// A lobby, and one of its peers who is told of everything. Player `n` sits at connection `n`; 0 made the lobby.
struct Play {
    lobby: Lobby,
    lobby_now: Timestamp,
    peer: Migration,
    now: Instant,
}

const FIRST: HostEpoch = HostEpoch::FIRST;
const SECOND: HostEpoch = HostEpoch(2);
const THIRD: HostEpoch = HostEpoch(3);
const MS: Duration = Duration::from_millis(1);
const OTHER_PROCESS: PeerKey = PeerKey::from_bytes([0xEE; 32]);

impl Play {
    /// As seen by the peer at this seat, in a lobby of so many players.
    fn of(me: u32, players: u8) -> Self {
        let (mut lobby, mut lobby_now) = (lobby(), NOW);
        for player in 1..players {
            lobby_now = lobby_now.after(MS);
            lobby = lobby.apply(Command::Join(newcomer(player)), lobby_now).unwrap().0;
        }
        let now = crate::tests::start();
        let peer = Migration::new(ConnectionId(me), lobby.view(Viewer::Members), me == 0, now);
        Self { lobby, lobby_now, peer, now }
    }

    /// A guest that host 0 has welcomed.
    fn guest(me: u32, players: u8) -> Self {
        let mut play = Self::of(me, players);
        play.peer.handle_welcome(seat(0), play.now);
        play.effects();
        play
    }

    /// The creator, with guests whom the game has let in.
    fn host(guests: u8) -> Self {
        let mut play = Self::of(0, guests + 1);
        for guest in 1..=guests {
            assert!(play.peer.handle_hello(seat(guest.into()), FIRST, play.now));
            play.peer.handle_admitted(seat(guest.into()));
        }
        play.effects();
        play
    }

    /// Peer 1 of three, elected for the second epoch because the host left.
    fn elected() -> Self {
        let mut play = Self::guest(1, 3);
        play.leaves(0);
        assert_eq!(play.peer.role(), &Role::Becoming { epoch: SECOND, stage: Stage::Fetching { again_at: None } });
        play.effects();
        play
    }

    fn later(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self.peer.handle_timeout(self.now);
        self
    }

    fn lobby_does(&mut self, command: Command) -> &mut Self {
        self.lobby_now = self.lobby_now.after(MS);
        let (lobby, events) = self.lobby.clone().apply(command, self.lobby_now).unwrap();
        self.lobby = lobby;
        events.iter().for_each(|event| self.peer.handle_event(event, self.now));
        self
    }

    /// The lobby's next deadline comes.
    fn deadline(&mut self) -> &mut Self {
        self.lobby_now = self.lobby.due_at().unwrap();
        self.lobby_does(Command::Due)
    }

    fn leaves(&mut self, player: u8) -> &mut Self {
        self.lobby_does(Command::Leave { connection: seat(player.into()), player: id(player) })
    }

    fn vanishes(&mut self, player: u8) -> &mut Self {
        self.lobby_does(Command::Disconnect { connection: seat(player.into()), peer_key: key(player), holder: HOLDER })
    }

    fn hears(&mut self, from: u32, epoch: HostEpoch) -> Admission {
        self.peer.admit(seat(from), epoch, self.now)
    }

    /// What was to be done since the last time.
    fn effects(&mut self) -> Vec<Effect> {
        std::iter::from_fn(|| self.peer.poll_effect()).collect()
    }

    /// The same without what only informs.
    fn deeds(&mut self) -> Vec<Effect> {
        self.effects().into_iter().filter(|effect| !matches!(effect, Effect::Notify(_))).collect()
    }

    fn notices(&mut self) -> Vec<Notice> {
        let notice = |effect| if let Effect::Notify(notice) = effect { Some(notice) } else { None };
        self.effects().into_iter().filter_map(notice).filter(|notice| *notice != Notice::PeersUpdated).collect()
    }
}

fn seat(number: u32) -> ConnectionId {
    ConnectionId(number)
}

fn id(player: u8) -> PlayerId {
    newcomer(player).player
}

fn key(player: u8) -> PeerKey {
    newcomer(player).peer_key
}

fn dial(host: u8, epoch: HostEpoch) -> Effect {
    Effect::Dial { host: seat(host.into()), peer_key: key(host), epoch }
}

fn report(epoch: HostEpoch, hears_host: bool) -> Effect {
    Effect::Report { epoch, hears_host }
}

/// Of a link that nothing is known of yet.
fn silence() -> Duration {
    Detector::default().threshold()
}

fn hang_up(peer: u32) -> Effect {
    Effect::HangUp { peer: seat(peer) }
}

#[test]
fn the_creator_hosts_at_once_and_protects_its_first_moment() {
    let mut play = Play::of(0, 1);
    let became = Effect::Notify(Notice::BecameHost { epoch: FIRST });
    assert_eq!(play.effects(), [became, Effect::PresentGrant { epoch: FIRST }, Effect::Upload { epoch: FIRST }]);
    assert_eq!((play.peer.role(), play.peer.poll_timeout()), (&Role::Host { epoch: FIRST }, None));
}

#[test]
fn a_guest_dials_its_host_and_is_in_game_once_it_is_welcome() {
    let mut play = Play::of(1, 2);
    assert_eq!(play.effects(), [dial(0, FIRST)]);
    play.peer.handle_welcome(seat(5), play.now);
    assert_eq!(play.effects(), [], "not the host");
    play.peer.handle_welcome(seat(0), play.now);
    let joined = Effect::Notify(Notice::JoinedGame { host: seat(0), epoch: FIRST });
    assert_eq!(play.effects(), [report(FIRST, true), joined]);
}

#[test]
fn a_guest_dials_again_after_a_while() {
    let mut play = Play::of(1, 2);
    play.effects();
    play.peer.handle_link_down(seat(0), play.now);
    assert_eq!((play.effects(), play.peer.poll_timeout()), (Vec::new(), Some(play.now + limits::DIAL_RETRY)));
    assert_eq!(play.later(limits::DIAL_RETRY).effects(), [dial(0, FIRST)]);
    assert_eq!(play.later(limits::DIAL_RETRY).effects(), [], "one attempt at a time");
}

#[test]
fn silence_is_reported_once_and_so_is_its_end() {
    let mut play = Play::guest(1, 2);
    assert_eq!(play.peer.poll_timeout(), Some(play.now + silence()));
    assert_eq!(play.later(silence() - MS).effects(), []);
    let gone = Effect::Notify(Notice::DisconnectedFromHost { host: seat(0) });
    assert_eq!(play.later(MS).effects(), [report(FIRST, false), gone]);
    assert_eq!((play.later(silence()).effects(), play.peer.poll_timeout()), (Vec::new(), None));
    assert_eq!(play.hears(0, FIRST), Admission::Accept);
    assert_eq!(play.effects(), [report(FIRST, true)]);
}

#[test]
fn a_link_that_breaks_is_reported_and_opened_again_as_a_returning_player() {
    let mut play = Play::guest(1, 2);
    play.peer.handle_link_down(seat(0), play.now);
    let gone = Effect::Notify(Notice::DisconnectedFromHost { host: seat(0) });
    assert_eq!(play.effects(), [report(FIRST, false), gone]);
    assert_eq!(play.later(limits::DIAL_RETRY).effects(), [dial(0, FIRST)]);
    play.peer.handle_welcome(seat(0), play.now);
    assert_eq!(play.notices(), [Notice::JoinedGame { host: seat(0), epoch: FIRST }], "the same host: no migration");
}

#[test]
fn a_guest_vouches_for_a_lost_host_only_with_what_it_heard_well_after_the_loss() {
    let mut play = Play::guest(1, 3);
    play.vanishes(0);
    let lost = Notice::HostLost { host: seat(0), cause: LossCause::Disconnected };
    assert_eq!(play.notices(), [Notice::PlayerDisconnected { connection: seat(0) }, lost]);
    play.later(limits::HEARTBEAT - MS).hears(0, FIRST);
    assert_eq!(play.effects(), [], "this may have been under way before");
    play.later(MS).hears(0, FIRST);
    assert_eq!(play.effects(), [report(FIRST, true)]);
    for _ in 0..9 {
        play.later(limits::HEARTBEAT).hears(0, FIRST);
    }
    assert_eq!(play.effects(), []);
    assert_eq!(play.later(limits::HEARTBEAT).effects(), [report(FIRST, true)], "repeated each second");
}

#[test]
fn a_guest_that_vouched_says_when_the_host_falls_silent() {
    let mut play = Play::guest(1, 3);
    play.vanishes(0).later(limits::HEARTBEAT).hears(0, FIRST);
    play.effects();
    assert_eq!(play.later(silence()).deeds(), [report(FIRST, false)]);
    assert_eq!(play.later(limits::REPORT_INTERVAL).deeds(), [report(FIRST, false)], "and repeats it");
}

#[test]
fn the_elected_fetches_restores_hosts_and_is_confirmed_meanwhile() {
    let mut play = Play::guest(1, 3);
    let notices = [
        Notice::PlayerLeft { connection: seat(0), reason: LeaveReason::Left },
        Notice::HostLost { host: seat(0), cause: LossCause::Left },
        Notice::HostElected { host: seat(1), epoch: SECOND },
    ];
    let effects = play.leaves(0).effects();
    let seen = |notice: &Notice| effects.contains(&Effect::Notify(notice.clone()));
    assert!(notices.iter().all(seen), "{effects:?}");
    let deeds: Vec<_> = effects.into_iter().filter(|effect| !matches!(effect, Effect::Notify(_))).collect();
    assert_eq!(deeds, [hang_up(0), Effect::Fetch { epoch: SECOND }]);

    assert!(play.peer.handle_hello(seat(2), SECOND, play.now), "it may come in, and waits");
    assert_eq!(play.effects(), []);
    play.peer.handle_fetched(SECOND, [0, 1, 2].map(seat));
    assert_eq!(play.effects(), [Effect::Restore { epoch: SECOND }]);
    play.peer.handle_restored(SECOND);
    let became = Effect::Notify(Notice::BecameHost { epoch: SECOND });
    let admit = Effect::Admit { guest: seat(2), returning: true };
    assert_eq!(play.effects(), [Effect::ConfirmReady { epoch: SECOND }, became, admit]);
    play.peer.handle_ready(SECOND, ReadyAnswer::Confirmed, play.now);
    assert_eq!(play.effects(), [Effect::PresentGrant { epoch: SECOND }, Effect::Upload { epoch: SECOND }]);
    play.peer.handle_admitted(seat(2));
    assert_eq!(play.notices(), [Notice::PlayerReconnected { connection: seat(2) }]);
    assert_eq!(play.peer.guests_in_game().collect::<Vec<_>>(), [seat(2)]);
    play.lobby_does(Command::Ready { connection: seat(1), epoch: SECOND });
    assert_eq!((play.deeds(), play.peer.role()), (Vec::new(), &Role::Host { epoch: SECOND }));
}

#[test]
fn whoever_is_in_the_snapshot_returns_whatever_it_says_and_others_join() {
    let mut play = Play::elected();
    play.lobby_does(Command::Join(newcomer(3)));
    for guest in [2, 3] {
        assert!(play.peer.handle_hello(seat(guest), SECOND, play.now));
    }
    play.peer.handle_fetched(SECOND, [1, 2].map(seat));
    play.peer.handle_restored(SECOND);
    play.peer.handle_ready(SECOND, ReadyAnswer::Confirmed, play.now);
    let admits = |effects: Vec<Effect>| -> Vec<Effect> {
        effects.into_iter().filter(|effect| matches!(effect, Effect::Admit { .. })).collect()
    };
    let [second, third] =
        [(2, true), (3, false)].map(|(guest, returning)| Effect::Admit { guest: seat(guest), returning });
    assert_eq!(admits(play.effects()), [second, third]);
    for guest in [2, 3] {
        play.peer.handle_admitted(seat(guest));
    }
    let (back, new) = (Notice::PlayerReconnected { connection: seat(2) }, Notice::PlayerJoined { connection: seat(3) });
    assert_eq!(play.notices(), [back, new]);
}

#[test]
fn fetching_and_confirming_are_tried_again_and_late_answers_of_another_epoch_ignored() {
    let mut play = Play::elected();
    play.peer.handle_fetch_failed(SECOND, play.now);
    assert_eq!(play.peer.poll_timeout(), Some(play.now + limits::DIAL_RETRY));
    assert_eq!(play.later(limits::DIAL_RETRY).effects(), [Effect::Fetch { epoch: SECOND }]);
    play.peer.handle_fetched(FIRST, []);
    play.peer.handle_restored(SECOND);
    play.peer.handle_ready(SECOND, ReadyAnswer::Confirmed, play.now);
    assert_eq!(play.effects(), [], "none of this was asked for");
    play.peer.handle_fetched(SECOND, []);
    play.peer.handle_restored(SECOND);
    play.peer.handle_ready(SECOND, ReadyAnswer::Unknown, play.now);
    play.effects();
    assert_eq!(play.later(limits::DIAL_RETRY).effects(), [Effect::ConfirmReady { epoch: SECOND }]);
}

#[test]
fn an_elected_that_is_refused_hangs_up_and_asks_who_is_host() {
    let mut play = Play::elected();
    play.peer.handle_hello(seat(2), SECOND, play.now);
    play.peer.handle_fetched(SECOND, []);
    play.peer.handle_restored(SECOND);
    play.effects();
    play.peer.handle_ready(SECOND, ReadyAnswer::Refused, play.now);
    assert_eq!(play.effects(), [hang_up(2), Effect::Notify(Notice::Demoted { epoch: SECOND }), Effect::Resync]);
    assert_eq!(play.peer.role(), &Role::Waiting);
    play.deadline();
    assert_eq!(play.deeds().last(), Some(&dial(2, THIRD)));
}

#[test]
fn a_guest_follows_the_new_host_and_is_told_of_the_migration() {
    let mut play = Play::guest(2, 3);
    assert_eq!(play.leaves(0).deeds(), [hang_up(0), dial(1, SECOND)]);
    assert_eq!(play.hears(1, SECOND), Admission::Accept);
    play.peer.handle_welcome(seat(1), play.now);
    assert_eq!(
        play.effects(),
        [report(SECOND, true), Effect::Notify(Notice::HostMigrated { host: seat(1), epoch: SECOND })]
    );
}

/// P4.
#[test]
fn a_replaced_host_is_demoted_and_becomes_a_guest_with_its_own_seat() {
    let mut play = Play::host(2);
    play.lobby_does(Command::HostSilent { epoch: FIRST });
    assert_eq!(play.deeds(), [], "it goes on until another one is host");
    assert_eq!(play.hears(1, FIRST), Admission::Accept);
    play.deadline();
    let effects = play.effects();
    assert!(effects.contains(&Effect::Notify(Notice::Demoted { epoch: SECOND })));
    let deeds: Vec<_> = effects.into_iter().filter(|effect| !matches!(effect, Effect::Notify(_))).collect();
    assert_eq!(deeds, [hang_up(1), hang_up(2), dial(1, SECOND)]);
    assert_eq!(play.hears(1, FIRST), Admission::Stale);
}

#[test]
fn a_host_that_only_lost_the_lobby_goes_on() {
    let mut play = Play::host(2);
    play.vanishes(0).lobby_does(Command::HostHeard { epoch: FIRST });
    assert_eq!((play.deeds(), play.peer.role()), (Vec::new(), &Role::Host { epoch: FIRST }));
}

/// P4.
#[test]
fn frames_are_fenced_by_their_epoch_and_their_sender() {
    let mut guest = Play::guest(1, 3);
    guest.leaves(0).lobby_does(Command::Join(newcomer(4)));
    let mut guest =
        Play { peer: Migration::new(seat(2), guest.lobby.view(Viewer::Members), false, guest.now), ..guest };
    assert_eq!(guest.hears(1, SECOND), Admission::Accept);
    assert_eq!(guest.hears(1, FIRST), Admission::Stale);
    assert_eq!(guest.hears(1, THIRD), Admission::Ahead);
    assert_eq!(guest.hears(4, SECOND), Admission::Stale, "another guest");
    let mut host = Play::host(1);
    assert_eq!(host.hears(1, FIRST), Admission::Accept);
    assert_eq!(host.hears(1, SECOND), Admission::Ahead);
    assert_eq!(host.hears(2, FIRST), Admission::Stale, "nobody's link");
}

#[test]
fn a_frame_that_does_not_count_is_no_sign_of_life() {
    let mut play = Play::guest(1, 2);
    play.later(silence() - MS);
    assert_eq!([play.hears(0, SECOND), play.hears(2, FIRST)], [Admission::Ahead, Admission::Stale]);
    assert_eq!(play.later(MS).deeds(), [report(FIRST, false)]);
}

/// P7.
#[test]
fn a_gap_in_the_events_asks_for_everything_and_what_is_known_is_ignored() {
    let mut play = Play::guest(1, 3);
    let (lobby, first) = play.lobby.clone().apply(Command::Join(newcomer(3)), play.lobby_now).unwrap();
    let (lobby, second) = lobby.apply(Command::Join(newcomer(4)), play.lobby_now).unwrap();
    play.peer.handle_event(&second[0], play.now);
    assert_eq!(play.effects(), [Effect::Resync]);
    assert_eq!(play.peer.lobby().members.len(), 3, "it changes nothing");
    let before = play.lobby.view(Viewer::Members);
    play.peer.handle_resync(lobby.view(Viewer::Members), play.now);
    assert_eq!(play.effects(), [Effect::Notify(Notice::PeersUpdated)]);
    play.peer.handle_event(&first[0], play.now);
    play.peer.handle_resync(before, play.now);
    assert_eq!(
        (play.effects(), play.peer.lobby()),
        (Vec::new(), &lobby.view(Viewer::Members)),
        "older than what it knows"
    );
}

#[test]
fn a_resync_over_a_whole_migration_finds_the_new_host() {
    let mut play = Play::guest(2, 3);
    let (lobby, _) =
        play.lobby.apply(Command::Leave { connection: seat(0), player: id(0) }, NOW.after(MS * 9)).unwrap();
    play.lobby = lobby;
    play.peer.handle_resync(play.lobby.view(Viewer::Members), play.now);
    assert_eq!(play.deeds(), [hang_up(0), dial(1, SECOND)]);
}

#[test]
fn a_hint_of_the_relay_only_asks_the_lobby() {
    let mut play = Play::guest(1, 2);
    play.peer.handle_relay_hint(HostHint { host: seat(1), epoch: FIRST });
    assert_eq!(play.effects(), []);
    play.peer.handle_relay_hint(HostHint { host: seat(1), epoch: SECOND });
    assert_eq!(play.effects(), [Effect::Resync]);
    assert!(matches!(play.peer.role(), Role::Guest { host: ConnectionId(0), .. }));
}

#[test]
fn a_goodbye_of_the_host_is_told_and_the_link_closed() {
    let mut play = Play::guest(1, 2);
    play.peer.handle_goodbye(seat(3), play.now);
    assert_eq!(play.effects(), []);
    play.peer.handle_goodbye(seat(0), play.now);
    let shut_down = Effect::Notify(Notice::HostShutDown { host: seat(0) });
    let gone = Effect::Notify(Notice::DisconnectedFromHost { host: seat(0) });
    assert_eq!(play.effects(), [shut_down, report(FIRST, false), gone, hang_up(0)]);
}

#[test]
fn a_hello_is_taken_from_members_at_the_hosts_own_epoch_only() {
    let mut play = Play::host(1);
    let now = play.now;
    assert!(!play.peer.handle_hello(seat(1), SECOND, now));
    assert!(!play.peer.handle_hello(seat(8), FIRST, now));
    assert!(!Play::guest(1, 3).peer.handle_hello(seat(2), FIRST, now));
    assert_eq!(play.effects(), []);
    assert!(play.peer.handle_hello(seat(1), FIRST, now));
    assert_eq!(play.effects(), [Effect::Admit { guest: seat(1), returning: true }], "it was here before");
}

#[test]
fn a_challenged_host_names_the_guests_that_it_hears() {
    let mut play = Play::host(3);
    play.later(silence() - MS);
    for guest in [1, 3] {
        play.hears(guest, FIRST);
    }
    play.later(MS);
    play.peer.handle_challenge(SECOND, play.now);
    assert_eq!(play.effects(), []);
    play.peer.handle_challenge(FIRST, play.now);
    assert_eq!(play.effects(), [Effect::Hears { epoch: FIRST, guests: vec![seat(1), seat(3)] }]);
}

#[test]
fn a_guest_whose_process_restarted_has_no_link_any_more() {
    let mut play = Play::host(2);
    play.lobby_does(Command::Connect { connection: seat(1), player: id(1), peer_key: OTHER_PROCESS, holder: HOLDER });
    let effects = play.effects();
    assert!(effects.contains(&hang_up(1)));
    assert!(effects.contains(&Effect::Notify(Notice::PlayerDisconnected { connection: seat(1) })));
    assert_eq!(play.peer.guests_in_game().collect::<Vec<_>>(), [seat(2)]);
}

#[test]
fn a_guest_that_leaves_or_loses_its_link_is_out_of_the_hosts_game() {
    let mut play = Play::host(2);
    assert_eq!(play.leaves(1).deeds(), [hang_up(1)]);
    play.peer.handle_link_down(seat(2), play.now);
    assert_eq!(play.notices(), [Notice::PlayerDisconnected { connection: seat(2) }]);
    assert_eq!(play.peer.guests_in_game().count(), 0);
}

#[test]
fn an_election_that_failed_without_another_one_is_over() {
    let mut play = Play::guest(1, 2);
    play.leaves(0).effects();
    let epoch = play.lobby.epoch();
    assert!(matches!(play.peer.role(), Role::Becoming { .. }));
    // The lobby loses this peer, its only member, though this peer still reads its events.
    play.vanishes(1);
    assert_eq!((play.lobby.host().host(), play.peer.role()), (None, &Role::Waiting));
    play.peer.handle_fetched(epoch, []);
    assert_eq!(play.deeds(), [], "what comes late changes nothing");
}

#[test]
fn a_peer_without_a_seat_hangs_up_and_stays_out() {
    let mut play = Play::guest(1, 3);
    play.leaves(1);
    assert_eq!(play.peer.role(), &Role::Out);
    let effects = play.effects();
    assert!(effects.contains(&hang_up(0)) && effects.ends_with(&[Effect::Notify(Notice::Removed)]), "{effects:?}");
    play.leaves(0);
    assert_eq!((play.deeds(), play.peer.role()), (Vec::new(), &Role::Out));
    let mut host = Play::host(1);
    host.peer.handle_removed();
    assert_eq!(host.effects(), [hang_up(1), Effect::Notify(Notice::Removed)]);
    assert_eq!(host.hears(1, FIRST), Admission::Stale);
}

fn standby(successor: u8, epoch: HostEpoch) -> Effect {
    Effect::DialStandby { successor: seat(successor.into()), peer_key: key(successor), epoch }
}

/// Guest 3 of four with a link to successor 1.
fn with_standby() -> Play {
    let mut play = Play::guest(3, 4);
    play.peer.handle_standby_up(seat(1));
    assert_eq!(play.deeds(), []);
    play
}

#[test]
fn a_guest_in_game_holds_a_link_to_the_successor() {
    let mut play = Play::of(2, 3);
    assert_eq!(play.deeds(), [dial(0, FIRST)]);
    play.peer.handle_welcome(seat(0), play.now);
    assert_eq!(play.deeds(), [report(FIRST, true), standby(1, FIRST)]);
    let mut successor = Play::of(1, 3);
    successor.peer.handle_welcome(seat(0), successor.now);
    assert_eq!(successor.deeds(), [dial(0, FIRST), report(FIRST, true)]);
}

#[test]
fn a_standby_link_that_breaks_is_opened_again() {
    let mut play = with_standby();
    play.peer.handle_link_down(seat(1), play.now);
    assert_eq!(play.peer.poll_timeout(), Some(play.now + limits::DIAL_RETRY));
    assert_eq!(play.later(limits::DIAL_RETRY - MS).deeds(), []);
    assert_eq!(play.later(MS).deeds(), [standby(1, FIRST)]);
    assert_eq!(play.later(2 * limits::DIAL_RETRY).deeds(), [report(FIRST, false)]);
}

#[test]
fn the_link_to_the_successor_before_is_let_go_once_the_new_one_is_up() {
    let mut play = with_standby();
    assert_eq!(play.vanishes(1).deeds(), [standby(2, FIRST)]);
    play.peer.handle_standby_up(seat(1));
    assert_eq!(play.deeds(), []);
    play.peer.handle_standby_up(seat(2));
    assert_eq!(play.deeds(), [hang_up(1)]);
}

#[test]
fn a_link_to_a_successor_that_never_was_up_is_not_kept() {
    let mut play = Play::guest(3, 4);
    assert_eq!(play.vanishes(1).deeds(), [hang_up(1), standby(2, FIRST)]);
}

#[test]
fn the_link_to_the_elected_successor_is_taken_and_the_others_are_closed() {
    let mut play = with_standby();
    assert_eq!(play.leaves(0).deeds(), [hang_up(0), dial(1, SECOND)]);
    play.peer.handle_welcome(seat(1), play.now);
    assert_eq!(play.deeds(), [report(SECOND, true), standby(2, SECOND)]);
}

#[test]
fn an_elected_peer_hangs_up_what_it_held_for_later() {
    let mut play = Play::guest(3, 4);
    play.peer.handle_standby_up(seat(1));
    play.lobby_does(Command::Replace { by: crate::lobby::Actor::Server, to: Some(seat(3)) });
    assert_eq!(play.deeds(), [hang_up(0), Effect::Fetch { epoch: SECOND }, hang_up(1)]);
}

#[test]
fn guests_take_links_for_later_from_other_members_and_hosts_take_none() {
    let guest = Play::guest(1, 3);
    assert!(
        guest.peer.takes_standby(seat(2)) && !guest.peer.takes_standby(seat(0)) && !guest.peer.takes_standby(seat(9))
    );
    assert!(!Play::host(2).peer.takes_standby(seat(1)));
    assert!(!Play::elected().peer.takes_standby(seat(2)));
}

#[test]
fn a_frame_on_a_link_for_later_counts_for_nothing_until_its_member_is_host() {
    let mut play = with_standby();
    assert_eq!(play.hears(1, FIRST), Admission::Stale);
    play.leaves(0);
    assert_eq!((play.hears(0, FIRST), play.hears(1, SECOND)), (Admission::Stale, Admission::Accept));
}

#[test]
fn a_link_to_an_earlier_successor_does_not_outlive_the_election_of_its_guest() {
    let mut play = with_standby();
    play.vanishes(1);
    play.lobby_does(Command::Replace { by: crate::lobby::Actor::Server, to: Some(seat(2)) });
    assert_eq!(play.deeds(), [standby(2, FIRST), hang_up(0), dial(2, SECOND)]);
    play.lobby_does(Command::Replace { by: crate::lobby::Actor::Server, to: Some(seat(3)) });
    assert_eq!(play.deeds(), [hang_up(2), Effect::Fetch { epoch: THIRD }, hang_up(1)]);
}
