//! The listener on real sockets: whoever is too slow, too large or too many is cut off, and nobody else notices.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine};
use futures_util::{SinkExt, StreamExt};
use lobby_service::config::Config;
use lobby_service::listener::ListenerLimits;
use protocol::id::HostEpoch;
use protocol::limits;
use protocol::message::{ClientMessage, CloseReason, EventBody, LobbyView, NewsForm, ServerMessage};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tests::service::{Heard, TestPlayer, TestService, record};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::MaybeTlsStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

/// Longest wait for anything: far more than anything takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// A time-out that is to pass.
const SHORT_MS: u64 = 150;
const HEALTH: &str = "GET /healthz HTTP/1.1\r\nhost: test\r\n";

async fn service(listener: ListenerLimits) -> TestService {
    TestService::start(Config { listener, ..Config::ephemeral() }).await
}

async fn connect(service: &TestService) -> TcpStream {
    TcpStream::connect(service.address()).await.expect("it works")
}

async fn send(service: &TestService, text: &str) -> TcpStream {
    let mut stream = connect(service).await;
    stream.write_all(text.as_bytes()).await.expect("it works");
    stream
}

/// Everything until the service closes the connection, in whatever way.
async fn until_closed(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A connection that is reset is closed as well.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the service closes the connection");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The head of the next answer.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(PATIENCE, stream.read_u8()).await.expect("in time").expect("an answer"));
    }
    String::from_utf8(head).expect("it works")
}

/// Whether a new connection has a place.
async fn is_served(service: &TestService) -> bool {
    let mut stream = send(service, &format!("{HEALTH}connection: close\r\n\r\n")).await;
    let answer = until_closed(&mut stream).await;
    if answer.starts_with("HTTP/1.1 204 ") {
        return true;
    }
    assert!(answer.is_empty() || answer.contains("retry-after: 1"), "{answer}");
    false
}

/// Waits until a new connection has a place.
async fn until_served(service: &TestService) {
    let began = Instant::now();
    while !is_served(service).await {
        assert!(began.elapsed() < PATIENCE, "a place is given back");
    }
}

#[tokio::test]
async fn a_header_that_takes_too_long_is_cut_off_however_it_comes() {
    let service = service(ListenerLimits { header_timeout_ms: SHORT_MS, ..ListenerLimits::default() }).await;
    let began = Instant::now();
    for beginning in ["", "GET", "GET / HTTP/1.1\r\nhost: x\r\n"] {
        assert_eq!(until_closed(&mut send(&service, beginning).await).await, "");
    }
    assert!(began.elapsed() >= 3 * Duration::from_millis(SHORT_MS));
    // One byte after the other keeps no connection either, not even after a good request.
    let mut stream = send(&service, &format!("{HEALTH}\r\n{HEALTH}x-slow: ")).await;
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 204 "));
    let (mut reading, mut writing) = stream.into_split();
    let mut rest = Vec::new();
    let trickle = async {
        let mut beat = tokio::time::interval(Duration::from_millis(SHORT_MS / 10));
        while writing.write_all(b"x").await.is_ok() {
            beat.tick().await;
        }
    };
    // Closed or reset, and nothing more was said.
    let ((), _closed) =
        timeout(PATIENCE, async { tokio::join!(trickle, reading.read_to_end(&mut rest)) }).await.unwrap();
    assert!(rest.is_empty());
    service.stop().await;
}

#[tokio::test]
async fn a_header_with_too_many_lines_or_bytes_is_refused() {
    let service = TestService::in_memory().await;
    let lines = |count: usize| (0..count).map(|number| format!("x-{number}: y\r\n")).collect::<String>();
    let large = |bytes: usize| format!("x-large: {}\r\n", "y".repeat(bytes));
    for (fields, status) in [(lines(63), 204), (lines(64), 431), (large(16_000), 204), (large(17_000), 431)] {
        let mut stream = send(&service, &format!("{HEALTH}{fields}\r\n")).await;
        let answer = head(&mut stream).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        if status == 431 {
            assert_eq!(until_closed(&mut stream).await, "");
        }
    }
    service.stop().await;
}

#[tokio::test]
async fn a_body_that_pauses_trickles_or_takes_too_long_is_answered_408_and_the_connection_closed() {
    let pauses = ListenerLimits { body_pause_max_ms: SHORT_MS, ..ListenerLimits::default() };
    let lasts = ListenerLimits { body_timeout_ms: SHORT_MS, bytes_per_s_min: 0, ..ListenerLimits::default() };
    let begin = "POST /v1/players HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n";
    for limits in [pauses, lasts] {
        let service = service(limits).await;
        for body in ["content-length: 100\r\n\r\n{\"name\"", "transfer-encoding: chunked\r\n\r\n7\r\n{\"name\"\r\n"] {
            let mut stream = send(&service, &format!("{begin}{body}")).await;
            let (mut reading, mut writing) = stream.split();
            let mut answer = Vec::new();
            let trickle = async {
                let mut beat = tokio::time::interval(Duration::from_millis(SHORT_MS / 5));
                for _ in 0..PATIENCE.as_millis() {
                    beat.tick().await;
                    let piece = if body.contains("chunked") { "1\r\n \r\n" } else { " " };
                    let _ = writing.write_all(piece.as_bytes()).await;
                }
            };
            let came = async {
                let _ = reading.read_to_end(&mut answer).await;
            };
            tokio::select! { () = came => {}, () = trickle => panic!("the connection is closed") }
            let answer = String::from_utf8(answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("connection: close\r\n"), "{answer}");
            assert!(answer.contains("application/problem+json") && answer.contains("\"request_timeout\""), "{answer}");
        }
        service.stop().await;
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_answered_413_declared_or_chunked_while_the_client_still_sends() {
    let service = TestService::in_memory().await;
    let player = service.player(1).await;
    let lobby = service.create(&player, json!({})).await;
    let snapshot = format!("PUT /v1/lobbies/{}/snapshot", lobby.id);
    for (line, kind, bytes) in [
        ("POST /v1/players", "application/json", 12 * limits::BODY_BYTES_MAX),
        (&*snapshot, "application/octet-stream", limits::SNAPSHOT_BYTES_MAX + 100_000),
    ] {
        let head = format!(
            "{line} HTTP/1.1\r\nhost: test\r\ncontent-type: {kind}\r\nauthorization: Bearer {}\r\n",
            player.token
        );
        for is_chunked in [false, true] {
            let framing =
                if is_chunked { "transfer-encoding: chunked".into() } else { format!("content-length: {bytes}") };
            let mut stream = send(&service, &format!("{head}{framing}\r\n\r\n")).await;
            let piece = vec![b' '; 10_000];
            for _ in 0..bytes / piece.len() {
                let size = if is_chunked { format!("{:x}\r\n", piece.len()) } else { String::new() };
                let end = if is_chunked { "\r\n" } else { "" };
                // It is refused while it comes.
                if stream.write_all(&[size.as_bytes(), &piece, end.as_bytes()].concat()).await.is_err() {
                    break;
                }
            }
            let answer = until_closed(&mut stream).await;
            assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("\"too_large\""), "{line}: {answer}");
        }
    }
    service.stop().await;
}

#[tokio::test]
async fn a_connection_serves_many_requests_and_is_closed_when_it_idles() {
    let service = service(ListenerLimits { keep_alive_ms: SHORT_MS, ..ListenerLimits::default() }).await;
    let mut stream = connect(&service).await;
    for _ in 0..3 {
        stream.write_all(format!("{HEALTH}\r\n").as_bytes()).await.unwrap();
        assert!(head(&mut stream).await.starts_with("HTTP/1.1 204 "));
    }
    let began = Instant::now();
    assert!(!until_closed(&mut stream).await.contains("HTTP/"), "no more than the last body");
    assert!(began.elapsed() >= Duration::from_millis(SHORT_MS / 2));
    service.stop().await;
}

#[tokio::test]
async fn connections_over_a_cap_are_refused_until_another_one_ends() {
    let of_address = ListenerLimits { connections_per_address_max: 3, ..ListenerLimits::default() };
    let in_total = ListenerLimits { connections_max: 3, connections_per_address_max: 0, ..ListenerLimits::default() };
    for limits in [of_address, in_total] {
        let service = service(limits).await;
        let (one, two) = (connect(&service).await, connect(&service).await);
        until_served(&service).await;
        let three = connect(&service).await;
        assert!(!is_served(&service).await);
        drop(three);
        until_served(&service).await;
        drop((one, two));
        service.stop().await;
    }
}

#[tokio::test]
async fn connections_are_refused_before_open_files_run_out() {
    let cluster = tests::cluster::cluster();
    let server = cluster.service_with_open_files(320).unwrap();
    let service = TestService::at(server.address("http").parse().unwrap());
    // 256 files are for others.
    let mut held = Vec::new();
    for _ in 0..64 {
        held.push(connect(&service).await);
    }
    assert!(!is_served(&service).await);
    held.pop();
    until_served(&service).await;
}

#[tokio::test]
async fn an_event_socket_keeps_its_place() {
    let service = service(ListenerLimits { connections_per_address_max: 3, ..ListenerLimits::default() }).await;
    let player = service.player(1).await;
    let lobby = service.create(&player, json!({})).await;
    let mut socket = service.listen(&player, lobby.id, None).await;
    socket.resync().await;
    let two = connect(&service).await;
    assert!(!is_served(&service).await, "the harness's own connection is the third");
    drop(socket);
    until_served(&service).await;
    drop(two);
    service.stop().await;
}

#[tokio::test]
async fn who_does_not_read_a_large_answer_is_cut_off() {
    let service = service(ListenerLimits { write_timeout_ms: SHORT_MS, ..ListenerLimits::default() }).await;
    let host = service.player(1).await;
    let lobby = service.create(&host, json!({})).await;
    let state = vec![7; 12 * 1024 * 1024];
    service.put_snapshot(&host, lobby.id, record(1, 0, &state)).await.expect_status(200);
    let request = format!(
        "GET /v1/lobbies/{}/snapshot HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {}\r\n\r\n",
        lobby.id, host.token
    );
    let stream = send(&service, &request).await;
    timeout(PATIENCE, stream.ready(Interest::ERROR)).await.expect("it is reset").unwrap();
    let answer = service.get(&host, &format!("/v1/lobbies/{}/snapshot", lobby.id)).await.expect_status(200);
    assert!(answer.bytes.len() > state.len(), "who reads has it whole");
    service.stop().await;
}

#[tokio::test]
async fn half_a_request_does_not_hold_up_a_stop() {
    let service = TestService::in_memory().await;
    let mut idle = send(&service, &format!("{HEALTH}\r\n")).await;
    head(&mut idle).await;
    let half = send(&service, HEALTH).await;
    let fresh = connect(&service).await;
    let began = Instant::now();
    service.stop().await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    drop((idle, half, fresh));
}

async fn seat(service: &TestService) -> (TestPlayer, LobbyView) {
    let player = service.player(1).await;
    let lobby = service.create(&player, json!({})).await;
    (player, lobby)
}

#[tokio::test]
async fn a_flood_of_messages_or_pings_closes_the_socket() {
    let limits =
        ListenerLimits { socket_messages_burst: 20, socket_messages_per_s_max: 1, ..ListenerLimits::default() };
    let service = service(limits).await;
    let (player, lobby) = seat(&service).await;
    for pings in [false, true] {
        let mut socket = service.listen(&player, lobby.id, None).await;
        socket.resync().await;
        let report = ClientMessage::Report { epoch: HostEpoch(1), hears_host: true };
        for _ in 0..30 {
            // It may have been closed already.
            let _ = if pings { socket.try_ping().await } else { socket.try_say(&report).await };
        }
        let mut reason = None;
        let code = loop {
            match socket.hear().await {
                Heard::Message(message) => {
                    if let ServerMessage::Closing { reason: why, .. } = *message {
                        reason = Some(why);
                    }
                }
                Heard::Closed(code) => break code,
            }
        };
        assert_eq!((reason, code), (Some(CloseReason::TooManyMessages), Some(1008)));
    }
    service.stop().await;
}

#[tokio::test]
async fn a_message_that_is_too_long_closes_the_socket() {
    let service = TestService::in_memory().await;
    let (player, lobby) = seat(&service).await;
    let mut socket = service.listen(&player, lobby.id, None).await;
    socket.say_text(" ".repeat(limits::SOCKET_MESSAGE_BYTES_MAX + 1)).await;
    assert_eq!(socket.closed().await, Some(1009));
    service.stop().await;
}

#[tokio::test]
async fn who_opens_sockets_too_fast_is_told_to_come_back() {
    let service = service(ListenerLimits { sockets_per_s_max: 1, ..ListenerLimits::default() }).await;
    let (player, lobby) = seat(&service).await;
    let _first = service.open(&player, lobby.id).await.unwrap();
    let _second = service.open(&player, lobby.id).await.unwrap();
    let Err(Error::Http(answer)) = service.open(&player, lobby.id).await else { panic!("a third socket was opened") };
    assert_eq!(answer.status().as_u16(), 503);
    assert_eq!(answer.headers()["retry-after"], "1");
    service.stop().await;
}

#[tokio::test]
async fn a_socket_that_never_reads_is_closed_while_the_others_hear_everything() {
    let service = service(ListenerLimits { socket_messages_per_s_max: 0, ..ListenerLimits::default() }).await;
    let (host, lobby) = seat(&service).await;
    let (guest, visitor) = (service.player(2).await, service.player(3).await);
    let seat = service.join(&guest, &lobby).await;
    let mut watcher = service.listen(&host, lobby.id, None).await;
    watcher.resync().await;
    let raw = TcpSocket::new_v4().unwrap();
    raw.set_recv_buffer_size(4096).unwrap();
    let stream = MaybeTlsStream::Plain(raw.connect(service.address()).await.unwrap());
    let mut deaf = service.open_on(stream, &guest, lobby.id).await.unwrap();
    deaf.say(&ClientMessage::Hello { peer_key: guest.peer_key, after: None, form: NewsForm::Events }).await;
    deaf.resync().await;
    let gone = |body: &EventBody| matches!(body, EventBody::MemberDisconnected { connection } if *connection == seat);
    let visits = async {
        loop {
            service.join(&visitor, &lobby).await;
            service.post(&visitor, &format!("/v1/lobbies/{}/leave", lobby.id), json!(null)).await.expect_status(204);
            assert!(deaf.try_ping().await, "its lease is no reason to close it");
        }
    };
    tokio::select! {
        event = timeout(PATIENCE, watcher.event_like(gone)) => drop(event.expect("it is found out")),
        () = visits => {}
    }
    // Now it reads, and is told.
    assert_eq!(deaf.closed().await, Some(CloseReason::TooSlow.code()));
    service.stop().await;
}

/// Writes a new certificate and its key, and returns what trusts it alone.
fn certify(folder: &Path) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).expect("it works");
    let pem = |kind: &str, bytes: &[u8]| {
        format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", BASE64_STANDARD.encode(bytes))
    };
    std::fs::write(folder.join("cert.pem"), pem("CERTIFICATE", cert.der())).expect("it works");
    std::fs::write(folder.join("key.pem"), pem("PRIVATE KEY", &signing_key.serialize_der())).expect("it works");
    cert.der().clone()
}

async fn shake_hands(
    service: &TestService,
    trusted: &CertificateDer<'static>,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("it works");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("it works")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = ServerName::try_from("localhost").expect("it works");
    TlsConnector::from(Arc::new(config)).connect(name, connect(service).await).await
}

fn with_tls(folder: &Path) -> ListenerLimits {
    ListenerLimits {
        tls_certificate: Some(folder.join("cert.pem")),
        tls_key: Some(folder.join("key.pem")),
        ..ListenerLimits::default()
    }
}

/// Posts JSON over TLS.
async fn post(
    service: &TestService,
    trusted: &CertificateDer<'static>,
    path: &str,
    token: &str,
    body: &Value,
) -> Value {
    let mut stream = shake_hands(service, trusted).await.expect("it works");
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
         authorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("it works");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it works");
    let (head, body) = answer.split_once("\r\n\r\n").expect("it works");
    assert!(head.starts_with("HTTP/1.1 201 "), "{answer}");
    serde_json::from_str(body).expect("it works")
}

#[tokio::test]
async fn requests_and_sockets_are_encrypted() {
    let folder = tempfile::tempdir().unwrap();
    let trusted = certify(folder.path());
    let service = service(with_tls(folder.path())).await;
    let session = post(&service, &trusted, "/v1/players", "", &json!({"name": "ada"})).await;
    let token = session["access_token"].as_str().unwrap();
    let peer_key = "0".repeat(64);
    let seat = post(&service, &trusted, "/v1/lobbies", token, &json!({"lobby_name": "a", "peer_key": peer_key})).await;
    let lobby = seat["lobby"]["id"].as_str().unwrap();
    let mut request = format!("wss://localhost/v1/lobbies/{lobby}/events").into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    let stream = shake_hands(&service, &trusted).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    let hello = json!({"type": "hello", "peer_key": peer_key, "after": null}).to_string();
    socket.send(Message::text(hello)).await.unwrap();
    let first = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap().into_text().unwrap();
    assert!(first.contains(r#""type":"resync""#) && first.contains(lobby), "{first}");
    let plain = until_closed(&mut send(&service, &format!("{HEALTH}\r\n")).await).await;
    assert!(!plain.contains("HTTP/"), "{plain}");
    drop(socket);
    service.stop().await;
}

#[tokio::test]
async fn half_a_handshake_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    certify(folder.path());
    let service = service(ListenerLimits { tls_handshake_timeout_ms: SHORT_MS, ..with_tls(folder.path()) }).await;
    // A record of 512 bytes is announced, and one comes.
    assert_eq!(until_closed(&mut send(&service, "\x16\x03\x01\x02\x00\x01").await).await, "");
    service.stop().await;
}

#[tokio::test]
async fn a_renewed_certificate_is_used_after_a_hangup_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let first = certify(folder.path());
    let service = service(with_tls(folder.path())).await;
    shake_hands(&service, &first).await.unwrap();
    let hang_up = || Command::new("kill").args(["-HUP", &std::process::id().to_string()]).status().unwrap();
    std::fs::write(folder.path().join("cert.pem"), "half").unwrap();
    assert!(hang_up().success());
    shake_hands(&service, &first).await.unwrap();
    let second = certify(folder.path());
    assert!(hang_up().success());
    let began = Instant::now();
    while shake_hands(&service, &second).await.is_err() {
        assert!(began.elapsed() < PATIENCE, "the new certificate is used");
    }
    shake_hands(&service, &first).await.unwrap_err();
    service.stop().await;
}
