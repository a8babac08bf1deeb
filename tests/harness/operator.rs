//! Who operates a service, at its admin listener.

use lobby_service::config::Config;
use protocol::id::LobbyId;
use protocol::message::EventBody;
use reqwest::Method;
use serde_json::{Value, json};

use crate::service::{Answer, TestService, record};

/// A service and its operator.
#[derive(Debug)]
pub struct Operator {
    /// The service, as its players meet it.
    pub service: TestService,
    /// The admin token.
    pub token: String,
    admin: TestService,
    _folder: tempfile::TempDir,
}

impl Operator {
    /// Starts a service in memory with an admin listener.
    pub async fn in_memory() -> Self {
        Self::start(Config::ephemeral()).await
    }

    /// Starts a service with an admin listener.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start(mut config: Config) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the token");
        let token_file = folder.path().join("admin-token");
        config.operating.admin_listen = Some(([127, 0, 0, 1], 0).into());
        config.identity.admin_token_file.clone_from(&token_file);
        let service = TestService::start(config).await;
        let admin = TestService::at(service.admin().expect("an admin listener"));
        let token = std::fs::read_to_string(token_file).expect("the token was made").trim().to_owned();
        Self { service, token, admin, _folder: folder }
    }

    /// Sends JSON (or nothing, if it is `null`) with the token.
    pub async fn call(&self, method: Method, path: &str, body: Value) -> Answer {
        self.call_with(&self.token, method, path, body).await
    }

    /// Sends JSON (or nothing, if it is `null`) with another token, or with none, if it is empty.
    pub async fn call_with(&self, token: &str, method: Method, path: &str, body: Value) -> Answer {
        self.admin
            .send(|client, admin| {
                let request = client.request(method, admin.url("http", path));
                let request = if token.is_empty() { request } else { request.bearer_auth(token) };
                if body.is_null() { request } else { request.json(&body) }
            })
            .await
    }

    /// Gets something that is there.
    pub async fn get(&self, path: &str) -> Value {
        self.call(Method::GET, path, Value::Null).await.expect_status(200).json()
    }

    /// What the service has counted.
    pub async fn metrics(&self) -> String {
        let answer = self.call_with("", Method::GET, "/metrics", Value::Null).await.expect_status(200);
        String::from_utf8(answer.bytes).expect("metrics are text")
    }

    /// Waits until what the service has counted is as wished, and returns it.
    ///
    /// # Panics
    /// If that does not come.
    pub async fn metrics_when(&self, wished: impl Fn(&str) -> bool) -> String {
        for _ in 0..1000 {
            let text = self.metrics().await;
            if wished(&text) {
                return text;
            }
        }
        panic!("what was waited for is not in:\n{}", self.metrics().await);
    }

    /// Stops the service.
    pub async fn stop(self) {
        self.service.stop().await;
    }
}

/// A lobby whose host leaves with a snapshot stored; the first elected leaves too, the second fetches the snapshot and is ready.
pub async fn migration(service: &TestService) -> LobbyId {
    let (host, first, second) = (service.player(1).await, service.player(2).await, service.player(3).await);
    let lobby = service.create(&host, json!({"election_delay_ms": 0})).await;
    service.join(&first, &lobby).await;
    service.join(&second, &lobby).await;
    let path = |rest: &str| format!("/v1/lobbies/{}{rest}", lobby.id);
    service.put_snapshot(&host, lobby.id, record(1, 1, b"state")).await.expect_status(200);
    let mut socket = service.listen(&second, lobby.id, Some(lobby.seq)).await;
    let is_elected = |body: &EventBody| matches!(body, EventBody::HostElected { .. });
    service.post(&host, &path("/leave"), Value::Null).await.expect_status(204);
    socket.event_like(is_elected).await;
    service.post(&first, &path("/leave"), Value::Null).await.expect_status(204);
    let epoch = socket.event_like(is_elected).await.epoch;
    service.get(&second, &path("/snapshot")).await.expect_status(200);
    service.post(&second, &path("/ready"), json!({"epoch": epoch})).await.expect_status(200);
    lobby.id
}
