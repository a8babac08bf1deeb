/*
 * Every limit and every fixed time of a peer, as in the Rust crate `protocol` (`limits.rs`, which says more of each).
 * Times in milliseconds, sizes in bytes. A test compares them with the Rust ones.
 */

/** Peers send a heartbeat on each link this often. */
export const HEARTBEAT_MS = 100;
/** A guest that was not heard for this long is not among those that a host hears. */
export const SUSPICION_MS = 350;
/** Shortest silence that the detector speaks of: one heartbeat may be lost and one late. */
export const SUSPICION_MIN_MS = 300;
/** Longest silence that the detector tolerates, however bad the link. */
export const SUSPICION_MAX_MS = 2000;
/** What the detector adds to the interval and the deviation that a link has shown. */
export const SUSPICION_MARGIN_MS = 200;
/** How often a guest repeats what it hears while the lobby has lost the host. */
export const REPORT_INTERVAL_MS = 1000;
/** A guest dials its host anew after this long without success. */
export const DIAL_RETRY_MS = 250;

/** Reliable messages that a peer keeps until nobody can need them again: two minutes of sixty a second. */
export const JOURNAL_MESSAGES_MAX = 8192;
/** Their bytes. Above either the game has to wait. */
export const JOURNAL_BYTES_MAX = 8 * 1024 * 1024;
/** Hosts by which a stream's numbers are told apart. */
export const STRETCHES_MAX = 16;
/** A receiver says how far it has heard with each heartbeat, and after so many messages. */
export const HEARD_MESSAGES = 512;
/** Or after so many bytes. */
export const HEARD_BYTES = 16 * 1024;
/** Bytes of a reliable message of a game. */
export const MESSAGE_BYTES_MAX = 1024 * 1024;
/** Bytes of the extra payload of a returning player. */
export const EXTRA_BYTES_MAX = 16 * 1024;

/** Bytes of a snapshot, its header included. */
export const SNAPSHOT_BYTES_MAX = 16 * 1024 * 1024;
/** How often a host uploads its state, where the game does not say. */
export const SNAPSHOT_INTERVAL_MS = 1000;
/** Shortest interval of uploads. */
export const SNAPSHOT_INTERVAL_MIN_MS = 100;
/** Longest interval of uploads. */
export const SNAPSHOT_INTERVAL_MAX_MS = 600_000;
/** Deltas that follow each other on a stored snapshot. */
export const DELTAS_MAX = 128;
/** Bytes of host-only data of one seat. */
export const SEAT_DATA_BYTES_MAX = 64 * 1024;
/** Objects in the ownership table. */
export const OBJECTS_MAX = 65_536;
/** Bytes of the ownership table, each object counted with {@link OBJECT_OVERHEAD_BYTES}. */
export const OBJECT_TABLE_BYTES_MAX = 4 * 1024 * 1024;
/** Bytes of an object in a message beside its data. */
export const OBJECT_OVERHEAD_BYTES = 40;

/** Bytes a second of states that a host sends to its successor on average. */
export const FEED_BYTES_PER_SECOND = 2 * 1024 * 1024;
/** States under way to a successor that it has not acknowledged. */
export const FEED_IN_FLIGHT_MAX = 32;
/** Bytes of such states. One of the largest goes alone. */
export const FEED_IN_FLIGHT_BYTES_MAX = 4 * 1024 * 1024;
/** How long an elected member that was not kept warm waits for the others to say what they have. */
export const NEWEST_STATE_WAIT_MS = 250;
/** How long a member may take to send the state that it has. */
export const STATE_FROM_MEMBER_TIMEOUT_MS = 1000;
/** A hand-over that has not committed by then is given up, and the host goes on. */
export const HAND_OVER_PATIENCE_MS = 5000;
/** Of it, the part in which the game stands still. */
export const FREEZE_MAX_MS = 1000;

/** Time that a socket has for its `hello`. */
export const HELLO_TIMEOUT_MS = 5000;
/** A member from whom nothing came for this long is disconnected. */
export const LEASE_MS = 6000;
/** Bytes of one message from a client on the event socket. */
export const SOCKET_MESSAGE_BYTES_MAX = 16 * 1024;
/** Bytes of one message to a client. */
export const SOCKET_ANSWER_BYTES_MAX = 1024 * 1024;

/** Candidates in one signal; more trickle in further ones. */
export const SIGNAL_CANDIDATES_MAX = 16;
/** Bytes of a candidate as text. */
export const CANDIDATE_BYTES_MAX = 256;
/** Characters of an ICE user name fragment. */
export const UFRAG_CHARS_MAX = 32;
/** Characters of an ICE password. */
export const ICE_PASSWORD_CHARS_MAX = 64;
/** Bytes of a message on a WebRTC channel: what every browser takes. */
export const CHANNEL_MESSAGE_BYTES_MAX = 16 * 1024;
/** Bytes on each lane of a WebRTC link that the receiver has not taken yet. */
export const LANE_WINDOW_BYTES = 1024 * 1024;
/** After so many bytes a receiver says that it has taken them. */
export const LANE_TAKEN_BYTES = LANE_WINDOW_BYTES / 4;
/** Bytes of a datagram on any link. */
export const DATAGRAM_BYTES_MAX = 1150;
/** How often each side measures the round trip of each link. */
export const PING_INTERVAL_MS = 1000;
/** A link that is silent for this long, while another to the same peer is not, is left for that one. */
export const PATH_SUSPICION_MS = 250;
