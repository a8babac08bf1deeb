//! Making, finding, joining and leaving lobbies.

use protocol::id::LobbyId;
use reqwest::Method;
use serde_json::{Value, json};
use tests::service::{TestPlayer, TestService};

use crate::book::{Ask, Book};
use crate::{NOBODY, Scene, too_much_data};

/// The secrets of a seat: the one that was chosen for it, and the next.
const SECRET: &str = "11";
const NEXT: &str = "22";

fn secret(byte: &str) -> String {
    byte.repeat(32)
}

/// A JSON object and more fields for it.
fn with(base: &Value, more: Value) -> Value {
    let mut all = base.clone();
    let Value::Object(more) = more else { panic!("{more} is no object") };
    all.as_object_mut().unwrap().extend(more);
    all
}

pub(crate) async fn provoke(book: &mut Book, service: &TestService) {
    finding(book, service).await;
    creating(book, service).await;
    for way in [Way::Code, Way::Id, Way::ChosenId] {
        joining(book, service, way).await;
    }
    quick_join(book, service).await;
    seats(book, service).await;
}

async fn finding(book: &mut Book, service: &TestService) {
    let scene = Scene::new(service, json!({"visibility": "private"})).await;
    let query = |body: Value| Ask::of("query_lobbies").by(&scene.host).json(&body);
    book.expect(service, "200", query(json!({}))).await;
    book.expect(service, "invalid", query(json!({"count": 0}))).await;
    let show = |player| Ask::of("show_lobby").by(player).at(scene.lobby.id);
    let shown = book.send(service, show(&scene.host)).await.expect_status(200);
    book.expect(service, "304", show(&scene.host).header("if-none-match", shown.etag.unwrap())).await;
    book.expect(service, "not_found", show(&scene.other)).await;
    let public = Scene::new(service, json!({})).await;
    book.expect(service, "200", Ask::of("show_lobby").by(&public.other).at(public.lobby.id)).await;
}

async fn creating(book: &mut Book, service: &TestService) {
    let host = service.player(1).await;
    let body = json!({"lobby_name": "x", "peer_key": host.peer_key});
    let create = |more: Value| Ask::of("create_lobby").by(&host).json(&with(&body, more));
    book.expect(service, "201", create(json!({})).header("idempotency-key", "one")).await;
    let other = create(json!({"name": "other"})).header("idempotency-key", "one");
    book.expect(service, "idempotency_key_reused", other).await;
    book.expect(service, "malformed", create(json!({})).header("idempotency-key", "two words")).await;
    book.expect(service, "invalid", create(json!({"lobby_name": ""}))).await;
    book.expect(service, "quota_exceeded", create(json!({"member_data": too_much_data()}))).await;
}

/// How somebody gets in.
#[derive(Clone, Copy)]
enum Way {
    Code,
    Id,
    ChosenId,
}

impl Way {
    /// A lobby that can be joined this way, and its code.
    async fn lobby(self, service: &TestService, host: &TestPlayer, id: &str, more: Value) -> (LobbyId, Value) {
        let body = with(&json!({"lobby_name": "x", "peer_key": host.peer_key, "build_id": "1"}), more);
        let path = match self {
            Self::Code | Self::Id => "/v1/lobbies".to_owned(),
            Self::ChosenId => format!("/v1/lobbies/{id}/create-or-join"),
        };
        let lobby = service.post(host, &path, body).await.expect_status(201).json()["lobby"].take();
        (lobby["id"].as_str().unwrap().parse().unwrap(), lobby["join_code"].clone())
    }

    fn ask(self, player: &TestPlayer, (id, code): &(LobbyId, Value), more: Value) -> Ask {
        let body = json!({"peer_key": player.peer_key, "build_id": "1"});
        let (operation, body) = match self {
            Self::Code => ("join_by_code", with(&body, json!({"join_code": code}))),
            Self::Id => ("join_lobby", body),
            Self::ChosenId => ("create_or_join", with(&body, json!({"lobby_name": "x"}))),
        };
        Ask::of(operation).by(player).at(id).json(&with(&body, more))
    }
}

async fn joining(book: &mut Book, service: &TestService, way: Way) {
    let (host, guest, other) = (service.player(1).await, service.player(2).await, service.player(3).await);
    let id = |number: u8| format!("{number:02x}").repeat(16);
    let open = way.lobby(service, &host, &id(0x31), json!({})).await;
    let join = |player: &TestPlayer, lobby: &(LobbyId, Value), more: Value| way.ask(player, lobby, more);
    book.expect(service, "200", join(&guest, &open, json!({})).header("idempotency-key", "one")).await;
    let other_body = join(&guest, &open, json!({"name": "other"})).header("idempotency-key", "one");
    book.expect(service, "idempotency_key_reused", other_body).await;
    let elsewhere = TestPlayer { peer_key: protocol::id::PeerKey::from_bytes([9; 32]), ..guest.clone() };
    book.expect(service, "seat_taken", join(&elsewhere, &open, json!({}))).await;
    book.expect(service, "invalid", join(&other, &open, json!({"peer_key": host.peer_key}))).await;
    book.expect(service, "build_mismatch", join(&other, &open, json!({"build_id": "2"}))).await;
    book.expect(service, "quota_exceeded", join(&other, &open, json!({"member_data": too_much_data()}))).await;

    let full = way.lobby(service, &host, &id(0x32), json!({"settings": {"max_members": 1}})).await;
    book.expect(service, "lobby_full", join(&other, &full, json!({}))).await;
    let locked = way.lobby(service, &host, &id(0x33), json!({"settings": {"locked": true}})).await;
    book.expect(service, "lobby_locked", join(&other, &locked, json!({}))).await;
    let secret = way.lobby(service, &host, &id(0x34), json!({"password": "correct horse"})).await;
    book.expect(service, "wrong_password", join(&other, &secret, json!({"password": "wrong horse"}))).await;
    book.expect(service, "200", join(&other, &secret, json!({"password": "correct horse"}))).await;

    let closed = way.lobby(service, &host, &id(0x35), json!({})).await;
    let close = format!("/v1/lobbies/{}?epoch=1", closed.0);
    service.call(&host, Method::DELETE, &close, Value::Null).await.expect_status(204);
    // A code of old may be another lobby's by now.
    let gone = if matches!(way, Way::Code) { "not_found" } else { "lobby_closed" };
    book.expect(service, gone, join(&other, &closed, json!({}))).await;

    // Of a lobby that it may not know of, a player hears that there is none.
    let hidden = way.lobby(service, &host, &id(0x36), json!({})).await;
    let (path, body) = (format!("/v1/lobbies/{}/join", hidden.0), json!({"peer_key": other.peer_key, "build_id": "1"}));
    let seat = service.post(&other, &path, body).await.expect_status(200).json();
    let player = seat["lobby"]["members"][1]["player"].clone();
    let ban = format!("/v1/lobbies/{}/bans", hidden.0);
    service.post(&host, &ban, json!({"epoch": 1, "player": player})).await.expect_status(201);
    book.expect(service, "not_found", join(&other, &hidden, json!({}))).await;
    if matches!(way, Way::ChosenId) {
        let new = (id(0x37).parse().unwrap(), Value::Null);
        book.expect(service, "201", join(&host, &new, json!({}))).await;
    }
}

async fn quick_join(book: &mut Book, service: &TestService) {
    let (host, guest, other) = (service.player(1).await, service.player(2).await, service.player(3).await);
    let body = json!({"lobby_name": "x", "peer_key": host.peer_key, "build_id": "quick"});
    service.post(&host, "/v1/lobbies", body).await.expect_status(201);
    let join = |player: &TestPlayer, more: Value| {
        let body = json!({"peer_key": player.peer_key, "build_id": "quick", "reconnect_secret": secret(SECRET)});
        Ask::of("quick_join").by(player).json(&with(&body, more))
    };
    book.expect(service, "invalid", join(&guest, json!({"name": "n".repeat(129)}))).await;
    book.expect(service, "quota_exceeded", join(&guest, json!({"member_data": too_much_data()}))).await;
    book.expect(service, "no_open_lobbies", join(&guest, json!({"build_id": "none"}))).await;
    let seat = book.expect(service, "200", join(&guest, json!({})).header("idempotency-key", "one")).await;
    let renamed = join(&guest, json!({"name": "other"})).header("idempotency-key", "one");
    book.expect(service, "idempotency_key_reused", renamed).await;
    book.expect(service, "malformed", join(&other, json!({})).header("idempotency-key", "")).await;

    // The same request again, after another process took the seat.
    let reconnect = json!({"reconnect_secret": secret(SECRET), "peer_key": "09".repeat(32)});
    let ask = Ask::of("reconnect").by(&guest).at(seat["lobby"]["id"].as_str().unwrap()).json(&reconnect);
    book.expect(service, "200", ask).await;
    book.expect(service, "seat_taken", join(&guest, json!({})).header("idempotency-key", "one")).await;
}

/// Taking a seat again, keeping it and giving it up.
async fn seats(book: &mut Book, service: &TestService) {
    let scene = Scene::new(service, json!({})).await;
    let closed = Scene::closed(service).await;
    let reconnect = |scene: &Scene, more: Value| {
        let body =
            json!({"reconnect_secret": secret(SECRET), "next_secret": secret(NEXT), "peer_key": "0a".repeat(32)});
        Ask::of("reconnect").by(&scene.guest).at(scene.lobby.id).json(&with(&body, more))
    };
    book.expect(service, "wrong_secret", reconnect(&scene, json!({}))).await;
    book.expect(service, "wrong_secret", reconnect(&scene, json!({})).at(NOBODY)).await;
    book.expect(service, "invalid", reconnect(&scene, json!({"direct_address": "nowhere"}))).await;
    book.expect(service, "lobby_closed", reconnect(&closed, json!({}))).await;

    let beat = |scene: &Scene, player: &TestPlayer, key: Value| {
        Ask::of("heartbeat").by(player).at(scene.lobby.id).json(&json!({"peer_key": key}))
    };
    book.expect(service, "204", beat(&scene, &scene.guest, json!(scene.guest.peer_key))).await;
    book.expect(service, "not_found", beat(&scene, &scene.other, json!(scene.other.peer_key))).await;
    book.expect(service, "invalid", beat(&scene, &scene.guest, json!(scene.host.peer_key))).await;
    book.expect(service, "seat_taken", beat(&scene, &scene.guest, json!("0b".repeat(32)))).await;
    book.expect(service, "lobby_closed", beat(&closed, &closed.guest, json!(closed.guest.peer_key))).await;

    let ticket = |player: &TestPlayer| Ask::of("ticket").by(player).at(scene.lobby.id);
    let ticket_of_guest = book.expect(service, "201", ticket(&scene.guest)).await;
    book.expect(service, "not_found", ticket(&scene.other)).await;
    let events = |player: &TestPlayer| Ask::of("events").by(player).at(scene.lobby.id);
    book.expect(service, "101", events(&scene.guest).upgrade()).await;
    book.expect(service, "malformed", events(&scene.guest)).await;
    book.expect(service, "not_found", events(&scene.other).upgrade()).await;
    let by_ticket = format!("ticket={}", ticket_of_guest["ticket"].as_str().unwrap());
    let with_ticket = Ask::of("events").at(scene.lobby.id).query(&by_ticket).upgrade();
    book.expect(service, "101", with_ticket.clone()).await;
    book.expect(service, "unauthenticated", with_ticket).await;

    let leave = |player: &TestPlayer, scene: &Scene| Ask::of("leave").by(player).at(scene.lobby.id);
    book.expect(service, "not_found", leave(&scene.other, &scene)).await;
    book.expect(service, "lobby_closed", leave(&closed.guest, &closed)).await;
    book.expect(service, "204", leave(&scene.guest, &scene)).await;
}
