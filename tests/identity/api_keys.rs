//! Keys of game servers.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use lobby_service::auth::api_key::{ApiKeyId, Scope};
use lobby_service::config::{Config, Database};
use serde_json::json;
use tests::postgres::database;
use tests::service::{TestPlayer, TestService};

use super::{QUERY, list_with};

/// Until when a revoked key must be refused everywhere.
const REVOKED_BY: Duration = Duration::from_secs(5);

async fn key(service: &TestService, scopes: &[Scope]) -> (ApiKeyId, String) {
    let scopes = BTreeSet::from_iter(scopes.iter().copied());
    let (key, secret) = service.service().unwrap().create_api_key("server".into(), scopes, None).await.unwrap();
    (key.id, secret)
}

#[tokio::test]
async fn a_key_opens_what_its_scopes_allow_and_is_no_player() {
    let service = TestService::in_memory().await;
    let (id, reader) = key(&service, &[Scope::LobbiesRead]).await;
    let (_, writer) = key(&service, &[Scope::LobbiesWrite, Scope::MembersWrite]).await;
    let host = service.player(1).await;
    let lobby = service.create(&host, json!({"visibility": "private"})).await;
    let path = format!("/v1/lobbies/{}", lobby.id);
    let server = |token: &str| TestPlayer { token: token.to_owned(), ..host.clone() };
    let shown = service.get(&server(&reader), &path).await.expect_status(200).json();
    assert_eq!(shown["join_code"], json!(lobby.join_code), "whole, though it is private");
    service.post(&server(&reader), QUERY, json!({})).await.expect_status(200);
    service.post(&server(&writer), QUERY, json!({})).await.expect_problem("forbidden");
    service.get(&server(&writer), &path).await.expect_problem("forbidden");
    let body = json!({"lobby_name": "x", "peer_key": host.peer_key});
    service.post(&server(&reader), "/v1/lobbies", body).await.expect_problem("forbidden");
    let keys = service.service().unwrap().list_api_keys().await.unwrap();
    let key = keys.iter().find(|key| key.id == id).unwrap();
    let (used_ms, day_ms) = (key.last_used_day.unwrap().0, 24 * 3600 * 1000);
    assert!(used_ms % day_ms == 0 && used_ms >= key.created_at.0 / day_ms * day_ms);
    service.stop().await;
}

#[tokio::test]
async fn no_hostile_key_opens_anything_and_all_are_answered_as_tokens_are() {
    let service = TestService::in_memory().await;
    let (id, good) = key(&service, &[Scope::LobbiesRead]).await;
    let (other, _) = key(&service, &[Scope::LobbiesRead]).await;
    let secret = good.rsplit('_').next().unwrap();
    let flipped = format!("{}{}", &good[..good.len() - 1], if good.ends_with('0') { '1' } else { '0' });
    let hostile = [
        ("empty", "usk_".to_owned()),
        ("no secret", format!("usk_{id}_")),
        ("no id", format!("usk__{secret}")),
        ("the id alone", format!("usk_{id}")),
        ("the secret alone", secret.to_owned()),
        ("another id", format!("usk_{other}_{secret}")),
        ("an unknown id", format!("usk_{}_{secret}", "00".repeat(8))),
        ("a wrong secret", flipped),
        ("a secret of zeros", format!("usk_{id}_{}", "0".repeat(64))),
        ("a short secret", good[..good.len() - 2].to_owned()),
        ("a long secret", format!("{good}00")),
        ("upper-case", format!("usk_{id}_{}", secret.to_uppercase())),
        ("an upper-case id", format!("usk_{}_{secret}", "AB".repeat(8))),
        ("another prefix", good.replacen("usk_", "USK_", 1)),
        ("SQL", format!("usk_' OR 1=1 --_{secret}")),
        ("a path", format!("usk_../../key_{secret}")),
        ("not ASCII", format!("usk_{id}_é{}", &secret[2..])),
        ("a space", format!("usk_{id}_ {}", &secret[1..])),
        ("two keys", format!("{good},{good}")),
        ("one underscore more", format!("{good}_")),
        ("5 KiB", format!("usk_{id}_{}", "0".repeat(5 * 1024))),
    ];
    list_with(&service, &format!("bearer {good}")).await.expect_status(200);
    let first = list_with(&service, "Bearer nonsense").await.expect_status(401);
    for (name, key) in &hostile {
        let answer = list_with(&service, &format!("Bearer {key}")).await;
        assert_eq!((answer.status.as_u16(), &answer.bytes), (401, &first.bytes), "{name}");
    }
    service.stop().await;
}

#[tokio::test]
async fn a_key_ends_when_it_expires_or_is_revoked_and_a_bad_one_is_not_made() {
    let service = TestService::in_memory().await;
    let inner = service.service().unwrap();
    let read = BTreeSet::from([Scope::LobbiesRead]);
    let now = lobby_service::clock::wall();
    let soon = now.after(Duration::from_millis(400));
    let (_, secret) = inner.create_api_key("soon over".into(), read.clone(), Some(soon)).await.unwrap();
    list_with(&service, &format!("Bearer {secret}")).await.expect_status(200);
    tokio::time::timeout(Duration::from_secs(10), async {
        while list_with(&service, &format!("Bearer {secret}")).await.status == 200 {}
    })
    .await
    .unwrap();
    assert!(lobby_service::clock::wall() >= soon);
    assert!(inner.create_api_key("past".into(), read.clone(), Some(now)).await.is_err());
    assert!(inner.create_api_key(String::new(), read, None).await.is_err());
    assert!(inner.create_api_key("nothing".into(), BTreeSet::new(), None).await.is_err());
    let (id, secret) = key(&service, &[Scope::LobbiesRead]).await;
    list_with(&service, &format!("Bearer {secret}")).await.expect_status(200);
    inner.revoke_api_key(id).await.unwrap();
    list_with(&service, &format!("Bearer {secret}")).await.expect_problem("unauthenticated");
    assert!(inner.revoke_api_key(id).await.is_err(), "it is gone");
    service.stop().await;
}

/// Whether a key may look for a lobby, which is not there.
async fn opens(service: &TestService, secret: &str) -> bool {
    let path = format!("/v1/lobbies/{}", "00".repeat(16));
    let answer = service.send(|client, service| client.get(service.url("http", &path)).bearer_auth(secret)).await;
    answer.expect_problem(if answer.status == 404 { "not_found" } else { "unauthenticated" });
    answer.status == 404
}

#[tokio::test]
async fn a_revoked_key_is_refused_by_all_instances_within_five_seconds() {
    let database = database();
    let config = || Config { database: Database::Postgres(database.url().into()), ..Config::ephemeral() };
    let (one, two) = (TestService::start(config()).await, TestService::start(config()).await);
    let (id, secret) = key(&one, &[Scope::LobbiesRead]).await;
    let opened = Instant::now();
    while !opens(&two, &secret).await {
        assert!(opened.elapsed() < REVOKED_BY);
    }
    assert!(opens(&one, &secret).await);
    one.service().unwrap().revoke_api_key(id).await.unwrap();
    let revoked = Instant::now();
    assert!(!opens(&one, &secret).await);
    while opens(&two, &secret).await {
        assert!(revoked.elapsed() < REVOKED_BY);
    }
    for service in [one, two] {
        service.stop().await;
    }
}
