//! Every limit and every fixed time: value, unit, why. What an operator or a game may change says so.

use std::time::Duration;

/// Election delay of a lobby that does not set one. Unity's is 120 s.
pub const ELECTION_DELAY: Duration = Duration::from_secs(1);
/// Longest election delay.
pub const ELECTION_DELAY_MAX: Duration = Duration::from_secs(600);
/// Time that a disconnected member keeps its seat, where the lobby does not set one.
pub const REMOVAL_DELAY: Duration = Duration::from_secs(60);
/// Shortest removal delay.
pub const REMOVAL_DELAY_MIN: Duration = Duration::from_secs(1);
/// Longest removal delay.
pub const REMOVAL_DELAY_MAX: Duration = Duration::from_secs(24 * 3600);
/// Time that an elected host has to restore and confirm: a dead winner must not block.
pub const READY_TIMEOUT: Duration = Duration::from_secs(5);
/// Shortest ready time-out.
pub const READY_TIMEOUT_MIN: Duration = Duration::from_millis(500);
/// Longest ready time-out.
pub const READY_TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// Time that a host has to prepare a successor once it was asked to hand over; then it goes on as if nothing had been asked.
pub const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(10);

/// Members of a lobby that does not set a number.
pub const MEMBERS: u32 = 100;
/// Members of any lobby.
pub const MEMBERS_MAX: u32 = 1000;
/// Players who left whose connection id is remembered; older ones get a new id when they return.
pub const FORMER_SEATS_MAX: usize = 1024;
/// Characters of a lobby's, player's or build's name.
pub const NAME_CHARS_MAX: usize = 128;
/// Bytes of a direct address as text: the longest IPv6 socket address has 47.
pub const ADDRESS_BYTES_MAX: usize = 64;

/// Values that a lobby keeps. Unity: 20.
pub const LOBBY_DATA_KEYS_MAX: usize = 64;
/// Bytes of a lobby's keys and values together: its row is written with every change.
pub const LOBBY_DATA_BYTES_MAX: usize = 32 * 1024;
/// Values that a member keeps. Unity: 10.
pub const MEMBER_DATA_KEYS_MAX: usize = 32;
/// Bytes of a member's keys and values together.
pub const MEMBER_DATA_BYTES_MAX: usize = 8 * 1024;
/// Bytes of all data of a lobby: a client is sent it as one message of at most [`SOCKET_ANSWER_BYTES_MAX`].
pub const ALL_DATA_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a key.
pub const DATA_KEY_BYTES_MAX: usize = 64;
/// Bytes of a value. Unity: 2,048 characters.
pub const DATA_VALUE_BYTES_MAX: usize = 8 * 1024;
/// A text that lobbies are found by has less bytes than this.
pub const INDEXED_BYTES_MAX: usize = 128;
/// Players that a lobby keeps out. They stand in its row.
pub const BANS_MAX: usize = 1024;
/// Filters of a query.
pub const FILTERS_MAX: usize = 16;
/// Fields that a query orders by.
pub const ORDERS_MAX: usize = 4;
/// Lobbies that a query passes over before its first page.
pub const SKIP_MAX: u32 = 1000;
/// Characters of a lobby's password.
pub const PASSWORD_CHARS_MIN: usize = 8;
/// Characters of a lobby's password.
pub const PASSWORD_CHARS_MAX: usize = 64;

/// Failed elections (never ready, or dead shortly after it) within [`FAILED_ELECTION_WINDOW`] that pause a lobby.
pub const FAILED_ELECTIONS_MAX: usize = 3;
/// How long a failed election counts, and how long a lobby that had too many of them pauses.
pub const FAILED_ELECTION_WINDOW: Duration = Duration::from_secs(300);
/// A host that crashes sooner than this after `ready` counts as a failed election: its snapshot may be what killed it.
pub const HOST_PROBATION: Duration = Duration::from_secs(10);
/// How long the guests' word keeps a host that lost the lobby; they repeat it every [`REPORT_INTERVAL`].
pub const VOUCH: Duration = Duration::from_secs(3);
/// Time that a lobby without members is kept for those who come back by its code.
pub const EMPTY_LOBBY_KEPT: Duration = Duration::from_secs(600);

/// The service pings each event socket this often.
pub const SOCKET_PING: Duration = Duration::from_secs(2);
/// A member from whom nothing came for this long is disconnected.
pub const LEASE: Duration = Duration::from_secs(6);
/// Time that a socket has for its `hello`.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of one message from a client on the event socket.
pub const SOCKET_MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// Candidates in one signal: those of a machine with several networks; more trickle in further ones.
pub const SIGNAL_CANDIDATES_MAX: usize = 16;
/// Bytes of a candidate as text. Longest seen: 180, of a browser with all its extensions.
pub const CANDIDATE_BYTES_MAX: usize = 256;
/// Characters of an ICE user name fragment. Browsers have 4, RFC 8839 allows 256.
pub const UFRAG_CHARS_MAX: usize = 32;
/// Characters of an ICE password. Browsers have 24, RFC 8839 allows 256.
pub const ICE_PASSWORD_CHARS_MAX: usize = 64;
/// Signals that wait for a member's socket: two attempts of each of a lobby's members that all dial a new host at once would be
/// [`MEMBERS`] offers. Past it the oldest is dropped, and its attempt runs out.
pub const SIGNALS_WAITING_MAX: usize = 256;
/// Signals from one socket in a second. A link takes an offer or an answer, and one or two more with candidates; so many guests a second
/// can dial one host again and again.
pub const SIGNALS_PER_S: u32 = 100;
/// Signals from one socket in a second that are dropped and forgiven: other members can have a host answer so many. Above it they count as
/// messages.
pub const SIGNAL_FLOOD_PER_S: u32 = 10 * SIGNALS_PER_S;
/// Signals from one socket at once: a new host answers all of its guests, and has three more for each.
pub const SIGNALS_BURST: u32 = 4 * MEMBERS_MAX;
/// Life of credentials for TURN servers. A link that is up does not need them any more.
pub const TURN_CREDENTIAL_LIFE: Duration = Duration::from_secs(3600);
/// Bytes of a message on a WebRTC channel: what every browser takes.
pub const CHANNEL_MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// Bytes on each lane of a WebRTC link that the receiver has not taken yet.
pub const LANE_WINDOW_BYTES: u64 = 1024 * 1024;
/// After so many bytes a receiver says that it has taken them.
pub const LANE_TAKEN_BYTES: u64 = LANE_WINDOW_BYTES / 4;
/// Bytes of a datagram on any link: what QUIC leaves of 1,200 on any path.
pub const DATAGRAM_BYTES_MAX: usize = 1150;
/// How often each side measures the round trip of each link.
pub const PING_INTERVAL: Duration = Duration::from_secs(1);
/// A link that is silent for this long, while another to the same peer is not, is left for that one: two heartbeats and a half, before
/// anybody would take the peer for lost.
pub const PATH_SUSPICION: Duration = Duration::from_millis(250);
/// A better way has to have been there for this long before the game moves to it again, so that one that comes and goes is left alone.
pub const PATH_STEADY: Duration = Duration::from_secs(1);
/// A straight way may be slower than the one through a relay by this much, and is still taken: it loads nobody else's machine.
pub const PATH_SLACK: Duration = Duration::from_millis(10);
/// A way that did not come about, or ended, is tried again after this long, and after twice as long each time.
pub const PATH_RETRY: Duration = Duration::from_secs(2);
/// Longest time between two such tries.
pub const PATH_RETRY_MAX: Duration = Duration::from_secs(60);
/// Attempts to link to this peer over WebRTC that are under way at a time, of all members.
pub const WEB_RTC_ATTEMPTS_MAX: usize = 128;
/// Bytes of one message to a client: a lobby of 1,000 members, whole.
pub const SOCKET_ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Events kept for sockets that resume; a client that is further behind gets one `resync`.
pub const EVENTS_KEPT: u64 = 1000;
/// Events read from the store at a time.
pub const EVENTS_PAGE: u32 = 256;
/// Bytes of a JSON request body: all of a lobby's data at once, and a server's change of a hundred members.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// Lobbies on one page of a list.
pub const LIST_PAGE_MAX: u32 = 100;

/// Bytes of a snapshot, its header included.
pub const SNAPSHOT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How often a host uploads its state, where the game does not say.
pub const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(1);
/// Shortest interval of uploads.
pub const SNAPSHOT_INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Longest interval of uploads.
pub const SNAPSHOT_INTERVAL_MAX: Duration = Duration::from_secs(600);
/// Snapshots of a lobby that are kept.
pub const SNAPSHOT_GENERATIONS: u32 = 3;
/// Deltas that follow each other on a stored snapshot: who reads it applies them one after the other. Their bytes together are at
/// most [`SNAPSHOT_BYTES_MAX`].
pub const DELTAS_MAX: u32 = 128;
/// Bytes of host-only data of one seat.
pub const SEAT_DATA_BYTES_MAX: usize = 64 * 1024;
/// Objects in the ownership table.
pub const OBJECTS_MAX: usize = 65_536;
/// Bytes of the ownership table, each object counted with [`OBJECT_OVERHEAD_BYTES`]: a host tells it whole to each guest.
pub const OBJECT_TABLE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of an object in a message beside its data: names of fields, id and owner in MessagePack.
pub const OBJECT_OVERHEAD_BYTES: usize = 40;

/// Peers send a heartbeat on each link this often.
pub const HEARTBEAT: Duration = Duration::from_millis(100);
/// A host that was not heard for this long is reported silent. Three heartbeats: one may be lost and one late.
pub const SUSPICION: Duration = Duration::from_millis(350);
/// Shortest silence that [`crate::detector::Detector`] speaks of. Three heartbeats: one may be lost and one late.
pub const SUSPICION_MIN: Duration = Duration::from_millis(300);
/// Longest silence that it tolerates, however bad the link. QUIC gives a link up after three seconds.
pub const SUSPICION_MAX: Duration = Duration::from_secs(2);
/// What it adds to the interval and the deviation that a link has shown. Two heartbeats: a regular link may lose one, and be late.
pub const SUSPICION_MARGIN: Duration = Duration::from_millis(200);
/// How often a guest repeats what it hears while the lobby has lost the host.
pub const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Time that a host has to say whom it hears once a majority of its guests reports silence: a way around the world and back.
pub const CHALLENGE_TIMEOUT: Duration = Duration::from_millis(200);
/// From this many guests in game on, their majority decides; below it the relay must agree, so that one liar moves nothing.
pub const GUESTS_THAT_DECIDE: usize = 3;
/// A guest dials its host anew after this long without success.
pub const DIAL_RETRY: Duration = Duration::from_millis(250);
/// Reliable messages that a peer keeps until nobody can need them again: two minutes of sixty a second.
pub const JOURNAL_MESSAGES_MAX: usize = 8192;
/// Their bytes. Above either the game has to wait.
pub const JOURNAL_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Hosts by which a stream's numbers are told apart: more of them than this while a guest was away, and what it heard is said again.
pub const STRETCHES_MAX: usize = 16;
/// A receiver says how far it has heard with each heartbeat, and after so many messages.
pub const HEARD_MESSAGES: u64 = 512;
/// Or after so many bytes.
pub const HEARD_BYTES: usize = 16 * 1024;
/// Bytes a second of states that a host sends to its successor on average: half of what a relay forwards for one member.
pub const FEED_BYTES_PER_SECOND: u64 = 2 * 1024 * 1024;
/// States under way to a successor that it has not acknowledged: a second of them at 30 a second.
pub const FEED_IN_FLIGHT_MAX: usize = 32;
/// Bytes of such states. One of the largest goes alone.
pub const FEED_IN_FLIGHT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long an elected member that was not kept warm waits for the others to say what they have.
pub const NEWEST_STATE_WAIT: Duration = Duration::from_millis(250);
/// How long a member may take to send the state that it has.
pub const STATE_FROM_MEMBER_TIMEOUT: Duration = Duration::from_secs(1);
/// A hand-over that has not committed by then is given up, and the host goes on.
pub const HAND_OVER_PATIENCE: Duration = Duration::from_secs(5);
/// Of it, the part in which the game stands still.
pub const FREEZE_MAX: Duration = Duration::from_secs(1);
/// Bytes of a reliable message of a game.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of the extra payload of a returning player.
pub const EXTRA_BYTES_MAX: usize = 16 * 1024;

/// Bytes of a relay frame: IPv6's minimum MTU of 1,280 less 40 of IPv6 and 8 of UDP.
pub const RELAY_FRAME_BYTES_MAX: usize = 1232;
/// Sessions of a relay.
pub const RELAY_SESSIONS_MAX: usize = 100_000;
/// A bound peer sends something at least this often, so that address translators keep its path.
pub const RELAY_KEEP_ALIVE: Duration = Duration::from_secs(5);
/// A link on which nothing came for this long is closed.
pub const RELAY_IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// A host that sent data and then none for this long is silent to the relay: as long as to its guests, which ask for the relay's word.
pub const RELAY_HOST_SILENCE: Duration = SUSPICION;
/// Seats that were given up and whose tokens a relay refuses; past it the one that expires first is forgotten.
pub const RELAY_REVOKED_MAX: usize = 65_536;
/// How long an address may take to return its cookie; the one before is accepted too.
pub const RELAY_COOKIE_LIFE: Duration = Duration::from_secs(10);
/// Bytes a second that one member may send through the relay.
pub const RELAY_LINK_BYTES_PER_SECOND: u64 = 4 * 1024 * 1024;
/// Bytes that one member may send at once after a pause.
pub const RELAY_LINK_BURST_BYTES: u64 = 1024 * 1024;
/// WebSockets of a relay: players whose UDP is blocked are few.
pub const RELAY_WEBSOCKETS_MAX: usize = 4096;
/// WebSockets of one address, or of one IPv6 /64: a school or an office.
pub const RELAY_WEBSOCKETS_PER_ADDRESS_MAX: usize = 256;
/// Time that a connection has to become a WebSocket.
pub const RELAY_WEBSOCKET_HANDSHAKE: Duration = Duration::from_secs(5);
/// Frames that wait for one WebSocket, of games and of the relay itself each: with those of a game of 1,200 bytes a quarter of a second at
/// 10 Mbit/s. Above it the oldest of a game is dropped; one that does not take the relay's own is closed.
pub const RELAY_WEBSOCKET_QUEUE_MAX: usize = 256;
/// STUN questions that a relay answers in a second: each answer goes to an address that has not proven itself, and may be 2.2 times as
/// long as its question. All of them together are 44 KB a second.
pub const STUN_ANSWERS_PER_SECOND: u32 = 1_000;
/// STUN questions that it answers at once after a pause.
pub const STUN_ANSWERS_BURST: u32 = 2_000;
/// STUN questions of one network (IPv4: /24, IPv6: /48) that it answers in a second: nobody is hit by more than 880 bytes a second from here.
/// A peer asks two or three times when it connects, and then each quarter of a minute.
pub const STUN_SOURCE_ANSWERS_PER_SECOND: u32 = 20;
/// STUN questions of one network that it answers at once after a pause: a hundred peers behind one address.
pub const STUN_SOURCE_ANSWERS_BURST: u32 = 200;
/// Life of a member's relay token.
pub const RELAY_TOKEN_LIFE: Duration = Duration::from_secs(15 * 60);
/// Life of a host grant.
pub const HOST_GRANT_LIFE: Duration = Duration::from_secs(60);
/// Life of a ticket for the event socket: a browser opens it at once.
pub const SOCKET_TICKET_LIFE: Duration = Duration::from_secs(30);
/// Life of an access token.
pub const ACCESS_TOKEN_LIFE: Duration = Duration::from_secs(15 * 60);
/// Life of a refresh token that is not used.
pub const REFRESH_TOKEN_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Bytes of any token: what a relay frame can carry beside its own header.
pub const TOKEN_BYTES_MAX: usize = 1024;
/// Bytes of the name of a key.
pub const KEY_NAME_BYTES_MAX: usize = 64;
/// Difference between two machines' clocks that a token check forgives.
pub const CLOCK_LEEWAY: Duration = Duration::from_secs(5);

// What the limits promise about each other.
const _: () = assert!(JOURNAL_BYTES_MAX >= 4 * MESSAGE_BYTES_MAX, "a journal holds some of the largest messages");
const _: () = assert!(FEED_BYTES_PER_SECOND <= RELAY_LINK_BYTES_PER_SECOND / 2, "states leave room for the game");
const _: () = assert!(REMOVAL_DELAY.as_millis() > ELECTION_DELAY.as_millis(), "a seat must outlive the election");
const _: () = assert!(LEASE.as_millis() >= 2 * SOCKET_PING.as_millis(), "one ping may be lost");
const _: () = assert!(SUSPICION.as_millis() >= 3 * HEARTBEAT.as_millis(), "two heartbeats may be lost");
const _: () = assert!(SUSPICION_MIN.as_millis() >= 3 * HEARTBEAT.as_millis(), "one heartbeat may be lost and one late");
const _: () = assert!(SUSPICION_MAX.as_millis() > SUSPICION_MIN.as_millis(), "the detector has something to adapt");
const _: () = assert!(
    (SUSPICION.as_millis() + CHALLENGE_TIMEOUT.as_millis()) * 3 / 2 < 1000,
    "silence is noticed within a second"
);
const _: () = assert!(VOUCH.as_millis() >= 2 * REPORT_INTERVAL.as_millis(), "one report may be late");
const _: () = assert!(RELAY_IDLE_TIMEOUT.as_millis() >= 2 * RELAY_KEEP_ALIVE.as_millis(), "one keep-alive may be lost");
const _: () = assert!(RELAY_FRAME_BYTES_MAX >= 1200 + 9, "the smallest QUIC path fits into a relay frame");
const _: () = assert!(OBJECTS_MAX * OBJECT_OVERHEAD_BYTES <= OBJECT_TABLE_BYTES_MAX, "that many objects fit");
const _: () = assert!(2 * OBJECT_TABLE_BYTES_MAX <= SNAPSHOT_BYTES_MAX, "the table leaves room for the game's state");
const _: () = assert!(TOKEN_BYTES_MAX + 32 <= RELAY_FRAME_BYTES_MAX, "a token fits into a relay frame");
const _: () =
    assert!(PATH_SUSPICION.as_millis() < SUSPICION_MIN.as_millis(), "a peer that can be reached is not reported");
