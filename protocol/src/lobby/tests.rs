//! What a lobby promises, command by command.

mod hand_over;
mod manage;
mod random;

use std::time::Duration;

use crate::message::EventBody;

use super::*;

pub(crate) const NOW: Timestamp = Timestamp(1_000_000);
/// The instance that hears everybody, where nothing else is said.
pub(crate) const HOLDER: InstanceId = InstanceId::from_bytes([1; 8]);

pub(crate) fn newcomer(player: u8) -> Newcomer {
    Newcomer {
        name: format!("player {player}"),
        build_id: "1".into(),
        ..Newcomer::new(PlayerId::from_bytes([player; 16]), PeerKey::from_bytes([player; 32]), HOLDER)
    }
}

/// A lobby with player 0 alone.
pub(crate) fn lobby() -> Lobby {
    let code = JoinCode::from_entropy(77);
    let new = NewLobby::new(LobbyId::from_bytes([7; 16]), code, "duel".into(), Settings::default());
    Lobby::create(new, newcomer(0), NOW).unwrap().0
}

/// A lobby on a clock of its own. Player `n` sits at connection `n`, if they join in order.
struct Play {
    lobby: Lobby,
    now: Timestamp,
    events: Vec<Event>,
}

impl Play {
    /// With players 0 to `players - 1`, of whom each has been there longer than the next.
    fn of(players: u8) -> Self {
        Self::with(Settings::default(), players)
    }

    fn with(settings: Settings, players: u8) -> Self {
        let mut lobby = lobby();
        lobby.settings = settings;
        let mut play = Self { lobby, now: NOW, events: Vec::new() };
        for player in 1..players {
            play.later(1).joins(player);
        }
        play
    }

    fn later(&mut self, ms: u64) -> &mut Self {
        self.now = Timestamp(self.now.0 + ms);
        self
    }

    fn tries(&mut self, command: Command) -> Result<&mut Self, Rejection> {
        let (lobby, events) = self.lobby.clone().apply(command, self.now)?;
        self.lobby = lobby;
        self.events.extend(events);
        Ok(self)
    }

    fn does(&mut self, command: Command) -> &mut Self {
        self.tries(command).unwrap()
    }

    /// Lets time pass up to the next deadline and lets it come.
    fn next_deadline(&mut self) -> &mut Self {
        self.now = self.lobby.due_at().expect("something is due some day");
        self.does(Command::Due)
    }

    fn joins(&mut self, player: u8) -> &mut Self {
        self.does(Command::Join(newcomer(player)))
    }

    /// The process that it had at first.
    fn returns(&mut self, player: u8) -> &mut Self {
        self.does(connect(player, newcomer(player).peer_key))
    }

    /// A process that has nothing in memory.
    fn restarts(&mut self, player: u8) -> &mut Self {
        self.does(connect(player, OTHER_PROCESS))
    }

    fn vanishes(&mut self, player: u8) -> &mut Self {
        let peer_key = self.lobby.members[&seat(player)].peer_key;
        self.does(Command::Disconnect { connection: seat(player), peer_key, holder: HOLDER })
    }

    fn leaves(&mut self, player: u8) -> &mut Self {
        self.does(Command::Leave { connection: seat(player), player: newcomer(player).player })
    }

    fn is_ready(&mut self, player: u8) -> &mut Self {
        let epoch = self.lobby.epoch;
        self.does(Command::Ready { connection: seat(player), epoch })
    }

    fn is_silent(&mut self) -> &mut Self {
        let epoch = self.lobby.epoch;
        self.does(Command::HostSilent { epoch })
    }

    fn is_heard(&mut self) -> &mut Self {
        let epoch = self.lobby.epoch;
        self.does(Command::HostHeard { epoch })
    }

    /// Who is host, as a sentence.
    #[track_caller]
    fn expect(&mut self, sentence: &str) -> &mut Self {
        assert_eq!(sentence_of(&self.lobby), sentence);
        self
    }

    fn kinds(&self) -> Vec<String> {
        let json = |event: &Event| serde_json::to_value(event).unwrap()["kind"].as_str().unwrap().to_owned();
        self.events.iter().map(json).collect()
    }
}

const OTHER_PROCESS: PeerKey = PeerKey::from_bytes([0xEE; 32]);

fn seat(player: u8) -> ConnectionId {
    ConnectionId(player.into())
}

fn connect(player: u8, peer_key: PeerKey) -> Command {
    Command::Connect { connection: seat(player), player: newcomer(player).player, peer_key, holder: HOLDER }
}

fn sentence_of(lobby: &Lobby) -> String {
    let epoch = lobby.epoch();
    match lobby.host() {
        HostState::Present { host, .. } => format!("{host} hosts at {epoch}"),
        HostState::Vouched { host, .. } => format!("{host} is vouched for at {epoch}"),
        HostState::Lost { host, .. } => format!("{host} is lost at {epoch}"),
        HostState::Elected { host, .. } => format!("{host} is elected at {epoch}"),
        HostState::Parked { reason: ParkReason::NobodyEligible, .. } => format!("nobody is eligible at {epoch}"),
        HostState::Parked { reason: ParkReason::TooManyFailedElections, .. } => format!("too many failed at {epoch}"),
    }
}

#[test]
fn a_creator_is_connected_and_hosts_at_the_first_epoch() {
    let mut play = Play::of(1);
    play.expect("0 hosts at 1");
    assert!(play.lobby.is_connected(seat(0)));
    assert_eq!((play.lobby.last_event(), play.lobby.due_at()), (EventSeq(1), None));
}

#[test]
fn a_lost_host_is_replaced_when_the_delay_is_over_and_the_successor_gets_ready() {
    let mut play = Play::of(3);
    play.vanishes(0).expect("0 is lost at 1");
    assert_eq!(play.lobby.due_at(), Some(play.now.after(limits::ELECTION_DELAY)));
    play.later(999).does(Command::Due).expect("0 is lost at 1");
    play.later(1).does(Command::Due).expect("1 is elected at 2");
    assert_eq!(play.lobby.due_at(), Some(play.now.after(limits::READY_TIMEOUT)));
    play.is_ready(1).expect("1 hosts at 2");
    let kinds = ["member_disconnected", "host_lost", "host_elected", "successor_changed", "host_ready"];
    assert!(play.kinds().ends_with(&kinds.map(String::from)), "{:?}", play.kinds());
}

#[test]
fn the_same_process_that_returns_within_the_delay_stays_host() {
    let mut play = Play::of(2);
    play.vanishes(0).later(999).returns(0).expect("0 hosts at 1");
    play.later(60_000).does(Command::Due).expect("0 hosts at 1");
}

#[test]
fn a_deadline_that_has_come_counts_even_if_nobody_called_due() {
    Play::of(2).vanishes(0).later(5_000).joins(2).expect("1 is elected at 2");
    // The host is back before anybody noticed that its time was over: it has not been replaced, so it stays.
    Play::of(2).vanishes(0).later(5_000).returns(0).expect("0 hosts at 1");
}

#[test]
fn a_restarted_host_loses_at_once_and_is_an_ordinary_candidate() {
    let mut play = Play::of(2);
    play.later(10).restarts(0).expect("1 is elected at 2");
    assert!(play.lobby.ranking().places.iter().any(|place| place.connection == seat(0)));
    let mut alone = Play::of(1);
    alone.later(10).restarts(0).expect("0 is elected at 2").is_ready(0).expect("0 hosts at 2");
    let mut away = Play::of(2);
    away.vanishes(0).later(10).restarts(0).expect("1 is elected at 2");
}

#[test]
fn a_silent_host_is_not_elected_although_it_is_connected_for_longest() {
    let mut play = Play::of(3);
    play.is_silent().expect("0 is lost at 1").next_deadline().expect("1 is elected at 2");
}

#[test]
fn a_silent_host_that_is_heard_again_within_the_delay_goes_on() {
    Play::of(3).is_silent().later(500).is_heard().expect("0 hosts at 1");
}

#[test]
fn a_silent_host_that_nobody_can_replace_stays_and_one_that_lost_its_heir_goes_on() {
    let mut play = Play::of(1);
    play.is_silent().expect("0 hosts at 1");
    play.later(1).joins(1).is_silent().expect("0 is lost at 1");
    play.leaves(1).next_deadline().expect("0 hosts at 1");
}

#[test]
fn a_host_that_returns_to_a_paused_lobby_in_the_same_process_goes_on() {
    let mut play = Play::of(3);
    play.leaves(0).is_ready(1).later(20_000);
    play.lobby.failed_elections = vec![play.now; limits::FAILED_ELECTIONS_MAX];
    play.vanishes(1).next_deadline().expect("too many failed at 2");
    play.later(10).returns(1).expect("1 hosts at 2");
}

#[test]
fn nobody_takes_another_members_key() {
    let mut play = Play::of(2);
    let thief = Newcomer { peer_key: newcomer(1).peer_key, ..newcomer(2) };
    assert!(matches!(play.tries(Command::Join(thief)), Err(Rejection::Invalid { field: "peer_key", .. })));
    let stolen = newcomer(0).peer_key;
    let command =
        Command::Connect { connection: ConnectionId(1), player: newcomer(1).player, peer_key: stolen, holder: HOLDER };
    assert!(matches!(play.tries(command), Err(Rejection::Invalid { field: "peer_key", .. })));
}

#[test]
fn after_an_outage_of_the_service_every_deadline_that_has_passed_begins_anew() {
    let mut lost = Play::of(2);
    lost.vanishes(0).later(30_000).does(Command::Resume).expect("0 is lost at 1");
    lost.later(999).returns(0).expect("0 hosts at 1");
    let mut elected = Play::of(2);
    elected.leaves(0).later(30_000).does(Command::Resume).expect("1 is elected at 2");
    elected.later(4_999).is_ready(1).expect("1 hosts at 2");
    let mut away = Play::of(2);
    away.vanishes(1).later(90_000).does(Command::Resume).later(59_999).returns(1);
    assert!(away.lobby.is_connected(ConnectionId(1)));
    let before = away.lobby.clone();
    assert_eq!(away.does(Command::Resume).lobby, before, "nothing has passed: nothing changes");
}

#[test]
fn a_direct_address_that_nobody_can_dial_is_refused() {
    for wrong in ["", "host:1", "127.0.0.1", "127.0.0.1:0", "0.0.0.0:5", "[::]:5", "224.0.0.1:5", "[ff02::1]:5"] {
        let newcomer = Newcomer { direct_address: Some(wrong.into()), ..newcomer(1) };
        let refused = Play::of(1).tries(Command::Join(newcomer)).map(|_| ());
        assert!(matches!(refused, Err(Rejection::Invalid { field: "direct_address", .. })), "{wrong}");
    }
}

#[test]
fn a_host_that_was_vouched_for_longer_than_the_removal_delay_still_has_its_election_delay() {
    let mut play = Play::of(2);
    play.vanishes(0);
    for _ in 0..90 {
        play.later(800).is_heard();
    }
    play.next_deadline().expect("0 is lost at 1");
    assert_eq!(play.lobby.due_at(), Some(play.now.after(limits::ELECTION_DELAY)));
    play.returns(0).expect("0 hosts at 1");
}

#[test]
fn a_silent_host_does_not_stay_because_its_socket_came_back() {
    let mut play = Play::of(3);
    play.is_silent().vanishes(0).later(10).returns(0).expect("0 is lost at 1");
    play.next_deadline().expect("1 is elected at 2");
}

#[test]
fn guests_vouch_for_a_host_that_lost_the_lobby_for_as_long_as_they_repeat_it() {
    let mut play = Play::of(3);
    play.vanishes(0).later(500).is_heard().expect("0 is vouched for at 1");
    for _ in 0..100 {
        play.later(2_900).is_heard().does(Command::Due).expect("0 is vouched for at 1");
    }
    assert!(play.lobby.members.contains_key(&seat(0)), "a vouched host keeps its seat beyond the removal delay");
    play.returns(0).expect("0 hosts at 1");
}

#[test]
fn a_vouched_host_is_lost_again_when_the_vouch_runs_out() {
    let mut play = Play::of(3);
    play.vanishes(0).is_heard().next_deadline().expect("0 is lost at 1");
    assert_eq!(play.now, NOW.after(limits::VOUCH).after(Duration::from_millis(2)));
    play.next_deadline().expect("1 is elected at 2");
}

#[test]
fn a_vouched_host_that_leaves_or_restarts_is_gone_at_once() {
    Play::of(3).vanishes(0).is_heard().leaves(0).expect("1 is elected at 2");
    Play::of(3).vanishes(0).is_heard().later(10).restarts(0).expect("1 is elected at 2");
}

#[test]
fn nobody_can_vouch_for_a_host_that_left_or_restarted() {
    Play::of(1).leaves(0).is_heard().expect("nobody is eligible at 1");
    Play::of(2).later(10).restarts(0).is_heard().expect("1 is elected at 2");
}

#[test]
fn a_host_that_leaves_is_replaced_in_the_same_step() {
    let mut play = Play::of(2);
    play.leaves(0).expect("1 is elected at 2");
    assert!(play.lobby.failed_elections.is_empty(), "leaving is no failure");
}

#[test]
fn with_an_election_delay_of_zero_the_same_step_elects() {
    let settings = Settings { election_delay_ms: 0, ..Settings::default() };
    Play::with(settings, 2).vanishes(0).expect("1 is elected at 2");
}

#[test]
fn the_next_one_is_elected_if_the_elected_is_not_ready_in_time() {
    let mut play = Play::of(3);
    play.leaves(0)
        .expect("1 is elected at 2")
        .next_deadline()
        .expect("2 is elected at 3")
        .is_ready(2)
        .expect("2 hosts at 3");
}

#[test]
fn the_next_one_is_elected_at_once_if_the_elected_vanishes_leaves_or_restarts() {
    Play::of(3).leaves(0).vanishes(1).expect("2 is elected at 3");
    Play::of(3).leaves(0).leaves(1).expect("2 is elected at 3");
    Play::of(3).leaves(0).restarts(1).expect("2 is elected at 3");
}

#[test]
fn when_all_have_failed_they_are_tried_again_until_three_failures_pause_for_five_minutes() {
    let mut play = Play::of(3);
    play.leaves(0).expect("1 is elected at 2").next_deadline().expect("2 is elected at 3");
    play.next_deadline().expect("1 is elected at 4");
    play.next_deadline().expect("too many failed at 4");
    let pause_began = play.now;
    play.later(60_000).joins(3).expect("too many failed at 4");
    play.next_deadline().expect("1 is elected at 5");
    assert_eq!(play.now, pause_began.after(limits::FAILED_ELECTION_WINDOW));
    play.is_ready(1).expect("1 hosts at 5");
}

#[test]
fn failures_that_are_older_than_five_minutes_do_not_count() {
    let mut play = Play::of(3);
    play.leaves(0).next_deadline().expect("2 is elected at 3").next_deadline().expect("1 is elected at 4");
    play.is_ready(1).later(301_000).leaves(1).expect("2 is elected at 5").next_deadline().expect("2 is elected at 6");
}

#[test]
fn a_new_host_that_crashes_on_probation_is_a_failed_election_and_one_that_leaves_is_not() {
    let mut play = Play::of(2);
    play.leaves(0).is_ready(1).later(9_000).vanishes(1).next_deadline();
    assert_eq!(play.lobby.failed_elections.len(), 1);
    let mut later = Play::of(2);
    later.leaves(0).is_ready(1).later(10_000).vanishes(1).next_deadline();
    assert!(later.lobby.failed_elections.is_empty());
    let mut creator = Play::of(2);
    creator.later(100).vanishes(0).next_deadline();
    assert!(creator.lobby.failed_elections.is_empty(), "the creator was not elected");
    let mut back = Play::of(2);
    back.leaves(0).is_ready(1).later(100).vanishes(1).later(100).returns(1).later(2_000).does(Command::Due);
    assert!(back.lobby.failed_elections.is_empty(), "it came back in time");
}

#[test]
fn a_parked_lobby_is_resumed_by_the_first_eligible_member() {
    let mut play = Play::of(1);
    play.leaves(0).expect("nobody is eligible at 1");
    let unwilling = Newcomer { can_host: false, ..newcomer(1) };
    play.later(10).does(Command::Join(unwilling)).expect("nobody is eligible at 1");
    play.later(10).joins(2).expect("2 is elected at 2");
}

#[test]
fn a_member_that_consents_later_resumes_a_parked_lobby() {
    let mut play = Play::of(1);
    play.does(Command::Join(Newcomer { can_host: false, ..newcomer(1) })).leaves(0).expect("nobody is eligible at 1");
    play.joins(1).expect("1 is elected at 2");
}

#[test]
fn a_parked_host_goes_on_at_the_same_epoch_if_the_same_process_returns() {
    let mut play = Play::of(1);
    play.vanishes(0).next_deadline().expect("nobody is eligible at 1").later(30_000).returns(0).expect("0 hosts at 1");
    let mut restarted = Play::of(1);
    restarted.vanishes(0).next_deadline().restarts(0).expect("0 is elected at 2");
}

#[test]
fn a_disconnected_member_keeps_its_seat_for_the_removal_delay() {
    let mut play = Play::of(2);
    play.vanishes(1);
    assert_eq!(play.lobby.due_at(), Some(play.now.after(limits::REMOVAL_DELAY)));
    play.later(59_999).does(Command::Due);
    assert_eq!(play.lobby.member_count(), 2);
    play.later(1).does(Command::Due);
    assert_eq!(play.lobby.member_count(), 1);
    assert!(matches!(
        play.events.iter().find(|event| matches!(event.body, EventBody::MemberLeft { .. })).map(|event| &event.body),
        Some(EventBody::MemberLeft { connection: ConnectionId(1), reason: LeaveReason::Removed, .. })
    ));
}

/// P6.
#[test]
fn a_seat_stays_its_players_own_and_nobody_else_ever_gets_it() {
    let mut play = Play::of(3);
    play.leaves(1).joins(3);
    assert_eq!(play.lobby.seat_of(newcomer(3).player), Some(ConnectionId(3)));
    play.joins(1);
    assert_eq!(play.lobby.seat_of(newcomer(1).player), Some(ConnectionId(1)));
}

/// P6 and P15.
#[test]
fn at_most_1024_former_seats_are_kept_and_the_oldest_gets_a_new_id() {
    let mut play = Play::of(1);
    let visitor = |number: u32| {
        let mut bytes = [0xAA; 16];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        let key = [bytes, bytes].concat().try_into().unwrap();
        Newcomer { player: PlayerId::from_bytes(bytes), peer_key: PeerKey::from_bytes(key), ..newcomer(1) }
    };
    for number in 1..=1025 {
        play.does(Command::Join(visitor(number)));
        play.does(Command::Leave { connection: ConnectionId(number), player: visitor(number).player });
    }
    assert_eq!(play.lobby.former.len(), limits::FORMER_SEATS_MAX);
    for (number, expected) in [(2, 2), (1, 1026)] {
        play.does(Command::Join(visitor(number)));
        assert_eq!(play.lobby.seat_of(visitor(number).player), Some(ConnectionId(expected)));
    }
}

/// P4 and P16.
#[test]
fn whatever_rests_on_another_epoch_changes_nothing() {
    let mut play = Play::of(3);
    play.leaves(0).is_ready(1);
    let before = play.lobby.clone();
    for epoch in [HostEpoch(1), HostEpoch(3)] {
        let commands = [
            Command::Ready { connection: seat(1), epoch },
            Command::HostSilent { epoch },
            Command::HostHeard { epoch },
        ];
        for command in commands {
            let stale = Rejection::StaleEpoch { current: HostEpoch(2), host: Some(seat(1)) };
            assert_eq!(play.tries(command).err(), Some(stale));
        }
        assert!(matches!(play.lobby.check_host_write(seat(1), epoch), Err(Rejection::StaleEpoch { .. })));
    }
    assert_eq!(play.lobby, before);
}

#[test]
fn only_the_host_of_the_epoch_may_write_also_while_it_is_lost_or_parked() {
    let mut play = Play::of(2);
    let first = HostEpoch::FIRST;
    assert_eq!(play.lobby.check_host_write(seat(0), first), Ok(()));
    assert_eq!(play.lobby.check_host_write(seat(1), first), Err(Rejection::NotHost(seat(1))));
    play.vanishes(0);
    assert_eq!(play.lobby.check_host_write(seat(0), first), Ok(()), "it has not been replaced");
    play.vanishes(1).next_deadline().expect("nobody is eligible at 1");
    assert_eq!(play.lobby.check_host_write(seat(0), first), Ok(()), "nor now");
}

#[test]
fn ready_said_twice_is_taken_once_and_from_others_refused() {
    let mut play = Play::of(3);
    play.leaves(0);
    let ready = |player| Command::Ready { connection: seat(player), epoch: HostEpoch(2) };
    assert_eq!(play.tries(ready(2)).err(), Some(Rejection::NotHost(seat(2))));
    play.does(ready(1));
    let before = play.lobby.clone();
    assert_eq!(play.does(ready(1)).lobby, before);
}

#[test]
fn the_end_of_a_process_that_was_replaced_changes_nothing() {
    let mut play = Play::of(2);
    play.later(5).restarts(1);
    let before = play.lobby.clone();
    play.does(Command::Disconnect { connection: seat(1), peer_key: newcomer(1).peer_key, holder: HOLDER });
    assert_eq!(play.lobby, before);
}

#[test]
fn a_loss_told_by_an_instance_that_does_not_hear_the_member_any_more_changes_nothing() {
    let mut play = Play::of(2);
    let elsewhere = InstanceId::from_bytes([2; 8]);
    let (seq, peer_key) = (play.lobby.last_event(), newcomer(0).peer_key);
    let moved = Command::Connect { connection: seat(0), player: newcomer(0).player, peer_key, holder: elsewhere };
    play.does(moved);
    assert_eq!(play.lobby.last_event(), seq, "that it moved is told to nobody");
    let before = play.lobby.clone();
    play.vanishes(0);
    assert_eq!(play.lobby, before);
    play.does(Command::Disconnect { connection: seat(0), peer_key, holder: elsewhere });
    assert!(matches!(play.lobby.host, HostState::Lost { .. }));
}

#[test]
fn members_meet_at_the_relay_that_was_chosen_first_until_somebody_finds_that_one_gone() {
    let mut play = Play::of(1);
    let meet = |relay: &str, instead_of: Option<&str>| Command::Meet {
        relay: relay.into(),
        instead_of: instead_of.map(Into::into),
    };
    assert_eq!(play.does(meet("a:1", None)).lobby.relay(), Some("a:1"));
    assert_eq!(play.does(meet("b:1", None)).lobby.relay(), Some("a:1"));
    assert_eq!(play.does(meet("b:1", Some("a:1"))).lobby.relay(), Some("b:1"));
    assert_eq!(play.does(meet("c:1", Some("a:1"))).lobby.relay(), Some("b:1"));
}

#[test]
fn joining_again_says_nothing_of_the_instance_that_hears_the_member() {
    let mut play = Play::of(2);
    let elsewhere = InstanceId::from_bytes([2; 8]);
    let before = play.lobby.clone();
    play.does(Command::Join(Newcomer { holder: elsewhere, ..newcomer(1) }));
    assert_eq!(play.lobby, before, "it has its socket where it had it");
    play.vanishes(1).does(Command::Join(Newcomer { holder: elsewhere, ..newcomer(1) }));
    assert!(play.lobby.connected().any(|(connection, _, holder)| (connection, holder) == (seat(1), elsewhere)));
}

#[test]
fn joining_again_keeps_the_seat_and_tells_what_changed() {
    let mut play = Play::of(2);
    let seq = play.lobby.last_event();
    play.joins(1);
    assert_eq!(play.lobby.last_event(), seq, "nothing changed, nothing is told");
    play.does(Command::Join(Newcomer { name: "another".into(), ..newcomer(1) }));
    assert_eq!(play.kinds().last().map(String::as_str), Some("member_changed"));
    assert_eq!(play.lobby.member_count(), 2);
}

/// P16.
#[test]
fn a_refused_command_names_its_reason() {
    let full = Settings { max_members: 2, ..Settings::default() };
    assert_eq!(Play::with(full, 2).tries(Command::Join(newcomer(2))).err(), Some(Rejection::Full(2)));
    let mut play = Play::of(2);
    let other_build = Newcomer { build_id: "2".into(), ..newcomer(2) };
    let mismatch = Rejection::BuildMismatch { expected: "1".into() };
    assert_eq!(play.tries(Command::Join(other_build)).err(), Some(mismatch));
    let (player, peer_key) = (newcomer(0).player, newcomer(0).peer_key);
    let not_members = [
        Command::Connect { connection: seat(1), player, peer_key, holder: HOLDER },
        Command::Connect { connection: seat(9), player, peer_key, holder: HOLDER },
        Command::Leave { connection: seat(1), player },
    ];
    for command in not_members {
        assert_eq!(play.tries(command).err(), Some(Rejection::NotMember));
    }
    let invalid = [
        Newcomer { name: "x".repeat(129), ..newcomer(2) },
        Newcomer { name: "bell\u{7}".into(), ..newcomer(2) },
        Newcomer { direct_address: Some("example.org:1".into()), ..newcomer(2) },
    ];
    for newcomer in invalid {
        assert!(matches!(play.tries(Command::Join(newcomer)).err(), Some(Rejection::Invalid { .. })));
    }
}

#[test]
fn settings_out_of_their_bounds_are_refused_by_their_names() {
    let default = Settings::default;
    let wrong = [
        ("settings.election_delay_ms", Settings { election_delay_ms: 600_001, ..default() }),
        ("settings.removal_delay_ms", Settings { removal_delay_ms: 999, election_delay_ms: 0, ..default() }),
        ("settings.removal_delay_ms", Settings { removal_delay_ms: 86_400_001, ..default() }),
        ("settings.removal_delay_ms", Settings { removal_delay_ms: 2_000, election_delay_ms: 2_000, ..default() }),
        ("settings.ready_timeout_ms", Settings { ready_timeout_ms: 499, ..default() }),
        ("settings.ready_timeout_ms", Settings { ready_timeout_ms: 60_001, ..default() }),
        ("settings.max_members", Settings { max_members: 0, ..default() }),
        ("settings.max_members", Settings { max_members: 1_001, ..default() }),
    ];
    for (name, settings) in wrong {
        assert!(matches!(settings.check(), Err(Rejection::Invalid { field, .. }) if field == name), "{settings:?}");
    }
    assert_eq!(default().check(), Ok(()));
}

#[test]
fn an_empty_lobby_is_kept_for_ten_minutes_and_then_closed_for_good() {
    let mut play = Play::of(1);
    play.leaves(0).later(599_000).joins(1).expect("1 is elected at 2").leaves(1);
    play.later(599_999).does(Command::Due);
    assert!(!play.lobby.is_closed());
    play.later(1).does(Command::Due);
    assert!(play.lobby.is_closed() && play.lobby.due_at().is_none());
    assert_eq!(play.tries(Command::Join(newcomer(0))).err(), Some(Rejection::Closed));
    let before = play.lobby.clone();
    assert_eq!(play.later(1).does(Command::Due).lobby, before);
}

#[test]
fn the_successor_is_announced_whenever_it_changes() {
    let mut play = Play::of(3);
    let announced = |play: &Play| {
        play.events.iter().rev().find_map(|event| {
            if let EventBody::SuccessorChanged { successor } = event.body { Some(successor) } else { None }
        })
    };
    assert_eq!((announced(&play), play.lobby.successor()), (Some(Some(seat(1))), Some(seat(1))));
    play.vanishes(1);
    assert_eq!(announced(&play), Some(Some(seat(2))));
    play.later(5).returns(1);
    assert_eq!(announced(&play), Some(Some(seat(2))), "it has been there for less long than the other now");
    play.leaves(1).leaves(2);
    assert_eq!(announced(&play), Some(None));
}

#[test]
fn an_election_says_why_each_place_is_where_it_is() {
    let mut play = Play::of(2);
    play.does(Command::Join(Newcomer { can_host: false, ..newcomer(2) })).leaves(0);
    let ranking = play
        .events
        .iter()
        .find_map(|event| if let EventBody::HostElected { ranking, .. } = &event.body { Some(ranking) } else { None });
    let ranking = ranking.expect("somebody was elected");
    assert_eq!(ranking.first(), Some(seat(1)));
    assert_eq!(ranking.excluded.len(), 1);
}
