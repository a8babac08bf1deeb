//! A lobby service in the process of the test, on a port that the system chose, and players who talk to it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use lobby_service::config::{Config, Database, Key};
use lobby_service::store::Store;
use protocol::id::{ConnectionId, EventSeq, HostEpoch, LobbyId, PeerKey};
use protocol::message::{ClientMessage, Event, EventBody, LobbyView, NewsForm, ServerMessage};
use protocol::objects::ObjectTable;
use protocol::snapshot::{Body, Generation, Snapshot, write_delta};
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Longest wait for anything: far more than anything takes, so that a loaded machine fails no test.
const PATIENCE: Duration = Duration::from_secs(20);

/// A service.
#[derive(Debug)]
pub struct TestService {
    http: SocketAddr,
    /// `None` if it is a process of its own.
    running: Option<lobby_service::Running>,
    client: reqwest::Client,
}

/// A player that has signed in, as one process with its key.
#[derive(Debug, Clone)]
pub struct TestPlayer {
    /// Its access token.
    pub token: String,
    /// Its refresh token.
    pub refresh_token: String,
    /// The key of its process.
    pub peer_key: PeerKey,
}

impl TestPlayer {
    /// From what the service answers to a sign-in; `number` makes the process's key.
    fn new(session: &Value, number: u8) -> Self {
        let text = |name: &str| session[name].as_str().unwrap_or_default().to_owned();
        let peer_key = PeerKey::from_bytes([number; 32]);
        Self { token: text("access_token"), refresh_token: text("refresh_token"), peer_key }
    }
}

/// An answer: status, headers and body.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The content type.
    pub content_type: String,
    /// The entity tag.
    pub etag: Option<String>,
    /// Seconds after which to come back.
    pub retry_after: Option<u64>,
    /// All headers.
    pub headers: HeaderMap,
    /// The body.
    pub bytes: Vec<u8>,
}

impl Answer {
    /// The body as JSON, `null` if it is not.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_default()
    }

    /// Checks that this is a problem with this code and the status that goes with it.
    ///
    /// # Panics
    /// If it is not.
    pub fn expect_problem(&self, code: &str) -> Value {
        let problem = self.json();
        assert_eq!(problem["code"], code, "{self:?}: {problem}");
        assert_eq!(self.content_type, "application/problem+json");
        assert_eq!(problem["status"], self.status.as_u16());
        assert!(problem["detail"].is_string() && problem["title"].is_string() && problem["type"].is_string());
        problem
    }

    /// Checks the status.
    ///
    /// # Panics
    /// If it is another.
    pub fn expect_status(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.bytes));
        self
    }
}

impl TestService {
    /// Starts one that keeps everything in memory.
    pub async fn in_memory() -> Self {
        Self::start(Config::ephemeral()).await
    }

    /// Starts one that keeps its database and its key in a folder.
    pub async fn in_folder(folder: &Path) -> Self {
        let database = Database::Sqlite(folder.join("understudy.db"));
        Self::start(Config { database, key: Key::File(folder.join("key.der")), ..Config::ephemeral() }).await
    }

    /// Starts one.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start(config: Config) -> Self {
        let running = lobby_service::start(config).await.expect("a service on free ports starts");
        let http = running.http;
        Self { running: Some(running), ..Self::at(http) }
    }

    /// Starts one on a store that the test keeps a hold of.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start_on(config: Config, store: Arc<dyn Store>) -> Self {
        let running = lobby_service::start_on(config, store).await.expect("a service on free ports starts");
        let http = running.http;
        Self { running: Some(running), ..Self::at(http) }
    }

    /// One that runs in a process of its own and listens here.
    ///
    /// # Panics
    /// If there can be no client.
    #[must_use]
    pub fn at(http: SocketAddr) -> Self {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client can be built");
        Self { http, running: None, client }
    }

    /// Stops it in good order.
    pub async fn stop(self) {
        if let Some(running) = self.running {
            running.stop().await;
        }
    }

    /// Where its API listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.http
    }

    /// The service itself, if it runs in this process.
    #[must_use]
    pub fn service(&self) -> Option<&Arc<lobby_service::service::Service>> {
        self.running.as_ref().map(lobby_service::Running::service)
    }

    /// Where the relay in it listens.
    #[must_use]
    pub fn relay(&self) -> Option<SocketAddr> {
        self.running.as_ref()?.relay
    }

    /// Where its admin API listens.
    #[must_use]
    pub fn admin(&self) -> Option<SocketAddr> {
        self.running.as_ref()?.admin
    }

    /// The address of a path.
    #[must_use]
    pub fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://{}{path}", self.http)
    }

    /// Sends a request as it is.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn send(&self, request: impl FnOnce(&reqwest::Client, &Self) -> reqwest::RequestBuilder) -> Answer {
        let response = request(&self.client, self).timeout(PATIENCE).send().await.expect("the service answers");
        let header =
            |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
        let (status, content_type, etag) =
            (response.status(), header("content-type").unwrap_or_default(), header("etag"));
        let retry_after = header("retry-after").and_then(|seconds| seconds.parse().ok());
        let headers = response.headers().clone();
        let bytes = response.bytes().await.expect("the answer is whole").to_vec();
        Answer { status, content_type, etag, retry_after, headers, bytes }
    }

    /// Sends JSON (or nothing, if it is `null`) as a player.
    pub async fn call(&self, player: &TestPlayer, method: Method, path: &str, body: Value) -> Answer {
        self.send(|client, service| {
            let request = client.request(method, service.url("http", path)).bearer_auth(&player.token);
            if body.is_null() { request } else { request.json(&body) }
        })
        .await
    }

    /// Posts JSON as a player.
    pub async fn post(&self, player: &TestPlayer, path: &str, body: Value) -> Answer {
        self.call(player, Method::POST, path, body).await
    }

    /// Gets something as a player.
    pub async fn get(&self, player: &TestPlayer, path: &str) -> Answer {
        self.call(player, Method::GET, path, Value::Null).await
    }

    /// Signs in; `number` makes the process's key.
    ///
    /// # Panics
    /// If that is refused.
    pub async fn player(&self, number: u8) -> TestPlayer {
        self.player_unless_away(number).await.expect("the service has its database")
    }

    /// As [`Self::player`]; `None` if the service has lost its database.
    ///
    /// # Panics
    /// If it is refused for another reason.
    pub async fn player_unless_away(&self, number: u8) -> Option<TestPlayer> {
        let name = json!({"name": format!("player {number}")});
        let answer = self.send(|client, service| client.post(service.url("http", "/v1/players")).json(&name)).await;
        if answer.status == StatusCode::SERVICE_UNAVAILABLE {
            return None;
        }
        Some(TestPlayer::new(&answer.expect_status(201).json(), number))
    }

    /// Signs in as the player whose identity is in this file. The file stays good until the player's new tokens are renewed.
    ///
    /// # Panics
    /// If there is no such player.
    pub async fn player_of(&self, identity_file: &Path) -> TestPlayer {
        let identity = std::fs::read(identity_file).expect("the player has signed in before");
        let identity: Value = serde_json::from_slice(&identity).expect("an identity is JSON");
        let body = json!({"refresh_token": identity["refresh_token"]});
        let answer = self.send(|client, service| client.post(service.url("http", "/v1/players/refresh")).json(&body));
        TestPlayer::new(&answer.await.expect_status(200).json(), 0)
    }

    /// Creates a lobby with these settings.
    ///
    /// # Panics
    /// If that is refused.
    pub async fn create(&self, player: &TestPlayer, settings: Value) -> LobbyView {
        let body = json!({"lobby_name": "arena", "peer_key": player.peer_key, "settings": settings});
        let seat = self.post(player, "/v1/lobbies", body).await.expect_status(201).json();
        serde_json::from_value(seat["lobby"].clone()).expect("a lobby")
    }

    /// Joins by code.
    ///
    /// # Panics
    /// If that is refused.
    pub async fn join(&self, player: &TestPlayer, lobby: &LobbyView) -> ConnectionId {
        let body = json!({"join_code": lobby.join_code, "peer_key": player.peer_key});
        let seat = self.post(player, "/v1/lobbies/join", body).await.expect_status(200).json();
        serde_json::from_value(seat["connection"].clone()).expect("a connection id")
    }

    /// The lobby as a member sees it.
    ///
    /// # Panics
    /// If it does not.
    pub async fn view(&self, player: &TestPlayer, lobby: LobbyId) -> LobbyView {
        let answer = self.get(player, &format!("/v1/lobbies/{lobby}")).await.expect_status(200);
        serde_json::from_slice(&answer.bytes).expect("a lobby")
    }

    /// Uploads a snapshot record.
    pub async fn put_snapshot(&self, player: &TestPlayer, lobby: LobbyId, record: Vec<u8>) -> Answer {
        self.send(|client, service| {
            client
                .put(service.url("http", &format!("/v1/lobbies/{lobby}/snapshot")))
                .bearer_auth(&player.token)
                .header("content-type", "application/octet-stream")
                .body(record)
        })
        .await
    }

    /// Uploads a delta record.
    pub async fn put_delta(&self, player: &TestPlayer, lobby: LobbyId, record: Vec<u8>) -> Answer {
        self.send(|client, service| {
            client
                .patch(service.url("http", &format!("/v1/lobbies/{lobby}/snapshot")))
                .bearer_auth(&player.token)
                .header("content-type", "application/octet-stream")
                .body(record)
        })
        .await
    }

    /// Announces a snapshot of so many bytes and sends none of it. Returns the head of the answer: that the service is ready for
    /// them, or why not.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn begin_upload(&self, player: &TestPlayer, lobby: LobbyId, bytes: usize) -> (String, TcpStream) {
        let mut stream = TcpStream::connect(self.http).await.expect("the service listens");
        let head = format!(
            "PUT /v1/lobbies/{lobby}/snapshot HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/octet-stream\r\nContent-Length: {bytes}\r\nExpect: 100-continue\r\n\r\n",
            player.token
        );
        stream.write_all(head.as_bytes()).await.expect("the service reads");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(tokio::time::timeout(PATIENCE, stream.read_u8()).await.expect("in time").expect("an answer"));
        }
        (String::from_utf8_lossy(&answer).into_owned(), stream)
    }

    /// Opens an event socket and says hello.
    ///
    /// # Panics
    /// If there is none.
    pub async fn listen(&self, player: &TestPlayer, lobby: LobbyId, after: Option<EventSeq>) -> TestSocket {
        let mut socket = self.open(player, lobby).await.expect("a member gets a socket");
        socket.say(&ClientMessage::Hello { peer_key: player.peer_key, after, form: NewsForm::Events }).await;
        socket
    }

    /// Opens an event socket.
    ///
    /// # Errors
    /// The client's, if there is none.
    pub async fn open(
        &self,
        player: &TestPlayer,
        lobby: LobbyId,
    ) -> Result<TestSocket, tokio_tungstenite::tungstenite::Error> {
        let stream = TcpStream::connect(self.http).await?;
        stream.set_nodelay(true)?;
        self.open_on(MaybeTlsStream::Plain(stream), player, lobby).await
    }

    /// As [`Self::open`], on a connection of the caller's.
    ///
    /// # Errors
    /// As those of [`Self::open`].
    pub async fn open_on(
        &self,
        stream: MaybeTlsStream<TcpStream>,
        player: &TestPlayer,
        lobby: LobbyId,
    ) -> Result<TestSocket, tokio_tungstenite::tungstenite::Error> {
        let mut request = self.url("ws", &format!("/v1/lobbies/{lobby}/events")).into_client_request()?;
        let token = format!("Bearer {}", player.token).parse().expect("a token is a header");
        request.headers_mut().insert("authorization", token);
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await?;
        Ok(TestSocket { socket })
    }
}

/// An event socket.
#[derive(Debug)]
pub struct TestSocket {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// What came on a socket.
#[derive(Debug)]
pub enum Heard {
    /// A message.
    Message(Box<ServerMessage>),
    /// The end, with its code if there was one.
    Closed(Option<u16>),
}

impl TestSocket {
    /// Sends a message.
    ///
    /// # Panics
    /// If the socket is closed.
    pub async fn say(&mut self, message: &ClientMessage) {
        self.say_text(serde_json::to_string(message).expect("a message is JSON")).await;
    }

    /// Sends a message; false if the socket is closed.
    pub async fn try_say(&mut self, message: &ClientMessage) -> bool {
        let text = serde_json::to_string(message).expect("a message is JSON");
        self.socket.send(Message::text(text)).await.is_ok()
    }

    /// Sends a ping; false if the socket is closed.
    pub async fn try_ping(&mut self) -> bool {
        self.socket.send(Message::Ping("".into())).await.is_ok()
    }

    /// Sends a text.
    ///
    /// # Panics
    /// If the socket is closed.
    pub async fn say_text(&mut self, text: String) {
        self.socket.send(Message::text(text)).await.expect("the socket is open");
    }

    /// Waits for the next thing to come.
    ///
    /// # Panics
    /// If nothing comes.
    pub async fn hear(&mut self) -> Heard {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("something comes");
            match next {
                Some(Ok(Message::Text(text))) => {
                    return Heard::Message(Box::new(serde_json::from_str(&text).expect("a message of the protocol")));
                }
                Some(Ok(Message::Close(frame))) => return Heard::Closed(frame.map(|frame| frame.code.into())),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_))) => {}
                Some(Err(_)) | None => return Heard::Closed(None),
            }
        }
    }

    /// Waits for the next message, as it was written.
    ///
    /// # Panics
    /// If the socket ends.
    pub async fn text(&mut self) -> String {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("something comes");
            match next {
                Some(Ok(Message::Text(text))) => return text.to_string(),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_))) => {}
                end @ (Some(Ok(Message::Close(_)) | Err(_)) | None) => panic!("the socket was closed: {end:?}"),
            }
        }
    }

    /// Waits for the next message.
    ///
    /// # Panics
    /// If the socket ends.
    pub async fn message(&mut self) -> ServerMessage {
        match self.hear().await {
            Heard::Message(message) => *message,
            Heard::Closed(code) => panic!("the socket was closed: {code:?}"),
        }
    }

    /// Waits for the whole lobby.
    ///
    /// # Panics
    /// If something else comes.
    pub async fn resync(&mut self) -> LobbyView {
        let message = self.message().await;
        let ServerMessage::Resync { lobby } = message else { panic!("{message:?} instead of the lobby") };
        lobby
    }

    /// Waits for the next event.
    ///
    /// # Panics
    /// If something else comes.
    pub async fn event(&mut self) -> Event {
        let message = self.message().await;
        let ServerMessage::Event(event) = message else { panic!("{message:?} instead of an event") };
        event
    }

    /// Waits for an event of some kind; others before it are skipped.
    pub async fn event_like(&mut self, like: impl Fn(&EventBody) -> bool) -> Event {
        loop {
            let event = self.event().await;
            if like(&event.body) {
                return event;
            }
        }
    }

    /// Waits for the end; messages before it are skipped. Returns the close code.
    pub async fn closed(&mut self) -> Option<u16> {
        loop {
            if let Heard::Closed(code) = self.hear().await {
                return code;
            }
        }
    }
}

/// A snapshot record of one epoch and number whose game is these bytes.
///
/// # Panics
/// If it is too large.
#[must_use]
pub fn record(epoch: u64, seq: u64, state: &[u8]) -> Vec<u8> {
    let generation = Generation { epoch: HostEpoch(epoch), seq };
    let body = Body {
        build_id: String::new(),
        scene: "arena".to_owned(),
        seats: Vec::new(),
        objects: ObjectTable::default(),
        state: state.to_vec(),
        ledger: Default::default(),
        changes: Vec::new(),
    };
    Snapshot { generation, tick: seq, elapsed_us: seq, body }.encode().expect("it is small enough")
}

/// A delta record that leads from one epoch and number to another.
///
/// # Panics
/// If it is too large.
#[must_use]
pub fn delta_record(base: (u64, u64), to: (u64, u64), difference: &[u8]) -> Vec<u8> {
    let generation = |(epoch, seq)| Generation { epoch: HostEpoch(epoch), seq };
    write_delta(0, generation(base), generation(to), to.1, to.1, difference).expect("it is small enough")
}
