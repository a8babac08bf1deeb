//! What every operation refuses alike: no token or the wrong one, a page of another origin, a body that is none, is too large, of
//! another type or late, and a store that is away.

use std::sync::Arc;

use lobby_service::auth::api_key::Scope;
use lobby_service::config::Config;
use lobby_service::identity::Identity;
use lobby_service::limits::{Class, Limits};
use lobby_service::listener::ListenerLimits;
use lobby_service::store::Store;
use lobby_service::store::sqlite::SqliteStore;
use protocol::limits;
use serde_json::json;
use tests::issuer::{Mood, TestIssuer};
use tests::service::TestService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::book::{Ask, Book};
use crate::examples::Examples;
use crate::{NOBODY, PAUSE, api_key, config};

/// What operations are asked with.
struct Tokens {
    player: String,
    server: String,
    /// Keys that lack what is needed.
    reader: String,
    writer: String,
}

impl Tokens {
    async fn of(service: &TestService) -> Self {
        Self {
            player: service.player(1).await.token,
            server: api_key(service, &Scope::ALL).await,
            reader: api_key(service, &[Scope::LobbiesRead]).await,
            writer: api_key(service, &[Scope::MembersWrite]).await,
        }
    }
}

/// An operation as this test needs it: its id, how it is asked, and what its description says of it.
struct Asked {
    ask: Ask,
    needs_token: bool,
    needs_server: bool,
    reads: bool,
    names_a_lobby: bool,
    takes: Option<String>,
}

/// All operations, well-formed, about things that are not there.
fn well_formed(book: &Book, tokens: &Tokens) -> Vec<Asked> {
    let examples = Examples::read();
    let all = book.description.operations.values().map(|operation| {
        let needs_server = operation.askers == ["api_key"];
        let mut ask = Ask::of(&operation.id).at(NOBODY).seat(0).player(NOBODY);
        if !operation.askers.is_empty() {
            ask = ask.with_token(if needs_server { &tokens.server } else { &tokens.player });
        }
        if operation.path.ends_with("/events") {
            ask = ask.upgrade();
        }
        if let Some(kind) = &operation.takes {
            ask = ask.bytes(kind, examples.body_of(&operation.id));
        }
        if operation.method == "DELETE" {
            ask = ask.epoch(1);
        }
        Asked {
            ask,
            needs_token: !operation.askers.is_empty(),
            needs_server,
            reads: operation.method == "GET" || operation.id == "query_lobbies",
            names_a_lobby: operation.path.contains("{id}"),
            takes: operation.takes.clone(),
        }
    });
    all.collect()
}

pub(crate) async fn provoke(book: &mut Book) {
    let service = TestService::start(config()).await;
    let tokens = Tokens::of(&service).await;
    for asked in well_formed(book, &tokens) {
        let ask = asked.ask.clone();
        book.expect(&service, "origin_refused", ask.clone().header("origin", "https://evil.example")).await;
        if asked.needs_token {
            book.expect(&service, "unauthenticated", ask.clone().with_token("nonsense")).await;
            let wrong = match (asked.needs_server, asked.reads) {
                (true, _) => &tokens.player,
                (false, true) => &tokens.writer,
                (false, false) => &tokens.reader,
            };
            book.expect(&service, "forbidden", ask.clone().with_token(wrong)).await;
        }
        if asked.names_a_lobby {
            book.expect(&service, "malformed", ask.clone().at("nonsense")).await;
        }
        if let Some(kind) = &asked.takes {
            book.expect(&service, "unsupported_media_type", ask.clone().bytes("text/plain", b"{}".to_vec())).await;
            if kind == "application/json" {
                book.expect(&service, "malformed", ask.clone().bytes(kind, b"[]".to_vec())).await;
                let large = format!("{{\"large\": \"{}\"}}", "x".repeat(limits::BODY_BYTES_MAX)).into_bytes();
                book.expect(&service, "too_large", ask.bytes(kind, large)).await;
            } else {
                book.expect_unsent(&service, "too_large", ask, limits::SNAPSHOT_BYTES_MAX + 1).await;
            }
        }
    }
    service.stop().await;
    late_bodies(book).await;
    too_many(book).await;
    overloaded(book).await;
    store_away(book).await;
}

async fn late_bodies(book: &mut Book) {
    let listener = ListenerLimits { body_pause_max_ms: PAUSE.as_millis() as u64, ..ListenerLimits::default() };
    let service = TestService::start(Config { listener, ..config() }).await;
    let tokens = Tokens::of(&service).await;
    let host = service.player(1).await;
    let lobby = service.create(&host, json!({})).await;
    for asked in well_formed(book, &tokens) {
        match asked.takes.as_deref() {
            None => {}
            Some("application/json") => book.expect_unsent(&service, "request_timeout", asked.ask, 10).await,
            // Nobody may begin to upload to a lobby that it is not in.
            Some(_) => book.expect_unsent(&service, "request_timeout", asked.ask.by(&host).at(lobby.id), 10).await,
        }
    }
    service.stop().await;
}

/// Requests of an address that has used up what it may ask.
async fn too_many(book: &mut Book) {
    let mut limits = Limits::off();
    for class in [Class::Address, Class::AddressHosting, Class::Health] {
        limits.rates.set(class, Some("1/3600,burst=2".parse().unwrap()));
    }
    let service = TestService::start(Config { limits, ..config() }).await;
    let tokens = Tokens::of(&service).await;
    for asked in well_formed(book, &tokens) {
        for _ in 0..2 {
            book.send(&service, asked.ask.clone()).await;
        }
        book.expect(&service, "rate_limited", asked.ask).await;
    }
    service.stop().await;
}

/// Operations that do not need the store are unavailable, too, while too many requests are handled.
async fn overloaded(book: &mut Book) {
    let limits = Limits { requests_max: 10, ..Limits::off() };
    let service = TestService::start(Config { limits, ..config() }).await;
    let host = service.player(1).await;
    let mut handled = Vec::new();
    for _ in 0..10 {
        let mut stream = TcpStream::connect(service.address()).await.unwrap();
        let head = format!(
            "POST /v1/lobbies/{NOBODY}/heartbeat HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: 10\r\nexpect: 100-continue\r\n\r\n",
            host.token
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // It is being handled once the service asks for its body.
        let mut go_on = [0; 12];
        stream.read_exact(&mut go_on).await.unwrap();
        assert_eq!(&go_on, b"HTTP/1.1 100");
        handled.push(stream);
    }
    for operation in ["keys", "health"] {
        book.expect(&service, "unavailable", Ask::of(operation)).await;
    }
    drop(handled);
    service.stop().await;
}

/// What needs the store says when that is away, whatever it asks for; also while an issuer's keys cannot be had.
async fn store_away(book: &mut Book) {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(&folder.path().join("understudy.db")).await.unwrap());
    let issuer = TestIssuer::start("studio", "ES256").await;
    let identity = Identity { issuer: vec![issuer.settings()], ..Identity::default() };
    let service = TestService::start_on(Config { identity, ..config() }, store.clone()).await;
    let tokens = Tokens::of(&service).await;
    issuer.set_mood(Mood::Broken);
    let sign_in = Ask::of("external").json(&json!({"token": issuer.token("ada")}));
    book.expect(&service, "unavailable", sign_in.clone()).await;
    issuer.set_mood(Mood::Well);
    let fresh = service.player(2).await;
    store.close().await;
    for asked in well_formed(book, &tokens) {
        let ask = match book.operation_of(&asked.ask).id.as_str() {
            "keys" | "health" => continue,
            "external" => sign_in.clone(),
            "refresh" => asked.ask.json(&json!({"refresh_token": fresh.refresh_token})),
            _ => asked.ask,
        };
        book.expect(&service, "unavailable", ask).await;
    }
    service.stop().await;
}
