//! Tokens that nobody should believe: all are answered alike.

use lobby_service::config::Config;
use lobby_service::identity::Identity;
use protocol::token::ISSUER;
use relay::Verifier;
use serde_json::{Value, json};
use tests::hostile::Victim;
use tests::issuer::{TestIssuer, key_set, now_s};
use tests::signer::Signer;

use super::{Opened, QUERY, list_with};

/// Fewer than this were a mistake of the table.
const HOSTILE_MIN: usize = 100;

fn claims(audience: &str, life_s: u64) -> Value {
    let now_s = now_s();
    let (iss, sub) = (ISSUER, "0707070707070707".repeat(2));
    json!({"iss": iss, "aud": audience, "sub": sub, "exp": now_s + life_s, "nbf": now_s, "iat": now_s, "jti": "1"})
}

#[tokio::test]
async fn no_hostile_access_token_is_believed_and_all_are_answered_alike() {
    let Opened { service, signer, folder: _folder } = Opened::start(Config::ephemeral()).await;
    let stranger = Signer::generate("stranger", "EdDSA");
    let typ = "understudy-access+jwt";
    let victim =
        Victim { signer: &signer, stranger: &stranger, typ, claims: claims("understudy:api", 60), is_own: true };
    let believed = list_with(&service, &format!("Bearer {}", victim.honest())).await.expect_status(200);
    assert!(believed.json()["lobbies"].is_array());
    let first = list_with(&service, "Bearer nonsense").await.expect_status(401);
    let mut hostile = victim.hostile();
    assert!(hostile.len() >= HOSTILE_MIN, "{}", hostile.len());
    for (name, audience, life) in [("relay", "understudy:relay", 60), ("grant", "understudy:grant", 30)] {
        let mut claims = claims(audience, life);
        claims["lobby"] = json!("01".repeat(16));
        (claims["connection"], claims["epoch"]) = (json!(0), json!(1));
        let header = signer.header(&format!("understudy-{name}+jwt")).to_string();
        hostile.push((format!("a {name} token"), signer.sign(&header, &claims.to_string())));
    }
    for (name, token) in &hostile {
        let answer = list_with(&service, &format!("Bearer {token}")).await;
        assert_eq!((answer.status.as_u16(), &answer.bytes), (401, &first.bytes), "{name}: {token}");
        answer.expect_problem("unauthenticated");
    }
    list_with(&service, &format!("Bearer {}", victim.honest())).await.expect_status(200);
    service.stop().await;
}

#[tokio::test]
async fn the_scheme_is_read_in_any_case_and_nothing_else_is_a_token() {
    let service = Opened::start(Config::ephemeral()).await.service;
    let token = service.player(1).await.token;
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR", "Bearer  "] {
        list_with(&service, &format!("{scheme} {token}")).await.expect_status(200);
    }
    let wrong = ["", "Bearer", "Bearer ", &token, &format!("Basic {token}"), &format!("Bearer\t{token}")];
    for header in wrong.into_iter().chain([&*format!("Bearer{token}"), &format!("Bearer {token} {token}")]) {
        list_with(&service, header).await.expect_problem("unauthenticated");
    }
    let twice = service.send(|client, service| {
        client.post(service.url("http", QUERY)).bearer_auth(&token).header("authorization", "Bearer other")
    });
    twice.await.expect_problem("unauthenticated");
    let in_query = service.send(|client, service| client.post(service.url("http", &format!("{QUERY}?token={token}"))));
    in_query.await.expect_problem("unauthenticated");
    service.stop().await;
}

#[tokio::test]
async fn no_hostile_token_of_another_issuer_is_believed_and_all_are_answered_alike() {
    for algorithm in ["EdDSA", "ES256", "RS256"] {
        let issuer = TestIssuer::start("studio", algorithm).await;
        let another = TestIssuer::start("another", "EdDSA").await;
        let issuers = vec![issuer.settings(), another.settings()];
        let identity = Identity { issuer: issuers, ..Identity::default() };
        let Opened { service, signer, folder: _folder } =
            Opened::start(Config { identity, ..Config::ephemeral() }).await;
        let exchange = async |token: &str| {
            let body = json!({"token": token});
            service.send(|client, service| client.post(service.url("http", "/v1/players/external")).json(&body)).await
        };
        let stranger = Signer::generate("stranger", algorithm);
        let (typ, claims) = ("JWT", issuer.claims("ada"));
        let victim = Victim { signer: &issuer.signer, stranger: &stranger, typ, claims, is_own: false };
        exchange(&victim.honest()).await.expect_status(200);
        let first = exchange("nonsense").await.expect_status(401);
        let mut hostile = victim.hostile();
        assert!(hostile.len() >= HOSTILE_MIN - 20, "{}", hostile.len());
        let theirs = another.signer.header("JWT").to_string();
        hostile.push(("another issuer's key".into(), another.signer.sign(&theirs, &issuer.claims("ada").to_string())));
        hostile.push(("an access token".into(), service.player(1).await.token));
        let ours = signer.header("JWT").to_string();
        hostile.push(("our key".into(), signer.sign(&ours, &issuer.claims("ada").to_string())));
        for (name, token) in &hostile {
            let answer = exchange(token).await;
            assert_eq!((answer.status.as_u16(), &answer.bytes), (401, &first.bytes), "{name}: {token}");
            answer.expect_problem("unauthenticated");
        }
        assert!(issuer.asked() <= 1, "whatever keys they name, the issuer is not asked again so soon");
        service.stop().await;
    }
}

#[tokio::test]
async fn no_hostile_token_is_believed_by_a_relay() {
    lobby_service::auth::install_provider();
    let (signer, stranger) = (Signer::generate("current", "EdDSA"), Signer::generate("stranger", "EdDSA"));
    let verifier = Verifier::from_jwks(&key_set(&[&signer]), ISSUER).unwrap();
    let seat = |audience, life_s| {
        let mut claims = claims(audience, life_s);
        claims["lobby"] = json!("01".repeat(16));
        claims["connection"] = json!(0);
        claims
    };
    let victim = |typ, claims| Victim { signer: &signer, stranger: &stranger, typ, claims, is_own: true };
    let member = victim("understudy-relay+jwt", seat("understudy:relay", 60));
    let mut with_epoch = seat("understudy:grant", 30);
    with_epoch["epoch"] = json!(1);
    let grant = victim("understudy-grant+jwt", with_epoch);
    let access = victim("understudy-access+jwt", claims("understudy:api", 60));
    assert!(verifier.verify_member(member.honest().as_bytes()).is_ok());
    assert!(verifier.verify_grant(grant.honest().as_bytes()).is_ok());
    let mut hostile = member.hostile();
    hostile.extend([("a grant".into(), grant.honest()), ("an access token".into(), access.honest())]);
    for (name, token) in &hostile {
        assert!(verifier.verify_member(token.as_bytes()).is_err(), "{name}: {token}");
    }
    let mut hostile = grant.hostile();
    hostile.extend([("a member's token".into(), member.honest()), ("an access token".into(), access.honest())]);
    for (name, token) in &hostile {
        assert!(verifier.verify_grant(token.as_bytes()).is_err(), "{name}: {token}");
    }
    assert!(verifier.verify_member(b"\xff\xfe.\xff.\xff").is_err());
}
