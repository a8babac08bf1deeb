//! What a session promises its game: real sessions in one process, through a real service and its relay, and a tiny game that counts
//! what was done (`harness/player.rs`).

#![expect(clippy::unwrap_used, reason = "the functions that the tests share are tests too")]

use std::collections::BTreeSet;
use std::time::Duration;

use lobby_service::auth::api_key::Scope;
use peer_client::protocol::hand_over::GivenUp;
use peer_client::{Event, LinkPath, Role, StateSource, Strategy};
use protocol::id::{ConnectionId, LobbyId};
use protocol::snapshot::Snapshot;
use serde_json::{Value, json};
use tests::player::{Gives, Player, Seen, Setup, World};
use tests::relay_proxy::RelayProxy;
use tests::service::{TestPlayer, TestService};

/// Things that are done before a host is lost, and after.
const THINGS: u64 = 40;

/// A host and its guests, warm, each of whom has done something.
async fn everybody_in<const GUESTS: usize>(service: &TestService, host: Setup, guests: [Setup; GUESTS]) -> Vec<Player> {
    let mut players = vec![Player::host(service, host).await];
    for setup in guests {
        let guest = players[0].join(service, setup).await;
        players.push(guest);
    }
    let all_in = |seen: &Seen| seen.in_game.len() == GUESTS && !seen.stored_ticks.is_empty();
    players[0].until("all guests", all_in).await;
    players
}

/// The one of them that hosts at this epoch or a later one, once both hosts and guests play.
async fn goes_on(players: Vec<Player>, epoch: u64) -> (Player, Vec<Player>) {
    for player in &players {
        player.until("another host", |seen| seen.epoch >= epoch && seen.plays()).await;
    }
    let (mut hosts, guests): (Vec<_>, Vec<_>) =
        players.into_iter().partition(|player| player.now().role == Some(Role::Host));
    let host = hosts.pop().unwrap();
    assert!(hosts.is_empty(), "one host");
    host.until("its guests", |seen| seen.in_game.len() == guests.len()).await;
    (host, guests)
}

/// Waits until each of these players has done so many things, once each, and heard all the answers to them.
async fn once_each(host: &Player, players: &[&Player], things: u64) {
    for player in players {
        let what = format!("the {things} things of {}", player.me);
        let all_done = |seen: &Seen| seen.world.done.get(&player.me.0).is_some_and(|done| done.count >= things);
        let world = host.until(&what, all_done).await.world;
        assert!(world.has_all_of(player.me, things), "{}: {world:?}", player.me);
        let answers = world.done[&player.me.0].answers;
        player.until("all answers", |seen| seen.heard_all(answers)).await;
    }
}

#[tokio::test]
async fn over_a_crash_each_reliable_message_has_its_effect_once_in_both_directions() {
    let service = TestService::in_memory().await;
    let mut players = everybody_in(&service, Setup::new("Ada"), ["Ben", "Eve", "Joe"].map(Setup::new)).await;
    players.iter().for_each(|player| player.does(THINGS));
    let host = players.remove(0);
    host.until("half of it", |seen| seen.world.done.values().any(|done| done.count >= THINGS / 2)).await;
    host.crashes();
    // Into the time without a host.
    players.iter().for_each(|player| player.does(THINGS));
    let (host, guests) = goes_on(players, 2).await;
    once_each(&host, &[&host, &guests[0], &guests[1]], 2 * THINGS).await;
    let lost = |seen: &Seen| seen.event(|event| matches!(event, Event::InputsLost { .. }));
    assert!(guests.iter().chain([&host]).all(|player| !lost(&player.now())));
    drop((host, guests));
    service.stop().await;
}

#[tokio::test]
async fn a_warm_successor_goes_on_from_what_it_holds_and_loses_a_few_ticks_at_most() {
    let service = TestService::in_memory().await;
    let rarely = |name| Setup { interval: Duration::from_secs(600), ..Setup::new(name) };
    let mut players = everybody_in(&service, rarely("Ada"), ["Ben", "Eve"].map(rarely)).await;
    let host = players.remove(0);
    let before = host.until("a warm successor", |seen| seen.is_warm && seen.world.tick > 30).await;
    host.crashes();
    let (host, guests) = goes_on(players, 2).await;
    assert_eq!(Some(host.me), before.successor);
    let seen = host.until("the account of it", |seen| seen.migrated.is_some()).await;
    let trace = seen.migrated.unwrap();
    assert_eq!(trace.source, Some(StateSource::Warm), "{trace:?}");
    let restored = seen.restored.unwrap().tick;
    // A busy machine is late, the durable state would be a second old.
    assert!(restored + 15 >= before.world.tick, "{restored} after {}: {trace:?}", before.world.tick);
    assert!(trace.ticks_lost <= 15, "{trace:?}");
    drop((host, guests));
    service.stop().await;
}

#[tokio::test]
async fn without_a_replica_a_new_host_goes_on_from_the_lobby() {
    let service = TestService::in_memory().await;
    let interval = Duration::from_millis(100);
    let setup = |name| Setup { strategy: Strategy::Snapshot, interval, ..Setup::new(name) };
    let mut players = everybody_in(&service, setup("Ada"), ["Ben", "Eve"].map(setup)).await;
    players.iter().for_each(|player| player.does(THINGS));
    let host = players.remove(0);
    let stored = host.until("some states", |seen| seen.stored_ticks.len() > 5).await;
    host.crashes();
    let (host, guests) = goes_on(players, 2).await;
    let seen = host.until("the account of it", |seen| seen.migrated.is_some()).await;
    assert_eq!(seen.migrated.unwrap().source, Some(StateSource::Lobby));
    assert!(Some(&seen.restored.unwrap().tick) >= stored.stored_ticks.last());
    once_each(&host, &[&host, &guests[0]], THINGS).await;
    drop((host, guests));
    service.stop().await;
}

#[tokio::test]
async fn when_the_host_dies_with_its_successor_a_third_goes_on_from_the_lobby() {
    let service = TestService::in_memory().await;
    let mut players = everybody_in(&service, Setup::new("Ada"), ["Ben", "Eve", "Joe"].map(Setup::new)).await;
    players.iter().for_each(|player| player.does(THINGS));
    let host = players.remove(0);
    let warm = host.until("a warm successor", |seen| seen.is_warm && seen.stored_ticks.len() > 2).await;
    let successor = players.remove(players.iter().position(|player| Some(player.me) == warm.successor).unwrap());
    successor.crashes();
    host.crashes();
    players.iter().for_each(|player| player.does(THINGS));
    let (host, guests) = goes_on(players, 2).await;
    let seen = host.until("the account of it", |seen| seen.migrated.is_some()).await;
    let source = seen.migrated.unwrap().source;
    assert!(matches!(source, Some(StateSource::Lobby | StateSource::Warm)), "{source:?}");
    assert!(Some(&seen.restored.unwrap().tick) >= warm.stored_ticks.last());
    once_each(&host, &[&host, &guests[0]], 2 * THINGS).await;
    drop((host, guests));
    service.stop().await;
}

#[tokio::test]
async fn an_elected_member_that_is_not_warm_asks_the_one_that_is() {
    let service = TestService::in_memory().await;
    let rarely = |name| Setup { interval: Duration::from_secs(600), ..Setup::new(name) };
    // Whoever is elected first holds the state, and its game fails to go on from it.
    let fails = Setup { restores: false, ..rarely("Ben") };
    let mut players = everybody_in(&service, rarely("Ada"), [fails, rarely("Eve")]).await;
    players.iter().for_each(|player| player.does(THINGS));
    let host = players.remove(0);
    let before = host.until("a warm successor", |seen| seen.is_warm && seen.world.tick > 30).await;
    assert_eq!(before.successor, Some(players[0].me), "who joined first is elected first");
    host.crashes();
    let (host, guests) = goes_on(players, 3).await;
    let seen = host.until("the account of it", |seen| seen.migrated.is_some()).await;
    assert_eq!(seen.migrated.unwrap().source, Some(StateSource::Member));
    assert!(seen.restored.unwrap().tick + 15 >= before.world.tick);
    once_each(&host, &[&host, &guests[0]], THINGS).await;
    drop((host, guests));
    service.stop().await;
}

/// Checks that the game has gone on with another host at the very tick, and that nothing was lost; the one that handed over, if it is
/// among them, plays on as a guest.
async fn was_handed_over(last_tick: u64, players: Vec<Player>) {
    let (host, guests) = goes_on(players, 2).await;
    let seen = host.until("the account of it", |seen| seen.migrated.is_some()).await;
    let trace = seen.migrated.unwrap();
    assert!(trace.planned && trace.ticks_lost == 0, "{trace:?}");
    assert_eq!(seen.restored.unwrap().tick, last_tick);
    let all: Vec<_> = guests.iter().chain([&host]).collect();
    all.iter().for_each(|player| player.does(THINGS));
    once_each(&host, &all, 2 * THINGS).await;
    assert!(all.iter().all(|player| player.now().taken_back == 0));
}

#[tokio::test]
async fn a_host_hands_over_without_losing_a_tick_and_plays_on_as_a_guest() {
    let service = TestService::in_memory().await;
    let players = everybody_in(&service, Setup::new("Ada"), ["Ben", "Eve"].map(Setup::new)).await;
    players.iter().for_each(|player| player.does(THINGS));
    let last = &players[2];
    players[0].hands_over(Some(last.me));
    let old = players[0].until("its demotion", |seen| seen.role == Some(Role::Guest)).await;
    last.until("that it hosts", |seen| seen.role == Some(Role::Host)).await;
    was_handed_over(old.world.tick, players).await;
    service.stop().await;
}

#[tokio::test]
async fn a_host_that_leaves_hands_over_first() {
    let service = TestService::in_memory().await;
    let mut players = everybody_in(&service, Setup::new("Ada"), ["Ben", "Eve"].map(Setup::new)).await;
    players.iter().for_each(|player| player.does(THINGS));
    let host = players.remove(0);
    host.leaves();
    let old = host.until("that it has left", |seen| seen.event(|event| *event == Event::Left)).await;
    assert!(!old.event(|event| matches!(event, Event::HandOverFailed { .. })));
    was_handed_over(old.world.tick, players).await;
    service.stop().await;
}

/// Whoever may manage all lobbies.
async fn server_of_the_game(service: &TestService) -> TestPlayer {
    let scopes = BTreeSet::from([Scope::LobbiesWrite]);
    let (_, token) = service.service().unwrap().create_api_key("server".into(), scopes, None).await.unwrap();
    TestPlayer { token, ..service.player(9).await }
}

async fn ask_hand_over(service: &TestService, asker: &TestPlayer, lobby: LobbyId, body: Value) {
    service.post(asker, &format!("/v1/lobbies/{lobby}/hand-over"), body).await.expect_status(202);
}

#[tokio::test]
async fn a_server_of_the_game_has_the_host_hand_over() {
    let service = TestService::in_memory().await;
    let players = everybody_in(&service, Setup::new("Ada"), ["Ben", "Eve"].map(Setup::new)).await;
    players.iter().for_each(|player| player.does(THINGS));
    let server = server_of_the_game(&service).await;
    ask_hand_over(&service, &server, players[0].lobby, json!({"to": players[2].me})).await;
    let old = players[0].until("its demotion", |seen| seen.role == Some(Role::Guest)).await;
    was_handed_over(old.world.tick, players).await;
    service.stop().await;
}

#[tokio::test]
async fn the_hosts_own_request_at_the_lobby_has_it_hand_over() {
    let service = TestService::in_memory().await;
    let folder = tempfile::tempdir().unwrap();
    let identity = folder.path().join("ada.json");
    let ada = Setup { identity: Some(identity.clone()), ..Setup::new("Ada") };
    let players = everybody_in(&service, ada, ["Ben"].map(Setup::new)).await;
    players.iter().for_each(|player| player.does(THINGS));
    let token = service.player_of(&identity).await;
    ask_hand_over(&service, &token, players[0].lobby, json!({"epoch": 1})).await;
    let old = players[0].until("its demotion", |seen| seen.role == Some(Role::Guest)).await;
    was_handed_over(old.world.tick, players).await;
    service.stop().await;
}

#[tokio::test]
async fn a_hand_over_to_a_member_that_is_lost_fails_and_the_host_goes_on() {
    let service = TestService::in_memory().await;
    let mut players = everybody_in(&service, Setup::new("Ada"), ["Ben", "Eve"].map(Setup::new)).await;
    players.iter().for_each(|player| player.does(THINGS));
    let lost = players.remove(2);
    lost.network().partition(true);
    players[0].hands_over(Some(lost.me));
    players[0].until("the beginning", |seen| seen.event(|event| matches!(event, Event::HandOverBegun { .. }))).await;
    let to = lost.me;
    lost.crashes();
    let failed = |event: &Event| matches!(event, Event::HandOverFailed { to: who, why: GivenUp::SuccessorGone | GivenUp::TooLate } if *who == to);
    let seen = players[0].until("its failure", |seen| seen.event(failed) && seen.role == Some(Role::Host)).await;
    assert_eq!(seen.epoch, 1);
    players[0].until("more ticks", |now| now.world.tick > seen.world.tick + 3).await;
    players.iter().for_each(|player| player.does(THINGS));
    once_each(&players[0], &[&players[0], &players[1]], 2 * THINGS).await;
    drop(players);
    service.stop().await;
}

#[tokio::test]
async fn what_is_said_after_stable_is_heard_once_it_cannot_be_taken_back() {
    let service = TestService::in_memory().await;
    let mut players =
        everybody_in(&service, Setup::new("Ada").rarely(), ["Ben", "Eve"].map(|n| Setup::new(n).rarely())).await;
    // The second guest: the first is the successor.
    let (host, guest) = (&players[0], &players[2]);
    guest.does(THINGS);
    // What is said too early would be heard with them.
    let heard = guest.until("the other answers", |seen| seen.heard.len() as u64 == THINGS).await;
    assert!(heard.stable.is_empty(), "nothing is durable yet");
    host.saves_now();
    guest.until("what is durable", |seen| seen.heard_all(THINGS)).await;
    guest.does(THINGS);
    guest.until("more answers", |seen| seen.heard.len() as u64 == 2 * THINGS).await;
    players.remove(0).crashes();
    let (host, guests) = goes_on(players, 2).await;
    let eve = &guests[0];
    assert_eq!(host.now().restored.unwrap().done[&eve.me.0].last, THINGS, "the rest was not durable");
    let again = eve.until("the same answers again", |seen| seen.heard.len() as u64 == 2 * THINGS).await;
    assert_eq!(again.stable.len() as u64, THINGS, "none was taken back, and none is durable by now");
    host.saves_now();
    eve.until("each answer once", |seen| seen.heard_all(2 * THINGS)).await;
    drop((host, guests));
    service.stop().await;
}

#[tokio::test]
async fn what_a_lost_state_said_is_taken_back_and_said_again() {
    let service = TestService::in_memory().await;
    let mut players =
        everybody_in(&service, Setup::new("Ada").rarely(), ["Ben", "Eve"].map(|name| Setup::new(name).rarely())).await;
    // The second guest: the first is the successor.
    players[2].does(THINGS);
    players[2].until("all answers", |seen| seen.heard.len() as u64 == THINGS).await;
    players.remove(0).crashes();
    let (host, guests) = goes_on(players, 2).await;
    assert_eq!(guests[0].me.0, 2, "who joined first was elected");
    guests[0].until("that they are taken back", |seen| seen.taken_back == THINGS).await;
    guests[0].until("the same answers", |seen| seen.heard.len() as u64 == THINGS).await;
    assert!(host.now().world.has_all_of(guests[0].me, THINGS));
    drop((host, guests));
    service.stop().await;
}

#[tokio::test]
async fn what_was_lost_with_its_sender_is_told() {
    let service = TestService::in_memory().await;
    let folder = tempfile::tempdir().unwrap();
    let joe = || Setup { identity: Some(folder.path().join("joe.json")), ..Setup::new("Joe").rarely() };
    let mut players = everybody_in(&service, Setup::new("Ada").rarely(), [Setup::new("Ben").rarely(), joe()]).await;
    let guest = players.remove(2);
    let who = guest.me;
    guest.does(THINGS);
    players[0].until("what it did", |seen| seen.world.has_all_of(who, THINGS)).await;
    players[0].saves_now();
    players[0].until("that it is stored", |seen| seen.stored_ticks.len() >= 2).await;
    guest.does(THINGS);
    players[0].until("what it did then", |seen| seen.world.has_all_of(who, 2 * THINGS)).await;
    guest.crashes();
    players.remove(0).crashes();
    let ben = players.remove(0);
    let seen = ben.until("that it hosts", |seen| seen.role == Some(Role::Host)).await;
    let stored = seen.restored.unwrap().done[&who.0].last;
    assert_eq!(stored, THINGS, "what it did then was not durable");
    let back = ben.join(&service, joe()).await;
    assert_eq!(back.me, who, "its seat was kept");
    let lost = |event: &Event| matches!(event, Event::InputsLost { who: whose, numbers } if *whose == who && numbers.from == THINGS + 1);
    ben.until("what was lost", |seen| seen.event(lost)).await;
    drop((ben, back));
    service.stop().await;
}

#[tokio::test]
async fn changes_that_the_game_made_itself_are_restored_in_their_order() {
    let service = TestService::in_memory().await;
    let changes = |name| Setup { gives: Gives::Changes, ..Setup::new(name) };
    let mut players = everybody_in(&service, changes("Ada"), ["Ben", "Eve"].map(changes)).await;
    players.iter().for_each(|player| player.does(THINGS));
    let host = players.remove(0);
    let before = host.until("a warm successor", |seen| seen.is_warm && seen.world.tick > 20).await;
    host.crashes();
    let (host, guests) = goes_on(players, 2).await;
    let seen = host.until("the account of it", |seen| seen.migrated.is_some()).await;
    assert!(seen.changes > 0, "it was restored from changes");
    let restored = seen.restored.unwrap();
    assert_eq!(restored.ticks_out_of_order, 0, "each change after the one before");
    assert!(restored.tick + 15 >= before.world.tick);
    once_each(&host, &[&host, &guests[0]], THINGS).await;
    drop((host, guests));
    service.stop().await;
}

#[tokio::test]
async fn what_the_service_stores_is_sealed_and_only_the_key_goes_on_from_it() {
    let service = TestService::in_memory().await;
    let folder = tempfile::tempdir().unwrap();
    let identity = folder.path().join("ada.json");
    let setup = |name, key: u8| Setup {
        key: Some([key; 32]),
        strategy: Strategy::Snapshot,
        interval: Duration::from_millis(100),
        ..Setup::new(name)
    };
    let ada = Setup { identity: Some(identity.clone()), ..setup("Ada", 7) };
    let mut players = everybody_in(&service, ada, [setup("Ben", 8), setup("Eve", 7)]).await;
    players.iter().for_each(|player| player.does(THINGS));
    let host = players.remove(0);
    let before = host.until("some states", |seen| seen.stored_ticks.len() > 5).await;
    assert_eq!(before.successor, Some(players[0].me), "the one with another key would be elected");
    let token = service.player_of(&identity).await;
    let stored = service.get(&token, &format!("/v1/lobbies/{}/snapshot", host.lobby)).await.expect_status(200);
    assert!(Snapshot::decode(&stored.bytes).is_err(), "nobody without the key reads it");
    host.crashes();
    let (host, guests) = goes_on(players, 3).await;
    assert_eq!((host.me.0, guests[0].now().restored), (2, None), "the other key opened nothing");
    let seen = host.until("the account of it", |seen| seen.migrated.is_some()).await;
    assert_eq!(seen.migrated.unwrap().source, Some(StateSource::Lobby));
    assert!(Some(&seen.restored.unwrap().tick) >= before.stored_ticks.last());
    drop((host, guests));
    service.stop().await;
}

#[tokio::test]
async fn a_full_journal_makes_the_game_wait_and_flows_again() {
    const MANY: u64 = 9000;
    let service = TestService::in_memory().await;
    let quiet = |name| Setup { answers: false, gives: Gives::Nothing, ..Setup::new(name).rarely() };
    let players = everybody_in(&service, quiet("Ada"), [quiet("Ben")]).await;
    let (host, guest) = (&players[0], &players[1]);
    guest.does(MANY);
    let full = guest.until("that it is full", |seen| seen.full > 0).await;
    assert_eq!(full.said, protocol::limits::JOURNAL_MESSAGES_MAX as u64);
    host.until("what was taken", |seen| seen.world.has_all_of(guest.me, full.said)).await;
    host.saves_now();
    guest.until("that the rest is taken", |seen| seen.said == MANY).await;
    host.until("all of it", |seen| seen.world.has_all_of(guest.me, MANY)).await;
    drop(players);
    service.stop().await;
}

#[test]
fn the_game_notices_what_comes_twice_or_not_at_all() {
    let world = |numbers: &[u64]| {
        let mut world = World::default();
        numbers.iter().for_each(|&number| world.apply(ConnectionId(1), number, false));
        world
    };
    let one = ConnectionId(1);
    assert!(world(&[1, 2, 3]).has_all_of(one, 3));
    for wrong in [&[1, 2, 2, 3][..], &[1, 3], &[1, 3, 2, 3], &[2, 1, 3]] {
        assert!(!world(wrong).has_all_of(one, 3), "{wrong:?}");
    }
}

#[tokio::test]
async fn where_udp_is_blocked_a_game_is_played_by_websocket() {
    let service = TestService::in_memory().await;
    let relay = service.relay().unwrap();
    let proxies = [RelayProxy::to(relay).await.unwrap(), RelayProxy::to(relay).await.unwrap()];
    proxies.iter().for_each(RelayProxy::block_udp);
    let setup = |name, proxy: &RelayProxy| Setup { relay: Some(proxy.address()), ..Setup::new(name) };
    let mut players = everybody_in(&service, setup("Ada", &proxies[0]), [setup("Ben", &proxies[1])]).await;
    let (guest, host) = (players.pop().unwrap(), players.pop().unwrap());
    guest.does(THINGS);
    once_each(&host, &[&guest], THINGS).await;
    for player in [&host, &guest] {
        player.until("its path", |seen| seen.paths == [LinkPath::RelayWebSocket]).await;
    }
    // A crash is noticed, and lived through, as anywhere else.
    host.crashes();
    let (host, _) = goes_on(vec![guest], 2).await;
    once_each(&host, &[&host], THINGS).await;
    drop((host, proxies));
    service.stop().await;
}
