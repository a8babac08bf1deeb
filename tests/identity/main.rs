//! Who is who, over real sockets: hostile tokens, other issuers, keys of game servers, and signing keys that change.

#![expect(clippy::unwrap_used, reason = "tests")]

mod api_keys;
mod external;
mod hostile;
mod rotation;

use lobby_service::config::{Config, Key};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde_json::json;
use tests::service::{Answer, TestService};
use tests::signer::Signer;

/// What players and game servers may do alike.
const QUERY: &str = "/v1/lobbies/query";

/// A service whose signing key the test has, too.
struct Opened {
    service: TestService,
    signer: Signer,
    folder: tempfile::TempDir,
}

impl Opened {
    async fn start(config: Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key.der");
        let service = TestService::start(Config { key: Key::File(file.clone()), ..config }).await;
        let jwks = service.send(|client, service| client.get(service.url("http", "/.well-known/jwks.json"))).await;
        let kid = jwks.json()["keys"][0]["kid"].as_str().unwrap().to_owned();
        let signer = Signer::from_pkcs8(&kid, &std::fs::read(file).unwrap());
        Self { service, signer, folder }
    }
}

/// Looks for lobbies with this header.
async fn list_with(service: &TestService, authorization: &str) -> Answer {
    let value = HeaderValue::from_bytes(authorization.as_bytes()).unwrap();
    let query = |client: &reqwest::Client, service: &TestService| {
        client.post(service.url("http", QUERY)).json(&json!({})).header(AUTHORIZATION, value)
    };
    service.send(query).await
}
