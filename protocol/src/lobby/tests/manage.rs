//! What hosts and servers change, and who gets in.

use super::*;
use crate::id::SecretHash;
use crate::message::Audience;

const fn host(play: &Play) -> Actor {
    Actor::Host { connection: ConnectionId(0), epoch: play.lobby.epoch }
}

fn secret(number: u8) -> SecretHash {
    SecretHash::from_bytes([number; 32])
}

fn value(text: &str, visibility: DataVisibility) -> data::DataValue {
    data::DataValue { value: text.into(), visibility, index: None }
}

fn patch(key: &str, value: Option<data::DataValue>) -> LobbyPatch {
    LobbyPatch { data: DataPatch::from([(key.to_owned(), value)]), ..LobbyPatch::default() }
}

#[test]
fn only_the_host_of_this_epoch_or_a_server_changes_a_lobby() {
    let mut play = Play::of(2);
    let patch = LobbyPatch { name: Some("another".into()), ..LobbyPatch::default() };
    let guest = Actor::Host { connection: ConnectionId(1), epoch: HostEpoch(1) };
    let stale = Actor::Host { connection: ConnectionId(0), epoch: HostEpoch(0) };
    let update = |by| Command::Update { by, patch: patch.clone() };
    assert_eq!(play.tries(update(guest)).err(), Some(Rejection::NotHost(ConnectionId(1))));
    assert!(matches!(play.tries(update(stale)).err(), Some(Rejection::StaleEpoch { .. })));
    let seq = play.lobby.last_event;
    play.does(update(host(&play)));
    assert_eq!((play.lobby.name(), play.lobby.last_event.0), ("another", seq.0 + 1));
    play.does(update(Actor::Server));
    assert_eq!(play.lobby.last_event.0, seq.0 + 1, "nothing has changed");
}

#[test]
fn a_write_that_rests_on_an_older_version_is_refused_and_the_epoch_comes_first() {
    let mut play = Play::of(2);
    let seq = play.lobby.last_event;
    let close = |by, seq| Command::If { seq, command: Box::new(Command::Close { by }) };
    let early = close(host(&play), EventSeq(seq.0 - 1));
    assert_eq!(play.tries(early).err(), Some(Rejection::Changed { current: seq }));
    let stale = close(Actor::Host { connection: ConnectionId(0), epoch: HostEpoch(0) }, EventSeq(0));
    assert!(matches!(play.tries(stale).err(), Some(Rejection::StaleEpoch { .. })), "P4");
    play.does(close(host(&play), seq));
    assert!(play.lobby.is_closed());
}

#[test]
fn each_sees_the_data_that_is_for_them() {
    let mut play = Play::of(3);
    for visibility in [DataVisibility::Public, DataVisibility::Member, DataVisibility::Private] {
        let key = format!("{visibility:?}");
        play.does(Command::Update { by: Actor::Server, patch: patch(&key, Some(value("1", visibility))) });
        let data = DataPatch::from([(key, Some(value("2", visibility)))]);
        let patch = MemberPatch { data, ..MemberPatch::default() };
        play.does(Command::UpdateMember { connection: ConnectionId(1), patch });
    }
    let counts = |viewer| {
        let view = play.lobby.view(viewer);
        (view.data.len(), view.member(ConnectionId(1)).unwrap().data.len())
    };
    assert_eq!(counts(Viewer::Server), (3, 3));
    assert_eq!(counts(Viewer::Member(ConnectionId(0))), (3, 2), "the host");
    assert_eq!(counts(Viewer::Member(ConnectionId(1))), (2, 3), "itself");
    assert_eq!(counts(Viewer::Member(ConnectionId(2))), (2, 2));
    assert_eq!(counts(Viewer::Anybody), (1, 1));
    let audiences: Vec<_> =
        play.events.iter().map(|event| event.body.audience()).filter(|&to| to != Audience::All).collect();
    assert_eq!(audiences, [Audience::Host, Audience::Member(ConnectionId(1))]);
}

/// What a reader makes of the events that it may see is what it would be shown.
#[test]
fn a_view_that_follows_the_events_is_the_view() {
    let mut play = Play::of(2);
    let viewer = Viewer::Member(ConnectionId(1));
    let mut view = play.lobby.view(viewer);
    let before = play.events.len();
    let update = |key: &str, value| Command::Update { by: Actor::Server, patch: patch(key, value) };
    play.does(update("a", Some(value("1", DataVisibility::Public))))
        .does(update("a", Some(value("2", DataVisibility::Private))))
        .does(update("b", Some(value("3", DataVisibility::Member))))
        .does(update("a", Some(value("4", DataVisibility::Member))))
        .does(update("b", None))
        .does(Command::RotateCode { by: Actor::Server, code: JoinCode::from_entropy(5) });
    let settings = SettingsPatch { locked: Some(true), ..SettingsPatch::default() };
    play.does(Command::Update { by: Actor::Server, patch: LobbyPatch { settings, ..LobbyPatch::default() } });
    for (connection, visibility) in
        [(0, DataVisibility::Private), (1, DataVisibility::Private), (0, DataVisibility::Member)]
    {
        let data = DataPatch::from([("x".to_owned(), Some(value("5", visibility)))]);
        let patch = MemberPatch { data, name: Some("named".into()), ..MemberPatch::default() };
        play.does(Command::UpdateMember { connection: ConnectionId(connection), patch });
    }
    for event in &play.events[before..] {
        let is_hidden = match event.body.audience() {
            Audience::All => false,
            Audience::Host => true,
            Audience::Member(connection) => connection != ConnectionId(1),
        };
        let body = if is_hidden { EventBody::Hidden } else { event.body.clone() };
        assert!(view.apply(&Event { body, ..event.clone() }));
    }
    assert_eq!(view, play.lobby.view(viewer));
}

#[test]
fn who_may_not_know_of_a_lobby_is_told_that_there_is_none() {
    let mut play = Play::with(Settings { visibility: Visibility::Private, ..Settings::default() }, 1);
    let by = |admission| Command::Join(Newcomer { admission, ..newcomer(1) });
    for admission in [Admission::Id, Admission::ChosenId, Admission::Quick, Admission::Code(JoinCode::from_entropy(1))]
    {
        assert_eq!(play.tries(by(admission)).err(), Some(Rejection::Unknown), "{admission:?}");
    }
    let code = play.lobby.join_code;
    play.does(by(Admission::Code(code)));
    play.does(by(Admission::Id));
    assert_eq!(play.lobby.member_count(), 2, "a member has its seat, however it comes");
    play.does(Command::RotateCode { by: host(&play), code: JoinCode::from_entropy(9) });
    let old = Command::Join(Newcomer { admission: Admission::Code(code), ..newcomer(2) });
    assert_eq!(play.tries(old).err(), Some(Rejection::Unknown), "the code of before");
}

#[test]
fn a_locked_lobby_takes_nobody_and_one_with_a_password_only_who_knows_it() {
    let mut play = Play::of(1);
    let locked = |locked| LobbyPatch {
        settings: SettingsPatch { locked: Some(locked), ..SettingsPatch::default() },
        ..LobbyPatch::default()
    };
    play.does(Command::Update { by: host(&play), patch: locked(true) });
    assert_eq!(play.tries(Command::Join(newcomer(1))).err(), Some(Rejection::Locked));
    play.does(Command::Update { by: host(&play), patch: locked(false) });
    let password = Some(PasswordHash("$argon2id$…".into()));
    let patch = LobbyPatch { password: Some(password.clone()), ..LobbyPatch::default() };
    play.does(Command::Update { by: host(&play), patch });
    assert_eq!(play.tries(Command::Join(newcomer(1))).err(), Some(Rejection::WrongPassword));
    let quick = Newcomer { admission: Admission::Quick, ..newcomer(1) };
    assert_eq!(play.tries(Command::Join(quick)).err(), Some(Rejection::Unknown), "not by chance");
    play.does(Command::Join(Newcomer { password, ..newcomer(1) }));
    assert!(!format!("{:?}", play.lobby).contains("argon2"), "P18");
}

#[test]
fn who_is_kicked_may_come_back_and_who_is_banned_may_not_until_the_ban_ends() {
    let mut play = Play::of(3);
    play.does(Command::Kick { by: host(&play), connection: ConnectionId(1) }).joins(1);
    let (player, until) = (newcomer(2).player, Some(play.now.after(Duration::from_secs(5))));
    let ban = Ban { since: play.now, until, reason: "spam".into() };
    play.does(Command::Ban { by: host(&play), player, ban });
    assert_eq!(play.lobby.seat_of(player), None, "in the same step");
    let code = Admission::Code(play.lobby.join_code);
    let back = Command::Join(Newcomer { admission: code, ..newcomer(2) });
    assert_eq!(play.tries(back.clone()).err(), Some(Rejection::Unknown));
    play.later(5000).does(back);
    assert_eq!(play.lobby.seat_of(player), Some(ConnectionId(2)), "its old seat (P6)");
    let ban = Ban { since: play.now, until: None, reason: String::new() };
    play.does(Command::Ban { by: Actor::Server, player: newcomer(4).player, ban });
    assert!(play.tries(Command::Join(newcomer(4))).is_err(), "also who was never there");
    play.does(Command::Unban { by: Actor::Server, player: newcomer(4).player }).joins(4);
    assert_eq!(
        play.tries(Command::Unban { by: Actor::Server, player: newcomer(4).player }).err(),
        Some(Rejection::Unknown)
    );
}

#[test]
fn a_banned_host_is_replaced() {
    let mut play = Play::of(2);
    let ban = Ban { since: play.now, until: None, reason: String::new() };
    play.does(Command::Ban { by: Actor::Server, player: newcomer(0).player, ban }).expect("1 is elected at 2");
}

/// P1, P2.
#[test]
fn a_host_hands_its_role_to_whom_it_chooses_and_stays_a_candidate() {
    let mut play = Play::of(4);
    let to = |to: u32| Command::Replace { by: host(&play), to: Some(ConnectionId(to)) };
    let (wrong, itself, right) = (to(9), to(0), to(3));
    assert_eq!(play.tries(wrong).err(), Some(Rejection::NotMember));
    assert_eq!(play.tries(itself).err(), Some(Rejection::NotEligible(ConnectionId(0))));
    play.does(right).expect("3 is elected at 2");
    assert!(play.kinds().ends_with(&["host_lost".into(), "host_elected".into(), "successor_changed".into()]));
    play.vanishes(3).expect("0 is elected at 3");
    play.is_ready(0).does(Command::Replace { by: Actor::Server, to: None }).expect("1 is elected at 4");
    let mut alone = Play::of(1);
    assert_eq!(alone.tries(Command::Replace { by: Actor::Server, to: None }).err(), Some(Rejection::NobodyEligible));
}

#[test]
fn another_process_needs_the_secret_and_a_secret_is_good_until_the_next_one_was_used() {
    let mut play = Play::of(1);
    play.does(Command::Join(Newcomer { secret: Some(secret(1)), ..newcomer(1) })).returns(1);
    assert_eq!(play.tries(connect(1, OTHER_PROCESS)).err(), Some(Rejection::SeatTaken));
    let thief = Newcomer { peer_key: OTHER_PROCESS, ..newcomer(1) };
    assert_eq!(play.tries(Command::Join(thief)).err(), Some(Rejection::SeatTaken));
    let back = |shows: u8, gets: u8| {
        Command::Reconnect(Return {
            player: newcomer(1).player,
            presented: secret(shows),
            next: secret(gets),
            peer_key: OTHER_PROCESS,
            direct_address: None,
            browser: false,
            holder: HOLDER,
        })
    };
    assert_eq!(play.tries(back(9, 2)).err(), Some(Rejection::WrongSecret));
    let stranger = Command::Reconnect(Return { player: newcomer(7).player, ..returning(back(1, 2)) });
    assert_eq!(play.tries(stranger).err(), Some(Rejection::WrongSecret), "the same answer without a seat");
    play.vanishes(1).does(back(1, 2));
    let seq = play.lobby.last_event;
    play.does(back(1, 2));
    assert_eq!(play.lobby.last_event, seq, "the same request again");
    play.does(back(2, 3));
    assert_eq!(play.tries(back(1, 5)).err(), Some(Rejection::WrongSecret), "used up");
    play.does(back(2, 4));
    assert_eq!(play.tries(back(3, 5)).err(), Some(Rejection::WrongSecret), "its answer was lost: nobody has it");
    play.does(connect(1, OTHER_PROCESS));
    assert!(play.lobby.is_connected(ConnectionId(1)));
    let again = Newcomer { secret: Some(secret(6)), ..newcomer(1) };
    let same_process = Newcomer { peer_key: OTHER_PROCESS, ..again };
    play.does(Command::Join(same_process.clone())).does(Command::Join(same_process)).does(back(4, 7));
}

fn returning(command: Command) -> Return {
    let Command::Reconnect(returning) = command else { panic!("{command:?}") };
    returning
}

/// P16.
#[test]
fn a_server_changes_much_at_once_or_nothing() {
    let mut play = Play::of(3);
    let reservation = |player: u8| Reservation {
        player: newcomer(player).player,
        name: "expected".into(),
        data: DataPatch::from([("team".to_owned(), Some(value("red", DataVisibility::Public)))]),
    };
    let bulk = Bulk {
        lobby: patch("phase", Some(value("2", DataVisibility::Public))),
        members: vec![(newcomer(1).player, MemberPatch { name: Some("one".into()), ..MemberPatch::default() })],
        add: vec![reservation(5)],
        remove: vec![newcomer(2).player, newcomer(9).player],
        ignores_absent: false,
    };
    let before = play.lobby.clone();
    assert_eq!(play.tries(Command::Bulk(bulk.clone())).err(), Some(Rejection::NotMember));
    assert_eq!(play.lobby, before);
    play.does(Command::Bulk(Bulk { ignores_absent: true, ..bulk }));
    let view = play.lobby.view(Viewer::Server);
    assert_eq!(
        view.members.iter().map(|member| member.name.as_str()).collect::<Vec<_>>(),
        ["player 0", "one", "expected"]
    );
    assert!(!play.lobby.is_connected(ConnectionId(3)));
    play.does(Command::Join(Newcomer { secret: Some(secret(1)), ..newcomer(5) }));
    assert_eq!(play.lobby.seat_of(newcomer(5).player), Some(ConnectionId(3)), "the seat that was kept for it");
    assert!(play.lobby.is_connected(ConnectionId(3)));
}

#[test]
fn all_data_together_has_a_bound() {
    let mut play = Play::of(40);
    let fill = |connection: u32| {
        let data = DataPatch::from([("x".to_owned(), Some(value(&"y".repeat(8000), DataVisibility::Public)))]);
        Command::UpdateMember {
            connection: ConnectionId(connection),
            patch: MemberPatch { data, ..MemberPatch::default() },
        }
    };
    for connection in 0..32 {
        play.does(fill(connection));
    }
    assert_eq!(play.tries(fill(33)).err(), Some(Rejection::TooMuch { what: "data" }));
}
