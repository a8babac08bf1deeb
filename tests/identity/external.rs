//! Players who come from other issuers.

use std::time::Duration;

use lobby_service::auth::issuers::Refresh;
use lobby_service::config::Config;
use lobby_service::identity::Identity;
use peer_client::Client;
use serde_json::json;
use tests::issuer::{Mood, TestIssuer};
use tests::service::{Answer, TestService};

/// So short that a test need not wait, and so long that a loaded machine does not take it for over.
const TIMEOUT: Duration = Duration::from_millis(300);

async fn service_for(issuers: &[&TestIssuer], issuer_keys: Refresh) -> TestService {
    let issuer = issuers.iter().map(|issuer| issuer.settings()).collect();
    let identity = Identity { issuer, issuer_keys, ..Identity::default() };
    TestService::start(Config { identity, ..Config::ephemeral() }).await
}

async fn exchange(service: &TestService, token: &str, name: &str) -> Answer {
    let body = json!({"token": token, "name": name});
    service.send(|client, service| client.post(service.url("http", "/v1/players/external")).json(&body)).await
}

/// The player that a token belongs to.
async fn player(service: &TestService, token: &str) -> String {
    exchange(service, token, "").await.expect_status(200).json()["player"].as_str().unwrap().to_owned()
}

/// Keys are always stale, and anybody may ask for them.
fn eager() -> Refresh {
    Refresh { fresh_for: Duration::ZERO, pause: Duration::ZERO, timeout: TIMEOUT, ..Refresh::default() }
}

#[tokio::test]
async fn the_same_subject_is_the_same_player_for_ever_and_no_other_is() {
    let (one, two) = (TestIssuer::start("one", "ES256").await, TestIssuer::start("two", "RS256").await);
    let service = service_for(&[&one, &two], Refresh::default()).await;
    let session = exchange(&service, &one.token("ada"), "Ada").await.expect_status(200).json();
    let ada = session["player"].as_str().unwrap();
    assert_eq!(player(&service, &one.token("ada")).await, ada);
    assert_ne!(player(&service, &one.token("bob")).await, ada);
    assert_ne!(player(&service, &two.token("ada")).await, ada);
    let refresh = json!({"refresh_token": session["refresh_token"]});
    let renewed =
        service.send(|client, service| client.post(service.url("http", "/v1/players/refresh")).json(&refresh)).await;
    let renewed = renewed.expect_status(200).json();
    assert_eq!(renewed["player"], ada);
    let again = exchange(&service, &one.token("ada"), "Renamed").await.expect_status(200).json();
    let lobby = json!({"lobby_name": "duel", "peer_key": "01".repeat(32)});
    let created = service.send(|client, service| {
        let request = client.post(service.url("http", "/v1/lobbies")).json(&lobby);
        request.bearer_auth(again["access_token"].as_str().unwrap())
    });
    assert_eq!(created.await.expect_status(201).json()["lobby"]["members"][0]["name"], "Ada");

    let other_start = service_for(&[&one], Refresh::default()).await;
    assert_eq!(player(&other_start, &one.token("ada")).await, ada, "also for a service that has never seen it");
    exchange(&other_start, &two.token("ada"), "").await.expect_problem("unauthenticated");
    exchange(&service, &one.token("ada"), &"n".repeat(129)).await.expect_problem("invalid");
    for one in [service, other_start] {
        one.stop().await;
    }
}

#[tokio::test]
async fn the_client_library_signs_in_with_such_a_token_whoever_it_was_before() {
    let issuer = TestIssuer::start("studio", "EdDSA").await;
    let service = service_for(&[&issuer], Refresh::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let builder = || Client::builder(service.url("http", "")).identity_file(folder.path().join("identity"));
    let anonymous = builder().sign_in().await.unwrap().player();
    let ada = builder().external_token(issuer.token("ada")).sign_in().await.unwrap().player();
    assert_eq!(ada.to_string(), player(&service, &issuer.token("ada")).await);
    assert_ne!(ada, anonymous);
    assert_eq!(builder().sign_in().await.unwrap().player(), ada, "its identity was stored");
    assert!(builder().external_token("nonsense").sign_in().await.is_err());
    service.stop().await;
}

#[tokio::test]
async fn without_issuers_no_token_is_taken() {
    let issuer = TestIssuer::start("studio", "EdDSA").await;
    let service = TestService::in_memory().await;
    exchange(&service, &issuer.token("ada"), "").await.expect_problem("unauthenticated");
    assert_eq!(issuer.asked(), 0);
    service.stop().await;
}

#[tokio::test]
async fn a_new_key_of_an_issuer_is_fetched_when_a_token_names_it_and_a_removed_one_is_forgotten() {
    let mut issuer = TestIssuer::start("studio", "EdDSA").await;
    let refresh = Refresh { pause: Duration::ZERO, ..Refresh::default() };
    let service = service_for(&[&issuer], refresh).await;
    let old = issuer.token("ada");
    let ada = player(&service, &old).await;
    assert_eq!((player(&service, &old).await, issuer.asked()), (ada.clone(), 1), "keys are kept");
    issuer.rotate("key-2");
    assert_eq!(player(&service, &issuer.token("ada")).await, ada);
    assert_eq!(issuer.asked(), 2);
    exchange(&service, &old, "").await.expect_problem("unauthenticated");
    service.stop().await;
}

#[tokio::test]
async fn made_up_key_names_make_nobody_ask_the_issuer_again_and_again() {
    let mut issuer = TestIssuer::start("studio", "EdDSA").await;
    let service = service_for(&[&issuer], Refresh::default()).await;
    player(&service, &issuer.token("ada")).await;
    for number in 0..50 {
        let mut header = issuer.signer.header("JWT");
        header["kid"] = json!(format!("made-up-{number}"));
        let token = issuer.signer.sign(&header.to_string(), &issuer.claims("ada").to_string());
        exchange(&service, &token, "").await.expect_problem("unauthenticated");
    }
    issuer.rotate("key-2");
    exchange(&service, &issuer.token("ada"), "").await.expect_problem("unauthenticated");
    assert_eq!(issuer.asked(), 1, "at most once in half a minute");
    service.stop().await;
}

#[tokio::test]
async fn while_an_issuer_is_not_well_its_known_keys_count_and_new_ones_are_asked_for_again() {
    let mut issuer = TestIssuer::start("studio", "EdDSA").await;
    let service = service_for(&[&issuer], eager()).await;
    let known = issuer.token("ada");
    let ada = player(&service, &known).await;
    issuer.rotate("key-2");
    for mood in [Mood::Broken, Mood::Confused, Mood::Endless, Mood::Elsewhere, Mood::Silent] {
        issuer.set_mood(mood);
        assert_eq!(player(&service, &known).await, ada, "{mood:?}");
        let unknown = exchange(&service, &issuer.token("ada"), "").await;
        assert_eq!(unknown.retry_after, Some(1), "{mood:?}: nobody can say whether it is good");
        unknown.expect_problem("unavailable");
    }
    issuer.set_mood(Mood::Well);
    assert_eq!(player(&service, &issuer.token("ada")).await, ada);
    service.stop().await;
}

/// Begins an exchange, and waits until the issuer is asked for its keys, which does not answer.
async fn stuck(service: &TestService, issuer: &TestIssuer, token: &str) {
    let asked = issuer.asked();
    let exchange = exchange(service, token, "");
    let mut exchange = std::pin::pin!(exchange);
    while issuer.asked() == asked {
        let soon = tokio::time::timeout(Duration::from_millis(5), &mut exchange).await;
        assert!(soon.is_err(), "the issuer has not answered");
    }
}

#[tokio::test]
async fn who_goes_away_while_keys_are_fetched_stops_nothing() {
    let issuer = TestIssuer::start("studio", "EdDSA").await;
    let service = service_for(&[&issuer], Refresh::default()).await;
    issuer.set_mood(Mood::Silent);
    let token = issuer.token("ada");
    stuck(&service, &issuer, &token).await;
    issuer.set_mood(Mood::Well);
    let arrived = async { while exchange(&service, &token, "").await.status != 200 {} };
    tokio::time::timeout(Refresh::default().timeout, arrived).await.unwrap();
    assert_eq!(issuer.asked(), 1, "the keys that the first one asked for");
    service.stop().await;
}

#[tokio::test]
async fn who_has_a_key_waits_for_no_slow_issuer() {
    let mut issuer = TestIssuer::start("studio", "EdDSA").await;
    let timeout = Duration::from_secs(3600);
    let refresh = Refresh { fresh_for: Duration::ZERO, pause: Duration::ZERO, timeout, ..Refresh::default() };
    let service = service_for(&[&issuer], refresh).await;
    let known = issuer.token("ada");
    player(&service, &known).await;
    issuer.rotate("key-2");
    issuer.set_mood(Mood::Silent);
    let unknown = issuer.token("ada");
    let asked = issuer.asked();
    let waits = async { exchange(&service, &unknown, "").await };
    let does_not = async {
        while issuer.asked() == asked {
            tokio::task::yield_now().await;
        }
        player(&service, &known).await
    };
    tokio::select! {
        answer = waits => panic!("the issuer has not answered: {answer:?}"),
        _player = does_not => {}
    }
    service.stop().await;
}

#[tokio::test]
async fn keys_are_read_from_a_file_too() {
    let mut issuer = TestIssuer::start("studio", "ES256").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    let issuer_keys = Refresh { fresh_for: Duration::ZERO, pause: Duration::ZERO, ..Refresh::default() };
    let identity = Identity { issuer: vec![issuer.settings_with_file(&file)], issuer_keys, ..Identity::default() };
    let service = TestService::start(Config { identity, ..Config::ephemeral() }).await;
    exchange(&service, &issuer.token("ada"), "").await.expect_problem("unavailable");
    std::fs::write(&file, issuer.keys().to_string()).unwrap();
    let ada = player(&service, &issuer.token("ada")).await;
    issuer.rotate("key-2");
    std::fs::write(&file, issuer.keys().to_string()).unwrap();
    assert_eq!((player(&service, &issuer.token("ada")).await, issuer.asked()), (ada, 0));
    service.stop().await;
}
