//! The limit that the lobby service is measured against: the least that an axum program can do with the same requests.
//!
//! It takes the requests of the service, verifies their tokens with the service's own code, and answers with texts of the same
//! size; on its event sockets go events of the same size. It keeps everything in memory, decides nothing, saves nothing, pings
//! nobody, and believes everything but tokens.

use std::collections::HashMap;
use std::hash::Hash;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::extract::{DefaultBodyLimit, FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post, put};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use lobby_service::auth::{Auth, random};
use lobby_service::clock::wall;
use protocol::id::{ConnectionId, EventSeq, HostEpoch, JoinCode, LobbyId, PeerKey, PlayerId};
use protocol::limits;
use protocol::lobby::data::Data;
use protocol::lobby::{HostState, LeaveReason, Presence, Settings};
use protocol::message::{ClientMessage, Event, EventBody, LobbyView, MemberView, ServerMessage};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::broadcast;

/// Parts of a table, each with its lock: more than there are threads.
const SHARDS: usize = 64;
/// Events that wait for a socket of a room.
const EVENTS_WAITING: usize = 16;
/// As the service reads.
const READ_BUFFER_BYTES: usize = 1024;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let key_file = std::env::args().nth(1).map(PathBuf::from).ok_or("usage: bench-bare KEY_FILE")?;
    lobby_service::auth::install_provider();
    let bare = Arc::new(Bare { auth: Auth::open(&key_file)?, rooms: Table::default(), codes: Table::default() });
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "bench-bare: listening http={}", listener.local_addr()?)?;
    stdout.flush()?;
    // Without it small answers wait; a socket that cannot be told so is slow, which would be seen.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let router = Router::new()
        .route("/v1/lobbies", post(create))
        .route("/v1/lobbies/join", post(join))
        .route("/v1/lobbies/{id}/leave", post(leave))
        .route("/v1/lobbies/{id}/events", get(events))
        .route("/v1/lobbies/{id}/snapshot", put(upload))
        .layer(DefaultBodyLimit::max(limits::SNAPSHOT_BYTES_MAX))
        .with_state(bare);
    Ok(axum::serve(listener, router).await?)
}

struct Bare {
    auth: Auth,
    rooms: Table<LobbyId, Room>,
    codes: Table<JoinCode, LobbyId>,
}

struct Room {
    lobby: LobbyView,
    listeners: broadcast::Sender<Utf8Bytes>,
    snapshot: Bytes,
}

/// A map in parts, so that threads seldom wait for each other.
struct Table<K, V>([Mutex<HashMap<K, V>>; SHARDS]);

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }
}

impl<K: Eq + Hash + Shard, V> Table<K, V> {
    fn part(&self, key: &K) -> MutexGuard<'_, HashMap<K, V>> {
        self.0[key.shard() % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A number by which equal keys are in the same part; both kinds of keys are random.
trait Shard {
    fn shard(&self) -> usize;
}

impl Shard for LobbyId {
    fn shard(&self) -> usize {
        self.as_bytes()[0].into()
    }
}

impl Shard for JoinCode {
    fn shard(&self) -> usize {
        let last = self.as_str().bytes().last();
        last.map_or(0, usize::from)
    }
}

/// Whose token the request carries.
struct Caller(PlayerId);

impl FromRequestParts<Arc<Bare>> for Caller {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, bare: &Arc<Bare>) -> Result<Self, StatusCode> {
        let value = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = value.and_then(|value| value.strip_prefix("Bearer ")).ok_or(StatusCode::UNAUTHORIZED)?;
        bare.auth.verify_access(token, wall()).map(Self).map_err(|_| StatusCode::UNAUTHORIZED)
    }
}

#[derive(Deserialize)]
struct Create {
    lobby_name: String,
    settings: Settings,
    name: String,
    peer_key: PeerKey,
    can_host: bool,
}

#[derive(Deserialize)]
struct Join {
    join_code: JoinCode,
    name: String,
    peer_key: PeerKey,
    can_host: bool,
}

struct Newcomer {
    name: String,
    peer_key: PeerKey,
    can_host: bool,
}

#[derive(Serialize)]
struct Seat {
    lobby: LobbyView,
    connection: ConnectionId,
}

#[derive(Serialize)]
struct Stored {
    bytes: usize,
}

impl Newcomer {
    fn sit_down(self, player: PlayerId, lobby: &mut LobbyView) -> MemberView {
        let next = lobby.members.last().map_or(0, |member| member.connection.0 + 1);
        let Self { name, peer_key, can_host } = self;
        let (connection, now) = (ConnectionId(next), wall());
        let presence = Presence::Connected { since: now };
        let member = MemberView {
            connection,
            player,
            name,
            peer_key,
            can_host,
            direct_address: None,
            browser: false,
            joined_at: now,
            presence,
            data: Data::new(),
        };
        lobby.members.push(member.clone());
        member
    }
}

impl Room {
    fn tell(&mut self, body: EventBody) {
        self.lobby.seq = EventSeq(self.lobby.seq.0 + 1);
        let event = Event { seq: self.lobby.seq, at: wall(), epoch: self.lobby.epoch, body };
        // An error says that nobody listens.
        let _ = self.listeners.send(text(&ServerMessage::Event(event)));
    }
}

fn text(message: &ServerMessage) -> Utf8Bytes {
    serde_json::to_string(message).unwrap_or_default().into()
}

async fn create(
    State(bare): State<Arc<Bare>>,
    Caller(player): Caller,
    Json(Create { lobby_name, settings, name, peer_key, can_host }): Json<Create>,
) -> (StatusCode, Json<Seat>) {
    let (id, join_code) = (LobbyId::from_bytes(random()), JoinCode::from_entropy(u64::from_be_bytes(random())));
    let now = wall();
    let mut lobby = LobbyView {
        id,
        name: lobby_name,
        join_code,
        build_id: String::new(),
        settings,
        created_at: now,
        epoch: HostEpoch::FIRST,
        host: HostState::Present { host: ConnectionId(0), since: now },
        hand_over: None,
        successor: None,
        members: Vec::new(),
        seq: EventSeq(1),
        closed: false,
        updated_at: now,
        has_password: false,
        data: Data::new(),
    };
    Newcomer { name, peer_key, can_host }.sit_down(player, &mut lobby);
    let room = Room { lobby: lobby.clone(), listeners: broadcast::Sender::new(EVENTS_WAITING), snapshot: Bytes::new() };
    bare.rooms.part(&id).insert(id, room);
    bare.codes.part(&join_code).insert(join_code, id);
    (StatusCode::CREATED, Json(Seat { lobby, connection: ConnectionId(0) }))
}

async fn join(
    State(bare): State<Arc<Bare>>,
    Caller(player): Caller,
    Json(Join { join_code, name, peer_key, can_host }): Json<Join>,
) -> Result<Json<Seat>, StatusCode> {
    let id = *bare.codes.part(&join_code).get(&join_code).ok_or(StatusCode::NOT_FOUND)?;
    let mut rooms = bare.rooms.part(&id);
    let room = rooms.get_mut(&id).ok_or(StatusCode::NOT_FOUND)?;
    let member = Newcomer { name, peer_key, can_host }.sit_down(player, &mut room.lobby);
    let connection = member.connection;
    room.tell(EventBody::MemberJoined { member });
    Ok(Json(Seat { lobby: room.lobby.clone(), connection }))
}

async fn leave(
    State(bare): State<Arc<Bare>>,
    Caller(player): Caller,
    Path(id): Path<LobbyId>,
) -> Result<StatusCode, StatusCode> {
    let mut rooms = bare.rooms.part(&id);
    let room = rooms.get_mut(&id).ok_or(StatusCode::NOT_FOUND)?;
    let members = &mut room.lobby.members;
    let index = members.iter().position(|member| member.player == player).ok_or(StatusCode::NOT_FOUND)?;
    let connection = members.remove(index).connection;
    room.tell(EventBody::MemberLeft { connection, player, reason: LeaveReason::Left });
    Ok(StatusCode::NO_CONTENT)
}

async fn upload(
    State(bare): State<Arc<Bare>>,
    Caller(_): Caller,
    Path(id): Path<LobbyId>,
    record: Bytes,
) -> Result<Json<Stored>, StatusCode> {
    let mut rooms = bare.rooms.part(&id);
    let room = rooms.get_mut(&id).ok_or(StatusCode::NOT_FOUND)?;
    let bytes = record.len();
    room.snapshot = record;
    Ok(Json(Stored { bytes }))
}

async fn events(
    State(bare): State<Arc<Bare>>,
    Caller(player): Caller,
    Path(id): Path<LobbyId>,
    upgrade: WebSocketUpgrade,
) -> Response {
    upgrade
        .max_message_size(limits::SOCKET_MESSAGE_BYTES_MAX)
        .max_frame_size(limits::SOCKET_MESSAGE_BYTES_MAX)
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * limits::SOCKET_ANSWER_BYTES_MAX)
        .on_upgrade(move |socket| async move {
            // Whether the client or the room ended it: it is over.
            let _ = serve(socket, bare, id, player).await;
        })
}

/// Serves one socket to its end, which is `None`.
async fn serve(mut socket: WebSocket, bare: Arc<Bare>, id: LobbyId, player: PlayerId) -> Option<()> {
    let Message::Text(hello) = socket.recv().await?.ok()? else { return None };
    serde_json::from_str::<ClientMessage>(&hello).ok()?;
    let (lobby, mut news) = {
        let rooms = bare.rooms.part(&id);
        let room = rooms.get(&id)?;
        room.lobby.members.iter().find(|member| member.player == player)?;
        (room.lobby.clone(), room.listeners.subscribe())
    };
    socket.send(Message::Text(text(&ServerMessage::Resync { lobby }))).await.ok()?;
    loop {
        tokio::select! {
            message = socket.recv() => drop(message?.ok()?),
            event = news.recv() => socket.send(Message::Text(event.ok()?)).await.ok()?,
        }
    }
}
