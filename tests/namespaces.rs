//! Real processes in networks of every kind, made of network namespaces: which path each pair ends on, and what happens when it is cut.

#![expect(clippy::unwrap_used, reason = "the functions that the tests share are tests too")]

use std::net::SocketAddr;
use std::thread::JoinHandle;

use serde_json::json;
use tests::cluster::{Game, Player};
use tests::net::{self, Access, Internet, OTHER, SERVICE};
use tests::probe;
use xtask::process::Process;
use xtask::trace::{Trace, now_us};

/// Five seconds of the game: as long as ICE tries all candidates before the pair stays where it is.
const TICKS_OF_PATIENCE: u64 = 150;
/// Operations of the bank that are looked at.
const OPERATIONS: u64 = 20;

/// Times that a TURN server which has just been started is asked, each for a second.
const TURN_TRIES: u32 = 10;

/// Two relays in the middle of the internet, for their STUN.
struct StunServers {
    stop: tokio::sync::oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl StunServers {
    fn start(internet: &Internet) -> Self {
        let key = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "1", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]});
        let verifier = relay::Verifier::from_jwks(&key, "nobody").unwrap();
        let (started_sender, started) = std::sync::mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let core = internet.core();
        let thread = std::thread::spawn(move || {
            let run = async move {
                let listen = |address: &str| relay::Config { listen: stun(address), ..relay::Config::default() };
                let first = relay::start(listen(SERVICE), verifier.clone()).await.unwrap();
                let second = relay::start(listen(OTHER), verifier).await.unwrap();
                started_sender.send(()).unwrap();
                // The test has ended if nobody says so.
                let _ = stopped.await;
                first.stop().await;
                second.stop().await;
            };
            net::within(&core, || {
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run);
            });
        });
        started.recv().unwrap();
        Self { stop, thread }
    }

    fn stop(self) {
        self.stop.send(()).unwrap();
        self.thread.join().unwrap();
    }
}

fn stun(address: &str) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), 3478)
}

/// What two plain sockets find out.
struct Found {
    /// The first one looks the same to everybody.
    same_to_all: Option<bool>,
    /// They reach each other.
    reach: bool,
}

fn probe(homes: [Access; 2]) -> Found {
    let internet = Internet::new(homes);
    let servers = StunServers::start(&internet);
    let sockets = [0, 1].map(|site| internet.udp(&internet.home(site), "0.0.0.0:0"));
    let [service, other] = [SERVICE, OTHER].map(|address| stun(address).to_string());
    let seen = [0, 1].map(|at| probe::seen_by(&service, &sockets[at]));
    let same_to_all = probe::seen_by(&other, &sockets[0]).map(|also| Some(also) == seen[0]);
    let reach = match seen {
        [Some(first), Some(second)] => probe::reach_each_other([&sockets[0], &sockets[1]], [first, second]),
        _ => false,
    };
    servers.stop();
    Found { same_to_all, reach }
}

#[test]
fn the_translators_are_what_they_are_called() {
    use Access::{Cone, NoUdp, Open, Symmetric};

    let rows = [
        ([Open, Open], Some(true), true),
        ([Cone, Open], Some(true), true),
        ([Cone, Cone], Some(true), true),
        ([Symmetric, Open], Some(false), true),
        ([Symmetric, Cone], Some(false), false),
        ([Symmetric, Symmetric], Some(false), false),
        ([NoUdp, Open], None, false),
    ];
    for (homes, same_to_all, reach) in rows {
        let found = probe(homes);
        assert_eq!((found.same_to_all, found.reach), (same_to_all, reach), "{homes:?}");
    }
}

/// A host in the first home and a guest in the second one, in one game. The network goes last.
struct Pair {
    host: Player,
    guest: Player,
    _game: Game,
    internet: Internet,
}

impl Pair {
    fn play(homes: [Access; 2]) -> Self {
        let internet = Internet::new(homes);
        Self::in_game(Game::start_in(&internet, &[]), internet)
    }

    fn in_game(game: Game, internet: Internet) -> Self {
        let host = game.player_in(&internet.home(0), "P1", &["--host"]);
        let guest = game.player_in(&internet.home(1), "P2", &["--join", &host.join_code]);
        Self { host, guest, _game: game, internet }
    }

    /// Waits until both go by these paths.
    fn ends_on(&self, host: &str, guest: &str) {
        self.guest.wait_status(0, |status| status.text("path") == Some(guest));
        self.host.wait_status(0, |status| path_to(status, self.guest.connection) == Some(host));
    }

    /// Waits for long enough that a better path would have been found, and checks that none was.
    fn stays_on(&self, host: &str, guest: &str) {
        self.ends_on(host, guest);
        let since = self.guest.wait_status(now_us(), |_| true);
        let until = since.number("tick").unwrap() + TICKS_OF_PATIENCE;
        self.guest.wait_status(since.at_us(), |status| status.number("tick") >= Some(until));
        for (player, path) in [(&self.host, host), (&self.guest, guest)] {
            let other = if player.connection == 0 { 1 } else { 0 };
            let others = player.told(since.at_us(), |trace| trace.is("status") && path_to(trace, other) != Some(path));
            assert!(others.is_empty(), "{others:?}");
        }
    }

    /// Waits until some more operations are done, and checks that none of all was lost or came twice, under the same host.
    fn banks_go_on(&self) {
        let before = self.guest.wait_status(now_us(), |_| true);
        let wanted = before.number("receipts").unwrap() + OPERATIONS;
        let guest = self.guest.wait_status(before.at_us(), |status| status.number("receipts") >= Some(wanted));
        let host = self.host.wait_status(before.at_us(), |status| status.number("banked") >= Some(wanted));
        assert_eq!((guest.number("receipts_lost"), guest.number("receipts_twice")), (Some(0), Some(0)), "{guest:?}");
        assert_eq!((host.number("lost"), host.number("twice")), (Some(0), Some(0)), "{host:?}");
        for status in [guest, host] {
            assert_eq!((status.number("epoch"), status.number("host")), (Some(1), Some(0)), "nobody took over");
        }
    }
}

/// By which path a player reaches another.
fn path_to(status: &Trace, peer: u64) -> Option<&str> {
    let links = status.value("links").as_array()?;
    links.iter().find(|link| link["peer"] == peer)?["path"].as_str()
}

#[test]
fn two_open_homes_are_connected_straight() {
    let pair = Pair::play([Access::Open, Access::Open]);
    pair.ends_on("web_rtc", "web_rtc");
    pair.banks_go_on();
}

#[test]
fn a_guest_behind_a_cone_is_connected_straight() {
    let pair = Pair::play([Access::Open, Access::Cone]);
    pair.ends_on("web_rtc", "web_rtc");
    pair.banks_go_on();
}

#[test]
fn a_host_behind_a_cone_is_connected_straight() {
    let pair = Pair::play([Access::Cone, Access::Open]);
    pair.ends_on("web_rtc", "web_rtc");
}

#[test]
fn two_homes_behind_cones_are_connected_straight() {
    let pair = Pair::play([Access::Cone, Access::Cone]);
    pair.ends_on("web_rtc", "web_rtc");
    pair.banks_go_on();
}

#[test]
fn a_symmetric_translator_and_an_open_home_are_connected_straight() {
    let pair = Pair::play([Access::Open, Access::Symmetric]);
    pair.ends_on("web_rtc", "web_rtc");
}

#[test]
fn two_symmetric_translators_leave_the_relay() {
    let pair = Pair::play([Access::Symmetric, Access::Symmetric]);
    pair.stays_on("relay", "relay");
    pair.banks_go_on();
}

#[test]
fn a_symmetric_translator_and_a_cone_leave_the_relay() {
    let pair = Pair::play([Access::Cone, Access::Symmetric]);
    pair.stays_on("relay", "relay");
}

#[test]
fn where_udp_is_blocked_on_one_side_that_side_goes_by_websocket() {
    let pair = Pair::play([Access::Open, Access::NoUdp]);
    pair.stays_on("relay", "relay_web_socket");
    pair.banks_go_on();
}

#[test]
fn where_the_hosts_udp_is_blocked_it_goes_by_websocket() {
    let pair = Pair::play([Access::NoUdp, Access::Cone]);
    pair.stays_on("relay_web_socket", "relay");
}

#[test]
fn where_udp_is_blocked_on_both_sides_both_go_by_websocket() {
    let pair = Pair::play([Access::NoUdp, Access::NoUdp]);
    pair.stays_on("relay_web_socket", "relay_web_socket");
    pair.banks_go_on();
}

#[test]
fn when_the_straight_way_is_cut_the_relay_carries_on_and_nothing_is_lost_or_repeated() {
    let pair = Pair::play([Access::Open, Access::Cone]);
    pair.ends_on("web_rtc", "web_rtc");
    pair.banks_go_on();
    let cut_us = now_us();
    pair.internet.cut_between_homes();
    pair.guest.wait_status(cut_us, |status| status.text("path") == Some("relay"));
    pair.host.wait_status(cut_us, |status| path_to(status, pair.guest.connection) == Some("relay"));
    pair.banks_go_on();
    let mended_us = now_us();
    pair.internet.mend_between_homes();
    pair.guest.wait_status(mended_us, |status| status.text("path") == Some("web_rtc"));
    pair.banks_go_on();
}

/// A TURN server with credentials that are good for a time, where another server than ours is.
fn turn_server(game: &Game, internet: &Internet, secret: &str) -> Process {
    let arguments = [
        "-n",
        "--use-auth-secret",
        &format!("--static-auth-secret={secret}"),
        "--realm=understudy",
        &format!("--listening-ip={OTHER}"),
        &format!("--relay-ip={OTHER}"),
        "--no-cli",
        "--no-tls",
        "--no-dtls",
        "--no-multicast-peers",
        "--userdb=turn.db",
        "--pidfile=turn.pid",
        "--log-file=turn.log",
        "--simple-log",
    ];
    let process = game.cluster().program_in(&internet.core(), "turnserver", &arguments).unwrap();
    let asker = internet.udp(&internet.core(), "0.0.0.0:0");
    let server = stun(OTHER).to_string();
    let answers = (0..TURN_TRIES).any(|_| probe::seen_by(&server, &asker).is_some());
    assert!(answers, "the TURN server does not answer");
    process
}

#[test]
fn where_neither_a_straight_way_nor_the_relay_is_there_a_turn_server_carries_the_game() {
    let internet = Internet::new([Access::Cone, Access::Open]);
    internet.cut_between_homes();
    (0..2).for_each(|site| internet.block_port(site, SERVICE, 3478));
    let secret = format!("{:x}", now_us());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &secret).unwrap();
    let url = format!("turn:{OTHER}:3478?transport=udp");
    let service = ["--turn-url", &url, "--turn-secret-file", file.path().to_str().unwrap()];
    let game = Game::start_in(&internet, &service);
    let turn = turn_server(&game, &internet, &secret);
    let pair = Pair::in_game(game, internet);
    pair.ends_on("web_rtc_turned", "web_rtc_turned");
    pair.banks_go_on();
    drop((pair, turn));
}
