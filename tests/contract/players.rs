//! Signing in.

use lobby_service::config::Config;
use lobby_service::identity::Identity;
use serde_json::json;
use tests::issuer::TestIssuer;
use tests::service::TestService;

use crate::book::{Ask, Book};
use crate::config;

pub(crate) async fn provoke(book: &mut Book) {
    let issuer = TestIssuer::start("studio", "ES256").await;
    let identity = Identity { issuer: vec![issuer.settings()], ..Identity::default() };
    let service = TestService::start(Config { identity, ..config() }).await;
    let too_long = "n".repeat(129);

    let sign_in = || Ask::of("sign_in");
    let ada = book.expect(&service, "201", sign_in()).await;
    book.expect(&service, "invalid", sign_in().json(&json!({"name": too_long}))).await;

    let external = |token: &str, name: &str| Ask::of("external").json(&json!({"token": token, "name": name}));
    book.expect(&service, "200", external(&issuer.token("bob"), "Bob")).await;
    book.expect(&service, "invalid", external(&issuer.token("bob"), &too_long)).await;
    book.expect(&service, "unauthenticated", external("nonsense", "")).await;

    let refresh = |token: &serde_json::Value| Ask::of("refresh").json(&json!({"refresh_token": token}));
    let second = book.expect(&service, "200", refresh(&ada["refresh_token"])).await;
    book.expect(&service, "200", refresh(&second["refresh_token"])).await;
    book.expect(&service, "refresh_reused", refresh(&ada["refresh_token"])).await;
    book.expect(&service, "unauthenticated", refresh(&json!("nonsense"))).await;

    let token = second["access_token"].as_str().unwrap();
    book.expect(&service, "200", Ask::of("memberships").with_token(token)).await;
    book.expect(&service, "200", Ask::of("keys")).await;
    book.expect(&service, "204", Ask::of("health")).await;
    book.expect(&service, "200", Ask::of("readiness")).await;
    service.stop().await;
}
