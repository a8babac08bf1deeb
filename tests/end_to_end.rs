//! The whole system as real processes: a lobby service with its relay, and games that lose their host in every way there is.
//!
//! In each, coins are neither made nor lost, and every player keeps its connection id, its figure and the secret that only the
//! host knows of it (P13).

#![expect(clippy::unwrap_used, reason = "the functions that the tests share are tests too")]

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::time::Duration;

use protocol::snapshot::Snapshot;
use serde_json::{Value, json};
use tests::cluster::{Game, Player};
use tests::service::{TestService, record};
use tests::udp_proxy::UdpProxy;
use xtask::trace::{Trace, now_us};

/// Three players in one game, with a snapshot that holds all of them. P1 hosts.
struct Match {
    p1: Player,
    p2: Player,
    p3: Player,
    coins: u64,
    /// Last: the players end before what they play on.
    game: Game,
}

impl Match {
    fn start(game: Game, host: &[&str], guest: &[&str]) -> Self {
        let p1 = game.player("P1", &[&["--host"], host].concat());
        let join = ["--join", &p1.join_code];
        let p2 = game.player("P2", &[&join, guest].concat());
        let p3 = game.player("P3", &[&join, guest].concat());
        assert_eq!((p1.connection, p2.connection, p3.connection), (0, 1, 2));
        let in_game = [&p1, &p2, &p3].map(|player| player.wait_status(0, |status| enabled(status) == 3));
        let everybody_since = in_game.iter().map(Trace::at_us).max().unwrap_or_default();
        // One that was asked for before may be stored after: the second one holds everybody.
        let first = p1.wait(everybody_since, "a snapshot", |trace| trace.is("snapshot_stored")).at_us();
        p1.wait(first + 1, "another snapshot", |trace| trace.is("snapshot_stored"));
        let coins = in_game[0].number("coins").unwrap();
        assert!(coins > 0);
        Self { p1, p2, p3, coins, game }
    }

    /// Checks that the players who are left go on at this epoch, with everything in its place. Returns the new host and the other.
    fn goes_on(&self, epoch: u64) -> (&Player, &Player) {
        let ticks = [&self.p2, &self.p3].map(|player| player.wait_epoch(epoch));
        let host = ticks[0].number("host").unwrap();
        assert_eq!(ticks[1].number("host"), Some(host));
        let (host, guest) = match host {
            1 => (&self.p2, &self.p3),
            2 => (&self.p3, &self.p2),
            other => panic!("{other} was elected"),
        };
        let restored = host.wait(0, "what it restored", |trace| trace.is("restored"));
        assert_eq!(restored.number("coins"), Some(self.coins));
        assert_eq!(restored.number("players"), Some(3));
        assert_eq!(restored.number("secrets"), Some(3), "what only the host knew came through");
        for tick in &ticks {
            assert!(tick.number("tick") > restored.number("tick"), "the game goes on from what was restored");
        }
        let since = ticks.iter().map(Trace::at_us).max().unwrap();
        host.wait(since, "a snapshot of its own", |trace| {
            trace.is("snapshot_stored") && trace.number("epoch") == Some(epoch)
        });
        for player in [host, guest] {
            let status = player.wait_status(since, |status| is_enabled(status, 1) && is_enabled(status, 2));
            assert_eq!(status.number("coins"), Some(self.coins));
            assert_eq!(*status.value("owned"), json!([figure(player)]));
        }
        (host, guest)
    }

    /// P1's player comes back in a new process and is a guest with everything that was its own.
    fn p1_comes_back(&mut self, arguments: &[&str]) {
        let since = now_us();
        let code = self.p2.join_code.clone();
        self.p1 = self.game.player("P1", &[&["--join", &code], arguments].concat());
        assert_eq!(self.p1.connection, 0, "the seat is kept");
        for player in [&self.p1, &self.p2, &self.p3] {
            let status = player.wait_status(since, |status| enabled(status) == 3);
            assert_eq!(status.number("coins"), Some(self.coins));
        }
        let own = json!([figure(&self.p1)]);
        self.p1.wait_status(since, |status| status.text("role") == Some("guest") && *status.value("owned") == own);
    }
}

fn figure(player: &Player) -> u64 {
    1000 + player.connection
}

fn players(status: &Trace) -> &[Value] {
    status.value("players").as_array().map_or(&[], Vec::as_slice)
}

fn enabled(status: &Trace) -> usize {
    players(status).iter().filter(|player| player["enabled"] == true).count()
}

fn is_enabled(status: &Trace, connection: u64) -> bool {
    players(status).iter().any(|player| player["connection"] == connection && player["enabled"] == true)
}

/// Everything that a host may ask the lobby for, asked with P1's own token as the host of epoch 1, which it is no more.
#[tokio::main(flavor = "current_thread")]
async fn late_requests_are_refused(it: &Match, host: &Player) {
    let service = TestService::at(it.game.service_address());
    let old = service.player_of(&it.game.identity_file("P1")).await;
    let lobby = it.p1.lobby.unwrap();
    let post = async |what: &str| service.post(&old, &format!("/v1/lobbies/{lobby}/{what}"), json!({"epoch": 1})).await;
    let late = record(1, u64::from(u32::MAX), b"a game that nobody plays any more");
    for refused in [service.put_snapshot(&old, lobby, late).await, post("ready").await, post("host-grant").await] {
        let problem = refused.expect_problem("stale_epoch");
        assert_eq!(refused.status.as_u16(), 409);
        assert_eq!((&problem["current_epoch"], &problem["host"]), (&json!(2), &json!(host.connection)));
    }
    let stored = service.get(&old, &format!("/v1/lobbies/{lobby}/snapshot")).await.expect_status(200);
    let stored = Snapshot::decode(&stored.bytes).unwrap();
    assert_eq!(stored.generation.epoch.0, 2, "the new host's snapshot is still there");
    service.stop().await;
}

/// Uploads of the old host that were told to be stored, though the new host restored an older one.
fn late_uploads(old: &Player, new: &Player, since_us: u64) -> Vec<Trace> {
    let restored = new.wait(0, "what it restored", |trace| trace.is("restored"));
    let newest = restored.value("generation")["seq"].as_u64();
    old.told(since_us, |trace| trace.is("snapshot_stored") && trace.number("seq") > newest)
}

/// The thirteen steps: create, upload, join, lose, elect, restore, upload, reconnect, come back.
fn killed_host_is_replaced(mut it: Match, delay: Duration, returns_with: &[&str]) {
    let killed_us = it.p1.process.kill();
    let (host, guest) = it.goes_on(2);
    let earliest_us = killed_us + u64::try_from(delay.as_micros()).unwrap();
    for player in [host, guest] {
        let elected = player.wait_event(killed_us, "host_elected");
        assert!(elected.at_us() >= earliest_us, "elected {} µs too early", earliest_us - elected.at_us());
    }
    let migrated = guest.wait_event(killed_us, "host_migrated");
    assert_eq!(migrated.number("host"), Some(host.connection));
    let accepted = host.wait(killed_us, "that it let the other in", |trace| trace.is("accepted"));
    assert_eq!(accepted.number("connection"), Some(guest.connection));
    assert_eq!(*accepted.value("returning"), true);
    assert_eq!(accepted.text("extra"), Some("back again"));
    host.wait_event(killed_us, "object_reconnected");
    it.p1_comes_back(returns_with);
}

#[test]
fn a_killed_host_is_replaced_after_the_delay_and_comes_back_as_a_guest_with_its_own_seat() {
    let it = Match::start(Game::start(), &["--election-delay-ms", "700"], &["--return-payload", "back again"]);
    killed_host_is_replaced(it, Duration::from_millis(700), &[]);
}

#[test]
fn a_relay_in_a_process_of_its_own_serves_as_well() {
    let game = Game::start_with_relay_process();
    let it = Match::start(game, &["--election-delay-ms", "0"], &["--return-payload", "back again"]);
    killed_host_is_replaced(it, Duration::ZERO, &[]);
}

#[test]
fn peers_who_reach_each_other_directly_need_no_relay() {
    // Nobody answers here: whatever went through the relay would be lost.
    let nowhere = UdpSocket::bind("127.0.0.1:0").unwrap();
    let relay = nowhere.local_addr().unwrap().to_string();
    let direct = ["--direct", "127.0.0.1:0", "--relay", &relay];
    let host = [&["--election-delay-ms", "300"], direct.as_slice()].concat();
    let guest = [&["--return-payload", "back again"], direct.as_slice()].concat();
    let it = Match::start(Game::start(), &host, &guest);
    killed_host_is_replaced(it, Duration::from_millis(300), &direct);
}

#[test]
fn a_host_that_leaves_stores_its_last_state_first_and_loses_nothing() {
    let mut it = Match::start(Game::start(), &["--election-delay-ms", "60000", "--removal-delay-ms", "90000"], &[]);
    let left_us = now_us();
    let seen = it.p1.wait_status(left_us, |_| true);
    it.p1.process.say("leave");
    it.p1.wait(left_us, "that it left", |trace| trace.is("left") && trace.text("how") == Some("left"));
    assert!(it.p1.process.wait_end(tests::cluster::TIME_OUT).unwrap(), "it ends well");
    let ticks = [&it.p2, &it.p3].map(|player| player.wait_epoch(2));
    let host = if ticks[0].number("host") == Some(1) { &it.p2 } else { &it.p3 };
    let restored = host.wait(left_us, "what it restored", |trace| trace.is("restored"));
    assert!(restored.number("tick") >= seen.number("tick"), "what was played before the leave is stored");
    assert_eq!(restored.number("coins"), Some(it.coins));
    for player in [&it.p2, &it.p3] {
        let left = player.wait_event(left_us, "player_left");
        assert_eq!(left.number("connection"), Some(0));
        let status = player.wait_status(left_us, |status| players(status).len() == 2 && enabled(status) == 2);
        assert_eq!(status.number("coins"), Some(it.coins), "its coins stay in the arena");
    }
    it.p1_comes_back(&[]);
}

#[test]
fn a_frozen_host_that_thaws_is_demoted_and_nothing_that_it_did_since_has_any_effect() {
    let it = Match::start(Game::start(), &["--election-delay-ms", "300"], &[]);
    it.p1.process.freeze().unwrap();
    let (host, _) = it.goes_on(2);
    let thawed_us = now_us();
    it.p1.process.thaw().unwrap();
    let demoted = it.p1.wait_event(thawed_us, "demoted");
    assert_eq!(demoted.number("epoch"), Some(2));
    // The new host's world can overtake its welcome: until that is there, the role is "joining".
    let is_back = |status: &Trace| status.text("role") == Some("guest") && status.number("world_epoch") == Some(2);
    let status = it.p1.wait_status(thawed_us, |status| is_back(status) && enabled(status) == 3);
    assert_eq!(status.number("coins"), Some(it.coins));
    assert_eq!(*status.value("owned"), json!([figure(&it.p1)]));
    late_requests_are_refused(&it, host);
    let until_us = now_us();
    for player in [&it.p2, &it.p3] {
        player.wait_status(until_us, |_| true);
        let since = player.wait_epoch(2).at_us();
        let told = player.told(since, |trace| trace.is("status"));
        assert!(told.iter().all(|status| status.number("world_epoch") == Some(2)), "nobody goes back to epoch 1");
        assert!(told.is_sorted_by_key(|status| status.number("tick")), "no tick goes back");
    }
    assert_eq!(late_uploads(&it.p1, host, thawed_us), [], "what it saves after its time is refused");
}

#[test]
fn if_the_elected_host_dies_before_it_is_ready_the_next_one_takes_over() {
    let mut it = Match::start(Game::start(), &["--election-delay-ms", "0"], &["--restore-delay-ms", "1500"]);
    let killed_us = it.p1.process.kill();
    let elected = it.p2.wait_event(killed_us, "host_elected");
    assert_eq!(elected.number("epoch"), Some(2));
    let (victim, heir) = if elected.number("host") == Some(1) { (&mut it.p2, &it.p3) } else { (&mut it.p3, &it.p2) };
    victim.process.kill();
    assert_eq!(victim.told(0, |trace| trace.is("restored")), [], "it was not ready");
    let tick = heir.wait_epoch(3);
    assert_eq!(tick.number("host"), Some(heir.connection));
    let restored = heir.wait(killed_us, "what it restored", |trace| trace.is("restored"));
    assert_eq!((restored.number("coins"), restored.number("players")), (Some(it.coins), Some(3)));
    let (name, old) = (victim.process.name().to_owned(), victim.connection);
    let back = it.game.player(&name, &["--join", &heir.join_code]);
    assert_eq!(back.connection, old);
    let status = back.wait_status(0, |status| enabled(status) == 2);
    assert_eq!((status.number("coins"), players(&status).len()), (Some(it.coins), 3), "P1's seat is kept");
}

#[test]
fn a_host_whose_relay_link_falls_silent_is_replaced_though_its_lobby_socket_lives() {
    let game = Game::start();
    let proxy = UdpProxy::to(game.relay_address()).unwrap();
    let relay = proxy.address().to_string();
    let it = Match::start(game, &["--election-delay-ms", "300", "--relay", &relay], &[]);
    let cut_us = now_us();
    proxy.cut();
    let lost = it.p2.wait_event(cut_us, "host_lost");
    assert_eq!(lost.text("cause"), Some("silent"));
    let (host, _) = it.goes_on(2);
    let demoted = it.p1.wait_event(cut_us, "demoted");
    assert_eq!(demoted.number("epoch"), Some(2));
    assert_eq!(it.p1.told(cut_us, |trace| trace.is_event("lobby_unreachable")), [], "its lobby socket lives");
    assert_eq!(late_uploads(&it.p1, host, cut_us), [], "what it saves after its time is refused");
}

#[test]
fn a_host_restarted_within_the_delay_has_no_state_and_is_an_ordinary_candidate() {
    let mut it = Match::start(Game::start(), &["--election-delay-ms", "10000"], &[]);
    let killed_us = it.p1.process.kill();
    it.p1 = it.game.player("P1", &["--join", &it.p2.join_code]);
    assert_eq!(it.p1.connection, 0);
    let everybody = [&it.p1, &it.p2, &it.p3];
    let ticks = everybody.map(|player| player.wait_epoch(2));
    let hosts: BTreeSet<_> = ticks.iter().map(|tick| tick.number("host")).collect();
    assert_eq!(hosts.len(), 1);
    assert!(ticks.iter().all(|tick| tick.at_us() < killed_us + 10_000_000), "the election does not wait for the delay");
    let host = everybody.into_iter().find(|player| hosts.contains(&Some(player.connection))).unwrap();
    let restored = host.wait(killed_us, "what it restored", |trace| trace.is("restored"));
    assert_eq!((restored.number("coins"), restored.number("secrets")), (Some(it.coins), Some(3)));
    for player in everybody {
        let status =
            player.wait_status(killed_us, |status| status.number("world_epoch") == Some(2) && enabled(status) == 3);
        assert_eq!(status.number("coins"), Some(it.coins));
        assert_eq!(*status.value("owned"), json!([figure(player)]));
        assert_eq!(player.told(killed_us, |trace| trace.is("status") && trace.number("epoch") > Some(2)), []);
    }
}

#[test]
fn a_player_who_stays_away_longer_than_the_removal_delay_loses_its_seat_and_what_it_owned() {
    // Longer than a link takes to notice that its other end is gone.
    let removal = Duration::from_millis(5000);
    let settings = ["--election-delay-ms", "500", "--removal-delay-ms", "5000"];
    let mut it = Match::start(Game::start(), &settings, &[]);
    let killed_us = it.p3.process.kill();
    for player in [&it.p1, &it.p2] {
        let away = player.wait_status(killed_us, |status| enabled(status) == 2);
        assert_eq!(players(&away).len(), 3, "a seat is kept for a while");
        let left = player.wait_event(killed_us, "player_left");
        assert_eq!((left.number("connection"), left.text("reason")), (Some(2), Some("removed")));
        assert!(left.at_us() >= killed_us + u64::try_from(removal.as_micros()).unwrap(), "not before the delay");
        let orphaned = player.wait_event(killed_us, "authority_changed");
        assert_eq!((orphaned.number("object"), orphaned.value("owner")), (Some(figure(&it.p3)), &Value::Null));
        let status = player.wait_status(left.at_us(), |status| players(status).len() == 2);
        assert_eq!(status.number("coins"), Some(it.coins), "its coins stay in the arena");
        assert_eq!(status.number("epoch"), Some(1), "the host stays host");
    }
}
