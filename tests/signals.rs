//! Signals between members, over real sockets, and what `relay_only` keeps from them.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use lobby_service::auth::Turn;
use lobby_service::config::{Config, Relay};
use protocol::id::{ConnectionId, EventSeq, PeerKey};
use protocol::limits;
use protocol::message::{ClientMessage, CloseReason, EventBody, LobbyView, ServerMessage};
use protocol::signal::{Description, Signal};
use regex::Regex;
use reqwest::Method;
use serde_json::{Value, json};
use tests::service::{TestPlayer, TestService, TestSocket};

const HOST: &str = "candidate:1 1 udp 2130706431 203.0.113.10 4000 typ host";
const HOST_IPV6: &str = "candidate:2 1 udp 2130706431 2001:db8::10 4000 typ host generation 0";
const NAMED: &str = "candidate:3 1 udp 2113937151 0b3dfa0b-1c6e-4d1c-8a46-6a3ad1a30ac0.local 51000 typ host";
const REFLEXIVE: &str = "candidate:4 1 udp 1694498815 203.0.113.4 4001 typ srflx raddr 203.0.113.10 rport 4000";
const PEER_REFLEXIVE: &str = "candidate:5 1 udp 1694498815 203.0.113.5 4001 typ prflx raddr 203.0.113.10 rport 4000";
const RELAYED: &str = "candidate:6 1 udp 16777215 198.51.100.9 49152 typ relay raddr 203.0.113.4 rport 4001";
const RELAYED_BARE: &str = "candidate:6 1 udp 16777215 198.51.100.9 49152 typ relay";
const ALL: [&str; 6] = [HOST, HOST_IPV6, NAMED, REFLEXIVE, PEER_REFLEXIVE, RELAYED];
/// Where the relay and the TURN server are: all addresses that players may learn.
const OF_SERVERS: [&str; 2] = ["198.51.100.1", "198.51.100.9"];

fn owned(candidates: &[&str]) -> Vec<String> {
    candidates.iter().map(|&candidate| candidate.to_owned()).collect()
}

fn description(candidates: &[&str]) -> Description {
    Description { ufrag: "u+/F".into(), pwd: "p".repeat(22), candidates: owned(candidates) }
}

fn offer(attempt: u32, candidates: &[&str]) -> Signal {
    Signal::Offer { attempt, description: description(candidates) }
}

fn to(connection: u32, peer_key: PeerKey, signal: Signal) -> ClientMessage {
    ClientMessage::Signal { to: ConnectionId(connection), peer_key, signal }
}

/// A lobby of two, with their sockets.
struct Pair {
    host: TestPlayer,
    guest: TestPlayer,
    lobby: LobbyView,
    at_host: TestSocket,
    at_guest: TestSocket,
}

impl Pair {
    async fn new(service: &TestService, settings: Value) -> Self {
        let (host, guest) = (service.player(1).await, service.player(2).await);
        let lobby = service.create(&host, settings).await;
        assert_eq!(service.join(&guest, &lobby).await, ConnectionId(1));
        let mut at_host = service.listen(&host, lobby.id, None).await;
        let mut at_guest = service.listen(&guest, lobby.id, None).await;
        at_host.resync().await;
        at_guest.resync().await;
        Self { host, guest, lobby, at_host, at_guest }
    }

    async fn host_says(&mut self, signal: Signal) {
        self.at_host.say(&to(1, self.guest.peer_key, signal)).await;
    }

    async fn guest_says(&mut self, signal: Signal) {
        self.at_guest.say(&to(0, self.host.peer_key, signal)).await;
    }
}

/// The next signal, and who says it; events before it are skipped.
async fn signal(socket: &mut TestSocket) -> (ConnectionId, PeerKey, Signal) {
    loop {
        match socket.message().await {
            ServerMessage::Signal { from, peer_key, signal } => return (from, peer_key, signal),
            ServerMessage::Event(_) | ServerMessage::Resync { .. } => {}
            other @ (ServerMessage::Challenge { .. } | ServerMessage::Closing { .. }) => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_signal_reaches_the_process_that_it_is_for_with_who_says_it_and_in_order() {
    let service = TestService::in_memory().await;
    let mut pair = Pair::new(&service, json!({})).await;
    pair.guest_says(offer(7, &[HOST, REFLEXIVE])).await;
    let bare = &REFLEXIVE[..REFLEXIVE.find(" raddr").unwrap()];
    let heard = signal(&mut pair.at_host).await;
    assert_eq!(heard, (ConnectionId(1), pair.guest.peer_key, offer(7, &[HOST, bare])));
    let answer = Signal::Answer { attempt: 7, description: description(&[]) };
    pair.host_says(answer.clone()).await;
    let more: Vec<_> = (0..60)
        .map(|number| Signal::Candidates {
            attempt: number,
            candidates: if number % 2 == 0 { owned(&[HOST]) } else { Vec::new() },
        })
        .collect();
    for signal in &more {
        pair.host_says(signal.clone()).await;
    }
    pair.host_says(Signal::Close { attempt: 7 }).await;
    for wanted in [answer].into_iter().chain(more).chain([Signal::Close { attempt: 7 }]) {
        assert_eq!(signal(&mut pair.at_guest).await, (ConnectionId(0), pair.host.peer_key, wanted));
    }
    service.stop().await;
}

#[tokio::test]
async fn what_is_for_nobody_who_is_there_or_cannot_be_used_is_dropped_and_costs_nobody_its_socket() {
    let service = TestService::in_memory().await;
    let mut pair = Pair::new(&service, json!({})).await;
    let another = PeerKey::from_bytes([0x5a; 32]);
    for (connection, peer_key) in [(0, another), (9, pair.host.peer_key), (u32::MAX, another)] {
        pair.at_guest.say(&to(connection, peer_key, offer(1, &[HOST]))).await;
    }
    let bad = "candidate:1 1 udp 1 example.org 4000 typ host";
    pair.guest_says(offer(2, &[bad])).await;
    pair.guest_says(offer(3, &[HOST; 17])).await;
    let short = Description { ufrag: "a".into(), ..description(&[]) };
    pair.guest_says(Signal::Answer { attempt: 4, description: short }).await;
    pair.guest_says(Signal::Close { attempt: 5 }).await;
    assert_eq!(signal(&mut pair.at_host).await.2, Signal::Close { attempt: 5 });
    service.stop().await;
}

#[tokio::test]
async fn what_the_protocol_does_not_have_closes_the_socket() {
    let service = TestService::in_memory().await;
    let pair = Pair::new(&service, json!({})).await;
    for wrong in [
        json!({"kind": "renegotiate", "attempt": 1}),
        json!({"kind": "close", "attempt": -1}),
        json!({"kind": "close", "attempt": 1, "sdp": "v=0"}),
        json!({"kind": "offer", "attempt": 1, "ufrag": "abcd", "pwd": "p".repeat(22), "sdp": "v=0"}),
    ] {
        let mut socket = service.listen(&pair.guest, pair.lobby.id, None).await;
        socket.resync().await;
        let message = json!({"type": "signal", "to": 0, "peer_key": pair.host.peer_key, "signal": wrong});
        socket.say_text(message.to_string()).await;
        assert_eq!(socket.closed().await, Some(CloseReason::Malformed.code()), "{wrong}");
    }
    let mut socket = service.open(&pair.guest, pair.lobby.id).await.unwrap();
    socket.say(&to(0, pair.host.peer_key, Signal::Close { attempt: 1 })).await;
    assert_eq!(socket.closed().await, Some(CloseReason::NoHello.code()), "hello is first");
    service.stop().await;
}

/// Else the one it is for would not know the process, and drop it.
#[tokio::test]
async fn a_signal_comes_after_the_events_that_its_sender_may_have_known() {
    let service = TestService::in_memory().await;
    let mut pair = Pair::new(&service, json!({})).await;
    for number in 3..=30 {
        let newcomer = service.player(number).await;
        let connection = service.join(&newcomer, &pair.lobby).await;
        let mut socket = service.listen(&newcomer, pair.lobby.id, Some(EventSeq(0))).await;
        socket.say(&to(0, pair.host.peer_key, offer(number.into(), &[HOST]))).await;
        let mut is_known = false;
        loop {
            match pair.at_host.message().await {
                ServerMessage::Event(event) => {
                    let EventBody::MemberJoined { member } = event.body else { continue };
                    is_known |= member.connection == connection;
                }
                ServerMessage::Signal { from, .. } => {
                    assert_eq!((from, is_known), (connection, true));
                    break;
                }
                other @ (ServerMessage::Resync { .. }
                | ServerMessage::Challenge { .. }
                | ServerMessage::Closing { .. }) => {
                    panic!("{other:?}")
                }
            }
        }
    }
    service.stop().await;
}

#[tokio::test]
async fn a_host_that_answers_a_crowd_at_once_keeps_its_socket() {
    let service = TestService::in_memory().await;
    let mut pair = Pair::new(&service, json!({})).await;
    // An answer and four more for each of a hundred guests. None is there: one that does not read would be too slow.
    for attempt in 0..5 * limits::MEMBERS {
        pair.at_host.say(&to(1 + attempt / 5, pair.host.peer_key, offer(attempt, &ALL))).await;
    }
    pair.guest_says(Signal::Close { attempt: 1 }).await;
    assert_eq!(signal(&mut pair.at_host).await.2, Signal::Close { attempt: 1 }, "its socket is open");
    service.stop().await;
}

/// A service whose servers have addresses that are found again.
async fn with_servers() -> TestService {
    let turn = Turn::new(vec!["turn:198.51.100.9:3478?transport=udp".parse().unwrap()], "hush".into());
    let config = Config::ephemeral();
    let relay = config.relay.clone().map(|relay| Relay { advertise: Some("198.51.100.1:3478".into()), ..relay });
    TestService::start(Config { turn: Some(turn), relay, ..config }).await
}

/// Everything that was said to players.
#[derive(Default)]
struct Capture(String);

impl Capture {
    async fn call(
        &mut self,
        service: &TestService,
        player: &TestPlayer,
        method: Method,
        path: &str,
        body: Value,
    ) -> Value {
        let mut answer = service.call(player, method, path, body).await;
        // It looks like an address.
        answer.headers.remove("date");
        assert!(answer.status.is_success(), "{path}: {}", answer.json());
        self.0 += &format!("{}\n{:?}\n", String::from_utf8_lossy(&answer.bytes), answer.headers);
        answer.json()
    }

    /// What comes on a socket until something of this kind has come.
    async fn listen(&mut self, socket: &mut TestSocket, is_last: impl Fn(&Value) -> bool) {
        loop {
            let text = socket.text().await;
            self.0 += &format!("{text}\n");
            if is_last(&serde_json::from_str(&text).unwrap()) {
                return;
            }
        }
    }

    /// IP addresses and names of machines.
    fn addresses(&self) -> BTreeSet<&str> {
        let address =
            Regex::new(r"\b\d{1,3}(\.\d{1,3}){3}\b|[0-9a-f]+:[0-9a-f:]*::?[0-9a-f]+|[0-9a-zA-Z-]+\.local").unwrap();
        address.find_iter(&self.0).map(|found| found.as_str()).collect()
    }
}

fn is_close(message: &Value) -> bool {
    message["type"] == "signal" && message["signal"]["kind"] == "close"
}

/// Acceptance: with `relay_only`, nothing that is said to a player holds the address of another.
#[tokio::test]
async fn where_all_goes_through_relays_nothing_that_players_are_told_holds_an_address_of_a_player() {
    let service = with_servers().await;
    let (host, guest) = (service.player(1).await, service.player(2).await);
    let mut capture = Capture::default();
    let body = json!({
        "lobby_name": "quiet", "peer_key": host.peer_key, "direct_address": "203.0.113.10:4000",
        "settings": {"relay_only": true},
    });
    let made = capture.call(&service, &host, Method::POST, "/v1/lobbies", body).await;
    let lobby: LobbyView = serde_json::from_value(made["lobby"].clone()).unwrap();
    let at = |rest: &str| format!("/v1/lobbies/{}{rest}", lobby.id);
    let mut at_host = service.listen(&host, lobby.id, None).await;
    let body = json!({"peer_key": guest.peer_key, "direct_address": "203.0.113.20:4001", "browser": true});
    let seat = capture.call(&service, &guest, Method::POST, &at("/join"), body).await;
    let mut at_guest = service.listen(&guest, lobby.id, None).await;

    for attempt in 1..=2 {
        at_guest.say(&to(0, host.peer_key, offer(attempt, &ALL))).await;
        at_host.say(&to(1, guest.peer_key, Signal::Answer { attempt, description: description(&ALL) })).await;
        for candidate in ALL {
            let more = Signal::Candidates { attempt, candidates: owned(&[candidate]) };
            at_guest.say(&to(0, host.peer_key, more.clone())).await;
            at_host.say(&to(1, guest.peer_key, more)).await;
        }
    }
    let body = json!({"data": {}, "name": "another"});
    capture.call(&service, &guest, Method::PATCH, &at("/members/1"), body).await;
    let body = json!({
        "reconnect_secret": seat["reconnect_secret"], "peer_key": guest.peer_key, "direct_address": "203.0.113.21:4001",
    });
    capture.call(&service, &guest, Method::POST, &at("/reconnect"), body).await;
    for read in ["", "/election"] {
        capture.call(&service, &host, Method::GET, &at(read), Value::Null).await;
    }
    for operation in ["/ice-servers", "/relay-token", "/ticket"] {
        capture.call(&service, &host, Method::POST, &at(operation), Value::Null).await;
    }
    capture.call(&service, &host, Method::POST, "/v1/lobbies/query", json!({})).await;
    at_guest.say(&to(0, host.peer_key, Signal::Close { attempt: 1 })).await;
    at_host.say(&to(1, guest.peer_key, Signal::Close { attempt: 1 })).await;
    capture.listen(&mut at_host, is_close).await;
    capture.listen(&mut at_guest, is_close).await;
    let mut late = service.listen(&host, lobby.id, Some(EventSeq(0))).await;
    capture
        .listen(&mut late, |message| message["kind"] == "member_changed" && message["member"]["name"] == "another")
        .await;

    assert!(capture.0.contains(RELAYED_BARE) && capture.0.contains("u+/F"), "signals came: {}", capture.0);
    assert_eq!(capture.addresses(), BTreeSet::from(OF_SERVERS), "{}", capture.0);
    assert!(!capture.0.contains("stun:"));
    service.stop().await;
}

#[tokio::test]
async fn once_all_is_to_go_through_relays_addresses_are_not_told_any_more() {
    let service = with_servers().await;
    let (host, guest) = (service.player(1).await, service.player(2).await);
    let body = json!({"lobby_name": "loud", "peer_key": host.peer_key, "direct_address": "203.0.113.10:4000"});
    let mut before = Capture::default();
    let made = before.call(&service, &host, Method::POST, "/v1/lobbies", body).await;
    let lobby: LobbyView = serde_json::from_value(made["lobby"].clone()).unwrap();
    let at = |rest: &str| format!("/v1/lobbies/{}{rest}", lobby.id);
    let mut at_host = service.listen(&host, lobby.id, Some(EventSeq(0))).await;
    let body = json!({"peer_key": guest.peer_key, "direct_address": "203.0.113.20:4001"});
    before.call(&service, &guest, Method::POST, &at("/join"), body).await;
    let mut at_guest = service.listen(&guest, lobby.id, Some(EventSeq(0))).await;
    at_host.say(&to(1, guest.peer_key, offer(1, &ALL))).await;
    at_host.say(&to(1, guest.peer_key, Signal::Close { attempt: 1 })).await;
    before.listen(&mut at_guest, is_close).await;
    let name = "0b3dfa0b-1c6e-4d1c-8a46-6a3ad1a30ac0.local";
    for address in ["203.0.113.10", "203.0.113.20", "203.0.113.4", "2001:db8::10", name] {
        assert!(before.addresses().contains(address), "{address} is no secret yet: {}", before.0);
    }

    let mut after = Capture::default();
    let change = json!({"epoch": 1, "change": {"settings": {"relay_only": true}}});
    after.call(&service, &host, Method::PATCH, &at(""), change).await;
    at_host.say(&to(1, guest.peer_key, offer(2, &ALL))).await;
    at_host.say(&to(1, guest.peer_key, Signal::Close { attempt: 2 })).await;
    after.listen(&mut at_guest, is_close).await;
    for after_event in [None, Some(EventSeq(0))] {
        let mut late = service.listen(&guest, lobby.id, after_event).await;
        after.listen(&mut late, |message| message["type"] == "resync" || message["kind"] == "lobby_changed").await;
    }
    after.call(&service, &guest, Method::GET, &at(""), Value::Null).await;
    assert!(after.0.contains("member_joined") && after.0.contains(RELAYED_BARE));
    assert_eq!(after.addresses(), BTreeSet::from(["198.51.100.9"]), "{}", after.0);
    service.stop().await;
}

#[tokio::test]
async fn a_member_gets_servers_for_webrtc_links() {
    let service = with_servers().await;
    let host = service.player(1).await;
    let lobby = service.create(&host, json!({})).await;
    let path = format!("/v1/lobbies/{}/ice-servers", lobby.id);
    let got = service.post(&host, &path, Value::Null).await.expect_status(200).json();
    assert_eq!(got["ice_servers"][0], json!({"urls": ["stun:198.51.100.1:3478"]}));
    let turn = &got["ice_servers"][1];
    assert_eq!(turn["urls"], json!(["turn:198.51.100.9:3478?transport=udp"]));
    let player = lobby.members[0].player;
    let (expiry, whose) = turn["username"].as_str().unwrap().split_once(':').unwrap();
    assert_eq!(whose, player.to_string());
    let now_s = lobby_service::clock::wall().0 / 1000;
    assert!((now_s + 3500..=now_s + 3600).contains(&expiry.parse().unwrap()));
    assert_eq!(turn["credential"].as_str().unwrap().len(), 28, "a SHA-1 in base64");
    assert_eq!((&got["relay_only"], &got["expires_in_s"]), (&json!(false), &json!(3600)));
    service.stop().await;

    let bare = TestService::in_memory().await;
    let host = bare.player(1).await;
    let lobby = bare.create(&host, json!({"relay_only": true})).await;
    let path = format!("/v1/lobbies/{}/ice-servers", lobby.id);
    let got = bare.post(&host, &path, Value::Null).await.expect_status(200).json();
    assert_eq!(got, json!({"ice_servers": [], "relay_only": true, "expires_in_s": 3600}));
    bare.stop().await;
}
