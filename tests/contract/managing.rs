//! What hosts and servers of the game change.

use lobby_service::auth::api_key::Scope;
use protocol::limits;
use serde_json::{Value, json};
use tests::service::{TestPlayer, TestService};

use crate::book::{Ask, Book};
use crate::{NOBODY, Scene, api_key, player_of, too_much_data};

/// What a host asks of a lobby, as which player, and at which epoch if it says so.
type Manage<'a> = &'a dyn Fn(&Scene, &TestPlayer, Option<u64>) -> Ask;

/// A request with the epoch in its body.
fn in_body(operation: &str, scene: &Scene, player: &TestPlayer, epoch: Option<u64>, mut body: Value) -> Ask {
    body["epoch"] = json!(epoch);
    Ask::of(operation).by(player).at(scene.lobby.id).json(&body)
}

/// A request with the epoch in its query.
fn in_query(ask: Ask, epoch: Option<u64>) -> Ask {
    match epoch {
        Some(epoch) => ask.epoch(epoch),
        None => ask,
    }
}

pub(crate) async fn provoke(book: &mut Book, service: &TestService) {
    for_hosts(book, service).await;
    updates(book, service).await;
    bans(book, service).await;
    transfers(book, service).await;
    bulk(book, service).await;
}

/// What only the host of this epoch may do.
async fn for_hosts(book: &mut Book, service: &TestService) {
    let scene = Scene::new(service, json!({})).await;
    let closed = Scene::closed(service).await;
    let operations: [(&str, Manage<'_>); 8] = [
        ("200", &|scene, player, epoch| in_body("update_lobby", scene, player, epoch, json!({"change": {}}))),
        ("200", &|scene, player, epoch| in_body("rotate_code", scene, player, epoch, json!({}))),
        ("201", &|scene, player, epoch| in_body("ban", scene, player, epoch, json!({"player": NOBODY}))),
        ("204", &|scene, player, epoch| in_query(Ask::of("unban").by(player).at(scene.lobby.id).player(NOBODY), epoch)),
        ("204", &|scene, player, epoch| in_query(Ask::of("kick").by(player).at(scene.lobby.id).seat(2), epoch)),
        ("202", &|scene, player, epoch| in_body("hand_over", scene, player, epoch, json!({"to": 1}))),
        ("200", &|scene, player, epoch| in_body("transfer", scene, player, epoch, json!({"to": 1}))),
        ("204", &|scene, player, epoch| in_query(Ask::of("close_lobby").by(player).at(scene.lobby.id), epoch)),
    ];
    let mut epoch = 1;
    let mut guests = [&scene.host, &scene.guest];
    for (wanted, manage) in operations {
        let (host, guest) = (guests[0], guests[1]);
        book.expect(service, "not_found", manage(&scene, &scene.other, Some(epoch))).await;
        book.expect(service, "not_host", manage(&scene, guest, Some(epoch))).await;
        book.expect(service, "stale_epoch", manage(&scene, host, Some(epoch + 9))).await;
        book.expect(service, "epoch_required", manage(&scene, host, None)).await;
        book.expect(service, "lobby_closed", manage(&closed, &closed.host, Some(1))).await;
        if wanted == "204" {
            let stale = manage(&scene, host, Some(epoch)).header("if-match", "\"9999\"");
            if !book.operation_of(&stale).path.contains("/bans") {
                book.expect(service, "precondition_failed", stale).await;
            }
        }
        if book.operation_of(&manage(&scene, host, None)).id == "kick" {
            book.expect(service, "not_found", manage(&scene, host, Some(epoch))).await;
            let third = service.player(4).await;
            service.join(&third, &service.view(host, scene.lobby.id).await).await;
        }
        book.expect(service, wanted, manage(&scene, host, Some(epoch))).await;
        let now = service.get(host, &format!("/v1/lobbies/{}", scene.lobby.id)).await.json();
        if now["epoch"] != json!(epoch) {
            epoch = now["epoch"].as_u64().unwrap();
            guests.reverse();
        }
    }
}

async fn updates(book: &mut Book, service: &TestService) {
    let scene = Scene::new(service, json!({})).await;
    let closed = Scene::closed(service).await;
    let update = |change: Value| in_body("update_lobby", &scene, &scene.host, Some(1), json!({"change": change}));
    book.expect(service, "invalid", update(json!({"name": ""}))).await;
    book.expect(service, "200", update(json!({"data": too_much_data()}))).await;
    let more: serde_json::Map<_, _> = (40..80).map(|number| (format!("key{number}"), json!({"value": ""}))).collect();
    book.expect(service, "quota_exceeded", update(json!({"data": more}))).await;
    book.expect(service, "precondition_failed", update(json!({"name": "y"})).header("if-match", "\"9999\"")).await;

    let member =
        |scene: &Scene, body: Value| Ask::of("update_member").by(&scene.guest).at(scene.lobby.id).seat(1).json(&body);
    book.expect(service, "200", member(&scene, json!({"name": "Bea"}))).await;
    book.expect(service, "not_found", member(&scene, json!({})).seat(0)).await;
    book.expect(service, "invalid", member(&scene, json!({"name": "n".repeat(129)}))).await;
    book.expect(service, "quota_exceeded", member(&scene, json!({"data": too_much_data()}))).await;
    book.expect(service, "precondition_failed", member(&scene, json!({"name": "y"})).header("if-match", "\"9999\""))
        .await;
    book.expect(service, "lobby_closed", member(&closed, json!({}))).await;
}

async fn bans(book: &mut Book, service: &TestService) {
    let scene = Scene::new(service, json!({})).await;
    let list = |player: &TestPlayer| Ask::of("list_bans").by(player).at(scene.lobby.id);
    book.expect(service, "200", list(&scene.host)).await;
    book.expect(service, "not_host", list(&scene.guest)).await;
    book.expect(service, "not_found", list(&scene.other)).await;
    let ban = |player: &str, more: Value| {
        let mut body = json!({"player": player});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        in_body("ban", &scene, &scene.host, Some(1), body)
    };
    book.expect(service, "invalid", ban(NOBODY, json!({"expires_in_s": 0}))).await;
    let unban = Ask::of("unban").by(&scene.host).at(scene.lobby.id).player(NOBODY).epoch(1);
    book.expect(service, "not_found", unban).await;
    for number in 0..limits::BANS_MAX {
        let body = json!({"epoch": 1, "player": format!("{number:032x}")});
        service.post(&scene.host, &format!("/v1/lobbies/{}/bans", scene.lobby.id), body).await.expect_status(201);
    }
    book.expect(service, "quota_exceeded", ban(NOBODY, json!({}))).await;
    book.expect(service, "200", list(&scene.host)).await;
}

async fn transfers(book: &mut Book, service: &TestService) {
    let scene = Scene::new(service, json!({})).await;
    let to = |operation: &str, to: Value| in_body(operation, &scene, &scene.host, Some(1), json!({"to": to}));
    for operation in ["transfer", "hand_over"] {
        book.expect(service, "not_eligible", to(operation, json!(0))).await;
    }
    let path = format!("/v1/lobbies/{}/members/1", scene.lobby.id);
    service.call(&scene.guest, reqwest::Method::PATCH, &path, json!({"can_host": false})).await.expect_status(200);
    for operation in ["transfer", "hand_over"] {
        book.expect(service, "nobody_eligible", to(operation, Value::Null)).await;
    }
    let elected = Scene::new(service, json!({})).await;
    let path = format!("/v1/lobbies/{}/transfer", elected.lobby.id);
    service.post(&elected.host, &path, json!({"epoch": 1, "to": 1})).await.expect_status(200);
    let early = in_body("hand_over", &elected, &elected.guest, Some(2), json!({"to": 0}));
    book.expect(service, "no_host", early).await;
}

async fn bulk(book: &mut Book, service: &TestService) {
    let scene = Scene::new(service, json!({"max_members": 3})).await;
    let closed = Scene::closed(service).await;
    let key = api_key(service, &Scope::ALL).await;
    let bulk = |body: Value| Ask::of("bulk").with_token(&key).at(scene.lobby.id).json(&body);
    let banned = "ee".repeat(16);
    let path = format!("/v1/lobbies/{}/bans", scene.lobby.id);
    service.post(&scene.host, &path, json!({"epoch": 1, "player": banned})).await.expect_status(201);
    let lobby = service.view(&scene.host, scene.lobby.id).await;
    let change = json!({
        "lobby": {"name": "renamed"},
        "members": {player_of(&lobby, 1): {"name": "Bea"}},
        "add": [{"player": "0c".repeat(16), "name": "Cem"}],
    });
    book.expect(service, "precondition_failed", bulk(change.clone()).header("if-match", "\"9999\"")).await;
    book.expect(service, "200", bulk(change)).await;
    book.expect(service, "not_found", bulk(json!({"remove": [NOBODY]}))).await;
    book.expect(service, "banned", bulk(json!({"add": [{"player": banned}]}))).await;
    book.expect(service, "lobby_full", bulk(json!({"add": [{"player": NOBODY}]}))).await;
    book.expect(service, "invalid", bulk(json!({"lobby": {"name": ""}}))).await;
    book.expect(service, "quota_exceeded", bulk(json!({"members": {player_of(&lobby, 1): {"data": too_much_data()}}})))
        .await;
    book.expect(service, "lobby_closed", bulk(json!({})).at(closed.lobby.id)).await;
}
