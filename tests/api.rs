//! The lobby service over real sockets, as its clients meet it.

use std::time::{Duration, Instant};

use protocol::id::{ConnectionId, EventSeq, HostEpoch, LobbyId};
use protocol::limits;
use protocol::lobby::{HostState, LossCause};
use protocol::message::{ClientMessage, CloseReason, EventBody, LobbyView, ServerMessage};
use reqwest::Method;
use serde_json::{Value, json};
use tests::service::{Heard, TestPlayer, TestService, delta_record, record};

/// A host, a guest, and their lobby.
async fn pair(service: &TestService, settings: Value) -> (TestPlayer, TestPlayer, LobbyView) {
    let (host, guest) = (service.player(1).await, service.player(2).await);
    let lobby = service.create(&host, settings).await;
    service.join(&guest, &lobby).await;
    (host, guest, lobby)
}

fn path(lobby: &LobbyView, rest: &str) -> String {
    format!("/v1/lobbies/{}{rest}", lobby.id)
}

#[tokio::test]
async fn a_player_creates_a_lobby_and_others_find_and_join_it() {
    let service = TestService::in_memory().await;
    let (host, guest) = (service.player(1).await, service.player(2).await);
    let lobby = service.create(&host, json!({"max_members": 2})).await;
    assert_eq!(lobby.epoch, HostEpoch::FIRST);
    assert_eq!(lobby.members[0].name, "player 1", "the name it signed in with");
    assert!(matches!(lobby.host, HostState::Present { host: ConnectionId(0), .. }));

    let list = service.post(&guest, "/v1/lobbies/query", json!({})).await.expect_status(200).json();
    assert_eq!(list["lobbies"][0]["id"], json!(lobby.id));
    assert_eq!(list["continuation"], Value::Null);
    let text = list.to_string();
    assert!(!text.contains(lobby.join_code.as_str()) && !text.contains(&lobby.join_code.to_string()), "no join code");

    let shown = service.get(&guest, &path(&lobby, "")).await.expect_status(200).json();
    assert!(shown.get("join_code").is_none() && shown["name"] == "arena", "in short: {shown}");
    let body = json!({"peer_key": guest.peer_key, "name": "second"});
    let seat = service.post(&guest, &path(&lobby, "/join"), body).await.expect_status(200).json();
    assert_eq!(seat["connection"], 1);
    assert_eq!(service.view(&host, lobby.id).await.members[1].name, "second");

    let third = service.player(3).await;
    let body = json!({"join_code": lobby.join_code, "peer_key": third.peer_key});
    service.post(&third, "/v1/lobbies/join", body).await.expect_problem("lobby_full");
    let free = json!({"filter": [{"field": "available_seats", "op": "gt", "value": "0"}]});
    let list = service.post(&third, "/v1/lobbies/query", free).await.json();
    assert_eq!(list["lobbies"], json!([]), "it is full");

    let ranking = service.get(&host, &path(&lobby, "/election")).await.expect_status(200).json();
    assert_eq!(ranking["places"][0]["connection"], 1);
    service.get(&third, &path(&lobby, "/election")).await.expect_problem("not_found");
    service.stop().await;
}

#[tokio::test]
async fn a_private_lobby_is_as_if_it_were_not_there_for_those_without_its_code() {
    let service = TestService::in_memory().await;
    let (host, guest) = (service.player(1).await, service.player(2).await);
    let lobby = service.create(&host, json!({"visibility": "private"})).await;
    let nowhere = LobbyId::from_bytes([0xAB; 16]);
    let unknown = service.get(&guest, &format!("/v1/lobbies/{nowhere}")).await.expect_problem("not_found");
    assert_eq!(service.get(&guest, &path(&lobby, "")).await.expect_problem("not_found"), unknown);
    let body = json!({"peer_key": guest.peer_key});
    assert_eq!(service.post(&guest, &path(&lobby, "/join"), body.clone()).await.expect_problem("not_found"), unknown);
    assert_eq!(service.post(&guest, "/v1/lobbies/query", json!({})).await.json()["lobbies"], json!([]));

    let connection = service.join(&guest, &lobby).await;
    let again = service.post(&guest, &path(&lobby, "/join"), body).await.expect_status(200).json();
    assert_eq!(again["connection"], connection.0, "a member gets its seat");
    service.stop().await;
}

/// P6.
#[tokio::test]
async fn who_returns_has_the_same_connection_id() {
    let service = TestService::in_memory().await;
    let (_host, guest, lobby) = pair(&service, json!({})).await;
    service.post(&guest, &path(&lobby, "/leave"), Value::Null).await.expect_status(204);
    service.get(&guest, &path(&lobby, "/snapshot")).await.expect_problem("not_found");
    service.post(&guest, &path(&lobby, "/leave"), Value::Null).await.expect_problem("not_found");
    let other = service.player(3).await;
    assert_eq!(service.join(&other, &lobby).await, ConnectionId(2));
    assert_eq!(service.join(&guest, &lobby).await, ConnectionId(1));
    service.stop().await;
}

#[tokio::test]
async fn a_refresh_token_works_until_the_next_one_was_used_and_then_ends_its_family() {
    let service = TestService::in_memory().await;
    let player = service.player(1).await;
    let refresh =
        async |token: &str| service.post(&player, "/v1/players/refresh", json!({"refresh_token": token})).await;
    let lost = refresh(&player.refresh_token).await.expect_status(200).json();
    let next = refresh(&player.refresh_token).await.expect_status(200).json();
    assert_eq!((&lost["player"], &lost["expires_in_s"]), (&next["player"], &json!(900)));
    let newest = refresh(next["refresh_token"].as_str().unwrap()).await.expect_status(200).json();
    refresh("nonsense").await.expect_problem("unauthenticated");
    refresh(lost["refresh_token"].as_str().unwrap()).await.expect_problem("refresh_reused");
    refresh(newest["refresh_token"].as_str().unwrap()).await.expect_problem("unauthenticated");
    let token = newest["access_token"].as_str().unwrap().to_owned();
    let refreshed = TestPlayer { token, ..player.clone() };
    service.get(&refreshed, "/v1/players/me/lobbies").await.expect_status(200);
    service.stop().await;
}

#[tokio::test]
async fn without_a_token_or_with_another_services_token_nothing_is_allowed() {
    let (service, other) = (TestService::in_memory().await, TestService::in_memory().await);
    let stranger = other.player(1).await;
    service.get(&stranger, "/v1/players/me/lobbies").await.expect_problem("unauthenticated");
    let answer = service.send(|client, service| client.get(service.url("http", "/v1/players/me/lobbies"))).await;
    answer.expect_problem("unauthenticated");
    let player = service.player(1).await;
    let tampered = TestPlayer { token: format!("{}A", player.token), ..player };
    service.get(&tampered, "/v1/players/me/lobbies").await.expect_problem("unauthenticated");
    service.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn whatever_is_wrong_with_a_request_the_answer_is_a_problem() {
    let service = TestService::in_memory().await;
    let player = service.player(1).await;
    let create = |body: Value| service.post(&player, "/v1/lobbies", body);
    let key = player.peer_key;
    create(json!({"lobby_name": "x", "peer_key": key, "surprise": 1})).await.expect_problem("malformed");
    create(json!({"lobby_name": "x"})).await.expect_problem("malformed");
    create(json!(["x", null, key])).await.expect_problem("malformed");
    create(json!({"lobby_name": 7, "peer_key": key})).await.expect_problem("malformed");
    let problem = create(json!({"lobby_name": "", "peer_key": key})).await.expect_problem("invalid");
    assert_eq!(problem["field"], "lobby_name");
    let settings = json!({"removal_delay_ms": 1000, "election_delay_ms": 2000});
    let problem = create(json!({"lobby_name": "x", "peer_key": key, "settings": settings})).await;
    assert_eq!(problem.expect_problem("invalid")["field"], "settings.removal_delay_ms");
    create(json!({"lobby_name": "x".repeat(70_000), "peer_key": key})).await.expect_problem("too_large");

    service.get(&player, "/v1/nowhere").await.expect_problem("not_found");
    service.get(&player, "/v1/lobbies/not-an-id").await.expect_problem("malformed");
    let lobby = "/v1/lobbies/00112233445566778899aabbccddeeff";
    let delete =
        async |query: &str| service.call(&player, Method::DELETE, &format!("{lobby}{query}"), Value::Null).await;
    delete("?epoch=many").await.expect_problem("malformed");
    delete("?page=2").await.expect_problem("malformed");
    service.call(&player, Method::DELETE, "/v1/lobbies", Value::Null).await.expect_problem("method_not_allowed");
    service.post(&player, "/v1/lobbies", Value::Null).await.expect_problem("unsupported_media_type");
    let broken = service.send(|client, service| {
        let request = client.post(service.url("http", "/v1/lobbies")).bearer_auth(&player.token);
        request.header("content-type", "application/json").body("{\"lobby_name\": ")
    });
    broken.await.expect_problem("malformed");
    let untyped =
        service.send(|client, service| client.post(service.url("http", "/v1/players")).body("{\"name\": \"x\"}"));
    untyped.await.expect_problem("unsupported_media_type");
    service.send(|client, service| client.post(service.url("http", "/v1/players"))).await.expect_status(201);
    service.get(&player, "/docs/nowhere.js").await.expect_problem("not_found");
    let lobby = service.create(&player, json!({})).await;
    service.get(&player, &path(&lobby, "/events")).await.expect_problem("malformed");
    service.stop().await;
}

/// P4, P5.
#[tokio::test]
async fn a_snapshot_is_kept_and_never_replaced_by_an_older_one() {
    let service = TestService::in_memory().await;
    let (host, guest, lobby) = pair(&service, json!({})).await;
    service.get(&guest, &path(&lobby, "/snapshot")).await.expect_problem("not_found");
    let newest = record(1, 2, b"two");
    let stored = service.put_snapshot(&host, lobby.id, newest.clone()).await.expect_status(200).json();
    assert_eq!((&stored["generation"], &stored["tick"]), (&json!({"epoch": 1, "seq": 2}), &json!(2)));
    service.put_snapshot(&host, lobby.id, newest.clone()).await.expect_status(200);
    service.put_snapshot(&host, lobby.id, record(1, 2, b"other")).await.expect_problem("sequence_conflict");
    service.put_snapshot(&host, lobby.id, record(1, 1, b"one")).await.expect_problem("stale_snapshot");
    service.put_snapshot(&guest, lobby.id, record(1, 3, b"three")).await.expect_problem("not_host");
    let problem = service.put_snapshot(&host, lobby.id, record(2, 3, b"three")).await.expect_problem("stale_epoch");
    assert_eq!((&problem["current_epoch"], &problem["host"]), (&json!(1), &json!(0)));
    let mut damaged = record(1, 3, b"three");
    *damaged.last_mut().unwrap() ^= 1;
    service.put_snapshot(&host, lobby.id, damaged).await.expect_problem("checksum_mismatch");
    service.put_snapshot(&host, lobby.id, b"nonsense".to_vec()).await.expect_problem("malformed");
    let huge = vec![0; limits::SNAPSHOT_BYTES_MAX + 1];
    service.put_snapshot(&host, lobby.id, huge).await.expect_problem("too_large");
    let as_json = service.call(&host, Method::PUT, &path(&lobby, "/snapshot"), json!({})).await;
    as_json.expect_problem("unsupported_media_type");

    let fetched = service.get(&guest, &path(&lobby, "/snapshot")).await.expect_status(200);
    assert_eq!(fetched.content_type, "application/octet-stream");
    assert_eq!(fetched.etag, Some(format!("\"{}\"", stored["checksum"].as_str().unwrap())));
    assert_eq!(fetched.bytes, newest);
    let stranger = service.player(9).await;
    service.get(&stranger, &path(&lobby, "/snapshot")).await.expect_problem("not_found");
    service.stop().await;
}

/// P4, P5.
#[tokio::test]
async fn deltas_are_read_behind_their_snapshot_in_order_and_only_if_there_is_a_newer_one() {
    let service = TestService::in_memory().await;
    let (host, guest, lobby) = pair(&service, json!({})).await;
    let (whole, one) = (record(1, 2, b"two"), delta_record((1, 2), (1, 3), b"three"));
    let early = service.put_delta(&host, lobby.id, one.clone()).await.expect_problem("delta_base_missing");
    assert_eq!(early["newest_generation"], Value::Null);
    service.put_snapshot(&host, lobby.id, whole.clone()).await.expect_status(200);
    service.put_delta(&host, lobby.id, one.clone()).await.expect_status(200);
    service.put_delta(&host, lobby.id, one.clone()).await.expect_status(200);
    let two = delta_record((1, 3), (1, 4), b"four");
    let stored = service.put_delta(&host, lobby.id, two.clone()).await.expect_status(200).json();
    assert_eq!(stored["generation"], json!({"epoch": 1, "seq": 4}));
    let gap = service.put_delta(&host, lobby.id, delta_record((1, 5), (1, 6), b"")).await;
    assert_eq!(gap.expect_problem("delta_base_missing")["newest_generation"], json!({"epoch": 1, "seq": 4}));
    let old = service.put_delta(&host, lobby.id, one.clone()).await.expect_problem("stale_snapshot");
    assert_eq!(old["newest_generation"], json!({"epoch": 1, "seq": 4}));
    service.put_delta(&guest, lobby.id, delta_record((1, 4), (1, 5), b"")).await.expect_problem("not_host");

    let fetched = service.get(&guest, &path(&lobby, "/snapshot")).await.expect_status(200);
    assert_eq!(fetched.bytes, [whole, one, two].concat());
    assert_eq!(fetched.etag, Some(format!("\"{}\"", stored["checksum"].as_str().unwrap())));
    let newer_than =
        async |known: &str| service.get(&guest, &path(&lobby, &format!("/snapshot?newer_than={known}"))).await;
    for known in ["1.4", "1.5", "2.0"] {
        let none = newer_than(known).await.expect_status(304);
        assert_eq!((none.bytes.len(), &none.etag), (0, &fetched.etag));
    }
    for known in ["1.3", "0.9"] {
        assert_eq!(newer_than(known).await.expect_status(200).bytes, fetched.bytes);
    }
    for wrong in ["1", "1.x", "-1.0", "99999999999999999999.0"] {
        newer_than(wrong).await.expect_problem("malformed");
    }
    service.stop().await;
}

#[tokio::test]
async fn the_largest_snapshot_is_taken() {
    let service = TestService::in_memory().await;
    let (host, guest, lobby) = pair(&service, json!({})).await;
    let overhead = record(1, 0, &vec![0; 100_000]).len() - 100_000;
    let largest = record(1, 0, &vec![7; limits::SNAPSHOT_BYTES_MAX - overhead - 8]);
    service.put_snapshot(&host, lobby.id, largest.clone()).await.expect_status(200);
    assert!(service.get(&guest, &path(&lobby, "/snapshot")).await.bytes == largest);
    service.stop().await;
}

#[tokio::test]
async fn uploads_that_do_not_go_on_keep_no_other_host_from_storing() {
    let service = TestService::in_memory().await;
    let (host, guest, lobby) = pair(&service, json!({})).await;
    let mut trickling = Vec::new();
    for number in 10..30 {
        let other = service.player(number).await;
        let theirs = service.create(&other, json!({})).await;
        let (answer, stream) = service.begin_upload(&other, theirs.id, limits::SNAPSHOT_BYTES_MAX).await;
        assert!(answer.starts_with("HTTP/1.1 100 "), "{answer}");
        trickling.push((other, theirs, stream));
    }
    service.put_snapshot(&host, lobby.id, record(1, 1, b"one")).await.expect_status(200);
    let (other, theirs, stream) = trickling.pop().unwrap();
    let second = service.put_snapshot(&other, theirs.id, record(1, 1, b"one")).await.expect_status(503);
    assert_eq!(second.expect_problem("unavailable")["retry_after_s"], 1, "one upload of a host at a time");
    drop(stream);
    let stolen = service.put_snapshot(&guest, lobby.id, record(1, 2, b"mine")).await.expect_status(409);
    stolen.expect_problem("not_host");
    drop(trickling);
    service.stop().await;
}

#[tokio::test]
async fn a_member_that_sends_heartbeats_too_is_not_lost_with_its_socket() {
    let service = TestService::in_memory().await;
    let (host, guest, lobby) = pair(&service, json!({"election_delay_ms": 0})).await;
    let mut watcher = service.listen(&guest, lobby.id, None).await;
    watcher.resync().await;
    let mut socket = service.listen(&host, lobby.id, None).await;
    socket.resync().await;
    let body = json!({"peer_key": host.peer_key});
    service.post(&host, &path(&lobby, "/heartbeat"), body).await.expect_status(204);
    // It is closed by the service, which has handled its end when the client hears of it.
    socket.say_text("nonsense".into()).await;
    socket.closed().await;
    let third = service.player(3).await;
    service.join(&third, &lobby).await;
    assert!(matches!(watcher.event().await.body, EventBody::MemberJoined { .. }), "nobody was lost before");
    service.stop().await;
}

#[tokio::test]
async fn a_host_that_leaves_is_followed_at_once_and_its_late_words_are_refused() {
    let service = TestService::in_memory().await;
    let (host, guest, lobby) = pair(&service, json!({})).await;
    let mut socket = service.listen(&guest, lobby.id, None).await;
    socket.resync().await;
    service.post(&host, &path(&lobby, "/leave"), Value::Null).await.expect_status(204);
    let lost = socket.event_like(|body| matches!(body, EventBody::HostLost { .. })).await;
    assert!(matches!(lost.body, EventBody::HostLost { cause: LossCause::Left, .. }));
    let elected = socket.event_like(|body| matches!(body, EventBody::HostElected { .. })).await;
    assert_eq!(elected.epoch, HostEpoch(2));

    let ready = async |epoch: u64| service.post(&guest, &path(&lobby, "/ready"), json!({"epoch": epoch})).await;
    let problem = ready(1).await.expect_problem("stale_epoch");
    assert_eq!((&problem["current_epoch"], &problem["host"]), (&json!(2), &json!(1)));
    assert_eq!(ready(2).await.expect_status(200).json(), json!({"epoch": 2}));
    ready(2).await.expect_status(200);
    socket.event_like(|body| matches!(body, EventBody::HostReady { .. })).await;

    service.join(&host, &lobby).await;
    service.post(&host, &path(&lobby, "/ready"), json!({"epoch": 2})).await.expect_problem("not_host");
    let grant = async |player: &TestPlayer, epoch: u64| {
        service.post(player, &path(&lobby, "/host-grant"), json!({"epoch": epoch})).await
    };
    grant(&host, 1).await.expect_problem("stale_epoch");
    grant(&host, 2).await.expect_problem("not_host");
    assert!(grant(&guest, 2).await.expect_status(200).json()["grant"].is_string());
    service.stop().await;
}

#[tokio::test]
async fn members_get_tokens_that_the_relay_in_the_service_takes() {
    let service = TestService::in_memory().await;
    let (host, _guest, lobby) = pair(&service, json!({})).await;
    let pass = service.post(&host, &path(&lobby, "/relay-token"), Value::Null).await.expect_status(200).json();
    assert_eq!(pass["relays"], json!([{"address": service.relay().unwrap().to_string()}]));
    let keys = service.get(&host, "/.well-known/jwks.json").await.expect_status(200).json();
    let verifier = relay::Verifier::from_jwks(&keys, protocol::token::ISSUER).unwrap();
    let claims = verifier.verify_member(pass["token"].as_str().unwrap().as_bytes()).unwrap();
    assert_eq!((claims.lobby, claims.connection), (lobby.id, ConnectionId(0)));
    let grant = service.post(&host, &path(&lobby, "/host-grant"), json!({"epoch": 1})).await.expect_status(200).json();
    let claims = verifier.verify_grant(grant["grant"].as_str().unwrap().as_bytes()).unwrap();
    assert_eq!((claims.connection, claims.epoch), (ConnectionId(0), HostEpoch(1)));
    let stranger = service.player(9).await;
    service.post(&stranger, &path(&lobby, "/relay-token"), Value::Null).await.expect_problem("not_found");
    service.stop().await;
}

#[tokio::test]
async fn the_death_of_the_hosts_socket_elects_another_after_the_delay() {
    let service = TestService::in_memory().await;
    let (host, guest, lobby) = pair(&service, json!({"election_delay_ms": 300})).await;
    let host_socket = service.listen(&host, lobby.id, None).await;
    let mut socket = service.listen(&guest, lobby.id, None).await;
    socket.resync().await;
    let began = Instant::now();
    drop(host_socket);
    let lost = socket.event_like(|body| matches!(body, EventBody::HostLost { .. })).await;
    assert!(began.elapsed() < Duration::from_secs(2), "noticed long before the lease ends");
    let elected = socket.event_like(|body| matches!(body, EventBody::HostElected { .. })).await;
    let EventBody::HostElected { host: elected_host, .. } = elected.body else { unreachable!("asked for above") };
    assert_eq!(elected_host, ConnectionId(1));
    let delay = elected.at.since(lost.at);
    assert!(delay >= Duration::from_millis(300) && delay < Duration::from_secs(2), "{delay:?}");
    service.stop().await;
}

/// P10.
#[tokio::test]
async fn a_host_that_returns_within_the_delay_stays_host() {
    let service = TestService::in_memory().await;
    let (host, guest, lobby) = pair(&service, json!({"election_delay_ms": 20_000})).await;
    let host_socket = service.listen(&host, lobby.id, None).await;
    let mut socket = service.listen(&guest, lobby.id, None).await;
    socket.resync().await;
    drop(host_socket);
    socket.event_like(|body| matches!(body, EventBody::HostLost { .. })).await;
    let body = json!({"peer_key": host.peer_key});
    service.post(&host, &path(&lobby, "/heartbeat"), body).await.expect_status(204);
    let returned = socket.event_like(|body| matches!(body, EventBody::HostReturned { .. })).await;
    assert_eq!(returned.epoch, HostEpoch::FIRST);
    let stranger = service.player(9).await;
    let body = json!({"peer_key": stranger.peer_key});
    service.post(&stranger, &path(&lobby, "/heartbeat"), body).await.expect_problem("not_found");
    service.stop().await;
}

/// P7.
#[tokio::test]
async fn a_socket_that_comes_back_misses_no_event_and_sees_none_twice() {
    let service = TestService::in_memory().await;
    let (host, guest, lobby) = pair(&service, json!({})).await;
    let mut socket = service.listen(&host, lobby.id, None).await;
    let mut view = socket.resync().await;
    for round in 0..3 {
        for _ in 0..5 {
            service.post(&guest, &path(&lobby, "/leave"), Value::Null).await.expect_status(204);
            service.join(&guest, &lobby).await;
        }
        // Some are heard live, the rest by the next socket; its own coming and going is among them.
        for _ in 0..round * 4 {
            assert!(view.apply(&socket.event().await));
        }
        drop(socket);
        socket = service.listen(&host, lobby.id, Some(view.seq)).await;
    }
    service.post(&guest, &path(&lobby, "/leave"), Value::Null).await.expect_status(204);
    let newest = service.view(&host, lobby.id).await.seq;
    while view.seq < newest {
        assert!(view.apply(&socket.event().await), "the next one");
    }
    assert_eq!(view.members.len(), 1);
    service.stop().await;
}

#[tokio::test]
async fn a_socket_that_asks_for_events_that_are_not_there_gets_the_whole_lobby() {
    let service = TestService::in_memory().await;
    let (host, _guest, lobby) = pair(&service, json!({})).await;
    for after in [u64::MAX, 1000] {
        let mut socket = service.listen(&host, lobby.id, Some(EventSeq(after))).await;
        assert_eq!(socket.resync().await.members.len(), 2);
    }
    service.stop().await;
}

#[tokio::test]
async fn a_restart_of_the_service_elects_nobody_and_loses_no_event() {
    let folder = tempfile::tempdir().unwrap();
    let service = TestService::in_folder(folder.path()).await;
    let (host, guest, lobby) = pair(&service, json!({"election_delay_ms": 0})).await;
    let mut host_socket = service.listen(&host, lobby.id, None).await;
    let mut socket = service.listen(&guest, lobby.id, None).await;
    host_socket.resync().await;
    let mut view = socket.resync().await;
    let ((), going) = tokio::join!(service.stop(), socket.message());
    assert!(matches!(going, ServerMessage::Closing { reason: CloseReason::GoingAway, retry_after_ms: Some(_) }));
    assert_eq!(host_socket.closed().await, Some(CloseReason::GoingAway.code()));

    let service = TestService::in_folder(folder.path()).await;
    let mut socket = service.listen(&guest, lobby.id, Some(view.seq)).await;
    let mut host_socket = service.listen(&host, lobby.id, Some(view.seq)).await;
    let third = service.player(3).await;
    service.join(&third, &lobby).await;
    let joined = socket.event().await;
    assert!(matches!(joined.body, EventBody::MemberJoined { .. }), "nothing else has happened: {joined:?}");
    assert!(view.apply(&joined));
    assert!(matches!(view.host, HostState::Present { host: ConnectionId(0), .. }));
    assert_eq!(view.epoch, HostEpoch::FIRST);
    assert_eq!(host_socket.event().await, joined);
    service.stop().await;
}

#[tokio::test]
async fn a_newer_socket_of_a_member_replaces_the_older_one_and_loses_nobody() {
    let service = TestService::in_memory().await;
    let (host, guest, lobby) = pair(&service, json!({"election_delay_ms": 0})).await;
    let mut watcher = service.listen(&guest, lobby.id, None).await;
    watcher.resync().await;
    let mut first = service.listen(&host, lobby.id, None).await;
    first.resync().await;
    let mut second = service.listen(&host, lobby.id, None).await;
    second.resync().await;
    let message = first.message().await;
    assert_eq!(message, ServerMessage::Closing { reason: CloseReason::Replaced, retry_after_ms: None });
    assert_eq!(first.closed().await, Some(4409));
    drop(first);
    let third = service.player(3).await;
    service.join(&third, &lobby).await;
    assert!(matches!(watcher.event().await.body, EventBody::MemberJoined { .. }), "nobody was lost before");
    assert!(matches!(second.event().await.body, EventBody::MemberJoined { .. }));
    service.stop().await;
}

#[tokio::test]
async fn a_socket_is_closed_with_the_reason() {
    let service = TestService::in_memory().await;
    let (host, guest, lobby) = pair(&service, json!({})).await;
    let stranger = service.player(9).await;
    assert!(service.open(&stranger, lobby.id).await.is_err(), "no seat, no socket");

    let mut socket = service.open(&host, lobby.id).await.unwrap();
    socket.say_text("nonsense".into()).await;
    assert_eq!(socket.closed().await, Some(CloseReason::Malformed.code()));
    let mut socket = service.open(&host, lobby.id).await.unwrap();
    socket.say(&ClientMessage::Report { epoch: HostEpoch(1), hears_host: true }).await;
    assert_eq!(socket.closed().await, Some(CloseReason::NoHello.code()), "anything but hello");
    let mut socket = service.listen(&host, lobby.id, None).await;
    socket.resync().await;
    socket.say_text("x".repeat(limits::SOCKET_MESSAGE_BYTES_MAX + 1)).await;
    socket.closed().await;

    let mut socket = service.listen(&guest, lobby.id, None).await;
    socket.resync().await;
    service.post(&guest, &path(&lobby, "/leave"), Value::Null).await.expect_status(204);
    assert_eq!(socket.closed().await, Some(CloseReason::NotMember.code()));
    service.stop().await;
}

#[tokio::test]
async fn a_socket_without_hello_is_closed() {
    let service = TestService::in_memory().await;
    let (host, _guest, lobby) = pair(&service, json!({})).await;
    let mut socket = service.open(&host, lobby.id).await.unwrap();
    let began = Instant::now();
    assert_eq!(socket.closed().await, Some(CloseReason::NoHello.code()));
    assert!(began.elapsed() >= limits::HELLO_TIMEOUT - Duration::from_millis(100));
    service.stop().await;
}

#[tokio::test]
async fn a_member_from_whom_nothing_comes_for_a_lease_is_disconnected() {
    let service = TestService::in_memory().await;
    let (_host, guest, lobby) = pair(&service, json!({})).await;
    let began = Instant::now();
    let mut socket = service.listen(&guest, lobby.id, None).await;
    socket.resync().await;
    let gone = socket.event_like(|body| matches!(body, EventBody::MemberDisconnected { .. })).await;
    assert!(
        matches!(gone.body, EventBody::MemberDisconnected { connection: ConnectionId(0) }),
        "not the one who listens"
    );
    assert!(began.elapsed() > limits::LEASE - Duration::from_secs(1), "its joining was a sign of life");
    service.stop().await;
}

#[tokio::test]
async fn a_silent_host_whose_socket_lives_is_challenged_and_replaced() {
    let service = TestService::in_memory().await;
    let host = service.player(1).await;
    let lobby = service.create(&host, json!({"election_delay_ms": 0})).await;
    let mut host_socket = service.listen(&host, lobby.id, None).await;
    let mut guests = Vec::new();
    for number in 2..=4 {
        let guest = service.player(number).await;
        service.join(&guest, &lobby).await;
        guests.push(service.listen(&guest, lobby.id, None).await);
    }
    for guest in &mut guests {
        guest.resync().await;
        guest.say(&ClientMessage::Report { epoch: HostEpoch(1), hears_host: false }).await;
    }
    let challenge = loop {
        match host_socket.hear().await {
            Heard::Message(message) if matches!(*message, ServerMessage::Challenge { .. }) => break *message,
            Heard::Message(_) => {}
            Heard::Closed(code) => panic!("the host lost its socket: {code:?}"),
        }
    };
    assert_eq!(challenge, ServerMessage::Challenge { epoch: HostEpoch(1) });
    let lost = guests[0].event_like(|body| matches!(body, EventBody::HostLost { .. })).await;
    assert!(matches!(lost.body, EventBody::HostLost { cause: LossCause::Silent, .. }));
    let elected = guests[0].event_like(|body| matches!(body, EventBody::HostElected { .. })).await;
    assert!(matches!(elected.body, EventBody::HostElected { host: ConnectionId(1), .. }));
    service.stop().await;
}

#[tokio::test]
async fn a_relay_of_another_process_registers_with_the_secret_and_hears_who_left() {
    use futures_util::{SinkExt, StreamExt};
    use lobby_service::config::Config;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;

    let config = Config { relay: None, relay_secret: Some("relays only".into()), ..Config::ephemeral() };
    let service = TestService::start(config).await;
    let (_host, guest, lobby) = pair(&service, json!({})).await;
    let control = async |secret: &str| {
        let mut request = service.url("ws", "/v1/relays/control").into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {secret}").parse().unwrap());
        tokio_tungstenite::connect_async(request).await
    };
    assert!(control("guessed").await.is_err());
    let (mut relay, _) = control("relays only").await.unwrap();
    relay.send(Message::text(r#"{"type":"register","address":"192.0.2.7:3478"}"#)).await.unwrap();
    // The service reads it before the answer to a ping.
    relay.send(Message::Ping("".into())).await.unwrap();
    assert!(matches!(relay.next().await, Some(Ok(Message::Pong(_)))));
    let pass = service.post(&guest, &path(&lobby, "/relay-token"), Value::Null).await.expect_status(200).json();
    assert_eq!(pass["relays"], json!([{"address": "192.0.2.7:3478"}]));
    service.post(&guest, &path(&lobby, "/leave"), Value::Null).await.expect_status(204);
    service.join(&guest, &lobby).await;
    for kind in ["revoke", "reinstate"] {
        let order = loop {
            if let Message::Text(text) = relay.next().await.unwrap().unwrap() {
                break serde_json::from_str::<Value>(&text).unwrap();
            }
        };
        assert_eq!(order, json!({"type": kind, "lobby": lobby.id, "connection": 1}));
    }
    service.stop().await;
}

#[tokio::test]
async fn the_service_describes_itself_without_the_internet() {
    let service = TestService::in_memory().await;
    let player = service.player(1).await;
    let description = service.get(&player, "/openapi.json").await.expect_status(200).json();
    assert!(description["openapi"].as_str().unwrap().starts_with("3.1."));
    let page = service.get(&player, "/docs/").await.expect_status(200);
    let page = String::from_utf8(page.bytes).unwrap();
    assert!(page.contains("swagger") && !page.contains("https://"), "{page}");
    service.get(&player, "/docs/swagger-ui-bundle.js").await.expect_status(200);
    service.get(&player, "/healthz").await.expect_status(204);
    assert_eq!(service.get(&player, "/readyz").await.expect_status(200).json(), json!({"ready": true}));
    service.stop().await;
}

#[test]
fn the_committed_description_is_the_one_that_the_service_gives() {
    let committed = include_str!("../openapi/lobby-service.json");
    let given = lobby_service::http::description().to_pretty_json().unwrap();
    let advice = "run: cargo run -p lobby-service -- --print-openapi > openapi/lobby-service.json";
    assert!(committed.trim_end() == given, "the description has changed; {advice}");
}

#[test]
fn every_reference_in_the_description_leads_somewhere() {
    let description = serde_json::to_value(lobby_service::http::description()).unwrap();
    let mut references = Vec::new();
    collect_references(&description, &mut references);
    assert!(references.len() > 20);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leads out of the file"));
        assert!(description.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    for message in ["ServerMessage", "ClientMessage", "Event", "LobbyView", "Problem"] {
        assert!(description["components"]["schemas"].get(message).is_some(), "{message}");
    }
}

fn collect_references(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            references.extend(map.get("$ref").and_then(Value::as_str).map(ToOwned::to_owned));
            map.values().for_each(|value| collect_references(value, references));
        }
        Value::Array(values) => values.iter().for_each(|value| collect_references(value, references)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
