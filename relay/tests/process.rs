//! The relay as a process of its own, against a small stand-in for the lobby service's two addresses.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "the other test program uses the rest")]
mod common;

use std::process::Stdio;

use common::{PATIENCE, Peer, Signer, decode, lobby};
use futures_util::{SinkExt, StreamExt};
use protocol::frame::{RefusedReason, RelayFrame};
use protocol::id::ConnectionId;
use relay::control::{FromRelay, ToRelay};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

const SECRET: &str = "a secret between the relay and its service";

/// Answers on the service's port.
struct Desk {
    listener: TcpListener,
    jwks: String,
}

impl Desk {
    async fn new(signer: &Signer) -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap(), jwks: signer.jwks().to_string() }
    }

    fn address(&self) -> String {
        format!("http://{}", self.listener.local_addr().unwrap())
    }

    async fn answer_keys(&self, status: &str) {
        let (mut stream, _) = self.listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        assert!(request.starts_with(b"GET /.well-known/jwks.json "), "{}", String::from_utf8_lossy(&request));
        let (length, body) = (self.jwks.len(), &self.jwks);
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).await.unwrap();
    }

    /// Lets the relay in and returns its socket after it has registered as `address`.
    async fn registered(&self, address: std::net::SocketAddr) -> WebSocketStream<TcpStream> {
        let (stream, _) = self.listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_hdr_async(stream, check_request).await.unwrap();
        assert_eq!(next(&mut socket).await, FromRelay::Register { address });
        socket
    }
}

#[expect(clippy::result_large_err, reason = "the library's callback has this type")]
fn check_request(request: &Request, response: Response) -> Result<Response, ErrorResponse> {
    assert_eq!(request.uri().path(), "/v1/relays/control");
    assert_eq!(request.headers()["authorization"], format!("Bearer {SECRET}"));
    Ok(response)
}

async fn next(socket: &mut WebSocketStream<TcpStream>) -> FromRelay {
    loop {
        if let Message::Text(text) = socket.next().await.unwrap().unwrap() {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

fn relay_process(service: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_relay"))
        .args(["--service", service, "--secret-env", "TEST_RELAY_SECRET"])
        .env("TEST_RELAY_SECRET", SECRET)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn announced_address(child: &mut Child) -> std::net::SocketAddr {
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
    line.trim().strip_prefix("relay: listening udp=").unwrap().parse().unwrap()
}

#[tokio::test]
async fn it_fetches_keys_registers_obeys_reports_comes_back_and_stops() {
    tokio::time::timeout(3 * PATIENCE, the_whole_story()).await.expect("the story came to a halt");
}

async fn the_whole_story() {
    let signer = Signer::new("current");
    let desk = Desk::new(&signer).await;
    let mut child = relay_process(&desk.address());
    desk.answer_keys("503 Service Unavailable").await;
    desk.answer_keys("200 OK").await;
    let address = announced_address(&mut child).await;
    let mut socket = desk.registered(address).await;

    let (mut host, mut guest) = (Peer::new(address).await, Peer::new(address).await);
    host.bind(&signer.member(lobby(1), 0)).await;
    guest.bind(&signer.member(lobby(1), 1)).await;
    host.ask(RelayFrame::Grant { session: host.tag, token: &signer.grant(lobby(1), 0, 5) }).await;
    host.send(1, b"tick").await;
    let FromRelay::Sound { heard: true, .. } = next(&mut socket).await else { panic!("the host sends") };
    let FromRelay::Sound { heard: false, .. } = next(&mut socket).await else { panic!("the host is silent") };

    drop(socket);
    let mut socket = desk.registered(address).await;
    let FromRelay::Sound { heard: false, .. } = next(&mut socket).await else { panic!("it is told again") };
    host.send(1, b"tock").await;
    let FromRelay::Sound { heard: true, .. } = next(&mut socket).await else { panic!("it is heard") };

    let revoke = ToRelay::Revoke { lobby: lobby(1), connection: ConnectionId(1) };
    let unknown = Message::text(r#"{"type":"an_order_of_a_later_version"}"#);
    socket.send(unknown).await.unwrap();
    socket.send(Message::text(serde_json::to_string(&revoke).unwrap())).await.unwrap();
    let refused = RelayFrame::Refused { reason: RefusedReason::Revoked };
    // The order and the datagrams travel apart: the member is refused as soon as the order is there.
    while decode(&Peer::new(address).await.bind(&signer.member(lobby(1), 1)).await) != refused {}

    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    assert!(child.wait().await.unwrap().success());
}

#[tokio::test]
async fn a_token_of_an_unknown_key_makes_it_ask_for_the_keys_and_a_removed_key_is_forgotten() {
    tokio::time::timeout(3 * PATIENCE, a_new_key()).await.expect("the story came to a halt");
}

async fn a_new_key() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let mut desk = Desk::new(&old).await;
    let mut child = relay_process(&desk.address());
    desk.answer_keys("200 OK").await;
    let address = announced_address(&mut child).await;
    let _socket = desk.registered(address).await;
    desk.jwks = new.jwks().to_string();
    let refused = RelayFrame::Refused { reason: RefusedReason::Token };
    assert_eq!(decode(&Peer::new(address).await.bind(&new.member(lobby(1), 0)).await), refused);
    // It asks without being told, and long before it would ask by itself.
    desk.answer_keys("200 OK").await;
    while decode(&Peer::new(address).await.bind(&new.member(lobby(1), 0)).await) == refused {}
    assert_eq!(decode(&Peer::new(address).await.bind(&old.member(lobby(1), 1)).await), refused);
    child.kill().await.unwrap();
}

#[tokio::test]
async fn it_registers_with_every_instance_of_the_service_and_obeys_each() {
    tokio::time::timeout(3 * PATIENCE, two_instances()).await.expect("the story came to a halt");
}

async fn two_instances() {
    let signer = Signer::new("current");
    let (first, second) = (Desk::new(&signer).await, Desk::new(&signer).await);
    let mut child = relay_process(&format!("{},{}", first.address(), second.address()));
    first.answer_keys("503 Service Unavailable").await;
    second.answer_keys("200 OK").await;
    let address = announced_address(&mut child).await;
    let (mut to_first, mut to_second) = (first.registered(address).await, second.registered(address).await);

    let (mut host, mut guest) = (Peer::new(address).await, Peer::new(address).await);
    host.bind(&signer.member(lobby(1), 0)).await;
    guest.bind(&signer.member(lobby(1), 1)).await;
    host.ask(RelayFrame::Grant { session: host.tag, token: &signer.grant(lobby(1), 0, 5) }).await;
    host.send(1, b"tick").await;
    for socket in [&mut to_first, &mut to_second] {
        let FromRelay::Sound { heard: true, .. } = next(socket).await else { panic!("the host sends") };
    }
    drop(to_first);
    let FromRelay::Sound { heard: false, .. } = next(&mut to_second).await else { panic!("the host is silent") };
    let mut to_first = first.registered(address).await;
    let FromRelay::Sound { heard: false, .. } = next(&mut to_first).await else { panic!("it is told all the same") };
    for (connection, socket) in [(1, &mut to_first), (2, &mut to_second)] {
        let revoke = ToRelay::Revoke { lobby: lobby(1), connection: ConnectionId(connection) };
        socket.send(Message::text(serde_json::to_string(&revoke).unwrap())).await.unwrap();
        let refused = RelayFrame::Refused { reason: RefusedReason::Revoked };
        while decode(&Peer::new(address).await.bind(&signer.member(lobby(1), connection)).await) != refused {}
    }
}

#[tokio::test]
async fn without_a_secret_it_says_so_and_does_not_start() {
    let output = Command::new(env!("CARGO_BIN_EXE_relay")).env_clear().output().await.unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("--secret-env"));
}
