//! A relay and its peers whose UDP is blocked: the same frames, as messages of WebSockets.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "shared with tests that use all of it")]
mod common;

use std::net::SocketAddr;

use common::{LONGEST, PATIENCE, Stage, decode, lobby};
use futures_util::{SinkExt, StreamExt};
use protocol::frame::{RELAY_PAYLOAD_BYTES_MAX, RelayFrame};
use protocol::id::{ConnectionId, LobbyId, SessionTag};
use protocol::limits;
use protocol::relay::{DropReason, Limits};
use relay::Config;
use relay::config::WebSocketLimits;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

/// A peer's WebSocket, and the session that it is bound in.
struct WebPeer {
    socket: WebSocketStream<TcpStream>,
    tag: SessionTag,
}

impl WebPeer {
    async fn connect(relay: SocketAddr) -> Result<Self, Error> {
        let stream = TcpStream::connect(relay).await?;
        let (socket, _) = tokio_tungstenite::client_async(format!("ws://{relay}/relay"), stream).await?;
        Ok(Self { socket, tag: SessionTag(0) })
    }

    /// Bound as this member, by the same handshake as by UDP.
    async fn member(stage: &Stage, lobby: LobbyId, connection: u32) -> Self {
        let mut peer = Self::connect(stage.relay.address).await.unwrap();
        let token = stage.signer.member(lobby, connection);
        peer.say(RelayFrame::BindRequest { token: &token }).await;
        let answer = peer.hear().await;
        let RelayFrame::Challenge { cookie } = decode(&answer) else { panic!("no challenge") };
        peer.say(RelayFrame::Bind { cookie, token: &token }).await;
        let answer = peer.hear().await;
        let RelayFrame::Bound { session, .. } = decode(&answer) else { panic!("not bound") };
        peer.tag = session;
        peer
    }

    async fn say(&mut self, frame: RelayFrame<'_>) {
        self.socket.send(Message::Binary(frame.to_vec().into())).await.unwrap();
    }

    async fn hear(&mut self) -> Vec<u8> {
        match timeout(PATIENCE, self.socket.next()).await.expect("nothing came").unwrap().unwrap() {
            Message::Binary(frame) => frame.into(),
            other
            @ (Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_)) => {
                panic!("{other:?} is no frame")
            }
        }
    }

    async fn send(&mut self, to: u32, payload: &[u8]) {
        let session = self.tag;
        self.say(RelayFrame::Data { session, peer: ConnectionId(to), payload }).await;
    }

    async fn hears(&mut self, from: u32, payload: &[u8]) {
        let expected = RelayFrame::Data { session: self.tag, peer: ConnectionId(from), payload };
        assert_eq!(decode(&self.hear().await), expected);
    }

    /// Waits until the relay has closed it.
    async fn is_closed(&mut self) {
        let closed = async { while self.socket.next().await.is_some_and(|message| message.is_ok()) {} };
        timeout(PATIENCE, closed).await.expect("it is still open");
    }
}

#[tokio::test]
async fn members_reach_each_other_whichever_way_they_came() {
    let stage = Stage::new().await;
    let by_udp = stage.member(lobby(1), 0).await;
    let mut by_web = WebPeer::member(&stage, lobby(1), 1).await;
    let mut by_web_too = WebPeer::member(&stage, lobby(1), 2).await;
    let longest = [7; RELAY_PAYLOAD_BYTES_MAX];
    for payload in [&b"tick"[..], &longest] {
        by_udp.send(1, payload).await;
        by_web.hears(0, payload).await;
        by_web.send(0, payload).await;
        by_udp.hears(1, payload).await;
        by_web.send(2, payload).await;
        by_web_too.hears(1, payload).await;
    }
    stage.counted(|counters| counters.forwarded == 6 && counters.websockets_opened == 2).await;
}

#[tokio::test]
async fn a_member_moves_from_one_way_to_the_other_by_binding_there() {
    let stage = Stage::new().await;
    let by_udp = stage.member(lobby(1), 0).await;
    let mut by_web = WebPeer::member(&stage, lobby(1), 0).await;
    let other = stage.member(lobby(1), 1).await;
    other.send(0, b"tick").await;
    by_web.hears(1, b"tick").await;
    by_udp.send(1, b"from where it is no more").await;
    stage.dropped(DropReason::UnboundSource, 1).await;
    let by_udp = stage.member(lobby(1), 0).await;
    other.send(0, b"tock").await;
    by_udp.hears(1, b"tock").await;
}

#[tokio::test]
async fn what_is_no_frame_closes_the_websocket_or_is_dropped_and_counted() {
    let stage = Stage::new().await;
    for wrong in [Message::Text("hello".into()), Message::Binary(vec![0x10; LONGEST + 1].into())] {
        let mut peer = WebPeer::connect(stage.relay.address).await.unwrap();
        peer.socket.send(wrong).await.unwrap();
        peer.is_closed().await;
    }
    let mut peer = WebPeer::member(&stage, lobby(1), 1).await;
    peer.socket.send(Message::Binary(b"garbage".as_slice().into())).await.unwrap();
    stage.dropped(DropReason::Malformed, 1).await;
    let question = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
    peer.socket.send(Message::Binary(question.into())).await.unwrap();
    peer.say(RelayFrame::KeepAlive { session: peer.tag, padding: [0; 12] }).await;
    let answer = peer.hear().await;
    assert!(matches!(decode(&answer), RelayFrame::Alive { .. }), "a question for an address has no answer here");
}

#[tokio::test]
async fn no_other_path_is_served() {
    let stage = Stage::new().await;
    let stream = TcpStream::connect(stage.relay.address).await.unwrap();
    let refused = tokio_tungstenite::client_async(format!("ws://{}/", stage.relay.address), stream).await;
    assert!(matches!(refused, Err(Error::Http(response)) if response.status() == 404));
}

#[tokio::test]
async fn who_connects_and_says_nothing_is_sent_away() {
    let stage = Stage::new().await;
    let mut stream = TcpStream::connect(stage.relay.address).await.unwrap();
    let end = timeout(2 * limits::RELAY_WEBSOCKET_HANDSHAKE, stream.read(&mut [0; 1])).await.expect("it is still open");
    assert!(end.is_ok_and(|bytes| bytes == 0));
}

#[tokio::test]
async fn one_address_has_so_many_websockets_and_no_more() {
    let websockets = WebSocketLimits { per_address: 2, ..WebSocketLimits::default() };
    let stage = Stage::of(Config { websockets, ..Config::default() }).await;
    let first = WebPeer::connect(stage.relay.address).await.unwrap();
    let _second = WebPeer::connect(stage.relay.address).await.unwrap();
    assert!(WebPeer::connect(stage.relay.address).await.is_err());
    stage.counted(|counters| counters.websockets_refused == 1 && counters.websockets_opened == 2).await;
    drop(first);
    let again = async { while WebPeer::connect(stage.relay.address).await.is_err() {} };
    timeout(PATIENCE, again).await.expect("a place that was given back is not given out");
}

#[tokio::test]
async fn of_what_a_slow_reader_does_not_take_the_oldest_is_dropped_and_nobody_else_waits() {
    let no_quota = Limits { bytes_per_second: u64::MAX / 2_000_000, burst_bytes: u64::MAX, ..Limits::default() };
    let stage = Stage::with(no_quota).await;
    let (alice, bob) = (stage.member(lobby(1), 0).await, stage.member(lobby(1), 1).await);
    let mut slow = WebPeer::member(&stage, lobby(1), 2).await;
    let place = DropReason::ALL.iter().position(|&reason| reason == DropReason::QueueFull).unwrap();
    let mut number = 0_u32;
    let flood = async {
        loop {
            let mut payload = [0; RELAY_PAYLOAD_BYTES_MAX];
            payload[..4].copy_from_slice(&number.to_be_bytes());
            alice.send(2, &payload).await;
            // So that the system drops none: this comes once the relay has read that.
            alice.send(1, b"tick").await;
            bob.hears(0, b"tick").await;
            number += 1;
        }
    };
    let full = stage.counted(|counters| counters.dropped[place] > 100);
    tokio::select! { () = full => {}, () = flood => {} }
    // What was sent last is there, in order, behind a gap.
    let mut heard = Vec::new();
    while heard.last() != Some(&(number - 1)) {
        let frame = slow.hear().await;
        let RelayFrame::Data { payload, .. } = decode(&frame) else { panic!("no data") };
        heard.push(u32::from_be_bytes(*payload.first_chunk().unwrap()));
    }
    assert!(heard.is_sorted() && heard.len() < number as usize - 100, "{} of {number}", heard.len());
}

#[tokio::test]
async fn a_port_that_is_taken_for_tcp_is_said_to_be() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listen = taken.local_addr().unwrap();
    let verifier = common::Signer::new("current").verifier();
    let error = relay::start(Config { listen, ..Config::default() }, verifier).await.unwrap_err();
    assert!(error.to_string().contains("TCP") && error.to_string().contains(&listen.port().to_string()), "{error}");
}
