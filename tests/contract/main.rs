//! The API's description is the whole truth: every status and every code that it documents is provoked, operation by operation, on
//! services over sockets; nothing is answered that it does not document; its examples can be played.

#![expect(clippy::unwrap_used, reason = "tests")]

mod arena;
mod book;
mod description;
mod docs;
mod examples;
mod general;
mod hosting;
mod joining;
mod managing;
mod players;
mod schema;
mod unity;

use std::collections::BTreeSet;
use std::time::Duration;

use lobby_service::auth::api_key::Scope;
use lobby_service::config::Config;
use protocol::message::LobbyView;
use serde_json::{Value, json};
use tests::service::{TestPlayer, TestService};

use book::Book;

/// An id that no lobby, no player has.
const NOBODY: &str = "000102030405060708090a0b0c0d0e0f";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_documented_and_every_documented_answer_is_given() {
    let mut book = Book::new();
    general::provoke(&mut book).await;
    players::provoke(&mut book).await;
    let service = TestService::start(config()).await;
    joining::provoke(&mut book, &service).await;
    managing::provoke(&mut book, &service).await;
    hosting::provoke(&mut book, &service).await;
    service.stop().await;
    book.close();
}

/// A service that does not mind how much is asked.
fn config() -> Config {
    Config::ephemeral()
}

/// Two members of a lobby, its host and a guest, and somebody else.
struct Scene {
    host: TestPlayer,
    guest: TestPlayer,
    other: TestPlayer,
    lobby: LobbyView,
}

impl Scene {
    /// `number` makes the processes' keys: the same in no two scenes that share a lobby.
    async fn new(service: &TestService, settings: Value) -> Self {
        let (host, guest, other) = (service.player(1).await, service.player(2).await, service.player(3).await);
        let lobby = service.create(&host, settings).await;
        service.join(&guest, &lobby).await;
        Self { host, guest, other, lobby }
    }

    /// With its lobby closed.
    async fn closed(service: &TestService) -> Self {
        let scene = Self::new(service, json!({})).await;
        let path = format!("/v1/lobbies/{}?epoch=1", scene.lobby.id);
        service.call(&scene.host, reqwest::Method::DELETE, &path, Value::Null).await.expect_status(204);
        scene
    }
}

/// A key of a game server that may do this.
async fn api_key(service: &TestService, scopes: &[Scope]) -> String {
    let scopes = BTreeSet::from_iter(scopes.iter().copied());
    service.service().unwrap().create_api_key("server".into(), scopes, None).await.unwrap().1
}

/// More values than a member may have.
fn too_much_data() -> Value {
    (0..40).map(|number| (format!("key{number}"), json!({"value": ""}))).collect::<serde_json::Map<_, _>>().into()
}

/// Whose a token is, from what the service says of its lobbies' members.
fn player_of(lobby: &LobbyView, connection: usize) -> String {
    lobby.members[connection].player.to_string()
}

/// Short, so that a test need not wait.
const PAUSE: Duration = Duration::from_millis(300);
