//! The service while its database is away, slow, unsafe or full.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "tests")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use lobby_service::StartError;
use lobby_service::config::{Config, Database};
use lobby_service::store::StoreError;
use protocol::id::{HostEpoch, LobbyId};
use protocol::message::EventBody;
use reqwest::Method;
use serde_json::{Value, json};
use tests::cluster;
use tests::postgres;
use tests::service::{Answer, TestPlayer, TestService, record};
use xtask::postgres::Postgres;

/// What an outage may take to be over once the database is back, on a loaded machine.
const BACK_BY: Duration = Duration::from_secs(20);
/// More than the writer's queue and one of its batches hold.
const FLOOD: usize = 1400;

fn on(url: &str) -> Config {
    Config { database: Database::Postgres(url.into()), relay: None, ..Config::ephemeral() }
}

/// A 503 with the time to wait in header and body.
fn is_unavailable(answer: &Answer) -> bool {
    if answer.status != 503 {
        return false;
    }
    let problem = answer.expect_problem("unavailable");
    assert_eq!(answer.retry_after, problem["retry_after_s"].as_u64());
    assert!(answer.retry_after.is_some());
    true
}

/// Asks until it is answered by something else than 503.
async fn persist(service: &TestService, player: &TestPlayer, method: Method, path: &str, body: Value) -> Answer {
    let began = Instant::now();
    loop {
        let answer = service.call(player, method.clone(), path, body.clone()).await;
        if !is_unavailable(&answer) {
            return answer;
        }
        assert!(began.elapsed() < BACK_BY, "it does not come back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// P8, P10, P16.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_database_the_service_says_so_goes_on_where_it_can_and_comes_back_by_itself() {
    let mut server = Postgres::start().unwrap();
    server.create_database("away").unwrap();
    let service = TestService::start(on(&server.url("away"))).await;
    let (host, guest) = (service.player(1).await, service.player(2).await);
    let lobby = service.create(&host, json!({"election_delay_ms": 0})).await;
    let path = |tail: &str| format!("/v1/lobbies/{}{tail}", lobby.id);
    let seat = service.join(&guest, &lobby).await;
    let mut sockets = [service.listen(&host, lobby.id, None).await, service.listen(&guest, lobby.id, None).await];
    service.put_snapshot(&host, lobby.id, record(1, 1, b"before")).await.expect_status(200);
    for round in 0..3_u64 {
        let stop = [Postgres::kill, Postgres::stop_immediate, Postgres::stop][round as usize];
        stop(&mut server).unwrap();
        let newcomer = service.player_unless_away(3).await;
        assert!(newcomer.is_none(), "nobody can sign in");
        assert!(is_unavailable(&service.get(&host, &path("")).await));
        assert!(is_unavailable(
            &service.post(&host, "/v1/lobbies", json!({"lobby_name": "x", "peer_key": host.peer_key})).await
        ));
        assert!(is_unavailable(&service.put_snapshot(&host, lobby.id, record(1, 90 + round, b"lost")).await));
        assert!(is_unavailable(&service.get(&guest, &path("/snapshot")).await));
        let unready = service.get(&host, "/readyz").await.expect_problem("unavailable");
        assert_eq!(unready["missing"], json!(["store"]));
        service.get(&host, "/healthz").await.expect_status(204);
        service.get(&host, "/.well-known/jwks.json").await.expect_status(200);
        server.start_again().unwrap();
        let view = persist(&service, &guest, Method::GET, &path(""), Value::Null).await.expect_status(200).json();
        assert_eq!((view["epoch"].as_u64(), view["members"].as_array().map(Vec::len)), (Some(1), Some(2)));
        let stored = service.get(&guest, &path("/snapshot")).await.expect_status(200);
        assert!(stored.bytes == record(1, 1, b"before") || stored.bytes.len() == record(1, 90, b"lost").len());
    }
    // The sockets were open all the time, and hear what comes next.
    let code = json!({"join_code": lobby.join_code, "peer_key": guest.peer_key, "name": "renamed"});
    let joined = persist(&service, &guest, Method::POST, "/v1/lobbies/join", code).await.expect_status(200).json();
    assert_eq!(joined["connection"], seat.0);
    for socket in &mut sockets {
        let changed = loop {
            let message = socket.message().await;
            let protocol::message::ServerMessage::Event(event) = message else { continue };
            assert!(!matches!(event.body, EventBody::HostLost { .. } | EventBody::MemberDisconnected { .. }));
            if matches!(event.body, EventBody::MemberChanged { .. }) {
                break event;
            }
        };
        assert_eq!(changed.epoch, HostEpoch(1));
    }
    service.stop().await;
}

/// P15: what does not fit into the queue is refused at once, not after a time-out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_database_hangs_the_queue_is_bounded_and_whoever_does_not_fit_is_told_at_once() {
    let mut server = Postgres::start().unwrap();
    server.create_database("frozen").unwrap();
    let service = TestService::start(on(&server.url("frozen"))).await;
    let host = service.player(1).await;
    let body = json!({"lobby_name": "x", "peer_key": host.peer_key, "name": "x"});
    service.post(&host, "/v1/lobbies", body.clone()).await.expect_status(201);
    server.freeze().unwrap();
    let began = Instant::now();
    let create = async || {
        let answer = service.post(&host, "/v1/lobbies", body.clone()).await;
        assert!(is_unavailable(&answer), "{answer:?}");
        began.elapsed()
    };
    let mut waited = join_all((0..FLOOD).map(|_| create())).await;
    waited.sort_unstable();
    let (refused, waited) = (waited[FLOOD / 20], waited[FLOOD - 1]);
    assert!(refused < waited / 2, "the first ones are refused at once: {refused:?} of {waited:?}");
    server.thaw().unwrap();
    persist(&service, &host, Method::POST, "/v1/lobbies", body).await.expect_status(201);
    service.stop().await;
}

#[tokio::test]
async fn it_does_not_start_on_a_database_that_may_lose_what_it_acknowledged_unless_told_to() {
    let database = postgres::database();
    let name = database.url().rsplit('/').next().unwrap().to_owned();
    database.query(&format!("ALTER DATABASE {name} SET synchronous_commit = off"));
    let refused = lobby_service::start(on(&database.url())).await.err().unwrap();
    assert!(matches!(refused, StartError::Store(StoreError::Unsafe { setting: "synchronous_commit" })), "{refused}");
    let allowed = Config { allow_unsafe_database: true, ..on(&database.url()) };
    TestService::start(allowed).await.stop().await;
}

/// Fills lobbies with snapshots until the disk is full, which is a limit on the size of files here; then lifts it. P5, P8.
async fn fill_up(service: &TestService, lift: impl FnOnce()) {
    let host = service.player(1).await;
    let body = json!({"lobby_name": "full", "peer_key": host.peer_key, "name": "x"});
    let state = vec![7; 1 << 20];
    let mut stored = Vec::new();
    loop {
        let made = service.post(&host, "/v1/lobbies", body.clone()).await;
        if is_unavailable(&made) {
            break;
        }
        let lobby: LobbyId = serde_json::from_value(made.json()["lobby"]["id"].clone()).unwrap();
        let put = service.put_snapshot(&host, lobby, record(1, 1, &state)).await;
        if is_unavailable(&put) {
            break;
        }
        put.expect_status(200);
        stored.push(lobby);
        assert!(stored.len() < 100, "the disk is never full");
    }
    assert!(!stored.is_empty(), "it was not full at first");
    let is_there = async |lobby: &LobbyId| {
        let path = format!("/v1/lobbies/{lobby}");
        let view = service.get(&host, &path).await.expect_status(200).json();
        assert_eq!(view["epoch"], 1, "what needs no room goes on");
        let record = service.get(&host, &format!("{path}/snapshot")).await.expect_status(200).bytes;
        assert!(record == tests::service::record(1, 1, &state), "it was acknowledged");
    };
    for lobby in &stored {
        is_there(lobby).await;
    }
    lift();
    let made = persist(service, &host, Method::POST, "/v1/lobbies", body).await.expect_status(201).json();
    let lobby: LobbyId = serde_json::from_value(made["lobby"]["id"].clone()).unwrap();
    service.put_snapshot(&host, lobby, record(1, 1, &state)).await.expect_status(200);
    stored.push(lobby);
    for lobby in &stored {
        is_there(lobby).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_under_sqlite_loses_nothing_that_was_acknowledged_and_once_there_is_room_it_goes_on() {
    let cluster = cluster::cluster();
    let server = cluster.service_that_outlives_file_limits().unwrap();
    server.process.limit_files(Some(FILE_BYTES_MAX)).unwrap();
    let address: SocketAddr = server.address("http").parse().unwrap();
    fill_up(&TestService::at(address), || server.process.limit_files(None).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_under_postgres_loses_nothing_that_was_acknowledged_and_once_there_is_room_it_goes_on() {
    let server = Postgres::start().unwrap();
    server.create_database("full").unwrap();
    // Whatever it starts from now on inherits the limit.
    server.limit_files(Some(FILE_BYTES_MAX)).unwrap();
    let service = TestService::start(on(&server.url("full"))).await;
    fill_up(&service, || server.limit_files(None).unwrap()).await;
    service.stop().await;
}

/// Larger than a segment of Postgres' log, which has its size from the start.
const FILE_BYTES_MAX: u64 = 20 << 20;
