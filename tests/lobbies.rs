//! The lobby API over real sockets: data, conditions, who gets in, who is sent away, and requests that are repeated.

use std::time::Duration;

use protocol::id::{ConnectionId, HostEpoch, LobbyId, PeerKey};
use protocol::lobby::HostState;
use protocol::message::{ClientMessage, CloseReason, EventBody, LobbyView, NewsForm, ServerMessage};
use reqwest::Method;
use serde_json::{Value, json};
use tests::service::{Answer, TestPlayer, TestService};

fn path(lobby: &LobbyView, rest: &str) -> String {
    format!("/v1/lobbies/{}{rest}", lobby.id)
}

/// A host, a guest, and their lobby.
async fn pair(service: &TestService, settings: Value) -> (TestPlayer, TestPlayer, LobbyView) {
    let (host, guest) = (service.player(1).await, service.player(2).await);
    let lobby = service.create(&host, settings).await;
    service.join(&guest, &lobby).await;
    (host, guest, lobby)
}

/// A request with one more header.
async fn call_with(
    service: &TestService,
    player: &TestPlayer,
    (method, path): (Method, &str),
    (name, value): (&str, &str),
    body: &Value,
) -> Answer {
    let send = |client: &reqwest::Client, service: &TestService| {
        let request = client.request(method, service.url("http", path)).bearer_auth(&player.token).header(name, value);
        if body.is_null() { request } else { request.json(body) }
    };
    service.send(send).await
}

#[tokio::test]
async fn who_is_kicked_loses_its_socket_at_once_and_may_come_back() {
    let service = TestService::in_memory().await;
    let (host, guest, lobby) = pair(&service, json!({})).await;
    let mut socket = service.listen(&guest, lobby.id, None).await;
    socket.resync().await;
    let kick = async |rest: &str| service.call(&host, Method::DELETE, &path(&lobby, rest), Value::Null).await;
    kick("/members/1").await.expect_problem("epoch_required");
    kick("/members/1?epoch=7").await.expect_problem("stale_epoch");
    kick("/members/1?epoch=1").await.expect_status(204);
    assert_eq!(socket.closed().await, Some(CloseReason::Kicked.code()));
    service.get(&guest, &path(&lobby, "/snapshot")).await.expect_problem("not_found");
    assert_eq!(service.join(&guest, &lobby).await, ConnectionId(1), "P6");
    service.stop().await;
}

#[tokio::test]
async fn who_is_banned_is_told_that_there_is_no_lobby_until_the_ban_is_lifted() {
    let service = TestService::in_memory().await;
    let (host, guest, lobby) = pair(&service, json!({})).await;
    let mut socket = service.listen(&guest, lobby.id, None).await;
    socket.resync().await;
    let player = service.view(&host, lobby.id).await.members[1].player;
    let ban = json!({"epoch": 1, "player": player, "reason": "spam"});
    service.post(&guest, &path(&lobby, "/bans"), ban.clone()).await.expect_problem("not_host");
    let banned = service.post(&host, &path(&lobby, "/bans"), ban).await.expect_status(201).json();
    assert_eq!((&banned["reason"], banned.get("until")), (&json!("spam"), None));
    assert_eq!(socket.closed().await, Some(CloseReason::Banned.code()));

    let nowhere = LobbyId::from_bytes([0xAB; 16]);
    let unknown = service.get(&guest, &format!("/v1/lobbies/{nowhere}")).await.expect_problem("not_found");
    assert_eq!(service.get(&guest, &path(&lobby, "")).await.expect_problem("not_found"), unknown);
    let by_code = json!({"join_code": lobby.join_code, "peer_key": guest.peer_key});
    assert_eq!(service.post(&guest, "/v1/lobbies/join", by_code.clone()).await.expect_problem("not_found"), unknown);
    let bans = service.get(&host, &path(&lobby, "/bans")).await.expect_status(200).json();
    assert_eq!(bans["bans"][0]["player"], json!(player));

    let ban = path(&lobby, &format!("/bans/{player}?epoch=1"));
    service.call(&host, Method::DELETE, &ban, Value::Null).await.expect_status(204);
    service.post(&guest, "/v1/lobbies/join", by_code).await.expect_status(200);
    service.stop().await;
}

#[tokio::test]
async fn what_is_private_is_told_to_those_it_is_for_and_the_others_miss_no_number() {
    let service = TestService::in_memory().await;
    let (host, guest, lobby) = pair(&service, json!({})).await;
    let (mut of_host, mut of_guest) =
        (service.listen(&host, lobby.id, None).await, service.listen(&guest, lobby.id, None).await);
    let before = of_host.resync().await.seq;
    of_guest.resync().await;
    let change = json!({"epoch": 1, "change": {"data": {
        "map": {"value": "desert", "visibility": "public"},
        "seed": {"value": "1234", "visibility": "private"},
    }}});
    let answer = service.call(&host, Method::PATCH, &path(&lobby, ""), change).await.expect_status(200);
    assert_eq!(answer.json()["data"]["seed"]["value"], "1234", "the host sees it");
    let mine = json!({"data": {"hand": {"value": "ace", "visibility": "private"}}});
    service.call(&guest, Method::PATCH, &path(&lobby, "/members/1"), mine.clone()).await.expect_status(200);
    service.call(&host, Method::PATCH, &path(&lobby, "/members/1"), mine).await.expect_problem("not_found");

    let mut kinds = Vec::new();
    for number in 1..=3 {
        let (one, other) = (of_host.event().await, of_guest.event().await);
        assert_eq!((one.seq.0, other.seq.0), (before.0 + number, before.0 + number), "P7");
        kinds.push((one.body, other.body));
    }
    assert!(matches!(&kinds[0], (EventBody::DataChanged { .. }, EventBody::DataChanged { .. })));
    assert!(matches!(&kinds[1], (EventBody::PrivateDataChanged { .. }, EventBody::Hidden)));
    assert!(matches!(&kinds[2], (EventBody::Hidden, EventBody::MemberPrivateDataChanged { .. })));
    assert!(!service.view(&guest, lobby.id).await.data.contains_key("seed"));
    assert!(service.view(&host, lobby.id).await.members[1].data.is_empty());
    let stranger = service.player(3).await;
    let short = service.get(&stranger, &path(&lobby, "")).await.json();
    assert_eq!(short["data"], json!({"map": {"value": "desert", "visibility": "public"}}));
    service.stop().await;
}

#[tokio::test]
async fn reads_and_writes_rest_on_a_version_if_they_say_so() {
    let service = TestService::in_memory().await;
    let (host, _guest, lobby) = pair(&service, json!({})).await;
    let at = path(&lobby, "");
    let tag = service.get(&host, &at).await.expect_status(200).etag.unwrap();
    let get = (Method::GET, at.as_str());
    call_with(&service, &host, get.clone(), ("if-none-match", &tag), &Value::Null).await.expect_status(304);
    let change = json!({"epoch": 1, "change": {"name": "renamed"}});
    let patch = (Method::PATCH, at.as_str());
    let changed = call_with(&service, &host, patch.clone(), ("if-match", &tag), &change).await.expect_status(200);
    let stale = call_with(&service, &host, patch.clone(), ("if-match", &tag), &change).await;
    let problem = stale.expect_problem("precondition_failed");
    assert_eq!(format!("\"{}\"", problem["current_version"]), changed.etag.unwrap());
    call_with(&service, &host, patch, ("if-match", "42"), &change).await.expect_problem("precondition_failed");
    let answer = call_with(&service, &host, get, ("if-none-match", &tag), &Value::Null).await.expect_status(200);
    assert_eq!(answer.json()["name"], "renamed");
    service.stop().await;
}

#[tokio::test]
async fn lobbies_are_found_by_what_they_are_and_joined_by_chance() {
    let service = TestService::in_memory().await;
    let host = service.player(1).await;
    for (number, (map, level)) in [("desert", "3"), ("forest", "7"), ("desert", "9")].into_iter().enumerate() {
        let host = service.player(10 + number as u8).await;
        let body = json!({"lobby_name": format!("{map} {level}"), "peer_key": host.peer_key, "data": {
            "map": {"value": map, "visibility": "public", "index": "s1"},
            "level": {"value": level, "visibility": "public", "index": "n1"},
        }});
        service.post(&host, "/v1/lobbies", body).await.expect_status(201);
    }
    let query = async |body: Value| service.post(&host, "/v1/lobbies/query", body).await.expect_status(200).json();
    let names = |page: &Value| -> Vec<String> {
        page["lobbies"].as_array().unwrap().iter().map(|lobby| lobby["name"].as_str().unwrap().to_owned()).collect()
    };
    let desert = json!({"field": "s1", "op": "eq", "value": "desert"});
    let by_level = json!([{"field": "n1", "ascending": true}]);
    let found = query(json!({"filter": [desert], "order": by_level})).await;
    assert_eq!(names(&found), ["desert 3", "desert 9"]);
    let above = json!({"field": "n1", "op": "gt", "value": "3"});
    assert_eq!(names(&query(json!({"filter": [above], "order": by_level})).await), ["forest 7", "desert 9"]);
    let first = query(json!({"order": by_level, "count": 2})).await;
    let second = query(json!({"order": by_level, "count": 2, "continuation": first["continuation"]})).await;
    assert_eq!((names(&first), names(&second)), (vec!["desert 3".into(), "forest 7".into()], vec!["desert 9".into()]));
    let wrong = json!({"filter": [{"field": "n1", "op": "eq", "value": "many"}]});
    service.post(&host, "/v1/lobbies/query", wrong).await.expect_problem("invalid");

    let quick = |value: &str| {
        json!({
            "filter": [{"field": "s1", "op": "eq", "value": value}], "peer_key": host.peer_key,
        })
    };
    let seat = service.post(&host, "/v1/lobbies/quick-join", quick("forest")).await.expect_status(200).json();
    assert_eq!(seat["lobby"]["name"], "forest 7");
    service.post(&host, "/v1/lobbies/quick-join", quick("forest")).await.expect_problem("no_open_lobbies");
    let mine = service.get(&host, "/v1/players/me/lobbies").await.expect_status(200).json();
    assert_eq!(mine, json!({"joined": [seat["lobby"]["id"]], "hosted": []}));
    service.stop().await;
}

#[tokio::test]
async fn whoever_names_a_lobby_first_makes_it_and_the_others_join_it() {
    let service = TestService::in_memory().await;
    let (one, other) = (service.player(1).await, service.player(2).await);
    let at = format!("/v1/lobbies/{}/create-or-join", LobbyId::from_bytes([7; 16]));
    let body = |player: &TestPlayer| {
        json!({
            "lobby_name": "arena", "settings": {"visibility": "private"}, "password": "correct horse", "peer_key": player.peer_key,
        })
    };
    let made = service.post(&one, &at, body(&one)).await.expect_status(201).json();
    let joined = service.post(&other, &at, body(&other)).await.expect_status(200).json();
    assert_eq!((&made["connection"], &joined["connection"]), (&json!(0), &json!(1)));
    let third = service.player(3).await;
    let wrong = json!({"lobby_name": "arena", "password": "wrong horse", "peer_key": third.peer_key});
    service.post(&third, &at, wrong).await.expect_problem("wrong_password");
    let code = json!({"join_code": made["lobby"]["join_code"], "peer_key": third.peer_key});
    service.post(&third, "/v1/lobbies/join", code).await.expect_problem("wrong_password");
    assert!(!made.to_string().contains("argon2") && made["lobby"]["has_password"] == true, "P18");
    service.stop().await;
}

#[tokio::test]
async fn a_rotated_code_opens_the_lobby_and_the_old_one_opens_nothing() {
    let service = TestService::in_memory().await;
    let (host, _guest, lobby) = pair(&service, json!({})).await;
    let code = service.post(&host, &path(&lobby, "/join-code"), json!({"epoch": 1})).await.expect_status(200).json();
    let third = service.player(3).await;
    let join = |code: Value| json!({"join_code": code, "peer_key": third.peer_key});
    service.post(&third, "/v1/lobbies/join", join(json!(lobby.join_code))).await.expect_problem("not_found");
    service.post(&third, "/v1/lobbies/join", join(code["join_code"].clone())).await.expect_status(200);
    service.stop().await;
}

#[tokio::test]
async fn the_host_hands_its_role_over_and_is_fenced_from_then_on() {
    let service = TestService::in_memory().await;
    let (host, guest, lobby) = pair(&service, json!({})).await;
    let to = |to: u32| json!({"epoch": 1, "to": to});
    service.post(&host, &path(&lobby, "/transfer"), to(0)).await.expect_problem("not_eligible");
    let after = service.post(&host, &path(&lobby, "/transfer"), to(1)).await.expect_status(200).json();
    assert_eq!((&after["epoch"], &after["host"]["host"]), (&json!(2), &json!(1)));
    service.post(&host, &path(&lobby, "/transfer"), to(1)).await.expect_problem("stale_epoch");
    service.post(&guest, &path(&lobby, "/ready"), json!({"epoch": 2})).await.expect_status(200);
    let view = service.view(&host, lobby.id).await;
    assert!(matches!(view.host, HostState::Present { host: ConnectionId(1), .. }) && view.epoch == HostEpoch(2));
    service.stop().await;
}

/// P17.
#[tokio::test]
async fn a_hand_over_is_asked_for_prepared_and_committed_or_else_nothing_has_been() {
    let service = TestService::in_memory().await;
    let (host, guest, lobby) = pair(&service, json!({})).await;
    let mut socket = service.listen(&host, lobby.id, None).await;
    socket.resync().await;
    service.post(&guest, &path(&lobby, "/hand-over"), json!({"epoch": 1})).await.expect_problem("not_host");
    service.post(&host, &path(&lobby, "/hand-over"), json!({})).await.expect_problem("epoch_required");
    let ask = json!({"epoch": 1, "to": 1});
    let asked = service.post(&host, &path(&lobby, "/hand-over"), ask.clone()).await.expect_status(202).json();
    assert_eq!((&asked["hand_over"]["to"], &asked["epoch"]), (&json!(1), &json!(1)));
    let again = service.post(&host, &path(&lobby, "/hand-over"), ask.clone()).await.expect_status(202).json();
    assert_eq!(again, asked, "one request");
    let told = socket.event_like(|body| matches!(body, EventBody::HandOverAsked { .. })).await;
    assert!(matches!(told.body, EventBody::HandOverAsked { to: ConnectionId(1), .. }));

    // The successor is gone before it is prepared.
    let consent = |can_host: bool| json!({"can_host": can_host});
    let member = path(&lobby, "/members/1");
    service.call(&guest, Method::PATCH, &member, consent(false)).await.expect_status(200);
    socket.event_like(|body| matches!(body, EventBody::HandOverEnded)).await;
    let view = service.view(&host, lobby.id).await;
    assert_eq!((view.hand_over, view.epoch, view.host.host()), (None, HostEpoch(1), Some(ConnectionId(0))));

    service.call(&guest, Method::PATCH, &member, consent(true)).await.expect_status(200);
    service.post(&host, &path(&lobby, "/hand-over"), ask.clone()).await.expect_status(202);
    let after = service.post(&host, &path(&lobby, "/transfer"), ask).await.expect_status(200).json();
    assert_eq!((&after["epoch"], &after["host"]["host"], &after["hand_over"]), (&json!(2), &json!(1), &Value::Null));
    service.post(&guest, &path(&lobby, "/hand-over"), json!({"epoch": 2, "to": 0})).await.expect_problem("no_host");
    service.stop().await;
}

#[tokio::test]
async fn another_process_of_a_player_needs_the_secret_of_its_seat() {
    let service = TestService::in_memory().await;
    let (host, guest, lobby) = pair(&service, json!({})).await;
    let secret = |byte: &str| byte.repeat(32);
    let body = json!({"join_code": lobby.join_code, "peer_key": guest.peer_key, "reconnect_secret": secret("01")});
    service.post(&guest, "/v1/lobbies/join", body).await.expect_status(200);
    let restarted = TestPlayer { peer_key: PeerKey::from_bytes([0xEE; 32]), ..guest.clone() };
    let join = json!({"join_code": lobby.join_code, "peer_key": restarted.peer_key});
    service.post(&restarted, "/v1/lobbies/join", join).await.expect_problem("seat_taken");
    let mut socket = service.open(&restarted, lobby.id).await.unwrap();
    let hello = ClientMessage::Hello { peer_key: restarted.peer_key, after: None, form: NewsForm::Events };
    socket.say(&hello).await;
    assert_eq!(socket.closed().await, Some(CloseReason::Replaced.code()), "the key alone opens nothing");

    let reconnect = async |player: &TestPlayer, shown: &str, next: &str| {
        let body = json!({
            "reconnect_secret": secret(shown), "next_secret": secret(next), "peer_key": restarted.peer_key,
        });
        service.post(player, &path(&lobby, "/reconnect"), body).await
    };
    let wrong = reconnect(&restarted, "09", "02").await.expect_problem("wrong_secret");
    assert_eq!(reconnect(&host, "01", "02").await.expect_problem("wrong_secret"), wrong, "another player's");
    let nowhere = format!("/v1/lobbies/{}/reconnect", LobbyId::from_bytes([0xAB; 16]));
    let body = json!({"reconnect_secret": secret("01"), "peer_key": restarted.peer_key});
    assert_eq!(service.post(&guest, &nowhere, body).await.expect_problem("wrong_secret"), wrong, "no lobby");
    for _ in 0..2 {
        let seat = reconnect(&restarted, "01", "02").await.expect_status(200).json();
        assert_eq!((&seat["connection"], &seat["reconnect_secret"]), (&json!(1), &json!(secret("02"))));
    }
    reconnect(&restarted, "02", "03").await.expect_status(200);
    reconnect(&restarted, "01", "04").await.expect_problem("wrong_secret");
    service.stop().await;
}

/// P16, I22: whatever became of the answers, and though the service was stopped and started again, each request has had one effect.
#[tokio::test]
async fn a_request_with_a_key_has_one_effect_however_often_it_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let service = TestService::in_folder(folder.path()).await;
    let host = service.player(1).await;
    let create = json!({"lobby_name": "arena", "peer_key": host.peer_key});
    let post = |path| (Method::POST, path);
    let key = ("idempotency-key", "5f0c7a9e");
    let first = call_with(&service, &host, post("/v1/lobbies"), key, &create).await.expect_status(201).json();
    // A second service on the same files: it knows only what the first one had committed.
    service.stop().await;
    let service = TestService::in_folder(folder.path()).await;
    for _ in 0..2 {
        let again = call_with(&service, &host, post("/v1/lobbies"), key, &create).await.expect_status(201).json();
        assert_eq!((&again["lobby"]["id"], &again["connection"]), (&first["lobby"]["id"], &json!(0)));
        assert_eq!(again["lobby"]["join_code"], first["lobby"]["join_code"]);
    }
    let other = json!({"lobby_name": "another", "peer_key": host.peer_key});
    let reused = call_with(&service, &host, post("/v1/lobbies"), key, &other).await;
    reused.expect_problem("idempotency_key_reused");

    let guest = service.player(2).await;
    let quick = json!({"peer_key": guest.peer_key});
    let key = ("idempotency-key", "quick");
    let seat = call_with(&service, &guest, post("/v1/lobbies/quick-join"), key, &quick).await.expect_status(200).json();
    let second = service.player(3).await;
    service.create(&second, json!({})).await;
    let again =
        call_with(&service, &guest, post("/v1/lobbies/quick-join"), key, &quick).await.expect_status(200).json();
    assert_eq!(seat["lobby"]["id"], again["lobby"]["id"], "not another lobby");
    let bad = ("idempotency-key", "with blank");
    call_with(&service, &guest, post("/v1/lobbies"), bad, &quick).await.expect_problem("malformed");
    service.stop().await;
}

#[tokio::test]
async fn a_client_may_ask_for_the_whole_lobby_instead_of_what_has_changed() {
    let service = TestService::in_memory().await;
    let (host, guest, lobby) = pair(&service, json!({})).await;
    let mut socket = service.open(&guest, lobby.id).await.unwrap();
    socket.say(&ClientMessage::Hello { peer_key: guest.peer_key, after: None, form: NewsForm::Lobby }).await;
    let mut seq = socket.resync().await.seq;
    let change = json!({"epoch": 1, "change": {"name": "renamed"}});
    service.call(&host, Method::PATCH, &path(&lobby, ""), change).await.expect_status(200);
    loop {
        let ServerMessage::Resync { lobby } = socket.message().await else { panic!("only whole lobbies") };
        assert!(lobby.seq > seq);
        seq = lobby.seq;
        if lobby.name == "renamed" {
            break;
        }
    }
    service.stop().await;
}

mod browsers {
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    use tokio_tungstenite::tungstenite::{self, http::HeaderValue};

    use super::*;

    /// Opens a socket as a browser does: without an `Authorization` header. Returns the agreed subprotocol, or the status.
    #[expect(clippy::unwrap_used, reason = "a test's helper")]
    async fn open(
        service: &TestService,
        path: &str,
        headers: &[(&'static str, String)],
    ) -> Result<Option<String>, u16> {
        let mut request = service.url("ws", path).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, HeaderValue::from_str(value).unwrap());
        }
        match tokio::time::timeout(Duration::from_secs(10), tokio_tungstenite::connect_async(request)).await.unwrap() {
            Ok((_, response)) => {
                let agreed = response.headers().get("sec-websocket-protocol");
                Ok(agreed.map(|value| value.to_str().unwrap().to_owned()))
            }
            Err(tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    #[tokio::test]
    async fn a_browser_opens_the_socket_by_a_subprotocol_or_by_a_ticket_that_is_good_once() {
        let service = TestService::in_memory().await;
        let (host, guest, lobby) = pair(&service, json!({})).await;
        let events = path(&lobby, "/events");
        let offer = |token: &str| vec![("sec-websocket-protocol", format!("understudy.v1, bearer.{token}"))];
        assert_eq!(open(&service, &events, &offer(&host.token)).await, Ok(Some("understudy.v1".into())));
        assert_eq!(open(&service, &events, &offer("nonsense")).await, Err(401));

        let ticket = service.post(&guest, &path(&lobby, "/ticket"), Value::Null).await.expect_status(201).json();
        let with_ticket = format!("{events}?ticket={}", ticket["ticket"].as_str().unwrap());
        let elsewhere = with_ticket.replace(&lobby.id.to_string(), &LobbyId::from_bytes([0xAB; 16]).to_string());
        assert_eq!(open(&service, &elsewhere, &[]).await, Err(401), "for this lobby only");
        assert_eq!(open(&service, &with_ticket, &[]).await, Ok(None));
        assert_eq!(open(&service, &with_ticket, &[]).await, Err(401), "once");
        let stranger = service.player(3).await;
        service.post(&stranger, &path(&lobby, "/ticket"), Value::Null).await.expect_problem("not_found");
        service.stop().await;
    }

    #[tokio::test]
    async fn pages_of_other_origins_are_refused_before_anything_else() {
        use lobby_service::config::Config;
        let allowed_origins = vec!["https://game.example".to_owned()];
        let service = TestService::start(Config { allowed_origins, ..Config::ephemeral() }).await;
        let (host, _guest, lobby) = pair(&service, json!({})).await;
        let events = path(&lobby, "/events");
        let from = |origin: &str| {
            vec![
                ("sec-websocket-protocol", format!("understudy.v1, bearer.{}", host.token)),
                ("origin", origin.to_owned()),
            ]
        };
        assert_eq!(open(&service, &events, &from("https://evil.example")).await, Err(403));
        assert_eq!(open(&service, &events, &from("null")).await, Err(403));
        let own = service.url("http", "");
        assert!(open(&service, &events, &from(own.trim_end_matches('/'))).await.is_ok(), "its own pages");
        assert!(open(&service, &events, &from("https://game.example")).await.is_ok());
        let get = (Method::GET, events.as_str());
        call_with(&service, &host, get, ("origin", "https://evil.example"), &Value::Null)
            .await
            .expect_problem("origin_refused");
        service.stop().await;
    }
}
