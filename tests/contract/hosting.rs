//! What hosts write, and what members and hosts show to the relays.

use reqwest::Method;
use serde_json::json;
use tests::service::{TestPlayer, TestService, delta_record, record};

use crate::Scene;
use crate::book::{Ask, Book};

pub(crate) async fn provoke(book: &mut Book, service: &TestService) {
    snapshots(book, service).await;
    deltas(book, service).await;
    elections(book, service).await;
    relays(book, service).await;
}

async fn snapshots(book: &mut Book, service: &TestService) {
    let scene = Scene::new(service, json!({})).await;
    let of = |operation: &str, player: &TestPlayer| Ask::of(operation).by(player).at(scene.lobby.id);
    let put = |player, record| of("put_snapshot", player).bytes("application/octet-stream", record);
    book.expect(service, "not_found", of("fetch_snapshot", &scene.guest)).await;
    let newest = record(1, 5, b"newest");
    book.expect(service, "200", put(&scene.host, newest.clone())).await;
    book.expect(service, "malformed", put(&scene.host, b"no record".to_vec())).await;
    book.expect(service, "not_found", put(&scene.other, newest.clone())).await;
    book.expect(service, "not_host", put(&scene.guest, newest.clone())).await;
    book.expect(service, "stale_epoch", put(&scene.host, record(9, 6, b""))).await;
    book.expect(service, "stale_snapshot", put(&scene.host, record(1, 4, b""))).await;
    book.expect(service, "sequence_conflict", put(&scene.host, record(1, 5, b"another"))).await;
    let mut flipped = newest;
    *flipped.last_mut().unwrap() ^= 1;
    book.expect(service, "checksum_mismatch", put(&scene.host, flipped)).await;
    let fetched = book.send(service, of("fetch_snapshot", &scene.guest)).await.expect_status(200);
    let known = of("fetch_snapshot", &scene.guest).header("if-none-match", fetched.etag.unwrap());
    book.expect(service, "304", known).await;
}

async fn deltas(book: &mut Book, service: &TestService) {
    let scene = Scene::new(service, json!({})).await;
    let of = |operation: &str, player: &TestPlayer| Ask::of(operation).by(player).at(scene.lobby.id);
    let patch = |player, record| of("patch_snapshot", player).bytes("application/octet-stream", record);
    let next = delta_record((1, 5), (1, 6), b"next");
    book.expect(service, "delta_base_missing", patch(&scene.host, next.clone())).await;
    service.put_snapshot(&scene.host, scene.lobby.id, record(1, 5, b"whole")).await.expect_status(200);
    book.expect(service, "200", patch(&scene.host, next.clone())).await;
    book.expect(service, "malformed", patch(&scene.host, record(1, 7, b"no delta"))).await;
    book.expect(service, "not_found", patch(&scene.other, next.clone())).await;
    book.expect(service, "not_host", patch(&scene.guest, next.clone())).await;
    book.expect(service, "stale_epoch", patch(&scene.host, delta_record((1, 6), (9, 7), b""))).await;
    book.expect(service, "stale_snapshot", patch(&scene.host, delta_record((1, 4), (1, 5), b""))).await;
    book.expect(service, "sequence_conflict", patch(&scene.host, delta_record((1, 5), (1, 6), b"another"))).await;
    let mut flipped = next;
    *flipped.last_mut().unwrap() ^= 1;
    book.expect(service, "checksum_mismatch", patch(&scene.host, flipped)).await;
    let closed = Scene::closed(service).await;
    let late = |operation: &str, record| {
        Ask::of(operation).by(&closed.host).at(closed.lobby.id).bytes("application/octet-stream", record)
    };
    book.expect(service, "lobby_closed", late("put_snapshot", record(1, 1, b"late"))).await;
    book.expect(service, "lobby_closed", late("patch_snapshot", delta_record((1, 1), (1, 2), b"late"))).await;
}

async fn elections(book: &mut Book, service: &TestService) {
    let scene = Scene::new(service, json!({})).await;
    let closed = Scene::closed(service).await;
    let election = |player: &TestPlayer| Ask::of("election").by(player).at(scene.lobby.id);
    book.expect(service, "200", election(&scene.guest)).await;
    book.expect(service, "not_found", election(&scene.other)).await;
    let transfer = format!("/v1/lobbies/{}/transfer", scene.lobby.id);
    let body = json!({"epoch": 1, "to": 1});
    service.call(&scene.host, Method::POST, &transfer, body).await.expect_status(200);
    let ready = |scene: &Scene, player: &TestPlayer, epoch: u64| {
        Ask::of("ready").by(player).at(scene.lobby.id).json(&json!({"epoch": epoch}))
    };
    book.expect(service, "not_found", ready(&scene, &scene.other, 2)).await;
    book.expect(service, "not_host", ready(&scene, &scene.host, 2)).await;
    book.expect(service, "stale_epoch", ready(&scene, &scene.guest, 1)).await;
    book.expect(service, "200", ready(&scene, &scene.guest, 2)).await;
    book.expect(service, "lobby_closed", ready(&closed, &closed.host, 1)).await;
}

async fn relays(book: &mut Book, service: &TestService) {
    let scene = Scene::new(service, json!({})).await;
    let closed = Scene::closed(service).await;
    let token = |scene: &Scene, player: &TestPlayer| Ask::of("relay_token").by(player).at(scene.lobby.id);
    book.expect(service, "200", token(&scene, &scene.guest)).await;
    book.expect(service, "not_found", token(&scene, &scene.other)).await;
    book.expect(service, "lobby_closed", token(&closed, &closed.guest)).await;
    let ice = |scene: &Scene, player: &TestPlayer| Ask::of("ice_servers").by(player).at(scene.lobby.id);
    book.expect(service, "200", ice(&scene, &scene.guest)).await;
    book.expect(service, "not_found", ice(&scene, &scene.other)).await;
    book.expect(service, "lobby_closed", ice(&closed, &closed.guest)).await;
    let grant = |scene: &Scene, player: &TestPlayer, epoch: u64| {
        Ask::of("host_grant").by(player).at(scene.lobby.id).json(&json!({"epoch": epoch}))
    };
    book.expect(service, "200", grant(&scene, &scene.host, 1)).await;
    book.expect(service, "not_found", grant(&scene, &scene.other, 1)).await;
    book.expect(service, "not_host", grant(&scene, &scene.guest, 1)).await;
    book.expect(service, "stale_epoch", grant(&scene, &scene.host, 9)).await;
    book.expect(service, "lobby_closed", grant(&closed, &closed.host, 1)).await;
}
