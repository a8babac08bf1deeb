//! Signing keys that follow each other while the service runs.

use std::process::Command;
use std::time::{Duration, Instant};

use lobby_service::auth::add_key;
use lobby_service::config::Config;
use lobby_service::identity::Identity;
use serde_json::json;
use tests::service::{TestPlayer, TestService};
use tests::signer::Signer;

use super::{Opened, QUERY};

/// Until when an instance knows of a new key.
const NOTICED_BY: Duration = Duration::from_secs(10);

async fn published(service: &TestService) -> Vec<String> {
    let jwks = service.send(|client, service| client.get(service.url("http", "/.well-known/jwks.json"))).await.json();
    let keys = jwks["keys"].as_array().unwrap().iter();
    keys.map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

fn signed_by(player: &TestPlayer) -> String {
    protocol::jws::Unverified::parse(player.token.as_bytes(), 1024).unwrap().kid
}

#[tokio::test]
async fn a_new_key_is_published_then_signs_and_tokens_of_the_old_one_count_until_it_is_removed() {
    let identity = Identity { key_activation_s: 1, ..Identity::default() };
    let Opened { service, signer: Signer { kid: old, .. }, folder } =
        Opened::start(Config { identity, ..Config::ephemeral() }).await;
    let file = folder.path().join("key.der");
    let before = service.player(1).await;
    assert_eq!(signed_by(&before), old);
    add_key(&file).unwrap();
    let auth = &service.service().unwrap().auth;
    auth.reload_keys().unwrap();
    let keys = published(&service).await;
    assert!(keys.len() == 2 && keys[0] == old, "published before it signs: {keys:?}");
    let began = Instant::now();
    let after = loop {
        let player = service.player(2).await;
        if signed_by(&player) == keys[1] {
            break player;
        }
        assert!(began.elapsed() < NOTICED_BY);
    };
    service.post(&before, QUERY, json!({})).await.expect_status(200);
    service.post(&after, QUERY, json!({})).await.expect_status(200);
    std::fs::remove_file(&file).unwrap();
    auth.reload_keys().unwrap();
    service.post(&before, QUERY, json!({})).await.expect_problem("unauthenticated");
    service.post(&after, QUERY, json!({})).await.expect_status(200);
    assert_eq!(published(&service).await, keys[1..]);
    service.stop().await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_process_that_runs_notices_a_new_key_at_sighup_or_by_itself() {
    let cluster = tests::cluster::cluster();
    let server = cluster.service_at("service", 0, "memory:").unwrap();
    let service = TestService::at(server.address("http").parse().unwrap());
    assert_eq!(published(&service).await.len(), 1);
    let rotate = || {
        let mut command = Command::new(tests::cluster::binaries().join("lobby-service"));
        command.arg("--rotate-key").arg("--key-file").arg(cluster.file("understudy-key.der"));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let said = rotate();
    assert!(said.contains("understudy-key.der.1 is the next signing key; it signs in 60 s"), "{said}");
    let began = Instant::now();
    server.process.hang_up().unwrap();
    while published(&service).await.len() < 2 {
        assert!(began.elapsed() < NOTICED_BY);
    }
    assert!(rotate().contains("understudy-key.der.2"));
    let began = Instant::now();
    while published(&service).await.len() < 3 {
        assert!(began.elapsed() < NOTICED_BY);
    }
}
