//! Rates, quotas and what strangers may send, over real sockets.

use std::collections::BTreeSet;

use lobby_service::auth::api_key::Scope;
use lobby_service::config::Config;
use lobby_service::limits::{Class, Limits, Quota};
use protocol::id::PeerKey;
use protocol::limits::BODY_BYTES_MAX;
use reqwest::Method;
use serde_json::{Value, json};
use tests::service::{Answer, TestPlayer, TestService, record};

/// A service that limits nothing but these classes.
async fn limited(rates: &[(Class, &str)]) -> TestService {
    with(Limits::off(), rates).await
}

async fn with(mut limits: Limits, rates: &[(Class, &str)]) -> TestService {
    for (class, rate) in rates {
        limits.rates.set(*class, Some(rate.parse().expect("a rate")));
    }
    TestService::start(Config { limits, ..Config::ephemeral() }).await
}

/// None that is there.
const LOBBY: &str = "/v1/lobbies/00000000000000000000000000000000";

async fn search(service: &TestService, player: &TestPlayer) -> Answer {
    service.post(player, "/v1/lobbies/query", json!({})).await
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers.get(name).unwrap_or_else(|| panic!("{name} is missing: {answer:?}")).to_str().expect("text")
}

#[tokio::test]
async fn over_a_players_rate_the_answer_is_429_and_every_answer_says_where_the_caller_stands() {
    let service = limited(&[(Class::Query, "2/3600s"), (Class::Address, "1000/1s")]).await;
    let (player, other) = (service.player(1).await, service.player(2).await);
    let first = search(&service, &player).await.expect_status(200);
    assert_eq!((header(&first, "ratelimit-limit"), header(&first, "ratelimit-remaining")), ("2", "1"));
    assert_eq!(header(&first, "ratelimit-reset"), "1800");
    assert_eq!(header(&first, "ratelimit-policy"), "2;w=3600;burst=2;name=\"query\"");
    search(&service, &player).await.expect_status(200);
    let refused = search(&service, &player).await;
    let problem = refused.expect_problem("rate_limited");
    assert_eq!(header(&refused, "ratelimit-remaining"), "0");
    assert_eq!(problem["retry_after_s"].as_u64(), refused.retry_after);
    assert!((1790..=1800).contains(&refused.retry_after.unwrap()));
    assert_eq!(search(&service, &other).await.status, 200, "another player has a rate of its own");
    let lobby = service.create(&player, json!({})).await;
    let shown = service.get(&player, &format!("/v1/lobbies/{}", lobby.id)).await.expect_status(200);
    assert!(header(&shown, "ratelimit-policy").contains("name=\"address\""), "another class has a rate of its own");
    service.stop().await;
}

#[tokio::test]
async fn an_address_is_counted_before_its_tokens_are_looked_at() {
    let service = limited(&[(Class::Address, "5/3600s"), (Class::AddressHosting, "7/3600s")]).await;
    let stranger =
        TestPlayer { token: "nonsense".into(), refresh_token: String::new(), peer_key: PeerKey::from_bytes([1; 32]) };
    for _ in 0..5 {
        search(&service, &stranger).await.expect_problem("unauthenticated");
    }
    search(&service, &stranger).await.expect_problem("rate_limited");
    service.get(&stranger, "/nowhere").await.expect_problem("rate_limited");
    service.get(&stranger, "/docs/").await.expect_problem("rate_limited");
    for _ in 0..7 {
        let answer =
            service.post(&stranger, &format!("{LOBBY}/heartbeat"), json!({"peer_key": stranger.peer_key})).await;
        answer.expect_problem("unauthenticated");
    }
    service.post(&stranger, &format!("{LOBBY}/ready"), json!({"epoch": 1})).await.expect_problem("rate_limited");
    service.get(&stranger, "/healthz").await.expect_status(204);
    service.stop().await;
}

#[tokio::test]
async fn a_game_server_pays_by_its_key_and_who_has_none_by_its_address() {
    let rates = [(Class::Address, "3/3600s"), (Class::SignIn, "9/3600s"), (Class::Query, "1/3600s")];
    let limits = Limits { api_key_factor: 5, ..Limits::off() };
    let service = with(limits, &rates).await;
    let scopes = BTreeSet::from([Scope::LobbiesRead]);
    let created = service.service().expect("it runs here").create_api_key("server".into(), scopes, None).await;
    let player = service.player(1).await;
    let server = TestPlayer { token: created.expect("a key").1, ..player.clone() };
    let forged = TestPlayer { token: "usk_0000000000000000_00".into(), ..player };
    for left in (0..5).rev() {
        let answer = search(&service, &server).await.expect_status(200);
        assert_eq!(header(&answer, "ratelimit-policy"), "5;w=3600;burst=5;name=\"query\"");
        assert_eq!(header(&answer, "ratelimit-remaining"), left.to_string());
    }
    search(&service, &server).await.expect_problem("rate_limited");
    for _ in 0..2 {
        search(&service, &forged).await.expect_problem("unauthenticated");
    }
    let refused = search(&service, &forged).await;
    refused.expect_problem("rate_limited");
    assert!(header(&refused, "ratelimit-policy").contains("name=\"address\""));
    service.stop().await;
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_has_its_own_rate_and_behind_another_none() {
    let trusting = Limits { trusted_proxies: vec!["127.0.0.1".parse().unwrap()], ..Limits::off() };
    let (trusting, other) =
        (with(trusting, &[(Class::Address, "1/3600s")]).await, limited(&[(Class::Address, "1/3600s")]).await);
    let get = async |service: &TestService, forwarded: &str| {
        service
            .send(|client, service| client.get(service.url("http", LOBBY)).header("x-forwarded-for", forwarded))
            .await
    };
    get(&trusting, "198.51.100.1").await.expect_problem("unauthenticated");
    get(&trusting, "198.51.100.1").await.expect_problem("rate_limited");
    get(&trusting, "203.0.113.7, 198.51.100.1").await.expect_problem("rate_limited");
    get(&trusting, "198.51.100.2").await.expect_problem("unauthenticated");
    get(&trusting, "2001:db8::1").await.expect_problem("unauthenticated");
    get(&trusting, "2001:db8::2").await.expect_problem("rate_limited");
    get(&other, "198.51.100.1").await.expect_problem("unauthenticated");
    get(&other, "198.51.100.2").await.expect_problem("rate_limited");
    trusting.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn an_address_makes_so_many_lobbies_and_what_is_refused_is_none() {
    let service = limited(&[(Class::CreateAddress, "2/3600s")]).await;
    let player = service.player(1).await;
    let create = async |name: &str| {
        let body = json!({"lobby_name": name, "peer_key": player.peer_key});
        service.post(&player, "/v1/lobbies", body).await
    };
    for _ in 0..3 {
        create("").await.expect_problem("invalid");
    }
    create("a").await.expect_status(201);
    create("b").await.expect_status(201);
    create("c").await.expect_problem("rate_limited");
    service.stop().await;
}

#[tokio::test]
async fn a_player_has_so_many_lobbies_and_gets_another_when_one_is_given_up() {
    let quota = Quota { hosted_max: 2, joined_max: 3 };
    let service = with(Limits { quota, ..Limits::off() }, &[]).await;
    let (player, other) = (service.player(1).await, service.player(2).await);
    let create = async |player: &TestPlayer| {
        let body = json!({"lobby_name": "a", "peer_key": player.peer_key});
        service.post(player, "/v1/lobbies", body).await
    };
    let first = create(&player).await.expect_status(201).json();
    create(&player).await.expect_status(201);
    create(&player).await.expect_problem("quota_exceeded");
    let mut theirs = Vec::new();
    for _ in 0..2 {
        theirs.push(create(&other).await.expect_status(201).json()["lobby"]["id"].as_str().expect("an id").to_owned());
    }
    let join = async |id: &str| {
        let body = json!({"peer_key": player.peer_key});
        service.post(&player, &format!("/v1/lobbies/{id}/join"), body).await
    };
    join(&theirs[0]).await.expect_status(200);
    join(&theirs[1]).await.expect_problem("quota_exceeded");
    join(&theirs[0]).await.expect_status(200);
    let leave = format!("/v1/lobbies/{}/leave", first["lobby"]["id"].as_str().expect("an id"));
    service.post(&player, &leave, Value::Null).await.expect_status(204);
    join(&theirs[1]).await.expect_status(200);
    service.stop().await;
}

#[tokio::test]
async fn wrong_passwords_and_reconnect_secrets_are_limited_and_right_ones_cost_nothing() {
    let service = limited(&[(Class::JoinFailuresPlayer, "2/3600s"), (Class::ReconnectFailures, "2/3600s")]).await;
    let (host, guest, other) = (service.player(1).await, service.player(2).await, service.player(3).await);
    let body = json!({"lobby_name": "a", "peer_key": host.peer_key, "password": "correct horse"});
    let seat = service.post(&host, "/v1/lobbies", body).await.expect_status(201).json();
    let path = format!("/v1/lobbies/{}", seat["lobby"]["id"].as_str().expect("an id"));
    let join = async |player: &TestPlayer, password: &str| {
        let body = json!({"peer_key": player.peer_key, "password": password});
        service.post(player, &format!("{path}/join"), body).await
    };
    let seat = join(&guest, "correct horse").await.expect_status(200).json();
    for _ in 0..2 {
        join(&other, "battery staple").await.expect_problem("wrong_password");
    }
    join(&other, "correct horse").await.expect_problem("rate_limited");
    let join_code = json!({"peer_key": other.peer_key, "join_code": "AAAAA-AAAAA"});
    service.post(&other, "/v1/lobbies/join", join_code).await.expect_problem("rate_limited");
    join(&guest, "correct horse").await.expect_status(200);

    let reconnect = async |player: &TestPlayer, secret: &Value| {
        let body = json!({"peer_key": player.peer_key, "reconnect_secret": secret});
        service.post(player, &format!("{path}/reconnect"), body).await
    };
    for _ in 0..2 {
        reconnect(&guest, &"0".repeat(64).into()).await.expect_problem("wrong_secret");
    }
    let refused = reconnect(&guest, &seat["reconnect_secret"]).await;
    refused.expect_problem("rate_limited");
    assert!(header(&refused, "ratelimit-policy").contains("reconnect-failures"));
    assert!(refused.retry_after.expect("a time") > 3500, "for the whole time");
    reconnect(&host, &"0".repeat(64).into()).await.expect_problem("wrong_secret");
    service.stop().await;
}

/// A host that uploads as often as the protocol allows, with the limits that a service has by default.
#[tokio::test]
async fn by_default_no_host_is_kept_from_uploading_and_no_elected_one_from_restoring() {
    let service = with(Limits::default(), &[]).await;
    let (host, guest) = (service.player(1).await, service.player(2).await);
    let lobby = service.create(&host, json!({"election_delay_ms": 0})).await;
    service.join(&guest, &lobby).await;
    for seq in 0..30 {
        service.put_snapshot(&host, lobby.id, record(1, seq, b"game")).await.expect_status(200);
    }
    let path = |rest: &str| format!("/v1/lobbies/{}{rest}", lobby.id);
    service.post(&host, &path("/leave"), Value::Null).await.expect_status(204);
    for _ in 0..5 {
        service.post(&guest, &path("/relay-token"), Value::Null).await.expect_status(200);
        service.get(&guest, &path("/snapshot")).await.expect_status(200);
        service.post(&guest, &path("/ready"), json!({"epoch": 2})).await.expect_status(200);
        service.post(&guest, &path("/host-grant"), json!({"epoch": 2})).await.expect_status(200);
    }
    service.stop().await;
}

#[tokio::test]
async fn when_too_much_is_asked_at_once_searches_are_turned_away_first_and_hosts_last() {
    let service = with(Limits { requests_max: 10, ..Limits::off() }, &[]).await;
    let host = service.player(1).await;
    let lobby = service.create(&host, json!({})).await;
    let mut members = Vec::new();
    for number in 2..12 {
        let member = service.player(number).await;
        service.join(&member, &lobby).await;
        members.push(member);
    }
    let path = |rest: &str| format!("/v1/lobbies/{}{rest}", lobby.id);
    let search = async || search(&service, &host).await;
    let create = json!({"lobby_name": "b", "peer_key": host.peer_key});
    let create = async || service.post(&host, "/v1/lobbies", create.clone()).await;
    let join = json!({"join_code": lobby.join_code, "peer_key": host.peer_key});
    let join = async || service.post(&host, "/v1/lobbies/join", join.clone()).await;
    let show = async || service.get(&host, &path("")).await;
    let beat = json!({"peer_key": host.peer_key});
    let beat = async || service.post(&host, &path("/heartbeat"), beat.clone()).await;

    // Uploads that do not end keep places.
    let mut uploads = Vec::new();
    for member in &members {
        match uploads.len() {
            5 => assert_eq!(search().await.expect_problem("unavailable")["retry_after_s"], 1),
            6 => drop(create().await.expect_problem("unavailable")),
            7 => drop(join().await.expect_problem("unavailable")),
            9 => drop(show().await.expect_problem("unavailable")),
            _ => {}
        }
        match uploads.len() {
            4 => drop(search().await.expect_status(200)),
            5 => drop(create().await.expect_status(201)),
            6 => drop(join().await.expect_status(200)),
            8 => drop(show().await.expect_status(200)),
            9 => drop(beat().await.expect_status(204)),
            _ => {}
        }
        let (answer, stream) = service.begin_upload(member, lobby.id, 100).await;
        assert!(answer.starts_with("HTTP/1.1 100"), "{answer}");
        uploads.push(stream);
    }
    beat().await.expect_problem("unavailable");
    drop(uploads);
    // The service has to notice that they are gone.
    while beat().await.status != 204 {}
    service.stop().await;
}

#[tokio::test]
async fn json_that_no_client_of_ours_would_send_is_malformed() {
    let service = TestService::in_memory().await;
    let player = service.player(1).await;
    let key = player.peer_key;
    let send = async |kind: &str, body: String| {
        service
            .send(|client, service| {
                let request = client.request(Method::POST, service.url("http", "/v1/lobbies"));
                request.bearer_auth(&player.token).header("content-type", kind).body(body)
            })
            .await
    };
    let lobby = |more: &str| format!(r#"{{"lobby_name": "a", "peer_key": "{key}"{more}}}"#);
    let deep = format!(r#", "settings": {}1{}"#, "[".repeat(20_000 / 4), "]".repeat(20_000 / 4));
    let wide = (0..65).map(|number| format!(r#", "k{number}": 0"#)).collect::<String>();
    for more in
        [&deep, &wide, r#", "build_id": "a", "build_id": "a""#, r#", "build_id": "a\u0000""#, r#", "x": 1e999"#, ","]
    {
        send("application/json", lobby(more)).await.expect_problem("malformed");
    }
    send("text/plain", lobby("")).await.expect_problem("unsupported_media_type");
    send("application/json", lobby(&" ".repeat(BODY_BYTES_MAX))).await.expect_problem("too_large");
    send("application/problem+json; charset=utf-8", lobby("")).await.expect_status(201);
    send("Application/JSON", lobby("")).await.expect_status(201);
    service.stop().await;
}
